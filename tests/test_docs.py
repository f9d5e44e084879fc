"""README.md, docs/ and the Makefile: every command is run or parsed, the tables say what the code does, examples work.

A line that is not understood here fails its test; nothing is passed over.
"""

import argparse
import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys

import click
import numpy as np
import pytest
from packaging.requirements import InvalidRequirement, Requirement

import make_figures
from studies import tables
from sweep import settings
from sweep.flags import VERSION, UsageError
from sweep.methods import METHODS
from sweep.settings import flag_table, make_parser
from tests.helpers import ROOT as REPOSITORY
from tests.helpers import copy_project, recipe, save_log  # found by that name from the root, too: see write_flag_table

PAGES = {path: path.read_text() for path in (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md",
                                             REPOSITORY / "CHANGELOG.md", *sorted(REPOSITORY.glob("docs/*.md")))}
WITH_TABLES = [page for page, text in PAGES.items() if "<!-- table:" in text]
README, CLI = PAGES[REPOSITORY / "README.md"], PAGES[REPOSITORY / "docs/cli.md"]
MAKEFILE = (REPOSITORY / "Makefile").read_text()
VERBS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()

TEXTS = ("y_hat = sum_j", "12 done, ", "sum_j v_j relu", "@inproceedings{")  # how blocks begin that are no code
OWN_SCRIPTS = {"slurm_cluster.py"}  # that a reader writes from the pages, and which are not run here
QUICKSTARTS = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("examples/*.py")}
SHELL_WORDS = {"for", "do", "done", "."}  # other commands of the pages; one that they do not use fails a test
MAKE_WORDS = {"{", "}", "echo", "exit", "find", "rm", "touch"}  # of the Makefile, likewise
COMMAND = re.compile(r"(\w+=\S*\s+)*(python|make|pip|bash|sh|git|cd|source|export|\.)\d*(\.\d+)?(\s|$)")
CELL = "--task mlp_planted --mlist 1 --slist 5"  # stands for `...` in a command of the runner


# ---- what is in the README ----


def split_blocks(text):
    """Prose, and the code blocks as (language or "", code)."""
    prose, blocks, lines = [], [], iter(text.splitlines())
    for line in lines:
        if line.startswith("```"):
            blocks.append((line[3:].strip(), [*iter(lines.__next__, "```")]))
        elif line.startswith("    "):
            after_code = blocks and blocks[-1][0] == "indented" and not "".join(prose[blocks[-1][2]:]).strip()
            if not after_code:
                blocks.append(("indented", [], len(prose)))
            blocks[-1][1].extend([""] * (len(prose) - blocks[-1][2]) + [line[4:]])
            del prose[blocks[-1][2]:]
        else:
            prose.append(line)
    return "\n".join(prose), [(language.replace("indented", ""), "\n".join(code)) for language, code, *_ in blocks]


def kind(language, code):
    """What a code block is: "python", "shell" or "text"."""
    if language == "python" or not language and code.startswith(("import ", "from ")):
        return "python"
    if language in ("", "text") and code.startswith(TEXTS):
        return "text"
    assert language in ("", "bash", "sh", "console"), f"a block in {language}"
    return "shell"


def inline_code(prose):
    """The `code` of the prose."""
    spans = []
    for paragraph in re.split(r"\n\s*\n", prose):
        assert paragraph.count("`") % 2 == 0, paragraph
        spans += [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", paragraph)]
    return spans


def simple_commands(script):
    """The commands of a shell script, each a list of words, with its variables put in and its assignments left out."""
    variables, commands = {"PWD": "/somewhere"}, []
    for line in script.replace("\\\n", " ").splitlines():
        line = re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda match: variables[match[1]], line)
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = []
        for word in [*lexer, ";"]:
            if word not in ("&&", "||", ";", "&", "|"):
                words.append(word)
                continue
            while words and re.match(r"[A-Za-z_]\w*=", words[0]):
                name, value = words.pop(0).split("=", 1)
                variables[name] = value
            if words[:1] == ["for"]:
                variables[words[1]] = words[3]
            keyword = words[:1] if words[:1] in (["do"], ["{"]) else []
            commands += filter(None, [keyword, words[len(keyword):]])
            words = []
    return commands


PROSE, BLOCKS = "", []
for page in PAGES.values():
    prose, blocks = split_blocks(page)
    PROSE, BLOCKS = f"{PROSE}\n\n{prose}", BLOCKS + blocks
SPANS = inline_code(PROSE)
PYTHON_BLOCKS = [code for language, code in BLOCKS if kind(language, code) == "python"]
SCRIPTS = [code for language, code in BLOCKS if kind(language, code) == "shell"]
COMMANDS = [words for script in [*SCRIPTS, *filter(COMMAND.match, SPANS), *make_figures.EXAMPLES, *settings.EXAMPLES]
            for words in simple_commands(script)]
EXAMPLES = {code.splitlines()[0]: code for code in PYTHON_BLOCKS if code.startswith("#")}  # by their first line
SCRIPT_EXAMPLES = {"# load_a_log.py", "# fit_from_python.py"}  # run as they are; others are added to the code
NEW_NAMES = set(re.findall(r'^(?:TASKS|METHODS)\["(\w+)"\] = ', "\n".join(EXAMPLES.values()), re.MULTILINE))


def test_pages_are_taken_apart_as_they_should():
    prose, blocks = split_blocks("a `b`\n\n    make x\n\n    make y\n\nc\n\n    z\n```python\nd\n\ne\n```\nf")
    assert prose.split() == ["a", "`b`", "c", "f"]
    assert blocks == [("", "make x\n\nmake y"), ("", "z"), ("python", "d\n\ne")]
    script = 'A="-x 1"  # why\nfor g in 0 1; do\n  B=$g python a.py $A \\\n -y "p q" &\ndone\nmake c && make d'
    assert simple_commands(script) == [["for", "g", "in", "0", "1"], ["do"], "python a.py -x 1 -y".split() + ["p q"],
                                       ["done"], ["make", "c"], ["make", "d"]]
    assert len(SCRIPTS) > 2 and len(COMMANDS) > 25 and len(SPANS) > 150
    texts = [code for language, code in BLOCKS if kind(language, code) == "text"]
    assert all(any(code.startswith(text) for code in texts) for text in TEXTS)


# ---- commands ----


class Caught(Exception):
    """Carries the parser of a script."""


def parser_of(script):
    """The module of a script and its parser, caught before the first thing that its main does."""

    def catch(parser, *_):
        raise Caught(parser)

    module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Caught) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", catch)
        module.main([])
    return module, caught.value.args[0]


def check_script(script, flags, folder):
    """Pass flags through the argument parser of a script; `folder` makes the project with the examples of the pages."""
    if script in OWN_SCRIPTS or script in QUICKSTARTS:
        assert not flags
        return
    if script == "runner.py" and "..." in flags:
        place = flags.index("...")
        flags = [*flags[:place], *CELL.split(), *flags[place + 1:]]
    if script == "runner.py" and NEW_NAMES & {*flags}:
        call = "import sys; from sweep.settings import parse_arguments; parse_arguments(sys.argv[1:])"
        subprocess.run([sys.executable, "-c", call, *flags], cwd=folder(*EXAMPLES), check=True)
        return
    module, parser = parser_of(script)
    if hasattr(module, "parse_arguments"):
        module.parse_arguments(flags)
        return
    _, more = parser.parse_known_args(flags)
    assert not more


def check_module(name, words):
    """Check a command line of python -m."""
    if name == "pip":
        check_pip(words)
    elif name == "dask":
        cli = importlib.import_module(f"distributed.cli.dask_{words[0]}").main
        context = cli.make_context(words[0], words[1:])
        assert not context.params["preload_argv"], "an unknown flag"
    elif name == "pytest":
        option = argparse.ArgumentParser(exit_on_error=False)
        option.add_argument("-q", action="store_true")
        option.add_argument("-n", type=int)
        option.add_argument("--dist", choices=["loadfile"])
        option.add_argument("files", nargs="*")
        assert all((REPOSITORY / name).exists() for name in option.parse_args(words).files)
    elif name.startswith(("studies.", "benchmarks.")):
        check_script(f"{name.replace('.', '/')}.py", words, None)
    elif name == "venv":
        assert words == [".venv"]
    else:
        assert [name, *words] == ["ruff", "check", "."]


def check_pip(words):
    """The files of pip install exist, and its other words are requirements."""
    assert words[0] == "install" and len(words) > 1
    rest = iter(words[1:])
    for word in rest:
        if word == "-r":
            assert (REPOSITORY / next(rest)).is_file()
        elif not word.startswith("--"):
            Requirement(word)


def check_make(words):
    """The verbs are those of the Makefile, and so are the variables."""
    for word in words:
        name, is_variable, _ = word.partition("=")
        assert re.search(rf"^{name} \??:?=", MAKEFILE, re.MULTILINE) if is_variable else word in VERBS, word


def check(words, other, folder):
    """Understand a simple command, or fail; `other` are commands that need no check."""
    head = "python" if re.fullmatch(r"(.*/)?python[\d.]*", words[0]) else words[0]
    if head == "python" and words[1] == "-m":
        check_module(words[2], words[3:])
    elif head == "python" and words[1] == "-c":
        compile(words[2], "the command", "exec")
        assert len(words) == 3
    elif head == "python":
        check_script(words[1], words[2:], folder)
    elif head == "pip":
        check_pip(words[1:])
    elif head == "make":
        check_make(words[1:])
    else:
        assert head in other, f"what is {head}?"


@pytest.fixture
def folder(tmp_path):
    """A function that makes a copy of the project in a new folder, with these examples of the README in it."""

    def make(*heads):
        place = tmp_path / "project"
        if place.exists():
            return place
        place.mkdir()
        copy_project(place)
        for head in (head for head in heads if head not in SCRIPT_EXAMPLES):
            append, name = re.fullmatch(r"# (append to )?([\w/]+\.py)", head).groups()
            assert (place / name).exists() == bool(append)
            with open(place / name, "a") as file:
                file.write(f"\n\n{EXAMPLES[head]}\n")
        return place

    return make


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:80])
def test_every_command_of_the_readme_is_legal(folder, words):
    check(words, SHELL_WORDS, folder)


def test_the_other_commands_are_used():
    assert SHELL_WORDS <= {words[0] for words in COMMANDS}
    assert MAKE_WORDS <= {words[0] for verb in VERBS for words in simple_commands(recipe(verb))}
    assert OWN_SCRIPTS <= {word for words in COMMANDS for word in words}


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_of_the_makefile_is_legal(folder, verb):
    commands = simple_commands(recipe(verb))
    assert len(commands) > 1
    for words in commands:
        check(words, MAKE_WORDS, folder)


def test_the_python_blocks_are_examples_or_scripts():
    for code in PYTHON_BLOCKS:
        ast.parse(code)
    assert len(PYTHON_BLOCKS) == len(EXAMPLES) + len(OWN_SCRIPTS)


REFUSALS = (AssertionError, SystemExit, InvalidRequirement, ModuleNotFoundError, click.UsageError, UsageError)


@pytest.mark.parametrize("line", ["python runner.py --task nonsense", "python runner.py --no_such_flag ...",
                                  "python make_figures.py --task", "python -m studies.pictures --seed x",
                                  "python -m studies.conditions --seedlst 0", "python -m benchmarks.speed --repeats x",
                                  "python -m studies.inputs", "python benchmarks/no_such_file.py",
                                  "python -m dask worker --nthreds 1", "pip install -r no_such_file.txt", "make tests",
                                  "make PYTHOM=python3", "pip install cupy[", "curl x"])
def test_a_wrong_command_is_noticed(folder, line):
    [words] = simple_commands(line)
    with pytest.raises(REFUSALS):
        check(words, SHELL_WORDS, folder)


# ---- tables, names and pictures ----


def test_the_table_of_flags_is_that_of_the_settings():
    """To write it anew: python -c "import tests.test_docs as t; t.write_flag_table()"."""
    assert FLAGS.search(CLI)[1].strip().splitlines() == flag_table()
    assert {action.dest for action in make_parser()._actions} - {"help", "version"} == {
        flag for line in flag_table() for flag in re.findall(r"^\| `--(\w+)`", line)}


FLAGS = re.compile(r"<!-- flags: .*? -->\n(.*?)<!-- end -->", re.DOTALL)


def write_flag_table():
    start, end = FLAGS.search(CLI).span(1)
    path = REPOSITORY / "docs/cli.md"
    path.write_text(CLI[:start] + "\n".join(flag_table()) + "\n" + CLI[end:])


def test_the_map_of_the_code_is_complete():
    section = README[README.index("## The code"):]
    rows = re.search(r"^\| \| \|\n\|---\|---\|\n((?:\|.*\n)+)", section, re.MULTILINE)[1]
    named = [name for row in rows.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
    packages = {f"{path.parent.name}/" for path in REPOSITORY.glob("*/__init__.py")}
    assert {path.name for path in REPOSITORY.glob("*.py")} | packages <= {*named}


def test_pages_are_short():
    assert README.count("\n") <= 150
    assert {path.name: text.count("\n") for path, text in PAGES.items() if text.count("\n") > 200} == {}


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.name)
def test_tables_are_those_of_the_logs(page):
    """To write them anew: make tables."""
    assert tables.filled(PAGES[page]) == PAGES[page]


@pytest.fixture
def few_logs(tmp_path, monkeypatch):
    """The tables are those of AIHT and IMP on a corner of Figure 1, m 1 2, s 1 2, seeds 0 1."""
    save_log("a", [[[150, 150], [150, 90]], [[20, np.nan], [30, 40]]], folder=tmp_path, num_epochs=15)
    save_log("b", [[[50, 50], [40, 40]], [[np.nan] * 2, [35, 35]]], method="pruning", folder=tmp_path,
             num_epochs=15)
    monkeypatch.setattr(tables, "LOGS", tmp_path)
    tables.shipped.cache_clear()
    yield
    tables.shipped.cache_clear()


def test_a_table_counts_what_the_logs_hold(few_logs):
    [row] = [row for row in tables.figures() if row.startswith("| 1: mlp_planted, 1 hidden")]
    assert row.endswith("| +60.0 dB | +80.0 dB | 2 of 3 | 3 of 7 | 0 of 6 |")


def test_verdicts_and_parts_count_the_cells_in_which_aiht_is_ahead(few_logs, monkeypatch):
    monkeypatch.setattr(tables, "WORDS", {("1", "mlp_planted"): "planted"})
    assert tables.verdicts()[2:] == ["| 1, planted | 0 to 2 | 0 to 2 | 2 of 3 cells | in part |"]
    monkeypatch.setattr(tables, "PARTS", (("1", 0, "m = 1", lambda m, s: m == 1), ("1", 0, "m = 2", lambda m, s: m > 1),
                                          ("1", 1, "all", lambda m, s: True)))
    assert tables.parts()[2:] == [
        "| 1: mlp_planted, 1 hidden layer | m = 1 | 2 of 2 | +80.0 dB | +90.0 dB | +100.0 dB |",
        "| 1: mlp_planted, 1 hidden layer | m = 2 | 0 of 1 | +0.0 dB | +0.0 dB | +0.0 dB |",
        "| 1: mlp_planted, 2 hidden layers | all | 0 of 0 |  |  |  |"]


def test_tables_of_fits_count_exact_ones_and_add_up_seconds(tmp_path, monkeypatch):
    """Of all logs that fit; a cell without an instance is told."""
    seconds = {(0, 0, 0): {"seconds": 2.0}, (0, 0, 1): {"seconds": 3.4}}
    for name, seed in (("a", 0), ("b", 2)):
        save_log(name, [[[160, 90]]], method="creases", folder=tmp_path, axes=[[5], [20], [seed, seed + 1]],
                 num_epochs=60, cells=seconds)
    monkeypatch.setattr(tables, "LOGS", tmp_path)
    monkeypatch.setattr(tables, "FITS", {"creases": [("some", {}, [((5,), (20,))], (0, 1, 2, 3)),
                                                     ("one", {}, [((5,), (20,))], (2,))]})
    tables.shipped.cache_clear()
    rows = tables.fits("creases")[2:]
    tables.shipped.cache_clear()
    assert rows == ["| some | 50000 | 2 of 4 | 90.0 dB | 11 |", "| one | 50000 | 1 of 1 | 160.0 dB | 2 |"]


def test_one_version_is_named_everywhere():
    assert f"\nversion: {VERSION}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"## {VERSION}\n" == next(line for line in open(REPOSITORY / "CHANGELOG.md") if line.startswith("## "))


def test_what_the_pages_link_to_exists():
    pictures = 0
    for page, text in PAGES.items():
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", split_blocks(text)[0])]
        files = [link for link in links if link and not link.startswith("https://")]
        assert [file for file in files if not (page.parent / file).is_file()] == [], page
        pictures += sum(file.endswith(".png") for file in files)
    assert pictures > 5


def test_every_flag_in_the_text_is_one_of_a_script():
    scripts = [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("benchmarks/*.py"), *REPOSITORY.glob("studies/*.py")]
    names = [str(path.relative_to(REPOSITORY)) for path in scripts if "def main(" in path.read_text()]
    known = {flag for name in names for flag in parser_of(name)[1]._option_string_actions}
    known |= {f"--{action.dest}" for action in make_parser()._actions}
    for cli in ("scheduler", "worker"):
        command = importlib.import_module(f"distributed.cli.dask_{cli}").main
        known |= {flag for parameter in command.params for flag in parameter.opts}
    used = {flag for span in SPANS for flag in re.findall(r"(?:^|\s)(--[a-z][\w-]*)", span)}
    assert len(names) > 6 and len(used) > 20 and used - known == set()


def test_every_script_in_the_text_exists():
    own = OWN_SCRIPTS | {head.split()[-1] for head in EXAMPLES}
    named = {name for span in SPANS for name in re.findall(r"[\w/]+\.py\b", span)}
    assert {name for name in named - own if not (REPOSITORY / name).is_file()} == set()


# ---- the examples ----


def run(folder, *lines):
    """Run command lines of runner.py, and then make_figures.py, in a folder; returns (exit codes, stderr)."""
    code = ("import json, sys, runner, make_figures; "
            "print(json.dumps([runner.main(line.split()) for line in sys.argv[1:]] + [make_figures.main([])]))")
    threads = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code, *lines], cwd=folder, env=os.environ | threads, text=True,
                          capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def logs_of(folder):
    """{task/method: (table, sidecar)}, each with a picture."""
    logs = {}
    for path in folder.glob("logs/*/*/*.npy"):
        sidecar = json.loads(path.with_suffix(".json").read_text())
        assert {cell["status"] for cell in sidecar["cells"]} == {"done"}
        assert (folder / "figures" / f"{path.stem}.png").read_bytes().startswith(b"\x89PNG")
        logs["/".join(path.parts[-3:-1])] = np.load(path), sidecar
    return logs


TINY = "--nmeasurements 300 --num_epochs 2 --threads 1 --device cpu --save_results"


def test_the_example_of_a_task_runs_with_every_method(folder):
    head = "# append to tasks.py"
    [task] = re.findall(r'TASKS\["(\w+)"\]', EXAMPLES[head])
    place = folder(head)
    codes, err = run(place, *(f"--task {task} --method {method} --mlist 5 --slist 20 {TINY}"
                              for method in METHODS))
    assert codes == [0] * (len(METHODS) + 1), err
    logs = logs_of(place)
    assert set(logs) == {f"{task}/{method}" for method in METHODS}
    for scores, _ in logs.values():
        assert scores.shape == (1, 1, 1) and np.isfinite(scores).all()
    assert logs[f"{task}/gnhtp"][0].item() > 100  # the class of its networks holds the target


def test_the_example_of_a_solver_runs(folder):
    heads = [head for head in EXAMPLES if head not in ("# append to tasks.py", *SCRIPT_EXAMPLES)]
    [method] = re.findall(r'METHODS\["(\w+)"\]', "\n".join(EXAMPLES[head] for head in heads))
    place = folder(*heads)
    line = f"--task mlp_planted --method {method} --mlist 1 --slist 5 --nmeasurements 1000 --threads 1 --device cpu"
    codes, err = run(place, f"{line} --save_results", f"{line} --num_layers 2 --slist 8",
                     f"{line} --output_dim 3", f"{line} --batch_size 5")
    assert codes == [0, 0, 2, 2, 0], err
    assert f"{method} fits a scalar output" in err and f"5 has no effect with --method {method}" in err
    [(scores, sidecar)] = logs_of(place).values()
    assert scores.item() > 100  # exact recovery
    assert sidecar["cells"][0]["num_nonzero"] == 5


@pytest.mark.parametrize("head", sorted(SCRIPT_EXAMPLES))
def test_an_example_script_runs(head):
    done = subprocess.run([sys.executable, "-c", EXAMPLES[head]], cwd=REPOSITORY, text=True, capture_output=True)
    assert done.returncode == 0 and done.stdout, done.stderr
