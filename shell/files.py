"""Files that are written whole or not at all, and folders that can be written to."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from shell.program import UsageError


def replace_files(contents: dict[Path, bytes]) -> None:
    """Write files whole: all are on the disk before the first takes its place. Raises OSError."""
    parts = {path: path.with_name(f".{path.name}.part") for path in contents}
    try:
        for path, content in contents.items():
            parts[path].unlink(missing_ok=True)  # of a run that was killed
            with parts[path].open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in parts.items():
            os.replace(part, path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def check_writable(folder: Path, flag: str) -> None:
    """Make a folder and write a byte to it, before any work. Raises UsageError, which names the flag that chose it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
    except OSError as error:
        raise UsageError(f"argument {flag}: cannot write to {folder} ({error.strerror}); choose another") from None
