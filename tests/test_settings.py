"""Flags: read from the declarations of tasks, methods and the sweep, and refused where they have no effect."""

import dataclasses
import itertools
import json
import pickle
import shlex
import subprocess
import sys

import pytest
from helpers import ROOT

from options import OptionError, flags
from sweep.flags import flag_table, make_parser, parse_arguments
from sweep.methods import METHODS
from sweep.names import log_name
from sweep.settings import Grid, Run, all_flags, completed, flags_of, logged_flags, make_settings, setting_words
from tasks import TASKS

CELL = {"task": "mlp_planted", "mlist": [2], "slist": [5], "save_results": True}
OTHER = {"mlist": [3], "slist": [6], "seedlist": [1], "expname": "x", "num_layers": 2, "gpu": 1, "threads": 2,
         "device": "cpu", "workers": 1, "scheduler": "tcp://x", "data_dir": "x", "logs_dir": "x",
         "input_dist": "uniform", "snr": 20.0, "memory_budget": 64, "least_squares": "cg", "prune_iters": 0.5,
         "prune_score": "lamp", "mask_init": "uniform", "drop_fraction": 0.5}  # values that are not the default


def other(name, declaration):
    """A value that is not the default."""
    default = declaration.default
    return OTHER.get(name, True if isinstance(default, bool) else default + 1 if isinstance(default, int) else None)


def refusal(**given):
    try:
        make_settings(**CELL | given)
    except OptionError as error:
        return str(error)
    return ""


def declaring(name):
    """The classes of options that have a flag."""
    owners = [Grid, Run, *TASKS.values(), *(method.solve.Options for method in METHODS.values())]
    return [owner for owner in owners if name in flags(owner)]


FLAGS = [name for names in all_flags().values() for name in names if name not in ("task", "method", "extend")]


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_is_refused_exactly_where_it_has_no_effect(flag):
    value = other(flag, flags(declaring(flag)[0])[flag])
    if value is None:
        pytest.skip("an added flag of a kind that this test has no value for")
    for method, task in itertools.product(METHODS, TASKS):
        if refusal(method=method, task=task):  # it does not solve the task
            continue
        message = refusal(method=method, task=task, **{flag: value})
        if flag in flags_of(task, method):
            assert "leave it out" not in message or "where each worker" in message
        else:
            assert message.startswith(f"{flag}: {value} has no effect ") and "leave it out" in message


@pytest.mark.parametrize("name", FLAGS)
def test_every_flag_reaches_the_parser_the_table_and_where_it_is_logged_name_and_titles(name):
    assert f"--{name}" in make_parser().format_help()
    assert sum(row.startswith(f"| `--{name}` |") for row in flag_table()) == 1
    for task, method in itertools.product(TASKS, METHODS):
        own = logged_flags(task, method) if TASKS[task].is_network else {}
        declaration = own.get(name)
        value = declaration and other(name, declaration)
        usual, axes = completed({"task": task, "method": method}), {"m": [2], "s": [5], "seed": [0]}
        if value in (None, usual.get(name)):
            continue
        changed = usual | {name: value}
        assert log_name(changed, axes) != log_name(usual, axes)
        assert (setting_words(changed, own) != setting_words(usual, own)) == bool(declaration.words)


def test_settings_made_in_python_are_those_of_the_command_line():
    settings = make_settings(**CELL, method="pruning", seedlist=[0, 1], prune_iters=0.5)
    line = "--task mlp_planted --mlist 2 --slist 5 --save_results --method pruning --seedlist 0 1 --prune_iters 0.5"
    assert settings == parse_arguments(line.split()) == pickle.loads(pickle.dumps(settings))
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.grid = None


def test_the_help_says_what_each_method_and_task_is():
    shown = " ".join(make_parser().format_help().split())
    assert all(f"{name}: {entry.summary}" in shown for name, entry in [*METHODS.items(), *TASKS.items()])


def test_mistakes_made_in_python_are_refused_and_methods_have_their_own_defaults():
    assert refusal(mlist=None) == "mlist: it is required"
    assert refusal(method="imp").startswith("method: 'imp' is not one of aiht, pruning, gnhtp")
    with pytest.raises(TypeError, match="colour: there is no such flag"):
        make_settings(**CELL, colour="blue")
    given = [{}, {"method": "pruning"}, {"method": "gnhtp"}, {"method": "gnhtp", "num_epochs": 15}]
    assert [make_settings(**CELL, **more).values()["num_epochs"] for more in given] == [15, 15, 108, 15]
    assert make_settings(**CELL, method="deep").grid.num_layers == 2


def test_no_two_flags_lead_to_a_traceback():
    """They are taken, or refused in one line."""
    values = {name: other(name, flags(declaring(name)[0])[name]) for name in FLAGS}
    for pair in itertools.combinations([name for name, value in values.items() if value is not None], 2):
        for method, task in (("aiht", "mlp_planted"), ("rigl", "mnist"), ("deep", "mlp_planted")):
            assert "\n" not in refusal(**{"task": task, "method": method} | {name: values[name] for name in pair})


COMBINATIONS = [
    ({"convex": True, "update_every": 2}, "update_every: 2 has no effect with convex; leave one out"),
    ({"output_dim": 2, "planted_signs": True}, "planted_signs: True has no effect with output_dim 2; leave one out"),
    ({"input_dist": "mnist", "input_dim": 717}, "input_dim: 717 is over the 716 of input_dist mnist; use fewer"),
    ({"input_dist": "mnist", "nmeasurements": 50001}, "nmeasurements: 50001 is over the 50000 of input_dist mnist"),
    ({"workers": 2, "scheduler": "tcp://x"}, "workers: 2 has no effect with scheduler; leave one out"),
    ({"workers": 2, "gpu": 1}, "gpu: 1 has no effect with workers or scheduler; leave it out"),
    ({"device": "cpu", "gpu": 1}, "gpu: 1 has no effect with device cpu; leave it out"),
    ({"save_results": False, "save_models": True}, "save_models: it has no effect without save_results; add that"),
    ({"batch_size": 61, "nmeasurements": 60}, "batch_size: 61 is over the 60 samples; use 0 for full batch"),
    ({"method": "creases", "num_layers": 2}, "num_layers: creases fits 1 hidden layer, not 2; use method aiht"),
    ({"method": "creases", "nmeasurements": 100}, "nmeasurements: creases needs more samples than inputs, not 100 "),
    ({"method": "gnhtp", "output_dim": 2}, "method: gnhtp fits 1 output, not 2; use method aiht, pruning, creases"),
    ({"method": "gnhtp", "planted_signs": True}, "method: gnhtp fits sums of relu(w . x), and mlp_planted has diff"),
    ({"task": "mnist", "method": "creases"}, "method: creases fits squared errors, and mnist asks for cross_entropy"),
    ({"task": "inr_mnist", "method": "deep"}, "method: deep needs targets that a sparse network made, and inr_mnist"),
    ({"task": "gaussian_sparse", "method": "rigl"}, "method: rigl does not solve gaussian_sparse; use method aiht"),
]


@pytest.mark.parametrize(("given", "message"), COMBINATIONS)
def test_what_is_wrong_together_is_refused_with_its_remedy(given, message):
    assert refusal(**given).startswith(message)


# ---- files of a user's own ----


def python(folder, line):
    """What a command line of Python prints, run in a folder."""
    run = subprocess.run([sys.executable, *shlex.split(line)], cwd=folder, capture_output=True, text=True)
    return run.stdout + run.stderr


EXTENSION = """
from dataclasses import dataclass

from instances.planted import MlpPlanted
from options import one_of, option
from tasks import TASKS


@dataclass(frozen=True)
class Coloured(MlpPlanted):
    summary = "a network of some colour"
    colour: str = option("red", one_of(("red", "blue")), "of the net", words="{} nets")


TASKS["coloured"] = Coloured
"""


def test_a_file_that_adds_a_task_serves_a_sweep_its_workers_and_the_figures(tmp_path):
    (tmp_path / "colours.py").write_text(EXTENSION)
    sweep = f"{ROOT}/runner.py --extend colours.py --task coloured --mlist 2 --slist 5 --num_epochs 2 --device cpu"
    sweep += " --nmeasurements 300 --save_results --colour blue"
    assert "saved logs" in python(tmp_path, f"{sweep} --workers 1")
    [sidecar] = tmp_path.glob("logs/coloured/aiht/*_2epochs_nmeasurements300_colourblue.json")
    assert json.loads(sidecar.read_text())["settings"]["colour"] == "blue"
    drawn = python(tmp_path, f"{ROOT}/make_figures.py --extend colours.py")
    assert "coloured" in drawn and ".png" in drawn
    said = python(tmp_path, f"{sweep} --method gnhtp --task mlp_planted")
    assert said == "runner.py: error: argument --colour: blue has no effect on mlp_planted; leave it out\n"


def test_a_file_that_cannot_be_run_is_refused(folder, cli, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    (folder / "broken.py").write_text("1 / 0")
    for file, reason in (("broken.py", "cannot be run (ZeroDivisionError: division by zero); fix it"),
                         ("missing.py", "is no Python file; give the path of one")):
        result = cli(f"--extend {file} --task mlp_planted --mlist 2 --slist 5")
        assert result.code == 2 and result.err == f"runner.py: error: argument --extend: {file} {reason}\n"
