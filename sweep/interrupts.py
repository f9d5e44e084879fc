"""Ctrl-C that is never lost: repeated or remembered where Python drops it, put off where it would do harm.

KeyboardInterrupt is raised wherever the main thread happens to be. In a finaliser, or in the callback of a weak
reference, which every import runs, Python reports it and goes on; in the import of an extension module it can turn into
an ImportError, which many packages catch.
"""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

SOON = 0.02  # seconds until an interrupt that was dropped is repeated


@contextlib.contextmanager
def remembered_interrupts():
    """Yield a function that raises KeyboardInterrupt if there was a Ctrl-C in this block: call it between steps."""
    heard = []

    def check():
        if heard:
            raise KeyboardInterrupt

    with _noted(heard, signal.getsignal(signal.SIGINT)), _repeated():
        yield check


@contextlib.contextmanager
def deferred_interrupts():
    """Ctrl-C waits for the end of this block. Threads that begin in it, and their processes, never hear it."""
    heard = []
    try:
        with _noted(heard, lambda *_: None), _blocked():
            yield
    finally:
        if heard:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _noted(heard: list, handler: Callable):
    """Note every Ctrl-C in a list, then handle it. One that this process ignores stays ignored."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(*event):
        heard.append(True)
        handler(*event)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _repeated():
    """Interrupt the main thread again where Python could not raise KeyboardInterrupt, instead of a report of that."""
    before, timers = sys.unraisablehook, []

    def hook(unraisable):
        if unraisable.exc_type is not KeyboardInterrupt:
            before(unraisable)
            return
        timers.append(threading.Timer(SOON, _interrupt_main_thread))
        timers[-1].start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before
        for timer in timers:
            timer.cancel()


def _interrupt_main_thread():
    if os.name == "posix":
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # which also ends the wait of a system call
    else:
        _thread.interrupt_main()


@contextlib.contextmanager
def _blocked():
    """Have the system hold Ctrl-C back from this thread; new threads and processes inherit that."""
    if os.name != "posix":
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
