"""Cells on many processes: workers on this machine, or those of a running Dask cluster.

A job that was lost with its worker is given to another; results come as they are ready, and the parent alone writes.
dask.distributed is imported only when it is used.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # what a cluster has to import
TIMEOUT = 10  # seconds until a scheduler must have answered
SILENT = logging.CRITICAL + 1  # Dask logs some of what ends with a worker as critical
TRIM = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
CUPY_LIMIT = "CUPY_GPU_MEMORY_LIMIT"
RETRIES = 1  # more tries for a job whose worker died, among the others and then alone


class WorkersError(Exception):
    """The workers cannot be had: one line that names the flag, the address and the remedy; exit code 2."""


def run_on_workers(jobs: list, function: Callable, *, workers: int, scheduler: str | None,
                   gpus: int = 0) -> Generator[tuple[Any, Any], None, None]:
    """Yield (job, function(job), or the exception that ended it) in the order in which jobs are ready.

    A job that waited at a worker when another killed it looks just as guilty. So suspects are run again at the end, one
    at a time; what kills its workers then, too, has KilledWorker as its outcome.

    Args:
        jobs: picklable, in the order in which they are begun.
        workers: processes to start here; unused with a `scheduler`.
        scheduler: address of a running Dask scheduler, or None.
        gpus: GPUs of this machine; with any, each worker sees one of them.
    Raises WorkersError where the scheduler does not answer, or is lost.
    """
    from dask import config
    from distributed import KilledWorker

    settings = {"distributed.scheduler.allowed-failures": RETRIES, "distributed.worker.daemon": True,
                "distributed.scheduler.worker-saturation": 1.0,  # a worker gets a job when it is free, not before
                TRIM: None}  # else cells of many large arrays take twice as long: all memory goes back at once
    with config.set(settings), connected(workers, scheduler, gpus) as client:
        suspects, loss = [], lost(workers, scheduler)
        for job, outcome in outcomes(client, jobs, function, loss):
            if isinstance(outcome, KilledWorker):
                suspects.append(job)
            else:
                yield job, outcome
        for job in suspects:
            yield from outcomes(client, [job], function, loss)


def outcomes(client: Client, jobs: list, function: Callable, loss: WorkersError) -> Iterator:
    """Submit jobs and yield (job, result or exception) as they are ready. Raises `loss` where the cluster is lost."""
    from distributed import as_completed

    futures = {client.submit(function, job, pure=False, priority=-number): job for number, job in enumerate(jobs)}
    for future in as_completed(list(futures)):
        if future.cancelled():  # by nobody here
            raise loss
        outcome = future.exception() if future.status == "error" else future.result()
        yield futures.pop(future), outcome
        future.release()


@contextlib.contextmanager
def connected(workers: int, scheduler: str | None, gpus: int) -> Iterator:
    """A Dask client of a running cluster, or of one started here for the time of the block."""
    from distributed import Client
    from distributed.comm import CommClosedError

    logging.disable(SILENT)  # the job of a lost worker reports it, in one line
    if scheduler:
        gc.collect()  # were a client that failed before collected while this one starts, Dask would wait for itself
        try:
            client = Client(scheduler, timeout=TIMEOUT)
        except Exception as error:  # an address may be wrong in many ways
            raise WorkersError(f"argument --scheduler: no Dask scheduler answers at {scheduler!r} "
                               f"({type(error).__name__}); start one there with `dask scheduler`, or use --workers"
                               ) from None
        try:
            check_code(client)
            yield client
        except (ConnectionError, CommClosedError):
            raise lost(workers, scheduler) from None
        finally:
            with contextlib.suppress(Exception):  # a client whose scheduler was lost cannot say goodbye
                client.close()
        return
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(Client(stack.enter_context(local_cluster(workers, gpus))))
        except Exception as error:  # no scratch folder, too few open files, a broken configuration of Dask, ...
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise WorkersError(f"argument --workers: {workers} cannot be started ({reason[:200]}); fix that, or leave "
                               "it out to compute in one process") from None
        yield client


def lost(workers: int, scheduler: str | None) -> WorkersError:
    """What is said of a cluster whose scheduler was lost, one that was named or that of workers started here."""
    if not scheduler:
        return WorkersError(f"argument --workers: {workers} cannot be reached any more; give the same command again")
    return WorkersError(f"argument --scheduler: {scheduler} was lost; start it again, then the same command")


def check_code(client: Client) -> None:
    """Raise WorkersError where a cluster, which unpickles jobs by the names in them, cannot import this code.

    Waits for the first worker, which may be in a queue.
    """
    try:
        client.wait_for_workers(1, timeout=TIMEOUT)
    except TimeoutError:
        print(f"waiting for a worker at {client.scheduler.address}", file=sys.stderr)
    try:
        client.submit(importlib.import_module, "sweep.cells").result()
        client.run_on_scheduler(importlib.import_module, "sweep.cells")
    except ImportError as error:
        raise WorkersError(f"argument --scheduler: the cluster at {client.scheduler.address} cannot import this code "
                           f"({error}); start its scheduler and workers with PYTHONPATH={ROOT}"
                           ) from None


@contextlib.contextmanager
def blocked_interrupts() -> Iterator[None]:
    """Ctrl-C waits for the end of this block; threads and processes that begin in it never hear it."""
    if os.name != "posix":
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def memory_shares(workers: int, gpus: int) -> dict[str, str]:
    """The environment in which CuPy takes no more of a GPU than the share of a worker; what is set already stays."""
    limit = f"{100 // -(-workers // gpus)}%"
    return {CUPY_LIMIT: os.environ.get(CUPY_LIMIT, limit)} if workers > gpus else {}


@contextlib.contextmanager
def local_cluster(workers: int, gpus: int) -> Iterator:
    """Processes on this machine, one job at a time in each; they do not hear Ctrl-C, and end with their parent."""
    from multiprocessing import resource_tracker

    from distributed import Nanny, Scheduler, SpecCluster
    from distributed import TimeoutError as Late

    def options(number):
        environment = {"CUDA_VISIBLE_DEVICES": visible[number % gpus], **shares} if gpus else {}
        return here | {"nthreads": 1, "memory_limit": 0, "silence_logs": SILENT, "env": environment}

    shares = memory_shares(workers, gpus) if gpus else {}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
    here = {"protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}  # a port that is free
    resource_tracker.ensure_running()  # the first process would start it, and that unblocks Ctrl-C in its thread
    with blocked_interrupts():
        cluster = SpecCluster(
            workers={number: {"cls": Nanny, "options": options(number)} for number in range(workers)},
            scheduler={"cls": Scheduler, "options": {"dashboard": False} | here},
            silence_logs=SILENT,
        )
    try:
        yield cluster
    finally:
        with blocked_interrupts(), contextlib.suppress(Late):  # on a busy machine; then they end with this process
            cluster.close(timeout=5)
