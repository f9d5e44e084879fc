"""What the paper's modules stand on: arrays, workspaces, sparse vectors, random streams, the count sketch."""
