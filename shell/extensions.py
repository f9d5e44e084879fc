"""Files of a user's own that add tasks, methods or figures to the tables: --extend FILE."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from shell.program import Parser, UsageError


def load(files: Sequence[str]) -> None:
    """Run Python files, each once per process. Raises UsageError."""
    for file in files:
        path = Path(file).resolve()
        name = f"extension_{path.stem}"
        if getattr(sys.modules.get(name), "__file__", None) == str(path):
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None or not path.is_file():
            raise UsageError(f"argument --extend: {file} is no Python file; give the path of one")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # dataclasses look there for the types of their fields
        sys.path.append(str(path.parent))  # what it imports may lie beside it
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[name]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UsageError(f"argument --extend: {file} cannot be run ({reason}); fix it") from None


def load_named(prog: str, argv: Sequence[str] | None) -> None:
    """Run the files that a command line names by --extend, before its other flags can be read. Raises UsageError."""
    parser = Parser(prog, "", add_help=False)
    parser.add_argument("--extend", nargs="+", default=[])
    load(parser.parse_known_args(argv)[0].extend)
