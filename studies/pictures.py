"""Draw the images that kept networks represent, beside the original: what the decibels of Figures 4 and 5 look like.

    python runner.py --task inr_mnist --mlist 5 20 100 --slist 20 100 500 --num_epochs 100 --save_results --save_models
    python -m studies.pictures

A row for every hidden width m, and for every method a block of columns, one for every number of nonzeros s. Under each
image is its PSNR, computed again from the network: it has to be the score in the log. With --errors the distance to
the original takes the place of the image, 20 times as bright.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from instances.files import DataError
from instances.task import Problem
from models import SparseNet
from options import FOLDER, SEED, SIZE, SWITCH, ListOf, one_of, option, optional
from plotting import page
from plotting.words import depth_words, other_words
from shell.command import Drawing, Program
from shell.program import UsageError, complain
from sweep.logbook import Log, LogError
from sweep.methods import METHODS
from sweep.settings import is_known, make_settings
from sweep.table import DONE, NOT_RUN, Cell, kind
from tasks import TASKS, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.gridspec import GridSpec

PROG = "python -m studies.pictures"
IMAGES = [name for name, task in TASKS.items() if task.image_shape]  # the tasks that fit one
MLIST, SLIST = (5, 20, 100), (20, 100, 500)  # drawn unless the flags say otherwise, where all of them are there
TOLERANCE = 0.01  # dB between the score in a log and that of its network; they differ by rounding alone

# Inches; the page is no larger than a landscape page.
WIDTH, HEIGHT = 9.5, 9.3
ORIGINAL = 1.3  # width of the original
LARGEST, SMALLEST = 1.3, 0.45  # width of an image; "-12.3 dB" and "s = 1000" need the smallest
METHOD_ROOM, BLOCK_GAP = 0.15, 0.06  # height of the name of a method; gap before its columns
LABEL, GAP, LINE = 0.55, 0.05, 0.17  # width of the labels of rows; gap between images; height of the words below one
FONT, SMALL = 9, 7.5  # points
ERROR_SCALE = 20  # of the maps of errors

Kept = Mapping[str, Sequence[Log]]  # {method: its logs}, all of the same settings


def spelled(values: Iterable[int]) -> str:
    return " ".join(map(str, values))


@dataclass(frozen=True)
class Options(Drawing):
    """What is drawn."""

    task: str | None = option(None, optional(one_of(IMAGES)), "draw only this task (default: all of which networks are "
                              "kept)")
    mlist: tuple[int, ...] = option((), ListOf(SIZE, allow_empty=True), f"hidden widths m (default: {spelled(MLIST)}; "
                                    "if any is missing, the smallest, a middle and the largest saved)")
    slist: tuple[int, ...] = option((), ListOf(SIZE, allow_empty=True), "numbers of nonzero weights (default: "
                                    f"{spelled(SLIST)}; likewise)")
    seed: int = option(0, SEED, "of the networks")
    num_layers: int = option(1, SIZE, "hidden layers of the networks")
    errors: bool = option(False, SWITCH, f"draw the distances to the original, times {ERROR_SCALE}")
    data_dir: str | None = option(None, optional(FOLDER), "folder of the data sets (default: the variable "
                                  "MLP_IHT_DATA, then ./data)")
    logs_dir: str = option("logs", FOLDER, "holds <task>/<method>/*.models")


# ---- reading ----


def kept_logs(options: Options, task: str) -> dict[str, list[Log]]:
    """The logs of a task and depth by method, those of the settings of the networks that are kept of the seed.

    A method without networks is left out. Raises UsageError.
    """
    try:
        logs = [Log.read(sidecar) for sidecar in sorted(Path(options.logs_dir).glob(f"{task}/*/*.json"))]
    except LogError as error:
        raise UsageError(f"--logs_dir {options.logs_dir}: {error}, or name another folder") from None
    kept = {}
    for method, group in groupby((log for log in logs if log.settings["num_layers"] == options.num_layers),
                                 lambda log: log.settings["method"]):
        own = list(group)
        if full := [log for log in own if networks(log, options.seed)]:
            settings = full[0].settings
            if other := next((log for log in full if log.settings != settings), None):
                raise mixed(settings, other)
            kept[method] = [log for log in own if log.settings == settings]
    return kept


def networks(log: Log, seed: int) -> set[tuple[int, int]]:
    """The cells (m, s) of a seed of which a log keeps the network."""
    return {cell[:2] for cell in log.records if cell[2] == seed and has_network(log, cell)}


def has_network(log: Log, cell: Cell) -> bool:
    """Whether a log keeps the network of a cell, and its score."""
    return kind(log.status(cell)) == DONE and log.model_path(cell).exists()


def mixed(settings: dict[str, Any], log: Log) -> UsageError:
    """Networks of a log that has other settings than those before it: they are no one picture."""
    pairs = {flag: (settings.get(flag), log.settings.get(flag)) for flag in settings | log.settings}
    differing = [f"--{flag} {one!r} and {two!r}" for flag, (one, two) in pairs.items() if one != two]
    folder = log.files[0].parent
    return UsageError(f"--logs_dir {folder.parents[1]}: networks in {folder} were made with {', '.join(differing)}; "
                      "move one of these logs, or name another folder")


def choose(asked: Sequence[int], usual: Sequence[int], there: Iterable[int]) -> list[int]:
    """The values asked for; else the usual ones if all are there; else the smallest, a middle one and the largest."""
    there = sorted(there)
    spread = dict.fromkeys((there[0], there[len(there) // 2], there[-1]))
    return list(asked or (usual if set(usual) <= set(there) else spread))


def build(logged: dict[str, Any], seed: int, data_dir: str | None) -> Problem:
    """The problem whose targets are the original, from the settings of a log. Raises UsageError."""
    given = {name: value for name, value in logged.items() if is_known(name)}
    settings = make_settings(**given, mlist=[1], slist=[1], data_dir=data_dir)
    try:
        problem = settings.build(1, 1, seed)
    except DataError as error:  # the data are not there, or damaged; it says what to do
        raise UsageError(f"--data_dir {settings.data_dir}: {error}") from None
    except IndexError as error:  # they are too few
        raise UsageError(f"--data_dir {settings.data_dir}: {error}; name the folder of the data that were "
                         "fitted") from None
    assert isinstance(problem, Problem)  # the tasks that fit an image are of networks
    return problem


def reconstruct(problem: Problem, path: Path, expected: float) -> tuple[np.ndarray, float]:
    """The prediction [n] of the network at path, and its score. Raises UsageError unless it scores as expected."""
    try:
        outputs = SparseNet.load(path).predict(problem.X_eval)
        value = score(problem, outputs)
    except Exception as error:  # a network that is damaged, or of another task, fails in many ways
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: it gives no image ({reason}); delete it and run runner.py again") from None
    if not np.isclose(value, expected, rtol=0, atol=TOLERANCE):
        raise UsageError(f"{path}: its image has {value:.2f} dB where the log says {expected:.2f} dB; name the "
                         "--data_dir of that run, or delete the network and run runner.py again")
    return outputs, value


# ---- drawing ----


def draw(task: str, kept: Kept, mlist: Sequence[int], slist: Sequence[int], problem: Problem, notes: Sequence[str],
         seed: int = 0, errors: bool = False) -> page.Figure:
    """The figure of one task, of images or of their errors. Raises UsageError."""
    shape = TASKS[task].image_shape or ()
    ratio, block = shape[-2] / shape[-1], len(slist) + 1  # columns of the grid that a method takes, the first a gap
    figure, grid = make_page(ratio, len(mlist), len(slist), len(kept))
    original = figure.add_subplot(grid[1:, 0])
    show(original, problem.Y_eval.reshape(shape))
    original.set_aspect("equal", anchor="N")
    original.set_title("original", fontsize=SMALL, pad=3)
    said = original.annotate("\n".join(page.wrap(line, 72 * ORIGINAL, SMALL) for line in notes), (0, 0), (0, -5),
                             xycoords="axes fraction", textcoords="offset points", va="top", fontsize=SMALL,
                             parse_math=False)
    said.set_in_layout(False)
    for first, (method, logs) in zip(range(2, 2 + block * len(kept), block), kept.items(), strict=True):
        above = figure.add_subplot(grid[0, first : first + len(slist)])
        above.set_axis_off()
        above.text(0.5, 0, METHODS[method].title, ha="center", va="bottom", fontsize=FONT, fontweight="bold",
                   transform=above.transAxes)
        for (row, m), (column, s) in product(enumerate(mlist, 1), enumerate(slist, first)):
            ax = figure.add_subplot(grid[row, column])
            draw_cell(ax, logs, (m, s, seed), problem, shape, errors)
            ax.set_box_aspect(ratio)
            ax.set_anchor("N")
            if row == 1:
                ax.set_title(f"s = {s}", fontsize=SMALL, pad=3)
            if column == 2:
                ax.set_ylabel(f"m = {m}", fontsize=FONT, rotation=0, ha="right", va="center")
    figure.draw_without_rendering()  # lays it out
    figure.set_layout_engine("none")
    said.set_in_layout(True)  # the page is cut to what is on it, the notes among it
    return figure


def make_page(ratio: float, num_rows: int, num_columns: int, num_methods: int) -> tuple[page.Figure, GridSpec]:
    """A figure whose images are as large as a page holds, and its grid. Raises UsageError where they were too small.

    Args:
        ratio: height of an image over its width.  num_columns: of a method.
    """
    count = num_methods * num_columns
    across = (WIDTH - ORIGINAL - LABEL - num_methods * BLOCK_GAP) / count - GAP
    down = ((HEIGHT - METHOD_ROOM - LINE) / num_rows - LINE) / ratio
    room, flag, values = min((across, "--slist", num_columns), (down, "--mlist", num_rows))
    if room < SMALLEST:
        raise UsageError(f"argument {flag}: its {values} values leave images of {max(0, room):.2f} inches on a page, "
                         f"for {num_methods} method(s); name fewer")
    side = min(LARGEST, room)
    width = ORIGINAL + LABEL + num_methods * BLOCK_GAP + count * (side + GAP)
    figure = page.new_figure(width, METHOD_ROOM + LINE + num_rows * (side * ratio + LINE))
    figure.set_layout_engine("constrained", w_pad=GAP / 2, h_pad=0.02, wspace=0, hspace=0)
    widths = [ORIGINAL, *[BLOCK_GAP, *[side] * num_columns] * num_methods]
    return figure, figure.add_gridspec(1 + num_rows, len(widths), width_ratios=widths,
                                       height_ratios=[METHOD_ROOM, *[side * ratio] * num_rows])


def draw_cell(ax: Axes, logs: Sequence[Log], cell: Cell, problem: Problem, shape: tuple[int, ...],
              errors: bool) -> None:
    """The image of a cell, or its errors, over the PSNR; or a hatched frame that says why not. Raises UsageError.

    Args:
        logs: those that may have it; the first by name that has its network counts.
    """
    if log := next((log for log in logs if has_network(log, cell)), None):
        outputs, value = reconstruct(problem, log.model_path(cell), log.score(cell))
        show(ax, (ERROR_SCALE * np.abs(outputs - problem.Y_eval) if errors else outputs).reshape(shape))
        ax.set_xlabel(f"{value:.1f} dB", fontsize=SMALL, labelpad=2)
        return
    found = [status for log in logs if (status := kind(log.status(cell))) != NOT_RUN]
    words = "not kept" if DONE in found else found[0] if found else NOT_RUN
    ax.patch.set(facecolor="0.96", edgecolor="0.8", hatch="////", linewidth=0)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL, color="0.25", bbox=box)
    frame(ax)


def show(ax: Axes, pixels: np.ndarray) -> None:
    """Pixels [rows, columns] in grey or [channels, rows, columns] in colour; 0 is black, 1 the full light."""
    pixels = np.clip(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1), 0, 1)
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    frame(ax)


def frame(ax: Axes) -> None:
    """A thin frame without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(linewidth=0.5, edgecolor="0.6")


def notes_of(kept: Kept, options: Options) -> list[str]:
    """Lines that say what was run: depth, seed and the settings that are not at their default."""
    said = {METHODS[method].title: other_words(logs[0].settings) for method, logs in kept.items()}
    common = [word for word in next(iter(said.values())) if all(word in words for words in said.values())]
    own = [f"{title}: {word}" for title, words in said.items() for word in words if word not in common]
    errors = [f"|error| times {ERROR_SCALE}"] * options.errors
    return [depth_words(options.num_layers), f"seed {options.seed}", *common, *own, "m: hidden width", "s: nonzeros",
            "dB: PSNR", *errors]


def make_picture(task: str, options: Options) -> list[Path]:
    """Draw the picture of a task and return its paths. Raises UsageError."""
    kept, logs_dir = kept_logs(options, task), options.logs_dir
    cells = {cell for logs in kept.values() for log in logs for cell in networks(log, options.seed)}
    if not cells:
        raise UsageError(f"--logs_dir {logs_dir}: no network of --task {task} with --num_layers {options.num_layers} "
                         f"and --seed {options.seed} is kept there; run runner.py with --save_results --save_models, "
                         "or name the folder, depth and seed of one")
    widths, numbers = map(set, zip(*cells, strict=True))
    mlist, slist = choose(options.mlist, MLIST, widths), choose(options.slist, SLIST, numbers)
    if not cells & set(product(mlist, slist)):
        raise UsageError(f"--mlist {spelled(mlist)} --slist {spelled(slist)}: no such network of {task} is kept in "
                         f"{logs_dir}; choose among m {spelled(sorted(widths))} and s {spelled(sorted(numbers))}")
    problem = build(next(iter(kept.values()))[0].settings, options.seed, options.data_dir)
    with page.style():
        figure = draw(task, kept, mlist, slist, problem, notes_of(kept, options), options.seed, options.errors)
        stem = options.figures() / f"pictures_{task}_hidden{options.num_layers}{'_errors' * options.errors}"
        try:
            return page.save(figure, stem)
        except OSError as error:
            raise UsageError(f"--figures_dir {stem.parent}: cannot be written ({error}); choose another") from None


def run(options: Options) -> int:
    """Draw the pictures; returns an exit code. Raises UsageError."""
    tasks = [task for task in IMAGES if any(Path(options.logs_dir).glob(f"{task}/*/*.models/*.npz"))]
    if not options.task and not tasks:
        raise UsageError(f"--logs_dir {options.logs_dir}: no networks of {' or '.join(IMAGES)} are kept there; "
                         "run runner.py with --save_results --save_models, or name the folder that holds them")
    code = 0
    for task in [options.task] if options.task else tasks:
        try:
            print(*make_picture(task, options), sep="\n", flush=True)
        except UsageError as error:
            code = complain(PROG, error)
    return code


main = Program(PROG, __doc__, Options, run)

if __name__ == "__main__":
    sys.exit(main())
