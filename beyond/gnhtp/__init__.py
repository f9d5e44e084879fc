"""Gauss-Newton hard thresholding pursuit; start with fit.py."""

from beyond.gnhtp.fit import Options, fit, solve

__all__ = ["Options", "fit", "solve"]
