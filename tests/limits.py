"""Limits on this repository's own files, for .ci/run: lines of a file, of a function, of all code and of all tests.

They are no part of the suite, since a file of yours may be as long as it likes.
"""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE, FUNCTION = 350, 45  # lines of code; tests may be longer
CODE, TESTS = 12500, 8500  # lines in all


def main() -> int:
    """The exit code: 1 where something is too long."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    too_long, total = [], {"code": 0, "tests": 0}
    for name in listed.split():
        text, is_test = (ROOT / name).read_text(), name.startswith("tests/")
        length = len(text.splitlines())
        total["tests" if is_test else "code"] += length
        if length > FILE and not is_test:
            too_long.append(f"{name}: {length} lines")
        for node in () if is_test else ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= FUNCTION:
                too_long.append(f"{name}: {node.name} has {node.end_lineno - node.lineno + 1} lines")
    too_long += [f"{total[part]} lines of {part}" for part, most in (("code", CODE), ("tests", TESTS))
                 if total[part] > most]
    print(f"{total['code']} lines of code, {total['tests']} of tests", *too_long, sep="\n")
    return 1 if too_long else 0


if __name__ == "__main__":
    sys.exit(main())
