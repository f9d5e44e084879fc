"""The tables of settings and methods: an entry reaches whatever is made of it, and a new one needs no other edit."""

import dataclasses
import itertools
import json
import pickle
import shlex
import subprocess
import sys

import pytest
from helpers import copy_project

from sweep.flags import UsageError
from sweep.logbook import log_name
from sweep.methods import METHODS
from sweep.settings import SETTINGS, flag_table, logged, make_parser, make_settings, parse_arguments, setting_words
from tasks import TASKS

CELL = {"task": "mlp_planted", "mlist": [2], "slist": [5], "save_results": True}
CLASSES = {"binary_mnist", "mnist", "binary_cifar10"}
NETWORKS = {"mlp_planted", "inr_mnist", "inr_cifar10", *CLASSES}
DYNAMIC = {"set", "rigl"}
EFFECT = {  # a flag: a value that is not the default, and the methods and tasks on which it changes anything
    "num_layers": (2, METHODS, NETWORKS), "bias": (True, METHODS, CLASSES), "input_dim": (7, METHODS, {"mlp_planted"}),
    "convex": (True, {"aiht"}, NETWORKS), "update_every": (3, {"aiht", *DYNAMIC}, NETWORKS),
    "mask_init": ("uniform", DYNAMIC, TASKS), "drop_fraction": (0.5, DYNAMIC, TASKS),
    "batch_size": (10, {"aiht", "pruning", *DYNAMIC}, NETWORKS), "output_dim": (2, METHODS, {"mlp_planted"}),
    "nmeasurements": (60, METHODS, {"mlp_planted", "gaussian_sparse"}), "least_squares": ("cg", {"gnhtp"}, TASKS),
    "input_dist": ("uniform", METHODS, {"mlp_planted"}), "prune_iters": (0.5, {"pruning"}, TASKS),
    "prune_score": ("lamp", {"pruning"}, TASKS), "finetune_epochs": (3, {"pruning"}, TASKS),
    "memory_budget": (64, {"aiht", "gnhtp", "creases"}, TASKS), "snr": (20.0, METHODS, {"mlp_planted"}),
    "save_models": (True, METHODS, NETWORKS), "save_history": (True, METHODS, NETWORKS)}


def refusal(**given):
    try:
        make_settings(**CELL | given)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("flag", EFFECT)
def test_a_flag_is_refused_exactly_where_it_has_no_effect(flag):
    value, methods, tasks = EFFECT[flag]
    for method, task in itertools.product(METHODS, TASKS):
        if refusal(method=method, task=task):  # it does not solve the task
            continue
        message = refusal(method=method, task=task, **{flag: value})
        if method in methods and task in tasks:
            assert not message or " fits " in message
        else:
            assert message.startswith(f"argument --{flag}: {value} has no effect ") and "leave it out" in message


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_every_setting_reaches_the_parser_the_table_and_where_it_is_logged_name_and_titles(setting):
    assert f"--{setting.name}" in make_parser().format_help()
    assert sum(row.startswith(f"| `--{setting.name}` |") for row in flag_table()) == 1
    usual, axes = logged(make_settings(**CELL)), {"m": [2], "s": [5], "seed": [0]}
    assert (setting.name in usual) == setting.logged
    changed = usual | {setting.name: EFFECT.get(setting.name, ["other"])[0]}
    assert (log_name(changed, axes) != log_name(usual, axes)) == setting.logged
    assert (setting_words(changed) != setting_words(usual)) == bool(setting.words)


def test_settings_made_in_python_are_those_of_the_command_line():
    settings = make_settings(**CELL, method="pruning", seedlist=[0, 1], prune_iters=0.5)
    line = "--task mlp_planted --mlist 2 --slist 5 --save_results --method pruning --seedlist 0 1 --prune_iters 0.5"
    assert settings == parse_arguments(line.split()) == pickle.loads(pickle.dumps(settings))
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.mlist = (3,)


def test_the_help_says_what_each_method_is():
    shown = " ".join(make_parser().format_help().split())
    assert all(f"{name}: {method.summary}" in shown for name, method in METHODS.items())


def test_mistakes_made_in_python_are_refused_and_methods_have_their_own_defaults():
    assert refusal(mlist=None) == "argument --mlist: it is required"
    assert refusal(method="imp").startswith("argument --method: 'imp' is not one of aiht, pruning, gnhtp")
    given = [{}, {"method": "pruning"}, {"method": "gnhtp"}, {"method": "gnhtp", "num_epochs": 15}]
    assert [make_settings(**CELL, **more).num_epochs for more in given] == [15, 15, 108, 15]


# ---- one entry is enough: in a copy of the project (test_docs.py does the same with a method) ----


def python(folder, line):
    """What a command line of Python prints."""
    run = subprocess.run([sys.executable, *shlex.split(line)], cwd=folder, capture_output=True, text=True)
    return run.stdout + run.stderr


SWEEP = "runner.py --task mlp_planted --mlist 2 --slist 5 --num_epochs 2 --device cpu --save_results"


def test_a_new_setting_is_one_entry(tmp_path):
    copy_project(tmp_path)
    table, first = tmp_path / "sweep/settings.py", '    Setting("expname"'
    before, after = table.read_text().split(first)
    table.write_text(f"""{before}\
    Setting("colour", str, "red", "of the net", choices=("red", "blue"), methods=("aiht",), tasks=("mlp_planted",),
            words="{{}} nets"),
{first}{after}""")
    assert "--colour {red,blue}" in python(tmp_path, "runner.py --help")
    for elsewhere in ("with --method pruning", "on inr_mnist"):
        said = python(tmp_path, f"{SWEEP} --colour blue {elsewhere.removeprefix('with ').replace('on ', '--task ')}")
        assert said == f"runner.py: error: argument --colour: blue has no effect {elsewhere}; leave it out\n"
    assert "saved logs" in python(tmp_path, f"{SWEEP} --colour blue")
    [sidecar] = tmp_path.glob("logs/mlp_planted/aiht/*_2epochs_colourblue.json")
    assert json.loads(sidecar.read_text())["settings"]["colour"] == "blue"
    code = "from sweep.settings import *; print(setting_words({'colour': 'blue'}), *flag_table())"
    said = python(tmp_path, f'-c "{code}"')
    assert "['blue nets']" in said and "| `--colour` | red | of the net (only with aiht; only on mlp_planted) |" in said
