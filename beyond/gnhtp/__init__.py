"""Gauss-Newton hard thresholding pursuit; start with fit.py."""

from beyond.gnhtp.fit import fit

__all__ = ["fit"]
