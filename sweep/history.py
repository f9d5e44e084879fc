"""How a fit gets to its network: what --save_history keeps of its steps, in one .npz for all cells of a log.

The file has one array per name of COLUMNS, a row per recorded step; the arrays m, s and seed say which cell it is of.
A row is taken of the first steps, then of ever fewer (RATIO), and of the network that the fit returns: the last.

- loss: over at most SAMPLES training samples, fewer of wide inputs, drawn once per cell: the share |y_hat - y|^2 /
  |y|^2 that is left, or the mean cross-entropy.  score: that of the task, over so many of the samples that it is
  taken on.
- num_nonzero, live_neurons: weights, and hidden neurons that have some, over all layers.
- support_changed: of the weights that the network of this row or of the row before has, the share that not both have.
  gates_changed: the share of pairs (neuron with weights, sample) whose gate was another one; a neuron without weights
  has closed gates. NaN in the first row. Where a method does not keep the numbers of its neurons (Method.renumbers),
  they are matched, layer by layer, by the largest sum of cosines.
- seconds: of the fit so far, without what is done here.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from beyond.recovery import best_matching
from fits import Callback, FitState
from instances.task import Problem
from models import SparseLayer, SparseNet
from numerics.streams import Stream
from tasks import score

COLUMNS = ("step", "loss", "score", "num_nonzero", "live_neurons", "support_changed", "gates_changed", "seconds")
CELL = ("m", "s", "seed")
SAMPLES, ENTRIES = 1024, 2**19  # of the loss and of the score: samples, and entries of their inputs, at most
GATE_SAMPLES = 256  # of the gates
RATIO = 1.1  # of the steps of two rows, at least: some 25 rows of 100 steps, 50 of 1000

Cell = tuple[int, int, int]  # m, s, seed
History = dict[str, np.ndarray]  # {name of COLUMNS: [rows] float64} of a cell


def pack(histories: dict[Cell, History]) -> bytes:
    """The content of a file."""
    content = io.BytesIO()
    lengths = [len(history["step"]) for history in histories.values()]
    cells = np.array(list(histories), dtype=np.int64).reshape(-1, 3).repeat(lengths, axis=0)
    arrays: dict[str, Any] = dict(zip(CELL, cells.T, strict=True))
    for name in COLUMNS:
        arrays[name] = np.concatenate([np.zeros(0), *(history[name] for history in histories.values())])
    np.savez(content, **arrays)
    return content.getvalue()


def unpack(content: bytes) -> dict[Cell, History]:
    """The histories in a file, by cell; reads no pickles. Raises ValueError, or what a damaged file raises."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in (*CELL, *COLUMNS)}
    if len({array.shape for array in arrays.values()}) != 1 or arrays["step"].ndim != 1:
        raise ValueError("its arrays differ in length")
    cells = np.stack([arrays[name] for name in CELL], axis=1)
    ends = [*np.flatnonzero((np.diff(cells, axis=0) != 0).any(axis=1)) + 1, len(cells)]
    return {tuple(cells[start].tolist()): {name: arrays[name][start:end] for name in COLUMNS}
            for start, end in zip([0, *ends], ends, strict=False) if end > start}


class Row(NamedTuple):
    """The numbers of a step, in the order of COLUMNS, and what the next row is compared with.

    Args:
        net: the network.  gates: at GATE_SAMPLES samples, bool [neurons with weights, samples] of each hidden layer.
    """

    numbers: tuple[float, ...]
    net: SparseNet
    gates: list[np.ndarray]


class Recorder:
    """Takes the rows of the cells that are computed together.

    Args:
        problem: what is fitted.  seed: of the samples that are drawn.
        renumbers: whether neurons are matched, from one row to the next.
        show: called as show(step, state) after every step, whether a row is taken or not.
    Attributes:
        spent: seconds that the rows took, which belong to no cell.
    """

    def __init__(self, problem: Problem, seed: int, renumbers: bool, show: Callback | None = None):
        started = time.perf_counter()
        rng = Stream.HISTORY.generator(seed)
        self.problem, self.pair, self.show = problem, match if renumbers else keep, show
        self.XT, self.Y = draw(problem.X, problem.Y, rng)
        self.same = problem.X_eval is problem.X and problem.Y_eval is problem.Y
        X_eval, Y_eval = (self.XT, self.Y) if self.same else draw(problem.X_eval, problem.Y_eval, rng)
        self.scored = replace(problem, X_eval=X_eval.T, Y_eval=Y_eval)
        self.rows: dict[int, list[Row]] = {}  # by s
        self.last: dict[int, int] = {}  # step that each s came to
        self.spent = time.perf_counter() - started

    def begin(self, slist: Sequence[int]) -> Callback:
        """The callback of a fit that begins now and serves these s."""
        self.started = time.perf_counter() - self.spent
        due = 1

        def callback(step: int, state: FitState) -> None:
            nonlocal due
            entered = time.perf_counter()
            if self.show:
                self.show(step, state)
            self.last |= dict.fromkeys(state.slist or slist, step)
            if step >= due or step == 1:  # a fit that is begun again counts from 1
                due = max(step + 1, math.ceil(RATIO * step))
                self.take(step, state.net(), state.slist or slist, entered)
            self.spent += time.perf_counter() - entered

        return callback

    def take(self, step: int, net: SparseNet, slist: Iterable[int], now: float) -> None:
        """A row for each s, at the time `now`. Rows of this step or later ones are of a start that was given up."""
        units = net.units(self.XT)
        outputs = net.outputs(units[-1])
        predicted = outputs if self.same else net.predict(self.scored.X_eval)
        facts = (step, training_loss(outputs, self.Y, self.problem.loss), score_or_nan(self.scored, predicted),
                 net.num_nonzero, sum(len(unit.neurons) for unit in units))
        gates = [unit.gate[:, :GATE_SAMPLES] for unit in units]
        for s in slist:
            rows = self.rows.setdefault(s, [])
            while rows and rows[-1].numbers[0] >= step:
                rows.pop()
            changed = changes(rows[-1], net, gates, self.pair) if rows else (math.nan, math.nan)
            rows.append(Row((*facts, *changed, now - self.started - self.spent), net, gates))

    def finished(self, s: int, net: SparseNet) -> History:
        """The history of one s, whose last row is the network that the fit returned."""
        entered = time.perf_counter()
        self.take(self.last.get(s, 1), net, [s], entered)
        self.spent += time.perf_counter() - entered
        return dict(zip(COLUMNS, np.array([row.numbers for row in self.rows[s]], dtype=np.float64).T, strict=True))


def draw(X: np.ndarray, Y: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """At most SAMPLES of the samples, fewer where they are wide: inputs, feature-major [d, n] float64, and targets."""
    if len(X) > (most := max(1, min(SAMPLES, ENTRIES // X.shape[1]))):
        rows = np.sort(rng.choice(len(X), most, replace=False, shuffle=False))
        X, Y = X[rows], Y[rows]
    return np.ascontiguousarray(X.T, dtype=np.float64), Y


def training_loss(outputs: np.ndarray, Y: np.ndarray, loss: str) -> float:
    """|y_hat - y|^2 / |y|^2, or the mean cross-entropy of outputs [n, k] at one-hot targets."""
    if loss == "cross_entropy":
        top = outputs.max(axis=1)
        total = top + np.log(np.sum(np.exp(outputs - top[:, None]), axis=1))
        return float(np.mean(total - np.sum(outputs * Y, axis=1)))
    energy = np.sum(np.square(Y, dtype=np.float64))
    return float(np.sum(np.square(outputs - Y)) / energy) if energy else math.nan


def score_or_nan(problem: Problem, outputs: np.ndarray) -> float:
    """The score; NaN where an output on the way is not finite."""
    try:
        return score(problem, outputs)
    except FloatingPointError:
        return math.nan


# ---- what changed ----


def changes(before: Row, net: SparseNet, gates: list[np.ndarray], pair: Callable) -> tuple[float, float]:
    """support_changed and gates_changed from one row to the network of the next; `pair` is `match` or `keep`."""
    kept = flipped = 0
    inputs = np.arange(net.layers[0].d)  # {number of an input in the row before: its number now}, -1 for none
    for number, layer in enumerate(net.layers[: len(before.net.layers)]):
        old = before.net.layers[number]
        rows, columns, common = pair(layer, old, inputs)
        kept += common
        closed = np.zeros_like(gates[number])
        closed[rows] = before.gates[number][columns]
        flipped += np.count_nonzero(closed != gates[number])
        inputs = np.full(old.m, -1)
        inputs[old.neurons[columns]] = layer.neurons[rows]
    for gate in gates[len(before.gates) :]:  # of a layer that was not there
        flipped += np.count_nonzero(gate)
    if net.output is not None and before.net.output is not None and not net.has_signs:
        kept += len(np.intersect1d(moved(before.net.output, inputs, net.output.d), net.output.w.indices))
    total = sum(gate.size for gate in gates)
    either = net.num_nonzero + before.net.num_nonzero - kept
    return 1 - kept / either if either else 0.0, flipped / total if total else 0.0


def moved(layer: SparseLayer, inputs: np.ndarray, d: int) -> np.ndarray:
    """The flat indices of a layer's weights when its inputs get other numbers, of d; without those that get none."""
    row, column = np.divmod(layer.w.indices, layer.d)
    column = inputs[column]
    return (row * d + column)[column >= 0]


def keep(layer: SparseLayer, old: SparseLayer, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Pairs (rows, columns) of neurons with weights, of a layer and of the row before, and weights that both have."""
    _, rows, columns = np.intersect1d(layer.neurons, old.neurons, assume_unique=True, return_indices=True)
    return rows, columns, len(np.intersect1d(layer.w.indices, old.w.indices, assume_unique=True))


def match(layer: SparseLayer, old: SparseLayer, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """The same of the matching with the largest sum of cosines, where these are positive.

    Args:
        inputs: [old.d], the number now of each input, -1 for none.
    """
    place = moved(old, inputs, layer.d)
    values = old.w.values[inputs[old.w.indices % old.d] >= 0]
    used = np.union1d(layer.w.indices % layer.d, place % layer.d)
    new = compact(layer.w.indices, layer.w.values, layer.d, layer.neurons, used)
    past = compact(place, values, layer.d, old.neurons, used)
    rows, columns = best_pairs(np.maximum(unit_rows(new) @ unit_rows(past).T, 0))
    return rows, columns, int(np.count_nonzero(new[rows] * past[columns]))


def compact(flat: np.ndarray, values: np.ndarray, d: int, neurons: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Weights at flat indices as a dense matrix [neurons, used inputs]; both numbers ascend."""
    W = np.zeros((len(neurons), len(used)))
    W[np.searchsorted(neurons, flat // d), np.searchsorted(used, flat % d)] = values
    return W


def unit_rows(W: np.ndarray) -> np.ndarray:
    """Rows of norm 1; zeros stay."""
    return W / np.maximum(np.linalg.norm(W, axis=1, keepdims=True), np.finfo(float).tiny)


def best_pairs(gain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """best_matching, which need not be searched where the largest gains of the rows are in different columns."""
    if not gain.size:
        none = np.zeros(0, dtype=np.int64)
        return none, none
    rows, columns = np.arange(len(gain)), gain.argmax(axis=1)
    if len(np.unique(columns)) < len(rows):
        return best_matching(gain)
    there = gain[rows, columns] > 0
    return rows[there], columns[there]
