"""Cells on many processes: workers on this machine, or those of a running Dask cluster.

A job that was lost with its worker is given to another, up to RETRIES times; results come as they are ready, and the
parent alone writes. dask.distributed is imported only when it is used.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Callable, Iterator

TIMEOUT = 10  # seconds until a scheduler must have answered
SILENT = logging.CRITICAL + 1  # Dask logs some of what ends with a worker as critical
RETRIES = 2  # more tries for a job whose worker died: a job that kills every worker must not go on for ever


class WorkersError(Exception):
    """The workers cannot be had: one line that names the flag, the address and the remedy; exit code 2."""


def run_on_workers(jobs: list, function: Callable, *, workers: int, scheduler: str | None, gpus: int = 0) -> Iterator:
    """Yield (job, function(job), or the exception that ended it) in the order in which jobs are ready.

    Args:
        jobs: picklable, the largest first.
        workers: processes to start here; unused with a `scheduler`.
        scheduler: address of a running Dask scheduler, or None.
        gpus: GPUs of this machine; with any, each worker sees one of them.
    Raises WorkersError where the scheduler does not answer, or is lost.
    """
    from dask import config
    from distributed import as_completed

    quiet = {"distributed.scheduler.allowed-failures": RETRIES, "distributed.worker.daemon": True}
    with config.set(quiet), connected(workers, scheduler, gpus) as client:
        futures = {client.submit(function, job, pure=False, priority=-number): job for number, job in enumerate(jobs)}
        for future in as_completed(list(futures)):
            if future.cancelled():  # nobody here cancels
                raise WorkersError(f"argument --scheduler: {scheduler!r} was lost; start it again, and the same command")
            outcome = future.exception() if future.status == "error" else future.result()
            yield futures.pop(future), outcome
            future.release()


@contextlib.contextmanager
def connected(workers: int, scheduler: str | None, gpus: int):
    """A Dask client of a running cluster, or of one started here for the time of the block."""
    from distributed import Client

    logging.disable(SILENT)  # a lost worker is told by its job, in one line
    if scheduler:
        try:
            client = Client(scheduler, timeout=TIMEOUT)
        except Exception as error:  # an address may be wrong in many ways
            raise WorkersError(f"argument --scheduler: no Dask scheduler answers at {scheduler!r} "
                               f"({type(error).__name__}); start one there with `dask scheduler`, or use --workers"
                               ) from None
        try:
            yield client
        finally:
            with contextlib.suppress(Exception):  # a client whose scheduler was lost cannot say goodbye
                client.close()
        return
    with local_cluster(workers, gpus) as cluster, Client(cluster) as client:
        yield client


@contextlib.contextmanager
def local_cluster(workers: int, gpus: int):
    """Processes on this machine, one job at a time in each; they do not hear Ctrl-C, and end with their parent."""
    from distributed import Nanny, Scheduler, SpecCluster

    def options(number):
        environment = {"CUDA_VISIBLE_DEVICES": str(number % gpus)} if gpus else {}
        return here | {"nthreads": 1, "memory_limit": 0, "silence_logs": SILENT, "env": environment}

    here = {"protocol": "tcp://", "host": "127.0.0.1"}
    with deferred_interrupts():
        cluster = SpecCluster(
            workers={number: {"cls": Nanny, "options": options(number)} for number in range(workers)},
            scheduler={"cls": Scheduler, "options": {"dashboard": False} | here},
            silence_logs=SILENT,
        )
    try:
        yield cluster
    finally:
        with deferred_interrupts():
            cluster.close(timeout=5)


@contextlib.contextmanager
def deferred_interrupts():
    """Ctrl-C waits for the end of this block. Threads that begin in it, and their processes, never hear it."""
    if os.name != "posix":
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # the first process would start it, and that unblocks the signal in its thread
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(True))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, before)
        if heard:
            raise KeyboardInterrupt
