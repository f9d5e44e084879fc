"""Crease pursuit; start in fit.py."""

from beyond.creases.fit import Options, fit, solve

__all__ = ["Options", "fit", "solve"]
