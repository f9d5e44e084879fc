"""Files that are written whole or not at all, folders that can be written to, and blocks of pages."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from shell.program import UsageError


def replace_files(contents: dict[Path, bytes]) -> None:
    """Write files whole: all are on the disk before the first takes its place. Raises OSError."""
    contents = {path.resolve() if path.is_symlink() else path: content for path, content in contents.items()}
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


def check_writable(folder: Path, flag: str) -> Path:
    """The folder, made, with a byte written to it before any work. Raises UsageError, naming the flag that chose it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"1")
        return folder
    except OSError as error:
        raise UsageError(f"argument {flag}: cannot write to {folder} ({error.strerror}); choose another") from None


def fill_blocks(page: str, kind: str, lines: Callable[[str], Iterable[str]]) -> str:
    """A page of docs/, its blocks of a kind filled anew: with what `lines` gives for their words, each ending a line.

        <!-- kind: words -->
        lines
        <!-- end -->
    """
    block = re.compile(rf"(<!-- {kind}: ([^\n]*) -->\n).*?(<!-- end -->)", re.DOTALL)
    return block.sub(lambda match: "".join([match[1], *(f"{line}\n" for line in lines(match[2])), match[3]]), page)
