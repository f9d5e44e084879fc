"""Which code computes a cell: a digest of each of the project's files that its fit uses.

Those are the files of the task, of the method and of the score, and all that they import. Comments, docstrings and
blank lines are left out, and so are the entries of the tables of tasks and methods: only an edit that may move a number
of this task and method changes a digest.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import io
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sweep.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
LENGTH = 12  # hexadecimal digits of a digest
Code = Mapping[str, str]  # {file, relative to the project: digest}
SCORES = ("tasks", "sweep.cells", "sweep.methods")  # what every cell goes through, without what they import
TABLES = {"tasks.py": "TASKS", "sweep/methods.py": "METHODS"}  # files whose entries belong to one task or method


def code_of(settings: Settings) -> Code:
    """The digests of what the cells of a sweep use."""
    method = settings.method
    roots = [type(settings.task).__module__, method.solve.__module__]
    if settings.task.is_planted:
        roots.append("beyond.deep.recovery" if settings.grid.num_layers == 2 else "beyond.recovery")
    files = {path for name in SCORES if (path := file_of(name))} | reached(roots)
    entry = f"{sorted(method.given.items())} {method.splits_budget}"
    return {name_of(path): digest(path) for path in sorted(files)} | {"METHODS": hashed(entry)}


def changed(before: Code | None, now: Code) -> list[str]:
    """The files that are not in both, or differ; where nobody knows, a word that says so."""
    if before is None:
        return ["not recorded"]
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


# ---- which files ----


def reached(roots: Iterable[str]) -> set[Path]:
    """The project's files that some modules are in, and all that they import."""
    files: set[Path] = set()
    waiting = list(roots)
    while waiting:
        path = file_of(waiting.pop())
        if path and path not in files:
            files.add(path)
            waiting += imports(path.read_text())
    return files


def file_of(module: str) -> Path | None:
    """The file of one of the project's modules, or of one that --extend has run; None for all others."""
    if module.startswith("extension_"):
        return Path(sys.modules[module].__file__ or "")
    path = ROOT.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def name_of(path: Path) -> str:
    """How a log names a file: from the folder of the project on; a file from elsewhere by its name alone."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


@functools.cache
def imports(source: str) -> list[str]:
    """The modules that a text imports, within functions too, but not for type hints alone."""
    tree = ast.parse(source)
    hints = {inner for node in ast.walk(tree) if isinstance(node, ast.If)
             and getattr(node.test, "id", "") == "TYPE_CHECKING" for inner in ast.walk(node)}
    return [name for node in ast.walk(tree) if node not in hints for name in imported(node)]


def imported(node: ast.AST) -> Iterator[str]:
    """The modules that an import names; `from a import b` may name a module a.b, too."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


# ---- what they say ----


def digest(path: Path) -> str:
    """Of the code in a file."""
    return hashed(code_text(path.read_text(), TABLES.get(name_of(path))))


def hashed(text: str) -> str:
    """The first digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


Place = tuple[int, int]  # line, counted from 1, and column


@functools.cache
def code_text(source: str, table: str | None = None) -> str:
    """A Python text without comments, docstrings and blank lines.

    Args:
        table: name of a table whose entries are left out, and with them the imports.
    """
    lines, tree = source.splitlines(), ast.parse(source)
    parts = [*comments(source), *map(place, filter(is_docstring, ast.walk(tree)))]
    if table:
        parts += [place(node) for node in tree.body if is_entry(node, table)]
    for (first, start), (last, end) in parts:
        for number in range(first - 1, last):
            line = lines[number]
            left, right = start if number == first - 1 else 0, end if number == last - 1 else len(line)
            lines[number] = line[:left] + " " * (right - left) + line[right:]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def comments(source: str) -> Iterator[tuple[Place, Place]]:
    """Where comments begin and end."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start, token.end


def is_docstring(node: ast.AST) -> bool:
    """Whether it is a text that nobody uses."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def is_entry(node: ast.stmt, table: str) -> bool:
    """Whether it is an import, a table of this name, or an entry of it that stands by itself."""
    if not isinstance(node, ast.Assign | ast.AnnAssign):
        return isinstance(node, ast.Import | ast.ImportFrom)
    [target, *_] = node.targets if isinstance(node, ast.Assign) else [node.target]
    return getattr(getattr(target, "value", target), "id", None) == table


def place(node: ast.AST) -> tuple[Place, Place]:
    """Where it begins and ends."""
    at: Any = node
    return (at.lineno, at.col_offset), (at.end_lineno, at.end_col_offset)
