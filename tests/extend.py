"""Do what docs/extending.md says, each example in a copy of the project of its own; lint and the whole suite must pass.

    python -m tests.extend           # all examples, some minutes each: make extend
    python -m tests.extend task      # one of them, by a word of its heading

A block of the page says in its first line where it belongs; Edit reads these lines:

    # FILE                                  a new file
    # FILE: among the imports               at its place in the alphabet
    # FILE: at the end
    # FILE: in CLASS, before BEGINNING      before the first line of the class that begins so
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"
HEAD = re.compile(r"# (?P<file>[\w/]+\.py)(: (?P<place>.+))?")


@dataclass(frozen=True)
class Edit:
    """A block of the page: its file, where in it, and the lines."""

    file: str
    place: str
    text: str

    @classmethod
    def read(cls, block: str) -> Edit | None:
        """The edit that a block describes; None where its first line names no file."""
        head, _, text = block.partition("\n")
        match = HEAD.fullmatch(head)
        return cls(match["file"], match["place"] or "", text) if match else None

    def apply(self, root: Path) -> None:
        """Write it into a copy of the project. Raises ValueError where its place is not there."""
        path = root / self.file
        if not self.place:
            path.write_text(self.text)
            return
        lines = path.read_text().splitlines()
        place, text = self._find(lines)
        lines[place:place] = text.splitlines()
        path.write_text("\n".join(lines) + "\n")

    def _find(self, lines: list[str]) -> tuple[int, str]:
        """The number of the line before which the text belongs, and the text as it is indented there."""
        if self.place == "at the end":
            return len(lines), f"\n{self.text}"
        if self.place == "among the imports":
            word = self.text.split()[0]  # import or from
            alike = [number for number, line in enumerate(lines)
                     if line.startswith(f"{word} ") and "__future__" not in line]
            earlier = [number + 1 for number in alike if lines[number].split()[1] < self.text.split()[1]]
            return max(earlier, default=alike[0]), self.text
        match = re.fullmatch(r"in (\w+), before (.+)", self.place)
        if not match:
            raise ValueError(f"{PAGE.name}: {self.place!r} is no place that {Path(__file__).name} knows")
        start = next(number for number, line in enumerate(lines) if line.startswith(f"class {match[1]}("))
        place = next(number for number in range(start, len(lines)) if lines[number].strip().startswith(match[2]))
        indent = lines[place][: len(lines[place]) - len(lines[place].lstrip())]
        return place, textwrap.indent(self.text, indent)


def examples(page: str) -> dict[str, list[Edit]]:
    """The edits under each heading of a page that has some."""
    found = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
        if edits := [edit for edit in map(Edit.read, blocks) if edit]:
            found[section.partition("\n")[0]] = edits
    return found


def copy_of(folder: Path) -> Path:
    """A copy of what git tracks or would add, in a folder, with this environment."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def check(heading: str, edits: list[Edit]) -> bool:
    """Whether lint and the suite pass on a copy with these edits; prints what they say otherwise."""
    with tempfile.TemporaryDirectory() as name:
        folder = copy_of(Path(name))
        for edit in edits:
            edit.apply(folder)
        for command in (["ruff", "check", "."], ["mypy"], ["pytest", "-q", "-n", "2", "--dist", "loadfile"]):
            run = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
            if run.returncode:
                print(f"{heading}: {command[0]} fails\n{run.stdout[-8000:]}{run.stderr[-2000:]}", flush=True)
                return False
    print(f"{heading}: lint and the suite pass", flush=True)
    return True


def main(argv: list[str]) -> int:
    """The exit code: 1 where a copy fails."""
    chosen = {heading: edits for heading, edits in examples(PAGE.read_text()).items()
              if not argv or any(word in heading.lower().split() for word in argv)}
    failed = [heading for heading, edits in chosen.items() if not check(heading, edits)]
    print(f"{len(chosen) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
