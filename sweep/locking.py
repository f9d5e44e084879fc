"""A lock file that one process holds at a time; the system lets go of it when the process ends, however it ends."""

import os
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, wait: bool = True):
    """Hold an exclusive lock on a file, which is made for it, with its folder, and removed at the end.

    Raises BlockingIOError where another process has the lock and `wait` is False.
    """
    import fcntl  # here, since Windows has none

    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if not _is_at(file, path):
                continue  # its last holder removed it while we waited: the lock is another file now
            try:
                yield
                return
            finally:
                path.unlink(missing_ok=True)


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
