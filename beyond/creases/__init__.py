"""Crease pursuit; start in fit.py."""

from beyond.creases.fit import fit, recover

__all__ = ["fit", "recover"]
