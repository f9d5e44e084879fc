"""Run a grid of experiments: every width m, number of nonzeros s and seed, with AIHT or with pruning.

    python runner.py --task mlp_planted --method aiht --mlist 1 2 5 --slist 5 10 --seedlist 0 1 2 --save_results

The score of every cell is printed as it comes; --save_results keeps the table in ./logs, from which make_figures.py
draws heatmaps. With --dry_run it only says what would be run.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

import datasets
from numerics.arrays import cupy_on
from numerics.workspace import Workspace
from sweep.cells import METHODS, Result, failure, jobs, run_job
from sweep.interrupts import remembered_interrupts
from sweep.locking import locked
from sweep.logbook import DONE, FAILED, Log, LogError, log_name
from sweep.workers import WorkersError, run_on_workers
from tasks import INPUT_DISTS, MNIST_LIMITS, TASKS, data_folder

LARGEST = 2**31 - 1  # of the whole-number flags
LARGEST_SEED = 2**32 - 3  # RandomState takes 32 bits, and the planted task adds 2
MOST_ROUNDS = 10**6  # of --prune_iters: a plan of 2^31 rounds would not fit into memory

# Flags that change the numbers, beside the lists, and so name the log. A flag that has no effect for a task or a
# method may only have its default; FLAG_USES says where those that depend on it have one.
SETTINGS = ("num_layers", "convex", "batch_size", "bias", "num_epochs", "input_dim", "output_dim", "nmeasurements",
            "input_dist", "update_every", "least_squares", "prune_iters", "prune_score", "finetune_epochs")
NAMED_IF_CHANGED = ("input_dim", "output_dim", "nmeasurements", "input_dist", "update_every", "least_squares",
                    "prune_iters", "prune_score", "finetune_epochs")
METHOD_FLAGS = {"convex": ("aiht",), "update_every": ("aiht",), "batch_size": ("aiht", "pruning"),
                "memory_budget": METHODS.keys() - {"pruning"}, "least_squares": ("gnhtp",), "prune_iters": ("pruning",),
                "prune_score": ("pruning",), "finetune_epochs": ("pruning",)}
VECTOR_METHODS = ("aiht", "pruning")  # that fit several outputs; the others fit one
NUM_EPOCHS = {"gnhtp": 108}  # where --num_epochs is not given; 15 for the other methods


class UsageError(Exception):
    """A mistake in the flags: one line that names the flag, the value and the remedy; exit code 2."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(f"{message}; see --help")


def whole_number(low: int, high: int = LARGEST):
    """The type of a flag that takes a whole number from `low` to `high`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return value

    return parse


def prune_iters(text: str) -> float:
    """The type of --prune_iters: 0, a fraction in (0, 1), or a whole number of rounds."""
    import pruning

    try:
        value = float(text)
        pruning.check_prune_iters(value)
    except ValueError:
        value = MOST_ROUNDS + 1
    if value > MOST_ROUNDS:
        wanted = f"0, a fraction between 0 and 1, or a whole number up to {MOST_ROUNDS}"
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def experiment_name(text: str) -> str:
    """The type of --expname: it becomes part of a file name."""
    if len(text) > 60 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in text):
        raise argparse.ArgumentTypeError(f"{text!r} may have up to 60 letters, digits, dots, dashes and underscores")
    return text


def folder(text: str) -> str:
    """The type of --data_dir and --logs_dir: an empty text would mean the working folder, or the default."""
    if not text.isprintable() or not text:
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a folder")
    return text


def make_parser() -> Parser:
    parser = Parser(prog="runner.py", description="Sweep a grid of m, s and seed.", allow_abbrev=False)
    positive = whole_number(1)
    what = parser.add_argument_group("what is run")
    add = what.add_argument
    add("--task", required=True, choices=TASKS, help="; ".join(f"{name}: {TASKS[name].summary}" for name in TASKS))
    add("--method", default="aiht", choices=METHODS, help="aiht: iterative hard thresholding (default); "
        "pruning: iterative magnitude pruning; gnhtp: Gauss-Newton hard thresholding pursuit, beyond the paper")
    add("--mlist", required=True, nargs="+", type=positive, help="hidden widths m (Gaussian: signal length)")
    add("--slist", required=True, nargs="+", type=positive, help="numbers of nonzero weights")
    add("--seedlist", default=[0], nargs="+", type=whole_number(0, LARGEST_SEED), help="seeds (default: 0)")
    add("--num_epochs", type=positive, help="passes through the data; pruning: per round; gnhtp: outer steps at most "
        "(default: 15, gnhtp: 108)")
    add("--num_layers", default=1, type=positive, help="hidden layers (default: 1)")
    add("--batch_size", default=0, type=whole_number(0), help="samples per step, 0 for all of them (default: 0)")
    add("--input_dim", default=100, type=positive, help="mlp_planted: inputs d (default: 100)")
    add("--output_dim", default=1, type=positive, help="mlp_planted: outputs k (default: 1)")
    add("--input_dist", default="normal", choices=INPUT_DISTS, help="mlp_planted: distribution of the inputs (default: "
        "normal); mnist: the input_dim pixels of largest variance of random training images, standardised")
    add("--nmeasurements", default=50000, type=positive, help="planted, Gaussian: samples n (default: 50000)")
    add("--prune_iters", default=0.1, type=prune_iters,
        help="pruning: 0 once after training; in (0, 1) that fraction per round; whole T: T rounds (default: 0.1)")
    add("--prune_score", default="magnitude", choices=("magnitude", "lamp"),
        help="pruning: rank weights by magnitude (default) or by LAMP, which empties no layer before the others")
    add("--finetune_epochs", default=0, type=whole_number(0),
        help="pruning: retrain a pruned network that long before it is scored (default: 0, as published)")
    add("--convex", action="store_true", help="aiht: keep the random gates, no sequential convex updates")
    add("--update_every", default=1, type=positive,
        help="aiht: steps from one sequential convex update of the gates to the next (default: 1)")
    add("--least_squares", default="auto", choices=("auto", "cholesky", "cg"), help="gnhtp: how it solves on a support "
        "(default: auto, cholesky on mlp_planted, ten steps of conjugate gradients elsewhere)")
    add("--bias", action="store_true", help="classification: append a constant 1 to the inputs")
    how = parser.add_argument_group("how and where")
    add = how.add_argument
    add("--save_results", action="store_true", help="keep the table in the logs folder, after every cell")
    add("--save_models", action="store_true", help="keep the network of every cell too, in a folder beside the table")
    add("--overwrite", action="store_true", help="start afresh where the log of an earlier run would be continued")
    add("--expname", default="", type=experiment_name, help="a word of your own in the log's name")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="auto: the GPU if there is one (default)")
    add("--gpu", default=0, type=whole_number(0, 1023), help="which GPU (default: 0)")
    add("--threads", type=whole_number(1, 1024), help="CPU threads per cell (default: all cores, shared by --workers)")
    add("--workers", default=0, type=whole_number(0, 1024), help="processes that compute cells (default: 0, this one)")
    add("--scheduler", metavar="ADDRESS", help="compute on a running Dask cluster, e.g. tcp://127.0.0.1:8786")
    add("--memory_budget", default=512, type=whole_number(Workspace.MIN_BUDGET), metavar="MIB",
        help="aiht, gnhtp: bound on temporary blocks in MiB (default: 512)")
    add("--data_dir", type=folder, help="folder of the data sets (default: the variable MLP_IHT_DATA, then ./data)")
    add("--logs_dir", type=folder, default="logs", help="folder of the logs (default: ./logs)")
    add("--dry_run", action="store_true", help="print settings, cells and the log's path; compute nothing")
    return parser


def parse_arguments(argv) -> argparse.Namespace:
    """The checked flags; raises UsageError for everything that can be known to fail before any work."""
    parser = make_parser()
    args = parser.parse_args(argv)
    for flag in ("mlist", "slist", "seedlist"):
        values = getattr(args, flag)
        if len(set(values)) < len(values):
            twice = next(value for value in values if values.count(value) > 1)
            raise UsageError(f"argument --{flag}: {twice} is listed twice; list every value once")
    args.num_epochs = args.num_epochs or NUM_EPOCHS.get(args.method, 15)
    refuse_flags_without_effect(args, parser)
    if args.convex and args.update_every > 1:
        raise UsageError(f"argument --update_every: {args.update_every} has no effect with --convex; leave one out")
    for flag, most in MNIST_LIMITS.items() if args.input_dist == "mnist" else ():
        value = getattr(args, flag)
        if value > most:
            raise UsageError(f"argument --{flag}: {value} is over the {most} of --input_dist mnist; use fewer")
    if args.scheduler == "":
        raise UsageError("argument --scheduler: '' is no address; leave it out")
    if args.workers and args.scheduler:
        raise UsageError(f"argument --workers: {args.workers} has no effect with --scheduler; leave one out")
    if args.gpu and (args.workers or args.scheduler):
        raise UsageError(f"argument --gpu: {args.gpu} has no effect where each worker has its GPU; leave it out")
    args.threads = args.threads or max(1, num_cores() // max(args.workers, 1))
    args.data_dir = data_folder(args.data_dir, os.environ)
    samples = TASKS[args.task].samples(args)
    if args.batch_size > samples:
        raise UsageError(f"argument --batch_size: {args.batch_size} is over the {samples} samples of {args.task}; "
                         "use 0 for full batch")
    for flag in ("overwrite", "save_models"):
        if getattr(args, flag) and not args.save_results:
            raise UsageError(f"argument --{flag}: True has no effect without --save_results; add that")
    if args.save_models and not TASKS[args.task].is_network:
        raise UsageError(f"argument --save_models: {args.task} fits no network; leave it out")
    return args


def refuse_flags_without_effect(args, parser):
    task = TASKS[args.task]
    if args.method not in VECTOR_METHODS and task.outputs(args) > 1:
        raise UsageError(f"argument --method: {args.method} fits a scalar output, {args.task} has "
                         f"{task.outputs(args)} here; use --method aiht")
    if task.methods and args.method not in task.methods:
        raise UsageError(f"argument --method: {args.method} does not solve {args.task}; use --method {task.methods[0]}")
    task_flags = {flag for entry in TASKS.values() for flag in entry.flags}  # that do not have an effect on every task
    for flag in (*SETTINGS, "memory_budget"):
        value, default = getattr(args, flag), parser.get_default(flag)
        if value == default:
            continue
        if args.method not in METHOD_FLAGS.get(flag, METHODS):
            raise UsageError(f"argument --{flag}: {value} has no effect with --method {args.method}; leave it out")
        if flag in task_flags and flag not in task.flags:
            raise UsageError(f"argument --{flag}: {value} has no effect on {args.task}; leave it out")


# ---- the machine ----


def choose_device(args) -> tuple[str, str]:
    """("cpu" or "cuda:N", a line that says so and why). Raises UsageError for a GPU that is asked for and not there."""
    if args.device == "cpu":
        if args.gpu:
            raise UsageError(f"argument --gpu: {args.gpu} has no effect with --device cpu; leave it out")
        return "cpu", "CPU"
    try:
        name = cupy_on(args.gpu)[1] if args.method != "pruning" else torch_gpu(args.gpu)
        return f"cuda:{args.gpu}", f"GPU {args.gpu}, {name}"
    except RuntimeError as error:
        if args.device == "cuda":
            raise UsageError(f"argument --device: cuda is not possible, {error}; use --device cpu") from None
        if args.gpu:
            raise UsageError(f"argument --gpu: {args.gpu} is not there, {error}; leave it out for the CPU") from None
        return "cpu", f"CPU ({error})"


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def count_gpus() -> int:
    """GPUs that torch sees; for the share of each worker."""
    import torch

    return torch.cuda.device_count()


def torch_gpu(gpu: int) -> str:
    """The name of a GPU that torch can use; RuntimeError says what is missing."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("torch finds no working NVIDIA GPU")
    if gpu >= torch.cuda.device_count():
        raise RuntimeError(f"torch finds GPUs 0 to {torch.cuda.device_count() - 1} only")
    return torch.cuda.get_device_name(gpu)


def describe_environment(args, device: str, device_line: str) -> dict:
    """Where and with what a sweep runs, for the sidecar."""
    import importlib.metadata  # 45 ms that --help need not wait for

    versions = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "torch"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if device != "cpu" and args.method != "pruning":
        import cupy

        versions["cupy"] = cupy.__version__  # the distribution is called cupy-cuda12x or the like
    return {"device": device, "device_name": device_line, "processor": processor_name(), "threads": args.threads,
            "blas": blas_kernels(), "memory_budget": args.memory_budget, "versions": versions, "commit": commit()}


def blas_kernels() -> list[str]:
    """The BLAS libraries that NumPy and SciPy have loaded, with the kernel that each has picked: scores on images move
    with it. For example "openblas 0.3.31 SkylakeX"."""
    import scipy.linalg  # noqa: F401  (loads a BLAS of its own)
    from threadpoolctl import threadpool_info

    found = (" ".join(filter(None, (info["internal_api"], info["version"], info.get("architecture"))))
             for info in threadpool_info() if info["user_api"] == "blas")
    return sorted(set(found))


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of this code, with "+" where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).resolve().parent)]
    try:
        run = [subprocess.run([*git, *call], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
               for call in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0] + ("+" if run[1] else "")


# ---- the sweep ----


def identify(args) -> tuple[dict, dict, dict]:
    """The settings that change the numbers, the axes of the table, and the defaults of NAMED_IF_CHANGED."""
    settings = {"task": args.task, "method": args.method, "expname": args.expname}
    settings |= {flag: getattr(args, flag) for flag in SETTINGS}
    return settings, {"m": args.mlist, "s": args.slist, "seed": args.seedlist}, name_defaults()


def name_defaults() -> dict:
    """The defaults of NAMED_IF_CHANGED."""
    parser = make_parser()
    return {flag: parser.get_default(flag) for flag in NAMED_IF_CHANGED}


def log_path(args) -> Path:
    """Where the log of this sweep is, without extension."""
    return Path(args.logs_dir, args.task, args.method, log_name(*identify(args)))


def open_log(args, device: str, device_line: str) -> Log:
    """The log of this sweep, with the cells that earlier runs finished. Raises LogError."""
    path = log_path(args) if args.save_results else None
    environment = describe_environment(args, device, device_line)
    log = Log(path, *identify(args), asdict(TASKS[args.task].measure), environment)
    if args.save_results and not args.overwrite:
        log.load(with_models=args.save_models)
        log.adopt(with_models=args.save_models, copy=not args.dry_run)
    return log


def check_writable(folder: Path):
    """Make the folder of the log and write a byte to it, before any work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        raise UsageError(f"argument --logs_dir: cannot write to {folder} ({error.strerror}); choose another") from None


def read_data(args):
    """Read and check the data set of the task, downloading it where it is missing."""
    name = TASKS[args.task].dataset(args)
    if name:
        try:
            datasets.fetch(name, args.data_dir)
            datasets.READERS[name](args.data_dir)
        except datasets.DataError as error:
            raise UsageError(f"argument --data_dir: {error}") from None


def sweep(log: Log, args, device: str, check_interrupts: Callable) -> int:
    """Run what is missing in the log, saving after every cell; returns the number of cells that failed."""
    from tqdm import tqdm

    failed, total = 0, len(log.cells())
    bar = tqdm(total=total, initial=total - len(log.missing()), unit="cell", disable=None)
    with bar, contextlib.closing(compute(jobs(log.missing(), args), args, device)) as outcomes:
        for results in outcomes:
            check_interrupts()  # before anything is recorded that may be its result
            for cell, result in results.items():
                if args.save_models and result.net:
                    log.save_model(cell, result.net)
                log.record(cell, result.status, result.score, **result.details)
                failed += result.status.startswith(FAILED)
                bar.update()
                bar.write(cell_line(cell, result, log.score))
                sys.stdout.flush()  # into a file, too, every line comes at once
                if log.path:
                    log.save()
    return failed


def compute(todo, args, device: str) -> Iterator[dict[tuple, Result]]:
    """The results of jobs as they are ready: computed here, or on workers seed by seed, the largest first."""
    if not (args.workers or args.scheduler):
        for cells in todo:
            yield run_job(cells, args, device)
        return
    order = {seed: number for number, seed in enumerate(args.seedlist)}  # a worker keeps the data of its last seed
    todo.sort(key=lambda cells: (order[cells[0][2]], -max(m * s for m, s, _ in cells)))
    gpus = count_gpus() if device != "cpu" else 0
    call = functools.partial(run_job, args=args, device=device)
    outcomes = run_on_workers(todo, call, workers=args.workers, scheduler=args.scheduler, gpus=gpus)
    with contextlib.closing(outcomes):
        for cells, outcome in outcomes:
            if isinstance(outcome, BaseException):  # its workers died, one after the other
                outcome = {cell: failure(outcome) for cell in cells}
            yield outcome


def cell_line(cell, result: Result, measure: dict) -> str:
    m, s, seed = cell
    text = f"m {m:<5} s {s:<5} seed {seed:<3} "
    if result.status != DONE:
        return text + result.status
    value = f"{format_score(result.score, measure)} {measure['unit']}".rstrip()
    text += f"{value:<12}{result.details['seconds']:8.2f} s"
    if "support_error" in result.details:
        text += f"  support error {result.details['support_error']:.3f}"
    if not result.details.get("connected", True):
        text += "  no path from input to output is left"
    return text


def format_score(value: float, measure: dict) -> str:
    return f"{value:.2e}" if measure["scale"] == "log" else f"{value:.{2 if measure['unit'] else 4}f}"


def print_table(log: Log):
    """Means over the seeds that ran, m down and s across."""
    measure, seeds = log.score, log.axes["seed"]
    print(f"{measure['name']}{', ' + measure['unit'] if measure['unit'] else ''}, mean over {len(seeds)} seed(s); "
          "rows: m, columns: s")
    print(" " * 8 + "".join(f"{s:>10}" for s in log.axes["s"]))
    for m, row in zip(log.axes["m"], log.table, strict=True):
        means = [np.mean(cell[~np.isnan(cell)]) if not np.isnan(cell).all() else None for cell in row]
        print(f"{m:<8}" + "".join(f"{'-' if mean is None else format_score(mean, measure):>10}" for mean in means))


def describe(log: Log, args):
    """What --dry_run prints."""
    for flag, value in {**log.settings, "data_dir": args.data_dir, "threads": args.threads}.items():
        print(f"{flag}: {value}")
    missing = log.missing()
    print(f"cells: {len(missing)} of {len(log.cells())} to run")
    for seed in log.axes["seed"]:
        for m in log.axes["m"]:
            slist = [s for m_, s, seed_ in missing if (m_, seed_) == (m, seed)]
            if slist:
                print(f"  seed {seed}, m {m}, s {' '.join(map(str, slist))}")
    print(f"log: {log.path}.npy" if log.path else "log: none without --save_results")


def run(args, check_interrupts: Callable) -> int:
    device, device_line = choose_device(args)
    check_interrupts()  # it imports, and takes a failure for a missing GPU
    print(f"device: {device_line}; {args.threads} thread(s)" + (f"; {args.workers} workers" if args.workers else ""))
    if args.dry_run:
        describe(open_log(args, device, device_line), args)
        return 0
    read_data(args)
    with contextlib.ExitStack() as stack:
        if args.save_results:
            hold_log(args, stack)
        log = open_log(args, device, device_line)
        if log.records:
            print(f"{len(log.cells()) - len(log.missing())} of {len(log.cells())} cells found in {log.path.parent}")
        check_interrupts()
        failed = sweep(log, args, device, check_interrupts)
    if log.path:
        print(f"saved {log.path}.npy")
    else:
        print_table(log)
    if failed:
        print(f"runner.py: {failed} cell(s) failed; their lines say why", file=sys.stderr)
    return 1 if failed else 0


def hold_log(args, stack: contextlib.ExitStack):
    """Keep other runs of the same command away from the log until the stack is left. Raises UsageError, LogError."""
    path = log_path(args)
    check_writable(path.parent)
    try:
        stack.enter_context(locked(path.with_name(path.name + ".lock"), wait=False))
    except BlockingIOError:
        remedy = "wait for it, or give this one an --expname"
        raise LogError(f"{path}.npy is being written by another run: {remedy}") from None
    except OSError as error:
        remedy = "move it away, or choose another --logs_dir"
        raise LogError(f"cannot lock {path}.lock ({error.strerror}): {remedy}") from None


def main(argv=None) -> int:
    try:
        with remembered_interrupts() as check_interrupts:
            return run(parse_arguments(argv), check_interrupts)
    except (UsageError, LogError, WorkersError) as error:
        print(f"runner.py: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nrunner.py: stopped; the same command goes on from here if --save_results was given", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
