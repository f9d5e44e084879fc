"""Run a grid of experiments: every width m, number of nonzeros s and seed, with one method on one task.

    python runner.py --task mlp_planted --method aiht --mlist 1 2 5 --slist 5 10 --seedlist 0 1 2 --save_results

The score of every cell is printed as it comes; --save_results keeps the table in ./logs, from which make_figures.py
draws heatmaps. With --dry_run it only says what would be run. Flags are declared beside what they steer (options.py);
the tables of methods and tasks are in sweep/methods.py and tasks.py.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Generator
from pathlib import Path

from shell.program import UsageError, complain, complain_of_output, discard_output, prepare_streams, require

if __name__ == "__main__":
    require("runner.py", "numpy", "scipy", "threadpoolctl", "tqdm", "filelock")

from shell.files import check_writable
from sweep import estimate, machine, report
from sweep.cells import Result, failure, jobs, read_data, run_job
from sweep.flags import parse_arguments
from sweep.logbook import Log, LogError, OtherCode, held
from sweep.names import log_name
from sweep.settings import Settings, logged
from sweep.table import FAILED, Cell
from sweep.workers import WorkersError, run_on_workers


def axes(settings: Settings) -> dict[str, list[int]]:
    """The axes of the table."""
    return {"m": list(settings.grid.mlist), "s": list(settings.grid.slist), "seed": list(settings.grid.seedlist)}


def log_path(settings: Settings) -> Path:
    """Where the log of this sweep is, without extension."""
    name = log_name(logged(settings), axes(settings))
    return Path(settings.run.logs_dir, settings.grid.task, settings.grid.method, name)


def open_log(settings: Settings, device: machine.Device) -> Log:
    """The log of this sweep, with the cells that earlier runs finished. Raises LogError."""
    run = settings.run
    path = log_path(settings) if run.save_results else None
    data = None if run.dry_run else settings.task.data_digest(settings.data_dir)
    environment = machine.describe(settings, device, data)
    log = Log(path, logged(settings), axes(settings), settings.task.measure, environment,
              with_histories=run.save_history, with_models=run.save_models, any_code=run.any_code)
    if path and not run.overwrite:
        log.load()
        log.adopt(copy=not run.dry_run)
    return log


def sweep(log: Log, settings: Settings, device: str) -> int:
    """Run what is missing in the log, saving after every cell; returns the number of cells that failed."""
    from tqdm import tqdm

    failed, total = 0, len(log.cells())
    bar = tqdm(total=total, initial=total - len(log.missing()), unit="cell", disable=None)
    show = None if bar.disable else report.Steps(bar, settings)
    with bar, contextlib.closing(compute(log, settings, device, show)) as outcomes:
        for results in outcomes:
            for cell, result in results.items():
                if settings.run.save_models and result.net:
                    result.details["model"] = log.save_model(cell, result.net)
                if settings.run.save_history and result.history:
                    log.histories[cell] = result.history
                log.record(cell, result.status, result.score, **result.details)
                failed += result.status.startswith(FAILED)
                bar.update()
                if log.path:
                    log.save()
                bar.write(report.cell_line(cell, result, log.measure))
                sys.stdout.flush()  # into a file, too, every line comes at once
    return failed


def compute(log: Log, settings: Settings, device: str,
            show: report.Steps | None = None) -> Generator[dict[Cell, Result], None, None]:
    """The results of missing cells as they are ready: computed here, or on workers seed by seed, the largest first.

    Args:
        show: shows the steps of what is computed here.
    """
    todo = jobs(log.missing(), settings)
    if not (settings.run.workers or settings.run.scheduler):
        for cells in todo:
            yield run_job(cells, settings, device, show.of(cells[0]) if show else None)
        return
    # A worker keeps the data of its last seed.
    order = {seed: number for number, seed in enumerate(settings.grid.seedlist)}
    todo.sort(key=lambda cells: (order[cells[0][2]], -max(m * s for m, s, _ in cells)))
    gpus = machine.gpus_of_workers(settings, device)
    call = functools.partial(run_job, settings=settings, device=device)
    outcomes = run_on_workers(todo, call, workers=settings.run.workers, scheduler=settings.run.scheduler,
                              gpus=gpus)
    with contextlib.closing(outcomes):
        for cells, outcome in outcomes:
            if isinstance(outcome, BaseException):  # its workers died, one after the other
                outcome = {cell: failure(outcome) for cell in cells}
            yield outcome


def run_sweep(settings: Settings) -> int:
    """The sweep of these settings; returns the exit code."""
    device = machine.choose_device(settings)
    run = settings.run
    workers = f"; {run.workers} workers" if run.workers else ""
    print(f"device: {device.line}; {run.threads} thread(s){workers}")
    if run.dry_run:
        try:
            log = open_log(settings, device)
        except OtherCode as reason:
            print(f"it would stop: {reason}")
            return 0
        print(*report.plan(log, settings, estimate.known_seconds(log, settings)), sep="\n")
        return 0
    if not run.save_results:
        print("nothing is kept: add --save_results to keep the scores")
    read_data(settings)
    with contextlib.ExitStack() as stack:
        if run.save_results:
            check_writable(log_path(settings).parent, "--logs_dir")
            stack.enter_context(held(log_path(settings)))
        log = open_log(settings, device)
        before = set(log.cells()) - set(log.missing())
        if log.records:
            print(f"{len(before)} of {len(log.cells())} cells found in {log_path(settings).parent}")
        failed = sweep(log, settings, device.name)
    print(*report.ending(log, before, settings), sep="\n")
    if failed:
        print(f"runner.py: {failed} cell(s) failed; their lines say why", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str] | None = None) -> int:
    prepare_streams()
    try:
        return run_sweep(parse_arguments(argv))
    except (UsageError, LogError, WorkersError) as error:
        return complain("runner.py", error)
    except KeyboardInterrupt:
        print("\nrunner.py: stopped; the same command goes on from here if --save_results was given", file=sys.stderr)
        return 130
    except BrokenPipeError:
        discard_output()
        print("runner.py: stopped, since nothing reads its output any more", file=sys.stderr)
        return 141  # what a shell makes of SIGPIPE
    except OSError as error:
        return complain_of_output("runner.py", error)


if __name__ == "__main__":
    sys.exit(main())
