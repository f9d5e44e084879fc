"""Pruning by curvature with cycles that grow and prune; start with fit.py."""

from beyond.obs.fit import Options, fit, solve

__all__ = ["Options", "fit", "solve"]
