"""Draw the saved logs as heatmaps, as in Figures 1-5 of the paper: score against hidden width m and nonzeros s.

Edit the two constants below (None takes all), then

    python make_figures.py

Each logs/<task>/<method>/*.npy becomes one picture in figures/, as PNG and as PDF. A log is a table with a .json
sidecar, or a table named by the paper's own code. Needs NumPy and matplotlib alone, and no display.
"""

import argparse
import hashlib
import io
import json
import math
import os
import re
import sys
import textwrap
import uuid
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

TASK = None  # mnist, binary_mnist, binary_cifar10, mlp_planted, inr_mnist, inr_cifar10 or gaussian_sparse
METHOD = None  # aiht or pruning


class LogError(Exception):
    """A log that cannot be drawn: one line that names the file, what is wrong and the remedy."""


@dataclass(frozen=True)
class Score:
    """What the numbers of a table are: the "score" entry of a sidecar."""

    name: str = "score"
    unit: str = ""
    higher_is_better: bool = True
    range: tuple[float, float] | None = None  # of the colours; None takes it from the data
    scale: str = "linear"  # or "log"

    def __post_init__(self):
        low, high = self.range or (1, 2)
        if self.scale not in ("linear", "log"):
            raise ValueError(f"score scale {self.scale!r} is neither linear nor log")
        if not -math.inf < low < high < math.inf or (self.scale == "log" and low <= 0):
            raise ValueError(f"score range {self.range} does not suit a {self.scale} scale")


SCORES = {  # for logs without a sidecar
    "mlp_planted": Score("PSNR", "dB", range=(-20, 50)),
    "inr_mnist": Score("PSNR", "dB", range=(0, 50)),
    "inr_cifar10": Score("PSNR", "dB", range=(0, 50)),
    "binary_mnist": Score("test accuracy", "fraction", range=(0.5, 1)),
    "binary_cifar10": Score("test accuracy", "fraction", range=(0.5, 1)),
    "mnist": Score("test accuracy", "fraction", range=(0.1, 1)),
    "gaussian_sparse": Score("relative l2 error", higher_is_better=False, range=(1e-8, 1), scale="log"),
}


@dataclass(frozen=True)
class Log:
    """One saved table and what it was computed with."""

    path: Path
    task: str
    method: str
    settings: dict  # as in the sidecar
    mlist: tuple[int, ...]
    slist: tuple[int, ...]
    seedlist: tuple[int, ...]
    table: np.ndarray  # [m, s, seed], NaN = skipped or not run
    score: Score | None  # None where the log does not say


# ---- reading ----

# The paper's code names a log after its flags: hidden1_m[1, 2]_s[1]_seed[0]_convexFalse_bs0_biasFalse_15epochs_EXPNAME
PUBLISHED = re.compile(
    r"hidden(?P<num_layers>\d+)_m\[(?P<m>[\d, ]+)\]_s\[(?P<s>[\d, ]+)\]_seed\[(?P<seed>[\d, ]+)\]"
    r"_convex(?P<convex>True|False)_bs(?P<batch_size>\d+)_bias(?P<bias>True|False)_(?P<num_epochs>\d+)epochs_"
    r"(?P<expname>.*)",
    re.ASCII | re.DOTALL,
)


def find_logs(logs_dir):
    """Sorted paths of the tables logs_dir/<task>/<method>/*.npy; hidden files are unfinished and left out."""
    return sorted(path for path in Path(logs_dir).glob("*/*/*.npy") if not path.name.startswith("."))


def read_log(path):
    """The Log at path, which ends in <task>/<method>/<name>.npy; raises LogError."""
    task, method = path.parts[-3:-1]
    sidecar, published = path.with_suffix(".json"), PUBLISHED.fullmatch(path.stem)
    table = read_table(path)
    if sidecar.exists():
        settings, axes, score = read_sidecar(sidecar)
    elif published:
        settings, axes, score = *parse_name(published), None
        table = table[:, :, None] if table.ndim == 2 else table
        if task != "gaussian_sparse":  # there 0 is a true error and no cell is skipped; elsewhere 0 means skipped
            table = np.where(table == 0, np.nan, table)
    else:
        raise LogError(f"{path}: has no sidecar {sidecar.name} and no published name; put the sidecar back beside it")
    shape = tuple(map(len, axes))
    fitting = {shape, (*shape[:2], 1)} if published else {shape}  # [m, s] has one number for all seeds in its name
    if 0 in shape or table.shape not in fitting:
        raise LogError(f"{path}: table {table.shape} does not fit its axes m, s, seed {shape}; run the sweep again")
    return Log(path, task, method, settings, *axes, table, score)


def read_table(path):
    """The array at path as float64; raises LogError."""
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)  # np.load takes any other file for a pickle, and says so
        table = np.load(path, allow_pickle=False)
        if table.dtype.kind not in "fiu":
            raise ValueError(f"it holds {table.dtype}, not numbers")
        return table.astype(np.float64)
    except Exception as error:  # damaged bytes make np.load fail in many ways, which all mean the same here
        raise LogError(f"{path}: not a readable table ({error}); delete it and run the sweep again") from error


def parse_name(match):
    """Settings and (mlist, slist, seedlist) in a match of PUBLISHED."""
    settings = {key: int(match[key]) for key in ("num_layers", "batch_size", "num_epochs")}
    settings |= {key: match[key] == "True" for key in ("convex", "bias")}
    axes = tuple(tuple(map(int, re.findall(r"\d+", match[axis]))) for axis in ("m", "s", "seed"))
    return settings | {"expname": match["expname"]}, axes


def read_sidecar(path):
    """Settings, (mlist, slist, seedlist) and Score (None if not stated) in the sidecar at path; raises LogError."""
    try:
        sidecar = json.loads(path.read_text(encoding="utf-8"))
        axes = tuple(tuple(sidecar["axes"][axis]) for axis in ("m", "s", "seed"))
        if not all(isinstance(value, int) for axis in axes for value in axis):
            raise ValueError("an axis is not a list of whole numbers")
        return dict(sidecar["settings"]), axes, parse_score(sidecar.get("score"), path.parts[-3])
    except Exception as error:  # whatever is wrong in it, the sidecar is what the user has to mend
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise LogError(f"{path}: broken sidecar ({reason}); mend it, or delete the log and run again") from error


def parse_score(entry, task):
    """The Score that a sidecar's entry states, SCORES filling the gaps; None if it states none."""
    known = {key.name for key in fields(Score)}
    stated = {key: value for key, value in (entry or {}).items() if key in known and value is not None}
    return replace(SCORES.get(task, Score()), **stated) if stated else None


# ---- reducing over seeds ----


def mean_over_seeds(table):
    """Mean [m, s] over the seeds that ran (NaN where none did) and their number [m, s], of a table [m, s, seed]."""
    count = np.sum(~np.isnan(table), axis=2)
    with np.errstate(invalid="ignore"):  # an exact fit scores inf dB, and inf - inf is NaN
        total = np.nansum(table, axis=2)
    return np.where(count, total / np.maximum(count, 1), np.nan), count


def shared_score(logs):
    """The one Score, its range filled in, that colours all these logs of a task, so that methods compare."""
    stated = [log.score for log in logs if log.score] or [SCORES.get(logs[0].task, Score())]
    ranges = [score.range for score in stated if score.range and score.scale == stated[0].scale]
    lows, highs = zip(*(ranges or [data_range(logs, stated[0].scale)]), strict=True)
    return replace(stated[0], range=(min(lows), max(highs)))


def data_range(logs, scale):
    """Least and greatest mean in the logs, without what diverged (1e100) or has no place on a log scale."""
    means = np.concatenate([mean_over_seeds(log.table)[0].ravel() for log in logs])
    means = means[(np.abs(means) < 1e100) & ((means > 1e-100) | (scale == "linear"))]
    low, high = (means.min(), means.max()) if means.size else (1.0, 1.0)
    pad = 0 if low < high else abs(low) / 2 or 0.5
    return float(low - pad), float(high + pad)


# ---- drawing into given Axes ----

MAX_FONT, MIN_FONT = 9, 5  # points, of the numbers in the cells; smaller ones are left out
DIGIT = 0.64  # width of a digit of DejaVu Sans, in font sizes


def draw_heatmap(ax, log, score):
    """Draw the mean over the seeds of a log into ax, m down and s across, and return the coloured mesh."""
    (mean, count), seeds = mean_over_seeds(log.table), log.table.shape[2]
    mesh = draw_cells(ax, mean, count == 0, score)
    draw_numbers(ax, mesh, mean, np.where(count < seeds, count, 0), score)
    draw_labels(ax, log)
    few = int(np.sum((count > 0) & (count < seeds)))
    notes = {"hatched: no seed ran": 0 in count, f"cells with fewer than {seeds} seeds: {few}": few}
    text = "\n".join(note for note, applies in notes.items() if applies)
    ax.annotate(text, (0, 0), (0, -34), "axes fraction", textcoords="offset points", fontsize=7, va="top")
    return mesh


def draw_cells(ax, values, blank, score):
    """Colour the cells of values [m, s], bright where good, and hatch those of blank [m, s]; returns the mesh."""
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.patches import Rectangle

    norm = (LogNorm if score.scale == "log" else Normalize)(*score.range)
    cmap = colormaps["viridis" if score.higher_is_better else "viridis_r"].copy()
    exceeded = bool(np.any(values < score.range[0])), bool(np.any(values > score.range[1]))
    cmap.colorbar_extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[exceeded]
    mesh = ax.pcolormesh(np.clip(values, *score.range), norm=norm, cmap=cmap, edgecolors="white", linewidth=0.5)
    for row, column in np.argwhere(blank):
        ax.add_patch(Rectangle((column, row), 1, 1, hatch="////", facecolor="0.96", edgecolor="0.65", linewidth=0))
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    return mesh


def draw_numbers(ax, mesh, values, partial, score):
    """Write the values [m, s] into their cells, over "n=2" where partial [m, s] is 2; nothing if it were illegible."""
    cells = np.argwhere(~np.isnan(values))
    texts, size = fit_numbers(values[~np.isnan(values)], score, cell_points(ax, values.shape), 1 + partial.any())
    colours = mesh.to_rgba(np.clip(values, *score.range))[..., :3]  # [m, s, rgb]
    bright = colours**2.2 @ (0.2126, 0.7152, 0.0722) > 0.18  # luminance at which black on it reads as well as white
    for (row, column), text in zip(cells, texts, strict=bool(texts)):
        place, n = (column + 0.5, row + 0.5), partial[row, column]
        style = {"ha": "center", "color": "black" if bright[row, column] else "white"}
        ax.text(*place, text, va="bottom" if n else "center", fontsize=size, **style)
        if n:
            ax.text(*place, f"n={n}", va="top", fontsize=max(MIN_FONT, 0.8 * size), **style)


def cell_points(ax, shape):
    """Shorter side of a cell, in points (1/72 inch), when a grid of this shape fills ax."""
    box = ax.get_window_extent()
    return min(box.width / shape[1], box.height / shape[0]) * 72 / ax.figure.dpi


def fit_numbers(values, score, cell, lines):
    """Texts for values [cells] and their font size, as precise as cells of this many points can hold; or [], 0."""
    low, high = score.range
    decimals = 1 if score.scale == "log" else max(0, 2 - math.floor(math.log10(high - low)))  # 3 figures of the range
    for precision in (decimals, max(0, decimals - 1), 0):
        texts = [format_number(value, precision, score.scale) for value in values]
        longest = max(map(len, texts), default=1)
        size = min(MAX_FONT, 0.9 * cell / (DIGIT * longest), 0.9 * cell / (1.2 * lines))
        if size >= MIN_FONT:
            return texts, size
    return [], 0


def format_number(value, precision, scale):
    """Short text of a value: this many decimals, on a log scale as many after the first significant digit."""
    if 1e5 <= abs(value) < math.inf or (scale == "log" and 0 < abs(value) < 0.01):
        return re.sub(r"e([+-])0*", r"e\1", f"{value:.{precision}e}")
    if scale == "log":
        return f"{value:.{precision + 1}g}"
    return f"{round(value, precision) + 0.0:.{precision}f}"  # + 0.0 makes -0.0 a plain 0.0


def draw_labels(ax, log):
    """Name the axes and label rows and columns, as many as there is room for."""
    cell, width = cell_points(ax, log.table.shape), max(len(str(s)) for s in log.slist)
    for axis, values, room in ((ax.xaxis, log.slist, 8 * DIGIT * width + 4), (ax.yaxis, log.mlist, 10)):
        ticks = range(0, len(values), math.ceil(room / cell))
        axis.set_ticks([tick + 0.5 for tick in ticks], [str(values[tick]) for tick in ticks], fontsize=8)
    ax.tick_params(length=0)
    ax.set_xlabel("nonzeros s")
    ax.set_ylabel("signal length p" if log.task == "gaussian_sparse" else "hidden width m")


def draw_colour_bar(ax, mesh, score):
    """A colour bar right of ax, with arrows where values exceed the range."""
    width, height = ax.get_window_extent().size / ax.figure.dpi  # inches
    length = min(6, max(1.4, height))
    place = ax.inset_axes((1 + 0.15 / width, 1 - length / height, 0.16 / width, length / height))
    bar = ax.figure.colorbar(mesh, cax=place)
    bar.set_label(f"{score.name} ({score.unit})" if score.unit else score.name, parse_math=False)
    bar.ax.tick_params(labelsize=8)
    bar.outline.set_visible(False)


# ---- one figure per log ----

STYLE = {"pdf.fonttype": 42, "hatch.linewidth": 0.6}  # 42 embeds TrueType: text in the PDF stays text
TITLE = (  # setting, the value that goes without saying, words
    ("num_epochs", None, "epochs {}"),
    ("batch_size", 0, "batch {}"),
    ("output_dim", 1, "outputs {}"),
    ("input_dim", 100, "inputs {}"),
    ("nmeasurements", 50000, "n {}"),
    ("prune_iters", 0.1, "prune_iters {}"),
    ("convex", False, "convex"),
    ("bias", False, "bias"),
    ("seeds", None, "{}"),
    ("expname", "", "{}"),
)


def describe(log, columns):
    """Title of a log, wrapped to this many columns: task, method and depth, then the settings that matter."""
    layers = log.settings.get("num_layers") if log.task != "gaussian_sparse" else None
    first = [log.task, log.method] + [f"{layers} hidden layer{'s' if layers != 1 else ''}"] * (layers is not None)
    seeds = f"{len(log.seedlist)} seeds" if len(log.seedlist) > 1 else f"seed {log.seedlist[0]}"
    settings = [(words, usual, {**log.settings, "seeds": seeds}.get(key)) for key, usual, words in TITLE]
    second = [words.format(value) for words, usual, value in settings if value not in (usual, None)]
    return "\n".join(line for part in (first, second) for line in textwrap.wrap(", ".join(part), columns, max_lines=3))


def heatmap_figure(log, score):
    """A Figure of one log, as large as its grid; write_figure grows the page until title, labels and bar are on it."""
    from matplotlib.figure import Figure

    rows, columns = log.table.shape[:2]
    cell = min(1.0, max(0.6, 3 / max(rows, columns)), 15 / max(rows, columns))  # inches
    figure = Figure(figsize=(columns * cell, rows * cell))
    ax = figure.add_axes((0, 0, 1, 1))
    draw_colour_bar(ax, draw_heatmap(ax, log, score), score)
    title = describe(log, max(36, int(12 * (columns * cell + 1))))  # 12 characters an inch at 10 points
    ax.set_title(title, loc="left", fontsize=10, parse_math=False)
    return figure


def figure_stems(paths):
    """{path of a log: stem of its pictures}: the log's own, made shell-friendly if published, no two the same."""
    stems = {path: friendly_stem(path) if PUBLISHED.fullmatch(path.stem) else path.stem for path in paths}
    uses = Counter(stem.lower() for stem in stems.values())  # some disks do not tell A from a
    digests = {path: hashlib.sha256(os.fsencode("/".join(path.parts[-3:]))).hexdigest()[:8] for path in paths}
    return {path: stem if uses[stem.lower()] == 1 else f"{stem}_{digests[path]}" for path, stem in stems.items()}


def friendly_stem(path):
    """Task, method and name of a published log without blanks and brackets: [1, 2] becomes 1-2."""
    name = "_".join((*path.parts[-3:-1], re.sub(r"[\[\]]", "", path.stem)))
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip("_-")


def write_figure(figure, target):
    """Write target.png and target.pdf, each whole or not at all, and return their paths; raises OSError."""
    pictures = {}
    for suffix, metadata in (("png", None), ("pdf", {"CreationDate": None})):  # undated: same log, same bytes
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=200, bbox_inches="tight", metadata=metadata)
        pictures[target.with_name(f"{target.name}.{suffix}")] = buffer.getvalue()
    for path, content in pictures.items():
        replace_file(path, content)
    return list(pictures)


def replace_file(path, content):
    """Put content at path in one step: a reader sees the old file or the new one, never a part."""
    part = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


# ---- command line ----


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; see --help\n")


def parse_arguments(argv):
    parser = Parser(prog="make_figures.py", description=__doc__.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--task", default=TASK, help="draw only this task (default: TASK on top of this file)")
    parser.add_argument("--method", default=METHOD, help="draw only this method (default: METHOD on top of this file)")
    parser.add_argument("--logs_dir", type=Path, default="./logs", help="holds <task>/<method>/*.npy (%(default)s)")
    parser.add_argument("--figures_dir", type=Path, default="./figures", help="for the pictures (%(default)s)")
    return parser.parse_args(argv)


def complain(message):
    """One line on stderr; returns the exit code that goes with it."""
    print("make_figures.py:", " ".join(str(message).splitlines()), file=sys.stderr)
    return 2


def explain_nothing(args, paths):
    """Why there is nothing to draw, though --logs_dir holds these logs."""
    if not paths:
        return (f"no logs <task>/<method>/*.npy in --logs_dir {args.logs_dir}; run runner.py with --save_results, "
                "or name the folder that holds them")
    there = ", ".join(sorted({"/".join(path.parts[-3:-1]) for path in paths}))
    return (f"no logs of --task {args.task or '(any)'} --method {args.method or '(any)'} in {args.logs_dir}; choose "
            f"among {there}, by these flags or by TASK and METHOD on top of make_figures.py")


def read_logs(paths, wanted):
    """The logs at paths that can be read, and an exit code; complains about the others that are wanted."""
    logs, code = [], 0
    for path in paths:
        try:
            logs.append(read_log(path))
        except LogError as error:
            code = complain(error) if path in wanted else code
    return logs, code


def draw_logs(logs, scores, targets):
    """Draw these logs, print the paths of the pictures, and return an exit code."""
    from matplotlib import style

    code = 0
    for log in logs:
        try:
            with style.context(["default", STYLE]):  # whatever the user's matplotlibrc says
                print(*write_figure(heatmap_figure(log, scores[log.task]), targets[log.path]), sep="\n", flush=True)
        except OSError as error:
            code = complain(f"cannot write the pictures of {log.path} ({error}); choose another --figures_dir")
    return code


def make_folder(path):
    """Make a folder to write in; raises OSError."""
    path.mkdir(parents=True, exist_ok=True)
    if not os.access(path, os.W_OK | os.X_OK):
        raise PermissionError("no permission to write there")


def main(argv=None):
    args = parse_arguments(argv)
    paths = find_logs(args.logs_dir)
    wanted = {path for path in paths if args.task in (None, path.parts[-3]) and args.method in (None, path.parts[-2])}
    if not wanted:
        return complain(explain_nothing(args, paths))
    tasks = {path.parts[-3] for path in wanted}
    logs, code = read_logs([path for path in paths if path.parts[-3] in tasks], wanted)  # all methods: one range
    chosen = [log for log in logs if log.path in wanted]
    if not chosen:
        return code
    try:
        make_folder(args.figures_dir)
    except OSError as error:
        return complain(f"cannot use --figures_dir {args.figures_dir} ({error}); choose another folder")
    scores = {log.task: shared_score([other for other in logs if other.task == log.task]) for log in chosen}
    targets = {path: args.figures_dir / stem for path, stem in figure_stems(paths).items()}
    return max(code, draw_logs(chosen, scores, targets))


if __name__ == "__main__":
    sys.exit(main())
