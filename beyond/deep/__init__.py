"""The joint fit of two hidden layers; start with fit.py."""

from beyond.deep.fit import Options, fit, solve

__all__ = ["Options", "fit", "solve"]
