"""The rooms of the project: which may import which, that there are no circles, and that an import does no work."""

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAPER = {"aiht", "aiht_vector", "pruning", "instances", "tasks"}
# Each imports those before it, and itself.
ARROWS = [{"options"}, {"shell", "numerics"}, {"sensing"}, {"models"}, {"units"}, {"fits"}, PAPER, {"beyond"},
          {"sweep"}, {"runner", "plotting"}, {"make_figures"}, {"studies", "benchmarks"}]
RANK = {room: rank for rank, rooms in enumerate(ARROWS) for room in rooms}
FOLDERS = {room for room in RANK if (ROOT / room).is_dir()}
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
         for pattern in ("*.py", *(f"{room}/**/*.py" for room in FOLDERS)) for path in ROOT.glob(pattern)}
FILES = dict(sorted(FILES.items()))  # the same order in every process
TREES = {name: ast.parse(path.read_text()) for name, path in FILES.items()}
WITH_SKLEARN = {"beyond.estimators.classifier", "beyond.estimators.regressor"}  # an extra, loaded when it is asked for
OWN = RANK["beyond"]  # of files that somebody has added beside these: a method of one's own


def imports(name):
    """The project's modules that a module imports, also within functions and for type hints alone."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & FILES.keys()
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import, which this test does not follow"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & FILES.keys()
            yield from submodules or {node.module} & FILES.keys()


def functions(body, inside=""):
    """(name, node) of functions and methods; those within functions count as part of them."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body, f"{inside}{node.name}.")
        elif isinstance(node, ast.FunctionDef):
            yield inside + node.name, node


@pytest.mark.parametrize("name", FILES)
def test_imports_point_one_way(name):
    room, others = name.partition(".")[0], {other.partition(".")[0] for other in imports(name)}
    rank = RANK.get(room, OWN)
    later = {other for other in others - {room} if RANK.get(other, rank) > rank or other in RANK and room in RANK
             and RANK[other] == rank and not {other, room} <= PAPER}
    assert not later


def test_imports_have_no_cycle_type_hints_included():
    TopologicalSorter({name: {*imports(name)} for name in FILES}).prepare()  # raises CycleError, which names it


@pytest.mark.parametrize("name", FILES)
def test_public_functions_have_type_hints(name):
    for function, node in functions(TREES[name].body):
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        bare = [arg.arg for arg in arguments if arg and not arg.annotation and arg.arg not in ("self", "cls")]
        if not any(part.startswith("_") for part in function.split(".")):
            assert node.returns and not bare, f"{function} lacks hints: {bare or 'what it returns'}"


IMPORT = """
import contextlib, importlib, json, os, random, sys
import numpy as np

def watch(event, args):
    writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event.startswith(("socket.", "subprocess.", "os.mkdir", "os.remove", "os.rename", "os.system")):
        acts.append(f"{event} {args}")

sys.dont_write_bytecode, acts = True, []
states = repr(np.random.get_state(legacy=False)), random.getstate()
sys.addaudithook(watch)
sys.path.insert(0, sys.argv[1])
for module in sys.argv[2:]:
    importlib.import_module(module)
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(sys.stderr):
    sys.modules["runner"].main(["--help"])
print(json.dumps([acts, states == (repr(np.random.get_state(legacy=False)), random.getstate()),
                  sorted({"torch", "scipy", "sklearn", "matplotlib", "cupy", "distributed"} & {*sys.modules})]))
"""


def test_importing_the_modules_and_asking_for_help_do_no_work():
    names = sorted(FILES.keys() - WITH_SKLEARN)
    run = subprocess.run([sys.executable, "-c", IMPORT, ROOT, *names], capture_output=True, text=True)
    assert "--mlist" in run.stderr and json.loads(run.stdout) == [[], True, []]
