"""Draw the images that kept networks represent, beside the original: what the decibels of Figures 4 and 5 look like.

    python runner.py --task inr_mnist --mlist 5 20 100 --slist 20 100 500 --num_epochs 100 --save_results --save_models
    python make_pictures.py

A row for every hidden width m, and for every method a block of columns, one for every number of nonzeros s. Under each
image is its PSNR, computed again from the network: it has to be the score in the log.
"""

import os
import sys
import textwrap
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import numpy as np

import runner
from datasets import DataError
from make_figures import STYLE, Parser, UsageError, make_folder, write_figure
from models import SparseNet
from plotting.logs import depth_words, setting_words
from sweep.logbook import AXES, DONE, NOT_RUN, Log, LogError
from tasks import TASKS, data_folder, score

MLIST, SLIST = (5, 20, 100), (20, 100, 500)  # drawn unless the flags say otherwise, where all of them are there
TOLERANCE = 0.01  # dB between the score in a log and that of its network; they differ by rounding alone
NAMES = {"pruning": "IMP"}  # of methods whose name is not their folder's in capitals


@dataclass(frozen=True)
class Kept:
    """What is kept of one method and seed."""

    settings: dict
    networks: dict[tuple[int, int], tuple[Path, float]]  # (m, s): the file of the network, and its score in the log
    others: dict[tuple[int, int], str]  # (m, s): why there is no network, one or two words


# ---- reading ----


def read_logs(logs_dir: Path, task: str, num_layers: int) -> dict[str, list[Log]]:
    """The logs of a task and depth, by method. Raises UsageError."""
    logs, defaults = {}, runner.name_defaults()
    for sidecar in sorted(logs_dir.glob(f"{task}/*/*.json")):
        try:
            log = Log.read(sidecar, defaults)
        except LogError as error:
            raise UsageError(f"--logs_dir {logs_dir}: {error}; move that log away, or name another folder") from None
        if log.settings.get("num_layers") == num_layers:
            logs.setdefault(sidecar.parent.name, []).append(log)
    return logs


def kept_networks(logs: dict[str, list[Log]], seed: int) -> dict[str, Kept]:
    """What these logs keep of a seed, by method; a method without networks is left out. Raises UsageError."""
    kept = {}
    for method, own in logs.items():
        cells = [cells_of(log, seed) for log in own]
        settings = [log.settings for log, (networks, _) in zip(own, cells, strict=True) if networks]
        if settings:
            refuse_mixed(settings, own[0].path.parent)
            kept[method] = Kept(settings[0], {}, {})
            for log, (networks, others) in zip(own, cells, strict=True):
                if log.settings == settings[0]:
                    kept[method].networks.update(networks)
                    kept[method].others.update(others)
    return kept


def cells_of(log: Log, seed: int):
    """(networks, others) of a log, as in Kept."""
    networks, others = {}, {}
    scores = dict(zip(product(*(log.axes[axis] for axis in AXES)), log.table.ravel().tolist(), strict=True))
    for cell in (cell for cell in scores if cell[2] == seed):
        status = log.status(cell).partition(":")[0]
        if status == DONE and log.model_path(cell).exists():
            networks[cell[:2]] = log.model_path(cell), scores[cell]
        elif status != NOT_RUN:
            others[cell[:2]] = "not kept" if status == DONE else status
    return networks, others


def refuse_mixed(settings: list[dict], folder: Path):
    """Networks of different settings are no one picture. Raises UsageError."""
    for other in settings[1:]:
        pairs = {flag: (settings[0].get(flag), other.get(flag)) for flag in settings[0] | other}
        differing = [f"--{flag} {one!r} and {two!r}" for flag, (one, two) in pairs.items() if one != two]
        if differing:
            raise UsageError(f"--logs_dir {folder.parents[1]}: networks in {folder} were made with "
                             f"{', '.join(differing)}; move one of these logs, or name another folder")


def choose(asked, usual, there):
    """The values asked for; else the usual ones if all are there; else the smallest, a middle one and the largest."""
    there = sorted(there)
    spread = dict.fromkeys((there[0], there[len(there) // 2], there[-1]))
    return asked or list(usual if set(usual) <= set(there) else spread)


def build(task: str, settings: dict, args):
    """The Problem whose targets are the original. Raises UsageError."""
    data_dir = data_folder(args.data_dir, os.environ)
    try:
        return TASKS[task].build(SimpleNamespace(**settings | {"data_dir": data_dir}), 1, 1, args.seed)
    except (DataError, IndexError) as error:  # the data are not there, are damaged, or too few
        raise UsageError(f"--data_dir {data_dir}: {error}; name the folder of the data that were fitted") from None


def reconstruct(problem, path: Path, expected: float) -> tuple[np.ndarray, float]:
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


# ---- drawing; all lengths in inches, from the upper left corner ----

WIDTH, HEIGHT = 6.8, 9.3  # at most; write_figure adds a margin of 0.1
ORIGINAL, LABEL, HEADER, NUMBER = 1.0, 0.6, 0.38, 0.17  # width of the original and of "m = 1000"; heights of text
GAP, BLOCK_GAP = 0.05, 0.16  # between images, and before each method
LARGEST, SMALLEST = 1.0, 0.45  # side of an image; "-12.3 dB" and "s = 1000" need the smallest
FONT, SMALL = 8, 6.5  # points
NOTE_WIDTH, NOTE_HEIGHT = 17, 0.115  # characters that fit under the original, and a line of them


@dataclass(frozen=True)
class Layout:
    """Where the images stand: `side` long, in rows of m and blocks [method] of columns of s."""

    rows: int
    blocks: int
    columns: int  # of a block
    side: float
    notes: int  # lines under the original

    def size(self):
        """Width and height of the page."""
        beside, below = self.place(self.rows - 1, self.blocks - 1, self.columns - 1)
        return beside + self.side, max(below + self.side, HEADER + ORIGINAL + self.notes * NOTE_HEIGHT) + NUMBER

    def place(self, row: int, block: int, column: int):
        """Left and upper edge of an image."""
        width, height = self.side + GAP, self.side + GAP + NUMBER
        beside = ORIGINAL + LABEL + block * BLOCK_GAP + (block * self.columns + column) * width
        return beside + BLOCK_GAP / 2, HEADER + row * height


def fit_layout(rows: int, blocks: int, columns: int, notes: int) -> Layout:
    """The layout with the largest images that fit on a page. Raises UsageError."""
    room = {
        "--slist": (WIDTH - Layout(rows, blocks, columns, 0, 0).size()[0]) / (blocks * columns),
        "--mlist": (HEIGHT - Layout(rows, blocks, columns, 0, 0).size()[1]) / rows,
    }
    flag = min(room, key=room.get)
    if room[flag] < SMALLEST:
        count = {"--slist": columns, "--mlist": rows}[flag]
        raise UsageError(f"{flag}: its {count} values leave images of {max(0, room[flag]):.2f} inches on a page, for "
                         f"{blocks} method(s); name fewer")
    return Layout(rows, blocks, columns, min(LARGEST, room[flag]), notes)


class Page:
    """A figure as large as its layout, on which things are put by inches from the upper left corner."""

    def __init__(self, width: float, height: float):
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height))

    def text(self, left: float, top: float, words: str, **style):
        """Words whose anchor is at (left, top)."""
        style = {"fontsize": FONT, "ha": "center", "va": "center", "parse_math": False, **style}
        self.figure.text(left / self.width, 1 - top / self.height, words, **style)

    def frame(self, left: float, top: float, side: float):
        """Square Axes with a thin frame and no ticks."""
        box = left / self.width, 1 - (top + side) / self.height, side / self.width, side / self.height
        ax = self.figure.add_axes(box, xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(linewidth=0.5, edgecolor="0.6")
        return ax

    def image(self, left: float, top: float, side: float, pixels: np.ndarray):
        """Pixels [rows, columns] in grey or [channels, rows, columns] in colour; 0 is black, 1 the full light."""
        pixels = np.clip(pixels if pixels.ndim == 2 else np.moveaxis(pixels, 0, -1), 0, 1)
        self.frame(left, top, side).imshow(pixels, cmap="gray", vmin=0, vmax=1, interpolation="nearest")

    def blank(self, left: float, top: float, side: float, words: str):
        """A hatched frame that says why there is no image."""
        ax = self.frame(left, top, side)
        ax.patch.set(facecolor="0.96", edgecolor="0.8", hatch="////", linewidth=0)
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        self.text(left + side / 2, top + side / 2, words, fontsize=SMALL, color="0.25", bbox=box)


def picture(task: str, kept: dict[str, Kept], mlist, slist, args):
    """The Figure of one task. Raises UsageError."""
    shape = TASKS[task].image
    problem = build(task, next(iter(kept.values())).settings, args)
    notes = notes_of(kept, args)
    layout = fit_layout(len(mlist), len(kept), len(slist), len(notes))
    page = Page(*layout.size())
    page.image(0, HEADER, ORIGINAL, problem.Y_eval.reshape(shape))
    page.text(ORIGINAL / 2, HEADER - 0.09, "original")
    page.text(0, HEADER + ORIGINAL + 0.07, "\n".join(notes), fontsize=SMALL, ha="left", va="top")
    draw_labels(page, layout, kept, mlist, slist)
    for (row, m), (block, own), (column, s) in product(enumerate(mlist), enumerate(kept.values()), enumerate(slist)):
        left, top = layout.place(row, block, column)
        if (m, s) in own.networks:
            outputs, value = reconstruct(problem, *own.networks[m, s])
            page.image(left, top, layout.side, outputs.reshape(shape))
            page.text(left + layout.side / 2, top + layout.side + NUMBER / 2, f"{value:.1f} dB", fontsize=SMALL)
        else:
            page.blank(left, top, layout.side, own.others.get((m, s), NOT_RUN))
    return page.figure


def draw_labels(page: Page, layout: Layout, methods, mlist, slist):
    """m beside the rows, s over the columns, the method over its block."""
    for row, m in enumerate(mlist):
        left, top = layout.place(row, 0, 0)
        page.text(left - 0.06, top + layout.side / 2, f"m = {m}", ha="right")
    font = FONT if layout.side > 0.6 else SMALL
    for block, method in enumerate(methods):
        left, right = layout.place(0, block, 0)[0], layout.place(0, block, layout.columns - 1)[0] + layout.side
        page.text((left + right) / 2, HEADER - 0.28, name_of(method), fontweight="bold")
        for column, s in enumerate(slist):
            page.text(layout.place(0, block, column)[0] + layout.side / 2, HEADER - 0.09, f"s = {s}", fontsize=font)


def spelled(values) -> str:
    return " ".join(map(str, values))


def name_of(method: str) -> str:
    return NAMES.get(method, method.upper())


def notes_of(kept: dict[str, Kept], args) -> list[str]:
    """Lines that say what was run, wrapped: depth, seed and the settings that are not at their default."""
    said = {method: setting_words(own.settings | {"num_layers": None}, always=("num_epochs",))
            for method, own in kept.items()}
    common = [word for word in next(iter(said.values())) if all(word in words for words in said.values())]
    own = [f"{name_of(method)}: {word}" for method, words in said.items() for word in words if word not in common]
    run = [depth_words(args.num_layers), f"seed {args.seed}", *common, *own]
    lines = [*run, "m: hidden width", "s: nonzeros", "dB: PSNR"]
    return [part for line in lines for part in textwrap.wrap(line, NOTE_WIDTH)]


# ---- command line ----


def make_parser() -> Parser:
    parser = Parser(prog="make_pictures.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    add, positive = parser.add_argument, runner.whole_number(1)
    usual = "(default: {}; where one of them is not there, the smallest, a middle one and the largest)".format
    add("--task", choices=image_tasks(), help="draw only this task (default: all of which networks are kept)")
    add("--mlist", nargs="+", type=positive, help=f"hidden widths m {usual(spelled(MLIST))}")
    add("--slist", nargs="+", type=positive, help=f"numbers of nonzero weights {usual(spelled(SLIST))}")
    add("--seed", default=0, type=runner.whole_number(0, runner.LARGEST_SEED), help="of the networks (%(default)s)")
    add("--num_layers", default=1, type=positive, help="hidden layers of the networks (%(default)s)")
    add("--data_dir", type=runner.folder, help="of the data sets (default: the variable MLP_IHT_DATA, then ./data)")
    add("--logs_dir", type=Path, default="./logs", help="holds <task>/<method>/*.models (%(default)s)")
    add("--figures_dir", type=Path, default="./figures", help="for the pictures (%(default)s)")
    return parser


def image_tasks() -> list[str]:
    return [name for name, task in TASKS.items() if task.image]


def draw(task: str, args) -> list[Path]:
    """Draw the pictures of a task and return their paths. Raises UsageError."""
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
    figure = picture(task, kept, mlist, slist, args)
    make_folder(args.figures_dir)
    try:
        return write_figure(figure, args.figures_dir / f"pictures_{task}_hidden{args.num_layers}")
    except OSError as error:
        raise UsageError(f"--figures_dir {args.figures_dir}: cannot be written ({error}); choose another") from None


def complain(message) -> int:
    """One line on stderr; returns the exit code that goes with it."""
    print("make_pictures.py:", " ".join(str(message).split()), file=sys.stderr)
    return 2


def main(argv=None) -> int:
    from matplotlib import style

    args = make_parser().parse_args(argv)
    for flag in ("mlist", "slist"):
        values = getattr(args, flag) or []
        if len(set(values)) < len(values):
            return complain(f"--{flag} {spelled(values)}: list every value once")
    tasks = [task for task in image_tasks() if any(args.logs_dir.glob(f"{task}/*/*.models/*.npz"))]
    if not args.task and not tasks:
        return complain(f"--logs_dir {args.logs_dir}: no networks of {' or '.join(image_tasks())} are kept there; run "
                        "runner.py with --save_results --save_models, or name the folder that holds them")
    code = 0
    for task in [args.task] if args.task else tasks:
        try:
            with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
                print(*draw(task, args), sep="\n", flush=True)
        except UsageError as error:
            code = complain(error)
    return code


if __name__ == "__main__":
    sys.exit(main())
