"""Draw the images that kept networks represent, beside the original: what the decibels of Figures 4 and 5 look like.

    python runner.py --task inr_mnist --mlist 5 20 100 --slist 20 100 500 --num_epochs 100 --save_results --save_models
    python -m studies.pictures

A row for every hidden width m, and for every method a block of columns, one for every number of nonzeros s. Under each
image is its PSNR, computed again from the network: it has to be the score in the log. With --errors the distance to
the original takes the place of the image, 20 times as bright.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datasets import DataError
from models import SparseNet
from plotting import page
from plotting.logs import scores_of
from plotting.words import depth_words
from sweep import flags
from sweep.flags import Parser, UsageError, complain, run_main
from sweep.logbook import DONE, NOT_RUN, Log, LogError, kind
from sweep.methods import METHODS
from sweep.settings import SETTINGS, make_settings, setting_words
from tasks import TASKS, Problem, score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

PROG = "python -m studies.pictures"
MLIST, SLIST = (5, 20, 100), (20, 100, 500)  # drawn unless the flags say otherwise, where all of them are there
TOLERANCE = 0.01  # dB between the score in a log and that of its network; they differ by rounding alone

# Inches; the page is no larger than a landscape page.
WIDTH, HEIGHT = 9.5, 9.3
ORIGINAL = 1.3  # width of the original
LARGEST, SMALLEST = 1.3, 0.45  # width of an image; "-12.3 dB" and "s = 1000" need the smallest
METHOD_ROOM, BLOCK_GAP = 0.15, 0.06  # height of the name of a method; gap before its columns
FONT, SMALL = 9, 7.5  # points
ERROR_SCALE = 20  # of the maps of errors


@dataclass(frozen=True)
class Kept:
    """What is kept of one method and seed.

    Args:
        networks: {(m, s): (file of the network, its score in the log)}.
        others: {(m, s): why there is no network, one or two words}.
    """

    settings: dict[str, Any]
    networks: dict[tuple[int, int], tuple[Path, float]]
    others: dict[tuple[int, int], str]


# ---- reading ----


def read_logs(logs_dir: Path, task: str, num_layers: int) -> dict[str, list[Log]]:
    """The logs of a task and depth, by method. Raises UsageError."""
    logs = {}
    for sidecar in sorted(logs_dir.glob(f"{task}/*/*.json")):
        try:
            log = Log.read(sidecar)
        except LogError as error:
            raise UsageError(f"--logs_dir {logs_dir}: {error}; move that log away, or name another folder") from None
        if log.settings["num_layers"] == num_layers:
            logs.setdefault(log.settings["method"], []).append(log)
    return logs


def kept_networks(logs: dict[str, list[Log]], seed: int) -> dict[str, Kept]:
    """What these logs keep of a seed, by method; a method without networks is left out. Raises UsageError."""
    kept = {}
    for method, own in logs.items():
        parts = [kept_of(log, seed) for log in own]
        with_networks = [part for part in parts if part.networks]
        if with_networks:
            refuse_mixed([part.settings for part in with_networks], own[0].path.parent)
            same = [part for part in parts if part.settings == with_networks[0].settings]
            kept[method] = Kept(with_networks[0].settings,
                                {cell: net for part in same for cell, net in part.networks.items()},
                                {cell: why for part in same for cell, why in part.others.items()})
    return kept


def kept_of(log: Log, seed: int) -> Kept:
    """What one log keeps of a seed."""
    networks, others, scores = {}, {}, scores_of(log)
    for cell in (cell for cell in log.records if cell[2] == seed):
        status = kind(log.status(cell))
        if status == DONE and log.model_path(cell).exists():
            networks[cell[:2]] = log.model_path(cell), scores[cell]
        else:
            others[cell[:2]] = "not kept" if status == DONE else status
    return Kept(log.settings, networks, others)


def refuse_mixed(settings: Sequence[dict[str, Any]], folder: Path) -> None:
    """Networks of different settings are no one picture. Raises UsageError."""
    for other in settings[1:]:
        pairs = {flag: (settings[0].get(flag), other.get(flag)) for flag in settings[0] | other}
        differing = [f"--{flag} {one!r} and {two!r}" for flag, (one, two) in pairs.items() if one != two]
        if differing:
            raise UsageError(f"--logs_dir {folder.parents[1]}: networks in {folder} were made with "
                             f"{', '.join(differing)}; move one of these logs, or name another folder")


def choose(asked: Sequence[int] | None, usual: Sequence[int], there: Iterable[int]) -> list[int]:
    """The values asked for; else the usual ones if all are there; else the smallest, a middle one and the largest."""
    there = sorted(there)
    spread = dict.fromkeys((there[0], there[len(there) // 2], there[-1]))
    return list(asked or (usual if set(usual) <= set(there) else spread))


def build(logged: dict[str, Any], seed: int, data_dir: str | None) -> Problem:
    """The problem whose targets are the original, from the settings of a log. Raises UsageError."""
    given = {name: value for name, value in logged.items() if name in SETTINGS}
    settings = make_settings(**given, mlist=[1], slist=[1], data_dir=data_dir)
    try:
        return TASKS[settings.task].build(settings, 1, 1, seed)
    except (DataError, IndexError) as error:  # the data are not there, are damaged, or too few
        raise UsageError(f"--data_dir {settings.data_dir}: {error}; name the folder of the data that were "
                         "fitted") from None


def reconstruct(problem: Problem, path: Path, expected: float) -> tuple[np.ndarray, float]:
    """The prediction [n] of the network at path, and its score. Raises UsageError unless it scores as expected."""
    try:
        outputs = SparseNet.load(path).predict(problem.X_eval)
        value = score(problem, outputs)
    except Exception as error:  # a network that is damaged, or of another task, fails in many ways
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: it gives no image ({reason}); delete it and run runner.py again") from None
    if value != expected and not abs(value - expected) <= TOLERANCE:
        raise UsageError(f"{path}: its image has {value:.2f} dB where the log says {expected:.2f} dB; name the "
                         "--data_dir of that run, or delete the network and run runner.py again")
    return outputs, value


# ---- drawing ----


def draw(task: str, kept: dict[str, Kept], mlist: Sequence[int], slist: Sequence[int], problem: Problem,
         notes: Sequence[str], errors: bool = False) -> Figure:
    """The figure of one task, of images or of their errors. Raises UsageError."""
    shape = TASKS[task].image
    blocks = [list(range(number * (len(slist) + 1) + 2, (number + 1) * (len(slist) + 1) + 1))
              for number in range(len(kept))]  # columns of the grid, each block after a gap
    figure = page.new_figure(WIDTH, HEIGHT)
    figure.get_layout_engine().set(w_pad=0.025, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.add_gridspec(1 + len(mlist), blocks[-1][-1] + 1)
    draw_original(figure.add_subplot(grid[1:, 0]), problem.Y_eval.reshape(shape), notes)
    for (method, own), columns in zip(kept.items(), blocks, strict=True):
        page.heading(figure, grid[0, columns[0] : columns[-1] + 1], METHODS[method].title, FONT, "center")
        for (row, m), (column, s) in product(enumerate(mlist, 1), zip(columns, slist, strict=True)):
            ax = figure.add_subplot(grid[row, column])
            if (m, s) in own.networks:
                outputs, value = reconstruct(problem, *own.networks[m, s])
                pixels = ERROR_SCALE * np.abs(outputs - problem.Y_eval) if errors else outputs
                show(ax, pixels.reshape(shape))
                ax.set_xlabel(f"{value:.1f} dB", fontsize=SMALL, labelpad=2)
            else:
                leave_blank(ax, own.others.get((m, s), NOT_RUN))
            if row == 1:
                ax.set_title(f"s = {s}", fontsize=SMALL, pad=3)
            if column == blocks[0][0]:
                ax.set_ylabel(f"m = {m}", fontsize=FONT, rotation=0, ha="right", va="center")
    fit_page(figure, grid, shape[-2] / shape[-1], len(mlist), blocks)
    return figure


def draw_original(ax: Axes, pixels: np.ndarray, notes: Sequence[str]) -> None:
    """The original, at the top of its place, and under it what was run."""
    show(ax, pixels)
    ax.set_aspect("equal", anchor="N")
    ax.set_title("original", fontsize=SMALL, pad=3)
    lines = [page.wrap(line, 72 * ORIGINAL, SMALL) for line in notes]
    ax.annotate("\n".join(lines), (0, 0), (0, -5), xycoords="axes fraction", textcoords="offset points", va="top",
                fontsize=SMALL, parse_math=False).set_in_layout(False)


def show(ax: Axes, pixels: np.ndarray) -> None:
    """Pixels [rows, columns] in grey or [channels, rows, columns] in colour; 0 is black, 1 the full light.

    They fill the Axes: fit_page gives these the shape of the image.
    """
    pixels = np.clip(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1), 0, 1)
    ax.imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    frame(ax)


def leave_blank(ax: Axes, words: str) -> None:
    """A hatched frame that says why there is no image."""
    ax.patch.set(facecolor="0.96", edgecolor="0.8", hatch="////", linewidth=0)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL, color="0.25", bbox=box)
    frame(ax)


def frame(ax: Axes) -> None:
    """A thin frame without ticks."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(linewidth=0.5, edgecolor="0.6")


def fit_page(figure: Figure, grid: GridSpec, ratio: float, num_rows: int, blocks: Sequence[Sequence[int]]) -> None:
    """Make the images as large as a page holds. Raises UsageError where they would be too small.

    Args:
        ratio: height of an image over its width.  blocks: the columns of the grid that hold images, by method.
    """
    in_blocks = {column for columns in blocks for column in columns}

    def settle(side: float) -> np.ndarray:
        widths = [side if column in in_blocks else BLOCK_GAP for column in range(1, blocks[-1][-1] + 1)]
        page.settle(figure, grid, [METHOD_ROOM] + [side * ratio] * num_rows, [ORIGINAL, *widths])
        return figure.get_size_inches()

    width, height = settle(LARGEST)
    room = {"--slist": LARGEST - (width - WIDTH) / len(in_blocks),
            "--mlist": LARGEST - (height - HEIGHT) / (num_rows * ratio)}
    flag = min(room, key=room.get)
    if room[flag] < SMALLEST:
        count = {"--slist": len(blocks[0]), "--mlist": num_rows}[flag]
        raise UsageError(f"argument {flag}: its {count} values leave images of {max(0, room[flag]):.2f} inches on a "
                         f"page, for {len(blocks)} method(s); name fewer")
    if room[flag] < LARGEST:
        settle(room[flag])
    figure.set_layout_engine("none")
    for text in figure.axes[0].texts:
        text.set_in_layout(True)  # the page is cut to what is on it


# ---- words ----


def spelled(values: Iterable[int]) -> str:
    return " ".join(map(str, values))


def notes_of(kept: dict[str, Kept], num_layers: int, seed: int) -> list[str]:
    """Lines that say what was run: depth, seed and the settings that are not at their default."""
    said = {METHODS[method].title: setting_words(own.settings | {"num_layers": None}, always=("num_epochs",))
            for method, own in kept.items()}
    common = [word for word in next(iter(said.values())) if all(word in words for words in said.values())]
    own = [f"{title}: {word}" for title, words in said.items() for word in words if word not in common]
    return [depth_words(num_layers), f"seed {seed}", *common, *own, "m: hidden width", "s: nonzeros", "dB: PSNR"]


# ---- command line ----


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The checked flags. Raises UsageError."""
    parser = Parser(PROG, __doc__.split("\n")[0])
    add = parser.add_argument
    usual = "(default: {}; where one of them is not there, the smallest, a middle one and the largest)".format
    add("--task", choices=image_tasks(), help="draw only this task (default: all of which networks are kept)")
    add("--mlist", nargs="+", type=flags.positive, help=f"hidden widths m {usual(spelled(MLIST))}")
    add("--slist", nargs="+", type=flags.positive, help=f"numbers of nonzero weights {usual(spelled(SLIST))}")
    add("--seed", default=0, type=flags.seed, help="of the networks (%(default)s)")
    add("--num_layers", default=1, type=flags.positive, help="hidden layers of the networks (%(default)s)")
    add("--errors", action="store_true", help=f"draw the distances to the original, times {ERROR_SCALE}")
    add("--data_dir", type=flags.folder, help="of the data sets (default: the variable MLP_IHT_DATA, then ./data)")
    add("--logs_dir", type=Path, default=Path("logs"), help="holds <task>/<method>/*.models (./%(default)s)")
    add("--figures_dir", type=Path, default=Path("figures"), help="for the pictures (./%(default)s)")
    args = parser.parse_args(argv)
    for flag in ("mlist", "slist"):
        values = getattr(args, flag) or []
        if len(set(values)) < len(values):
            raise UsageError(f"argument --{flag}: {spelled(values)}: list every value once")
    return args


def image_tasks() -> list[str]:
    """The tasks that fit an image."""
    return [name for name, task in TASKS.items() if task.image]


def make_picture(task: str, args: argparse.Namespace) -> list[Path]:
    """Draw the picture of a task and return its paths. Raises UsageError."""
    kept = kept_networks(read_logs(args.logs_dir, task, args.num_layers), args.seed)
    cells = {cell for own in kept.values() for cell in own.networks}
    if not cells:
        raise UsageError(f"--logs_dir {args.logs_dir}: no network of --task {task} with --num_layers "
                         f"{args.num_layers} and --seed {args.seed} is kept there; run runner.py with --save_results "
                         "--save_models, or name the folder, depth and seed of one")
    mlist = choose(args.mlist, MLIST, {m for m, _ in cells})
    slist = choose(args.slist, SLIST, {s for _, s in cells})
    if not cells & set(product(mlist, slist)):
        axes = [spelled(sorted(set(axis))) for axis in zip(*cells, strict=True)]
        raise UsageError(f"--mlist {spelled(mlist)} --slist {spelled(slist)}: no such network of {task} is kept in "
                         f"{args.logs_dir}; choose among m {axes[0]} and s {axes[1]}")
    problem = build(next(iter(kept.values())).settings, args.seed, args.data_dir)
    with page.style():
        notes = notes_of(kept, args.num_layers, args.seed) + [f"|error| times {ERROR_SCALE}"] * args.errors
        figure = draw(task, kept, mlist, slist, problem, notes, args.errors)
        page.make_folder(args.figures_dir)
        try:
            stem = f"pictures_{task}_hidden{args.num_layers}{'_errors' * args.errors}"
            return page.save(figure, args.figures_dir / stem)
        except OSError as error:
            raise UsageError(f"--figures_dir {args.figures_dir}: cannot be written ({error}); choose "
                             "another") from None


def run(args: argparse.Namespace) -> int:
    """Draw the pictures; returns an exit code. Raises UsageError."""
    tasks = [task for task in image_tasks() if any(args.logs_dir.glob(f"{task}/*/*.models/*.npz"))]
    if not args.task and not tasks:
        raise UsageError(f"--logs_dir {args.logs_dir}: no networks of {' or '.join(image_tasks())} are kept there; "
                         "run runner.py with --save_results --save_models, or name the folder that holds them")
    code = 0
    for task in [args.task] if args.task else tasks:
        try:
            print(*make_picture(task, args), sep="\n", flush=True)
        except UsageError as error:
            code = complain(PROG, error)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    return run_main(PROG, lambda: run(parse_arguments(argv)))


if __name__ == "__main__":
    sys.exit(main())
