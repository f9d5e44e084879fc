"""What the pictures of single logs are called."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from plotting.logs import PUBLISHED


def figure_stems(paths: Sequence[Path]) -> dict[Path, str]:
    """{path of a log: stem of its pictures}: the log's own, made shell-friendly if published, no two the same."""
    stems = {path: friendly_stem(path) if PUBLISHED.fullmatch(path.stem) else path.stem for path in paths}
    uses = Counter(stem.lower() for stem in stems.values())  # some disks do not tell A from a
    return {path: stem if uses[stem.lower()] == 1 else f"{stem}_{digest(path)}" for path, stem in stems.items()}


def add_suffix(stems: dict[Path, str], suffixes: dict[Path, str]) -> dict[Path, str]:
    """{path: its stem and suffix}, of the paths that have one, so that no other log's own stem is taken."""
    taken = {stem.lower() for stem in stems.values()}
    names = {path: stems[path] + suffix for path, suffix in suffixes.items()}
    return {path: f"{name}_{digest(path)}" if suffixes[path] and name.lower() in taken else name
            for path, name in names.items()}


def digest(path: Path) -> str:
    """Eight letters that tell a log from others of the same name."""
    return hashlib.sha256(os.fsencode("/".join(path.parts[-3:]))).hexdigest()[:8]


def friendly_stem(path: Path) -> str:
    """Task, method and name of a published log without blanks and brackets: [1, 2] becomes 1-2."""
    name = "_".join((*path.parts[-3:-1], re.sub(r"[\[\]]", "", path.stem)))
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.ASCII).strip("_-")
