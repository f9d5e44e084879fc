"""The best s terms of an image: of its pixels, of Haar wavelets, of cosines, and OMP on the features of its task.

Transforms are orthonormal, so that the best terms are the largest and the error is the energy of the others. Of several
forms of a transform the best counts: colours as they are, or decorrelated by cosines; an image whose sides are no
powers of two with few levels of wavelets, or padded with zeros to one with all levels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from instances.task import Problem, Task
from studies.answer import Answer, Find
from studies.greedy import least_squares, select
from tasks import score

Map = Callable[[np.ndarray], np.ndarray]
PLANE = (-2, -1)  # rows and columns of an image [28, 28] or [3, 32, 32]


@dataclass(frozen=True)
class Transform:
    """An orthonormal transform of an image, or of one padded with zeros, and the way back."""

    name: str
    forward: Map
    inverse: Map

    def best(self, image: np.ndarray, s: int) -> tuple[np.ndarray, int]:
        """The image of its s largest coefficients, and how many of these are not zero."""
        coefficients = self.forward(image)
        dropped = np.argsort(-np.abs(coefficients), axis=None, kind="stable")[s:]
        coefficients.ravel()[dropped] = 0
        return self.inverse(coefficients), int(np.count_nonzero(coefficients))


def pixels(shape: tuple[int, ...]) -> list[Transform]:
    """The values themselves: a list of those that are not zero."""
    return [Transform("pixels", np.copy, np.copy)]


def cosines(shape: tuple[int, ...]) -> list[Transform]:
    """The cosine transform of rows and columns; of an image with channels also that of all three axes."""
    axes = {"DCT": PLANE} | ({"DCT, colours too": (-3, *PLANE)} if len(shape) == 3 else {})
    return [cosine(name, along) for name, along in axes.items()]


def cosine(name: str, axes: tuple[int, ...]) -> Transform:
    """The orthonormal cosine transform along some axes."""
    from scipy.fft import dctn, idctn

    return Transform(name, functools.partial(dctn, axes=axes, norm="ortho"),
                     functools.partial(idctn, axes=axes, norm="ortho"))


def wavelets(shape: tuple[int, ...]) -> list[Transform]:
    """Haar wavelets in the forms that the shape allows."""
    sides, own = shape[-2:], haar("Haar", shape)
    padded = (*shape[:-2], *(1 << (side - 1).bit_length() for side in sides))
    forms = [own] if padded == shape else [own, chained("Haar, padded", padding(shape, padded), haar("", padded))]
    colours = cosine("", (-3,)) if len(shape) == 3 else None
    return forms + [chained(f"{form.name}, colours decorrelated", colours, form) for form in forms if colours]


def haar(name: str, shape: tuple[int, ...]) -> Transform:
    """Haar wavelets of rows and columns, as many levels as halve both sides exactly."""
    import pywt

    levels = min((side & -side).bit_length() - 1 for side in shape[-2:])
    kind = {"wavelet": "haar", "mode": "periodization", "axes": PLANE}
    _, places = pywt.coeffs_to_array(pywt.wavedec2(np.zeros(shape), level=levels, **kind), axes=PLANE)

    def forward(image: np.ndarray) -> np.ndarray:
        return pywt.coeffs_to_array(pywt.wavedec2(image, level=levels, **kind), axes=PLANE)[0]

    def inverse(coefficients: np.ndarray) -> np.ndarray:
        return pywt.waverec2(pywt.array_to_coeffs(coefficients, places, output_format="wavedec2"), **kind)

    return Transform(name, forward, inverse)


def padding(shape: tuple[int, ...], padded: tuple[int, ...]) -> Transform:
    """Zeros below and to the right; no transform of its own."""
    return Transform("", lambda image: np.pad(image, [(0, b - a) for a, b in zip(shape, padded, strict=True)]),
                     lambda image: image[tuple(map(slice, shape))])


def chained(name: str, first: Transform, second: Transform) -> Transform:
    """One after the other."""
    return Transform(name, lambda image: second.forward(first.forward(image)),
                     lambda coefficients: first.inverse(second.inverse(coefficients)))


# ---- the yardsticks ----


def best_terms(forms: Callable[[tuple[int, ...]], list[Transform]], task: Task, problem: Problem, seed: int,
               slist: Sequence[int]) -> Find:
    """The best s terms of that form of a transform that has the higher PSNR."""
    image = problem.Y.reshape(task.image_shape or ()).astype(float)

    def find(s: int) -> Answer:
        answers = [Answer(approximation.ravel(), numbers, form.name) for form in forms(image.shape)
                   for approximation, numbers in [form.best(image, s)]]
        return max(answers, key=lambda answer: score(problem, answer.outputs))

    return find


def pursuit(task: Task, problem: Problem, seed: int, slist: Sequence[int]) -> Find:
    """s Fourier features of the task, chosen by OMP or by orthogonal least squares, whichever has the higher PSNR."""
    X, y = problem.X.astype(float), problem.Y.astype(float)
    G, b = X.T @ X, X.T @ y
    most = min(max(slist), len(G))
    orders = {name: select(G, b, most, anew=anew)[0] for name, anew in (("OMP", False), ("OLS", True))}

    def find(s: int) -> Answer:
        answers = []
        for name, order in orders.items():
            chosen = np.isin(np.arange(len(G)), order[:s])[:, None]
            answers.append(Answer(X @ least_squares(X, y[:, None], chosen)[:, 0], len(order[:s]), name))
        return max(answers, key=lambda answer: score(problem, answer.outputs))

    return find
