"""README.md, docs/ and the Makefile: every command is run or parsed, the tables say what the code does, examples work.

A line that is not understood here fails its test; nothing is passed over.
"""

import ast
import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import make_figures
from instances.planted import ALL_ZERO
from options import OptionError
from shell import VERSION
from shell.files import fill_blocks
from shell.program import UsageError
from studies import tables
from studies.standing import standing
from sweep import flags
from sweep.cells import skips
from sweep.flags import flag_table, parse_arguments
from sweep.methods import METHODS
from tasks import TASKS
from tests.extend import Edit
from tests.helpers import ROOT as REPOSITORY
from tests.helpers import copy_project, recipe, save_log

PAGES = {path: path.read_text() for path in (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md",
                                             REPOSITORY / "CHANGELOG.md", *sorted(REPOSITORY.glob("docs/*.md")))}
WITH_TABLES = [page for page, text in PAGES.items() if "<!-- table:" in text]
README, CLI, FAQ = (PAGES[REPOSITORY / name] for name in ("README.md", "docs/cli.md", "docs/faq.md"))
MAKEFILE = (REPOSITORY / "Makefile").read_text()
VERBS = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split()
PATTERNS = {f"{verb}-{name}" for verb in ("figure", "draw")
            for name in re.search(r"^FIGURES := (.*)$", MAKEFILE, re.MULTILINE)[1].split()}

TEXTS = ("y_hat = sum_j", "num_epochs: 0 is", "runner.py: error: ", "12 done, ", "sum_j v_j relu",
         "@inproceedings{", "@software{")  # how blocks begin that are no code
OWN_SCRIPTS = {"slurm_cluster.py"}  # that a reader writes from the pages, and which are not run here
QUICKSTARTS = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("examples/*.py")}
SHELL_WORDS = {"for", "do", "done", "."}  # other commands of the pages; one that they do not use fails a test
MAKE_WORDS = {"{", "}", "echo", "exit", "find", "rm", "sed", "sh", "touch"}  # of the Makefile, likewise
COMMAND = re.compile(r"(\w+=\S*\s+)*(python|make|pip|bash|sh|git|cd|source|export|\.)\d*(\.\d+)?(\s|$)")
BLOCK = re.compile(r"^```(\w*)\n((?:.*\n)*?)```$|^((?:    .*\n|\n)*    .*\n)", re.MULTILINE)  # fenced or indented
CELL = "--task mlp_planted --mlist 1 --slist 5"  # stands for `...` in a command of the runner


# ---- what is in the README ----


def split_blocks(text):
    """Prose, and the code blocks as (language or "", code)."""
    blocks = [(match[1] or "", match[2] or textwrap.dedent(match[3]).strip("\n")) for match in BLOCK.finditer(text)]
    return BLOCK.sub("", text), [(language, code.rstrip("\n")) for language, code in blocks]


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
COMMANDS = [words for script in [*SCRIPTS, *filter(COMMAND.match, SPANS), *make_figures.EXAMPLES, *flags.EXAMPLES]
            for words in simple_commands(script)]
EXAMPLES = {code.splitlines()[0]: code for code in PYTHON_BLOCKS if code.startswith("#")}  # by their first line
# Run as they are; others are added to the code.
SCRIPT_EXAMPLES = {"# load_a_log.py", "# fit_from_python.py", "# scores_in_pandas.py", "# own_data.py"}
NEW_NAMES = set(re.findall(r'^(?:TASKS|METHODS|FIGURES)\["(\w+)"\] = ', "\n".join(EXAMPLES.values()), re.MULTILINE))
NEW_NAMES |= {f"--{name}" for name in re.findall(r"^(\w+): .* = option", "\n".join(EXAMPLES.values()), re.MULTILINE)}


# ---- commands ----


def module_of(script):
    """The module of a script."""
    return importlib.import_module(script.removesuffix(".py").replace("/", "."))


def check_script(script, flags):
    """Pass flags to a script, up to what it does with them; those of new names are run below."""
    if script in OWN_SCRIPTS or script in QUICKSTARTS:
        assert not flags
    elif not NEW_NAMES & {*flags}:
        module = module_of(script)
        if hasattr(module, "parse_arguments"):
            place = flags.index("...") if "..." in flags else len(flags)
            module.parse_arguments([*flags[:place], *CELL.split() * ("..." in flags), *flags[place + 1:]])
        else:
            module.main.parse(flags)


def check_module(name, words):
    """Check a command line of python -m."""
    if name.startswith(("studies.", "benchmarks.")):
        check_script(f"{name.replace('.', '/')}.py", words)
    elif name == "pip":
        assert words[0] == "install" and all((REPOSITORY / word).exists() for word in words if word.endswith(".txt"))
    elif name == "dask":
        assert {word for word in words if word.startswith("--")} <= dask_flags(words[0])
    elif name == "pytest":
        assert {word for word in words if word.startswith("-")} <= {"-q", "-n", "--dist"}
        assert all((REPOSITORY / word).exists() for word in words if word.endswith(".py"))
    else:
        assert [name, *words] in (["venv", ".venv"], ["ruff", "check", "."], ["mypy"], ["tests.extend"],
                                   *(["tests.stress", what] for what in ("lines", "inputs", "kills")))


def dask_flags(program):
    """The flags of a program of Dask's."""
    command = importlib.import_module(f"distributed.cli.dask_{program}").main
    return {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}


def check_make(words):
    """The verbs are those of the Makefile, and so are the variables."""
    for word in words:
        name, is_variable, _ = word.partition("=")
        known = re.search(rf"^{name} \??:?=", MAKEFILE, re.MULTILINE) if is_variable else word in {*VERBS, *PATTERNS}
        assert known, word


def check(words, other):
    """Understand a simple command, or fail; `other` are commands that need no check."""
    head = "python" if re.fullmatch(r"(.*/)?python[\d.]*", words[0]) else words[0]
    if head == "python" and words[1] == "-m":
        check_module(words[2], words[3:])
    elif head == "python" and words[1] == "-c":
        compile(words[2], "the command", "exec")
        assert len(words) == 3
    elif head == "python":
        check_script(words[1], words[2:])
    elif head == "pip":
        check_module("pip", words[1:])
    elif head == "make":
        check_make(words[1:])
    else:
        assert head in other, f"what is {head}?"


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words)[:80])
def test_every_command_of_the_readme_is_legal(words):
    check(words, SHELL_WORDS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_of_the_makefile_is_legal(verb):
    commands = simple_commands(recipe(verb))
    assert len(commands) > 1
    for words in commands:
        check(words, MAKE_WORDS)


def test_the_python_blocks_are_examples_or_scripts():
    for code in PYTHON_BLOCKS:
        ast.parse(code)
    assert len(PYTHON_BLOCKS) == len(EXAMPLES) + len(OWN_SCRIPTS)


@pytest.mark.parametrize("line", ["python runner.py --task nonsense", "python runner.py --no_such_flag ...",
                                  "python make_figures.py --task", "python -m studies.pictures --seed x",
                                  "python -m studies.conditions --seedlst 0", "python -m benchmarks.speed --repeats x",
                                  "python -m studies.inputs", "python benchmarks/no_such_file.py",
                                  "python -m dask worker --nthread 1", "pip install -r no_such_file.txt", "make tests",
                                  "make PYTHOM=python3", "curl x"])
def test_a_wrong_command_is_noticed(line):
    [words] = simple_commands(line)
    with pytest.raises((AssertionError, ModuleNotFoundError, OptionError, UsageError)):
        check(words, SHELL_WORDS)


# ---- tables, names and pictures ----


def test_the_table_of_flags_is_that_of_the_declarations():
    """Of those that it has: what was added since may be lacking. To write it anew: make tables."""
    added = [name for name in (*TASKS, *METHODS) if f"{name}: " not in CLI]
    now = {row.split("|")[1]: row for row in flag_table()}
    shown = [row for row in CLI.splitlines() if row.startswith("| `--")]
    assert len(shown) > 30 and fill_blocks(CLI, "flags", lambda _: [CLI]) != CLI
    for row in shown:
        assert row == now[row.split("|")[1]] or any(name in now[row.split("|")[1]] for name in added)


def test_the_map_of_the_code_is_that_of_the_folders():
    section = README[README.index("## The code"):]
    rows = re.search(r"^\| \| \|\n\|---\|---\|\n((?:\|.*\n)+)", section, re.MULTILINE)[1]
    named = [name for row in rows.splitlines() for name in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
    assert {f"{path.parent.name}/" for path in REPOSITORY.glob("*/__init__.py")} <= {*named}


@pytest.mark.parametrize("page", WITH_TABLES, ids=lambda page: page.name)
def test_tables_are_those_of_the_logs(page):
    """To write them anew: make tables."""
    assert tables.filled(PAGES[page]) == PAGES[page]


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """An empty folder, which the tables take for that of the shipped logs."""
    monkeypatch.setattr(tables, "LOGS", tmp_path)
    tables.shipped.cache_clear()
    yield tmp_path
    tables.shipped.cache_clear()


@pytest.fixture
def few_logs(logs):
    """AIHT and IMP on a corner of Figure 1, m 1 2, s 1 2, seeds 0 1."""
    save_log("a", [[[150, 150], [150, 90]], [[20, np.nan], [30, 40]]], folder=logs, num_epochs=15)
    save_log("b", [[[50, 50], [40, 40]], [[np.nan] * 2, [35, 35]]], method="pruning", folder=logs, num_epochs=15)


def test_a_table_counts_what_the_logs_hold(few_logs):
    [row] = [row for row in tables.table("figures") if row.startswith("| 1: mlp_planted, 1 hidden")]
    assert row.endswith("| +60.0 dB | +80.0 dB | 2 of 3 | 3 of 7 | 0 of 6 |")


def test_verdicts_and_parts_count_the_cells_in_which_aiht_is_ahead(few_logs, monkeypatch):
    monkeypatch.setattr(tables, "WORDS", {("1", "mlp_planted"): "planted"})
    assert tables.table("verdicts")[2:] == ["| 1, planted | 0 to 2 | 0 to 2 | 2 of 3 cells | in part |"]
    monkeypatch.setattr(tables, "PARTS", (("1", 0, "m = 1", lambda m, s: m == 1), ("1", 0, "m = 2", lambda m, s: m > 1),
                                          ("1", 1, "all", lambda m, s: True)))
    assert tables.table("parts")[2:] == [
        "| 1: mlp_planted, 1 hidden layer | m = 1 | 2 of 2 | +80.0 dB | +90.0 dB | +100.0 dB |",
        "| 1: mlp_planted, 1 hidden layer | m = 2 | 0 of 1 | +0.0 dB | +0.0 dB | +0.0 dB |",
        "| 1: mlp_planted, 2 hidden layers | all | 0 of 0 |  |  |  |"]


def test_tables_of_fits_count_exact_ones_and_add_up_seconds(logs, monkeypatch):
    """Of all logs that fit. Where lower is better an exact fit scores less, and on the threshold none is."""
    save_log("a", [[[1e-5, 1e-4, 0.5]]], task="gaussian_sparse", axes=[[5], [2], [0, 1, 2]], folder=logs)
    seconds = {(0, 0, 0): {"seconds": 2.0}, (0, 0, 1): {"seconds": 3.4}}
    for name, seed in (("a", 0), ("b", 2)):
        save_log(name, [[[160, 90]]], method="creases", folder=logs, axes=[[5], [20], [seed, seed + 1]],
                 num_epochs=60, cells=seconds)
    monkeypatch.setattr(tables, "FITS", {"creases": [("some", {}, [((5,), (20,))], (0, 1, 2, 3)),
                                                     ("one", {}, [((5,), (20,))], (2,))]})
    assert tables.table("creases")[2:] == ["| some | 50000 | 2 of 4 | 90.0 dB | 11 |",
                                           "| one | 50000 | 1 of 1 | 160.0 dB | 2 |"]
    grid = tables.cells({"task": "gaussian_sparse", "method": "aiht"}, ((5,), (2,)))
    assert tables.exact(grid, "gaussian_sparse") == "1 of 3"


def test_standing_counts_where_one_of_ours_leads(few_logs, logs):
    """Beside the corner of Figure 1: gnhtp exact where AIHT is (level), behind it, ahead of it, and not run."""
    save_log("c", [[[145, 145], [80, 90]], [[50, 50], [np.nan] * 2]], method="gnhtp", folder=logs)
    save_log("d", [[[0.9]], [[0.8]]], task="mnist", method="obs", axes=[[10, 20], [100], [0]], folder=logs)
    save_log("e", [[[0.9]], [[0.85]]], task="mnist", method="rigl", axes=[[10, 20], [100], [0]], folder=logs)
    rows = tables.table("standing")[2:]
    assert rows[0] == "| 1: mlp_planted, 1 hidden layer | 100 | 3 | 2 |"
    assert next(row for row in rows if "mnist, 1" in row and row.startswith("| 3: mnist")).endswith("| 35 | 2 | 1 |")
    assert rows[-1].endswith("| 5 | 3 |")


def test_the_readme_says_how_often_one_of_ours_leads():
    *_, (_, pairs, run, leads) = standing(tables.shipped())
    said = f"one of our methods was run on {run} of them, and is the best of all methods in {leads}"
    assert f"{pairs} pairs (m, s); {said}" in " ".join(README.split())


def test_one_version_is_named_everywhere():
    assert f"version = {{{VERSION}}}," in FAQ
    assert f"\nversion: {VERSION}\n" in (REPOSITORY / "CITATION.cff").read_text()
    headings = re.findall("^## .*$", PAGES[REPOSITORY / "CHANGELOG.md"], re.MULTILINE)
    assert f"## {VERSION}" == next(heading for heading in headings if heading != f"## Since {VERSION}")


def test_the_reasons_of_skipped_cells_are_those_of_the_code():
    starved = parse_arguments("--task mlp_planted --mlist 5 --slist 1 --num_layers 2".split())
    for reason in (ALL_ZERO, skips((5, 1, 0), starved), TASKS["mlp_planted"]().skips(5, 100, 0, num_layers=2)):
        assert f"| `{reason}` |" in FAQ


def test_what_the_pages_link_to_exists():
    pictures = 0
    for page, text in PAGES.items():
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", split_blocks(text)[0])]
        files = [link for link in links if link and not link.startswith("https://")]
        assert [file for file in files if not (page.parent / file).is_file()] == [], page
        pictures += sum(file.endswith(".png") for file in files)
    assert pictures > 5


def test_every_flag_in_the_text_is_one_of_a_script(capsys):
    scripts = [*REPOSITORY.glob("*.py"), *REPOSITORY.glob("benchmarks/*.py"), *REPOSITORY.glob("studies/*.py")]
    names = [str(path.relative_to(REPOSITORY)) for path in scripts if "exit(main())" in path.read_text()]
    for name in names:
        with pytest.raises(SystemExit):
            module_of(name).main(["--help"])
    known = {*re.findall(r"--[a-z]\w*", capsys.readouterr().out)} | dask_flags("scheduler") | dask_flags("worker")
    used = {flag for span in SPANS for flag in re.findall(r"(?:^|\s)(--[a-z][\w-]*)", span)}
    assert len(names) > 6 and len(used) > 20 and used - known == set()


def test_every_script_in_the_text_exists():
    own = OWN_SCRIPTS | {head.split()[-1] for head in EXAMPLES}
    named = {name for span in SPANS for name in re.findall(r"[\w/]+\.py\b", span)}
    assert {name for name in named - own if not (REPOSITORY / name).is_file()} == set()


# ---- the examples ----


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the project with all examples of the pages in it."""
    place = tmp_path_factory.mktemp("project")
    copy_project(place)
    for head in (head for head in EXAMPLES if head not in SCRIPT_EXAMPLES):
        Edit.read(f"{EXAMPLES[head]}\n").apply(place)
    X = np.random.default_rng(0).standard_normal((500, 10))
    np.savez(place / "mydata.npz", X=X, y=np.abs(X[:, 0] - 2 * X[:, 3]))
    return place


def test_the_commands_of_new_tasks_and_methods_run(extended):
    """As the page has them, and with other methods, depths and outputs; in one process."""
    task, method, own, option = (next(shlex.join(words[2:]) for words in COMMANDS if name in words)
                                 for name in ("absolute", "mine", "mydata", "--shuffled"))
    method += " --nmeasurements 1000 --mlist 1 --save_results"
    lines = [f"{line} --device cpu --threads 1" for line in (
        task, re.sub(r"--method \w+", "--method aiht", task), re.sub(r"--method \w+", "--method gnhtp", task),
        f"{method} --slist 5", f"{method} --num_layers 2 --slist 8", f"{method} --output_dim 3",
        own, f"{option} --nmeasurements 1000", f"{method} --batch_size 5")]
    code = ("import json, sys, runner, make_figures; "
            "print(json.dumps([runner.main(line.split()) for line in sys.argv[1:]] + [make_figures.main([]), "
            "make_figures.main(['--figure', 'depths', '--commands'])]))")
    threads = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code, *lines], cwd=extended, env=os.environ | threads, text=True,
                          capture_output=True)
    codes = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and codes == [0] * 5 + [2, 0, 0, 2, 0, 0], done.stderr
    scores = {path.stem: np.load(path).item() for path in extended.glob("logs/*/*/*.npy")}
    exact = [name for name, score in scores.items() if score > 100]
    assert len(scores) == 6 and len(exact) == 4 and not [name for name in exact if "aiht" in name or "hidden2" in name]
    assert {path.stem for path in extended.glob("figures/*.png")} == {*scores}


@pytest.mark.parametrize("head", sorted(SCRIPT_EXAMPLES))
def test_an_example_script_runs(head, monkeypatch, capsys, tmp_path):
    if "pandas" in EXAMPLES[head]:
        pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path if "savefig" in EXAMPLES[head] else REPOSITORY)
    exec(compile(EXAMPLES[head], head, "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out
