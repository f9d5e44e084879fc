"""Recovery of planted networks with two hidden layers; start with fit.py."""

from beyond.deep.fit import Found, fit, solve

__all__ = ["Found", "fit", "solve"]
