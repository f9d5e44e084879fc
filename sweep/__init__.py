"""A grid of cells (m, s, seed): declared, computed, saved and resumed."""
