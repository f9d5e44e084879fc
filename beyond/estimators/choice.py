"""Which network of a path? The smallest exact one, else one of about the least held-out error or criterion."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from beyond.estimators.network import Network, Samples, criterion
from beyond.estimators.path import Path, Point

T = TypeVar("T")  # samples, with targets or labels
CHOICES = ("auto", "cv", "ebic")
# Standard errors, of the difference to the best held-out error, that count as no difference. Eight splits each of nine
# tables, none of those in the docs: 0.25 for 0 leaves the scores within .002, Hitters gains .024, and networks have up
# to 5 weights less.
NEAR = 0.25


class Choice(NamedTuple):
    """What was chosen.

    Args:
        points: networks by ascending numbers of weights.  place: of the one that is chosen.
        rule: "exact", "cv", "ebic", "given", or "one standard error".
        values: by which it was chosen, one for each network: held-out errors, criteria, or what is left.
        errors: standard errors of the differences to the best, or None.
    """

    points: list[Point]
    place: int
    rule: str
    values: np.ndarray
    errors: np.ndarray | None = None


def at_most(points: Sequence[Point], s: float) -> int:
    """The place of the largest network with at most s weights; 0 where all have more."""
    return max(int(np.searchsorted([point.s for point in points], s, side="right")) - 1, 0)


def as_left(points: list[Point], place: int, rule: str) -> Choice:
    """The network at a place, beside what each of the path leaves."""
    return Choice(points, place, rule, np.array([point.left for point in points]))


def least(points: list[Point], values: Sequence[float]) -> Choice:
    """The network of least criterion."""
    return Choice(points, int(np.argmin(values)), "ebic", np.array(values))


def by_criterion(path: Path, data: Samples) -> Choice:
    """By the extended Bayesian information criterion."""
    return least(path.points, [criterion(point.left * data.energy, data.count, point.s, point.net)
                               for point in path.points])


def held_out_losses(points: Sequence[Point], fits: Sequence[Sequence[Point]], tests: Sequence[T],
                    loss: Callable[[Network, T], float]) -> np.ndarray:
    """[folds, networks]: what networks with as many weights lose, fitted on a part and judged on the rest of a fold."""
    rows = []
    for fit, test in zip(fits, tests, strict=True):
        known = np.array([loss(point.net, test) for point in fit])
        rows.append([known[at_most(fit, point.s)] for point in points])
    return np.array(rows)


def among_families(path: Path, fits: Sequence[Path], tests: Sequence[T], loss: Callable[[Network, T], float],
                   one_standard_error: bool) -> Choice:
    """By held-out losses, among all networks and among the linear ones."""
    families = [by_folds(path.points, held_out_losses(path.points, [fit.points for fit in fits], tests, loss)),
                by_folds(path.linear, held_out_losses(path.linear, [fit.linear for fit in fits], tests, loss))]
    return smallest_within(1.0, families)._replace(rule="one standard error") if one_standard_error else (
        smallest_within(NEAR, families))


def by_folds(points: list[Point], losses: np.ndarray) -> Choice:
    """By held-out losses [folds, networks]."""
    values = losses.mean(axis=0)
    best = int(np.argmin(values))
    errors = np.std(losses - losses[:, [best]], axis=0, ddof=1) / np.sqrt(len(losses))
    return Choice(points, best, "cv", values, errors)


def smallest_within(share: float, families: Sequence[Choice]) -> Choice:
    """The smallest network of several families within so many standard errors of the best of its own and of all."""
    lowest, within = min(family.values.min() for family in families), []
    for family in families:
        assert family.errors is not None  # they come from folds
        near = family.values <= lowest + share * np.nan_to_num(family.errors)
        within += [family._replace(place=int(np.argmax(near)))] if near.any() else []
    return min(within, key=lambda family: family.points[family.place].s)
