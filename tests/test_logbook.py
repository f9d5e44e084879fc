"""logbook.py: a log's name tells its run from every other; what is on the disk is whole, and ours, or refused."""

import io
import json
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import logbook
from sweep.logbook import AXES, DONE, FAILED, NAME_LENGTH, NOT_RUN, SKIPPED, Log, LogError, log_name, replace_files

DEFAULTS = {"input_dim": 100, "output_dim": 1, "nmeasurements": 50000, "prune_iters": 0.1, "prune_score": "magnitude"}
SETTINGS = {"task": "mlp_planted", "method": "pruning", "expname": "", "num_layers": 1, "convex": False,
            "batch_size": 0, "bias": False, "num_epochs": 15, **DEFAULTS}
GRID = {"m": [2, 3], "s": [5], "seed": [0, 1]}
LAPTOP, SERVER = {"device": "cpu", "commit": "1a2b"}, {"device": "cuda:0", "commit": None}
TASKS = ["mlp_planted", "gaussian_sparse", "binary_mnist", "mnist", "binary_cifar10", "inr_mnist", "inr_cifar10"]


# ---- names ----

NAME = re.compile(
    r"(?P<task>[a-z0-9_]+)_(?P<method>aiht|pruning)_hidden(?P<num_layers>\d+)_m(?P<m>[\d-]+)_s(?P<s>[\d-]+)"
    r"_seed(?P<seed>[\d-]+)_convex(?P<convex>[01])_bs(?P<batch_size>\d+)_bias(?P<bias>[01])_(?P<num_epochs>\d+)epochs"
    r"(_input_dim(?P<input_dim>\d+))?(_output_dim(?P<output_dim>\d+))?(_nmeasurements(?P<nmeasurements>\d+))?"
    r"(_prune_iters(?P<prune_iters>[\d.e-]+))?(_prune_score(?P<prune_score>[a-z]+))?(__(?P<expname>.+))?"
)


def parse_name(name):
    """Settings and axes that a name spells out."""
    found = NAME.fullmatch(name).groupdict(default="")
    axes = {axis: [int(value) for value in found.pop(axis).split("-")] for axis in AXES}
    texts = ("task", "method", "expname", "prune_score")
    numbers = {flag: float(found[flag] or DEFAULTS[flag]) for flag in SETTINGS if flag not in texts}
    return found | numbers | {"prune_score": found["prune_score"] or DEFAULTS["prune_score"]}, axes


def settings_from(numbers, expnames):
    return st.fixed_dictionaries({
        "task": st.sampled_from(TASKS), "method": st.sampled_from(["aiht", "pruning"]), "convex": st.booleans(),
        "bias": st.booleans(), "expname": expnames, "prune_score": st.sampled_from(["magnitude", "lamp"]),
        "prune_iters": st.one_of(st.floats(0, 1, exclude_max=True), st.integers(0, 10**6).map(float)),
        **{flag: numbers for flag in ("num_layers", "batch_size", "num_epochs", "input_dim", "output_dim",
                                      "nmeasurements")}})


def axes_from(numbers, longest):
    return st.fixed_dictionaries({axis: st.lists(numbers, min_size=1, max_size=longest, unique=True) for axis in AXES})


PIECES = ["_", "__", "prune_iters0.5", "output_dim10", "15epochs", "bs5", "..", "-", "0123456789abcdef", "x"]
EXPNAMES = st.one_of(st.text("abzABZ019._-", max_size=60), st.lists(st.sampled_from(PIECES), max_size=3).map("".join))
ANY_SETTINGS, ANY_AXES = settings_from(st.integers(0, 2**31 - 1), EXPNAMES), axes_from(st.integers(0, 2**32 - 3), 20)
SMALL_SETTINGS = settings_from(st.integers(0, 999), st.text("abz019._-", max_size=8))  # such names are spelled out


@given(SMALL_SETTINGS, axes_from(st.integers(0, 99), 4))
def test_a_name_states_everything(settings, axes):
    assert parse_name(log_name(settings, axes, DEFAULTS)) == (settings, axes)


@given(ANY_SETTINGS, ANY_AXES)
def test_names_are_short_and_shell_friendly(settings, axes):
    name = log_name(settings, axes, DEFAULTS)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name) and not name.startswith((".", "-"))
    assert len(name + ".json") <= 200
    assert name.startswith(f"{settings['task']}_{settings['method']}_")


@given(ANY_SETTINGS, ANY_AXES, st.data())
def test_any_change_changes_the_name(settings, axes, data):
    flag = data.draw(st.sampled_from([*SETTINGS, *AXES]))
    other, other_axes = dict(settings), dict(axes)
    if flag in AXES:
        other_axes[flag] = data.draw(ANY_AXES)[flag]
    else:
        other[flag] = data.draw(ANY_SETTINGS)[flag]
    same = (other, other_axes) == (settings, axes)
    assert (log_name(settings, axes, DEFAULTS) == log_name(other, other_axes, DEFAULTS)) == same


@given(ANY_SETTINGS, ANY_AXES, ANY_SETTINGS, ANY_AXES, st.integers(1, 60))
def test_an_expname_cannot_imitate_another_name(settings, axes, other, other_axes, length):
    name = log_name(settings, axes, DEFAULTS)
    imitation = other | {"expname": name[-length:]}
    if (imitation, other_axes) != (settings, axes):
        assert log_name(imitation, other_axes, DEFAULTS) != name


@pytest.mark.parametrize("imitated", [{"prune_iters": 0.5}, {"output_dim": 10}, {"nmeasurements": 7, "input_dim": 3}])
@pytest.mark.parametrize("before", ["", "_", "__"])
def test_an_expname_that_looks_like_settings(imitated, before):
    name = log_name(SETTINGS | imitated, GRID, DEFAULTS)
    plain = log_name(SETTINGS, GRID, DEFAULTS)
    expname = before + name.removeprefix(plain + "_")
    assert log_name(SETTINGS | {"expname": expname}, GRID, DEFAULTS) == f"{plain}__{expname}" != name


def test_the_order_and_the_inside_of_long_lists_count():
    long = [*range(1000, 1100)]
    swapped = [1000, 1002, 1001, *long[3:]]
    names = {log_name(SETTINGS, GRID | {"m": values}, DEFAULTS) for values in (long, swapped, long[::-1], long[:-1])}
    assert len(names) == 4
    assert "_m1000..1099-100x" in log_name(SETTINGS, GRID | {"m": long}, DEFAULTS)


def test_a_name_that_would_be_too_long_gets_a_hash_of_everything():
    huge = SETTINGS | dict.fromkeys(("num_layers", "batch_size", "num_epochs", *DEFAULTS), 2**31 - 1)
    axes = {axis: [2**31 - 1 - i for i in range(10)] for axis in AXES}
    names = {log_name(huge | {"expname": "x" * 59 + end}, axes, DEFAULTS) for end in "ab"}
    assert len(names) == 2 and {len(name) for name in names} == {NAME_LENGTH}
    assert all(re.match(r"mlp_planted_pruning_[0-9a-f]{16}_hidden2147483647_m", name) for name in names)


# ---- on the disk ----


@pytest.fixture
def open_log(tmp_path):
    def open_log(environment=LAPTOP, axes=GRID, **settings):
        return Log(tmp_path / "log", SETTINGS | settings, axes, DEFAULTS, {"name": "PSNR"}, environment)

    return open_log


@pytest.fixture
def saved(open_log):
    """A log on the disk with one cell of each kind."""
    log = open_log()
    log.record((2, 5, 0), DONE, 12.5, seconds=0.25, num_nonzero=5)
    log.record((3, 5, 0), f"{SKIPPED}: the labels are all zero", seconds=0.0)
    log.record((2, 5, 1), f"{FAILED}: out of memory", seconds=0.5)
    log.save()
    return log


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_is_saved_is_loaded(saved, open_log):
    log = open_log()
    log.load()
    np.testing.assert_array_equal(log.table, [[[12.5, np.nan]], [[np.nan, np.nan]]])
    assert log.records == saved.records and log.sidecar() == saved.sidecar()
    assert log.status((3, 5, 0)) == "skipped: the labels are all zero" and log.status((3, 5, 1)) == NOT_RUN
    assert log.missing() == [(2, 5, 1), (3, 5, 1)]  # what failed is run again


def test_the_sidecar_says_what_every_number_is(saved):
    sidecar = json.loads(saved.files[1].read_text())
    assert sidecar["settings"] == SETTINGS and sidecar["axes"] == GRID and sidecar["environments"] == [LAPTOP]
    assert sidecar["cells"][0] == {"m": 2, "s": 5, "seed": 0, "status": "done", "environment": 0, "seconds": 0.25,
                                   "num_nonzero": 5}
    assert sidecar["cells"][3] == {"m": 3, "s": 5, "seed": 1, "status": "not run"}


def test_every_cell_knows_its_own_environment(saved, open_log):
    for environment in (SERVER, LAPTOP):
        log = open_log(environment)
        log.load()
        log.record(log.missing()[-1], DONE, 1.0)
        log.save()
    sidecar = json.loads(log.files[1].read_text())
    assert sidecar["environments"] == [LAPTOP, SERVER]
    assert [cell.get("environment") for cell in sidecar["cells"]] == [0, 0, 0, 1]


def test_infinite_scores_are_kept(open_log):
    log, again = open_log(), open_log()
    log.record((2, 5, 0), DONE, np.inf)
    log.save()
    again.load()
    assert again.table[0, 0, 0] == np.inf


def test_nothing_there_is_nothing_to_load(open_log, tmp_path):
    log = open_log()
    log.load()
    assert log.missing() == log.cells() == [(2, 5, 0), (3, 5, 0), (2, 5, 1), (3, 5, 1)]
    assert not contents(tmp_path)


def test_a_score_without_its_record_does_not_count(saved, open_log):
    """A process that is killed between the two files leaves a table that is newer than the sidecar."""
    table = saved.table.copy()
    table[1, 0, 1] = 3.0
    np.save(saved.files[0], table)
    log = open_log()
    log.load()
    assert (3, 5, 1) in log.missing() and np.isnan(log.table[1, 0, 1])


def test_cells_without_their_models_run_again_and_keep_their_scores_till_then(saved, open_log):
    log = open_log()
    log.load(with_models=True)
    assert log.missing() == [(2, 5, 0), (2, 5, 1), (3, 5, 1)]
    log.record((2, 5, 1), DONE, 1.0)
    log.save()
    log = open_log()
    log.load()
    assert log.table[0, 0].tolist() == [12.5, 1.0] and log.missing() == [(3, 5, 1)]
    log.model_path((2, 5, 0)).parent.mkdir()
    log.model_path((2, 5, 0)).touch()
    log.load(with_models=True)
    assert log.missing() == [(2, 5, 1), (3, 5, 1)]
    log.record((2, 5, 1), DONE, 2.0)
    assert log.missing() == [(3, 5, 1)]


def test_cells_of_other_lists_are_adopted_with_their_environments(saved, open_log, tmp_path):
    axes = {"m": [3, 2, 9], "s": [5, 6], "seed": [1, 0]}
    for copy in (False, True):
        before = contents(tmp_path)
        log = open_log(SERVER, axes)
        log.path = tmp_path / "grown"
        log.adopt(copy=copy)
        assert (contents(tmp_path) == before) == (not copy)
        assert log.table[1, 0, 1] == 12.5 and np.isfinite(log.table).sum() == 1
        assert log.status((3, 5, 0)) == "skipped: the labels are all zero" and log.status((2, 5, 1)) == NOT_RUN
    sidecar = json.loads(log.files[1].read_text())
    adopted = [cell for cell in sidecar["cells"] if cell["status"] != NOT_RUN]
    assert [sidecar["environments"][cell["environment"]] for cell in adopted] == [LAPTOP, LAPTOP]
    loaded = open_log(SERVER, axes)
    loaded.path = log.path
    loaded.load()
    assert loaded.records == log.records


def test_only_cells_of_the_same_settings_are_adopted(saved, open_log, tmp_path):
    for changed in ({"num_epochs": 16}, {"expname": "mine"}):
        log = open_log(axes=GRID | {"seed": [0]}, **changed)
        log.path = tmp_path / "other"
        log.adopt()
        assert log.missing() == log.cells() and not log.files[0].exists()


# ---- logs of other versions ----


@pytest.fixture
def older(saved):
    """The saved log as a version would have left it that did not know two of the flags yet."""
    sidecar = json.loads(saved.files[1].read_text())
    for flag in ("prune_iters", "prune_score"):
        del sidecar["settings"][flag]
    saved.files[1].write_text(json.dumps(sidecar))
    return saved


def test_a_log_without_newer_settings_is_continued_and_then_states_them(older, open_log):
    log = open_log()
    log.load()
    assert log.records == older.records and log.missing() == [(2, 5, 1), (3, 5, 1)]
    np.testing.assert_array_equal(log.table, older.table)
    log.save()
    assert json.loads(log.files[1].read_text())["settings"] == SETTINGS


def test_a_log_without_newer_settings_is_adopted(older, open_log, tmp_path):
    log = open_log(axes=GRID | {"s": [4, 5]})
    log.path = tmp_path / "grown"
    log.adopt()
    assert log.table[0, 1, 0] == 12.5 and log.status((3, 5, 0)).startswith(SKIPPED)
    assert json.loads(log.files[1].read_text())["settings"] == SETTINGS
    assert Log.read(older.files[1], DEFAULTS).settings == SETTINGS


def another_version(older, **settings):
    """Write these settings into the sidecar of the older log."""
    sidecar = json.loads(older.files[1].read_text())
    sidecar["settings"] |= settings
    older.files[1].write_text(json.dumps(sidecar))


@pytest.mark.parametrize("said, own", [
    ({}, {"prune_score": "lamp"}),  # the sidecar lacks what differs from its default here
    ({}, {"prune_iters": 0.5}),
    ({}, {"num_epochs": 16}),
    ({"prune_score": "lamp"}, {}),
    ({"prune_score": None}, {}),
    ({"num_epochs": 16}, {}),
    ({"of_the_future": 0}, {}),  # nobody here knows whether this is its default
])
def test_other_or_unknown_settings_are_neither_continued_nor_adopted(older, open_log, tmp_path, said, own):
    another_version(older, **said)
    before = contents(tmp_path)
    with pytest.raises(LogError, match="it has other settings"):
        open_log(**own).load()
    log = open_log(axes=GRID | {"s": [4, 5]}, **own)
    log.path = tmp_path / "grown"
    log.adopt()
    assert log.missing() == log.cells() and contents(tmp_path) == before


# ---- damage ----


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


TABLE = np.array([[[12.5, np.nan]], [[np.nan, np.nan]]])
ARCHIVE = io.BytesIO()
np.savez(ARCHIVE, table=TABLE)
TABLES = {
    "missing": None,
    "empty": b"",
    "text": b"a file of another kind",
    "an end cut off": npy(TABLE)[:-1],
    "a header cut off": npy(TABLE)[:20],
    "a zip archive": b"PK\x03\x04 and so on",
    "several tables": ARCHIVE.getvalue(),
    "objects": npy(np.array([{}], dtype=object), allow_pickle=True),
    "a smaller shape": npy(TABLE[:1]),
    "two axes": npy(TABLE[..., 0]),
    "a number": npy(np.float64(1)),
    "float32": npy(TABLE.astype(np.float32)),
    "complex": npy(TABLE.astype(complex)),
    "other bytes": npy(TABLE.astype(">f8")),
    "texts": npy(TABLE.astype(str)),
    "whole numbers": npy(np.ones(TABLE.shape, int)),
    "no score where one was done": npy(np.full(TABLE.shape, np.nan)),
}


def cell(**changes):
    """The change of a sidecar that alters its first cell."""
    return lambda sidecar: sidecar["cells"][0].update(changes)


SIDECARS = {
    "missing": None,
    "empty": b"",
    "bytes": b"\xff\xfe\x00",
    "a list": b"[]",
    "null": b"null",
    "too deep": b"[" * 100000,
    "too many digits": b"9" * 5000,
    "another format": lambda sidecar: sidecar.update(format=99),
    "no format": lambda sidecar: sidecar.pop("format"),
    "no settings": lambda sidecar: sidecar.pop("settings"),
    "settings of another run": lambda sidecar: sidecar["settings"].update(num_epochs=16),
    "a setting less": lambda sidecar: sidecar["settings"].pop("bias"),
    "axes of another run": lambda sidecar: sidecar["axes"].update(m=[2, 4]),
    "axes that are a list": lambda sidecar: sidecar.update(axes=[]),
    "no cells": lambda sidecar: sidecar["cells"].clear(),
    "cells that are a text": lambda sidecar: sidecar.update(cells="done"),
    "cells that are numbers": lambda sidecar: sidecar.update(cells=[1, 2, 3, 4]),
    "cells that are null": lambda sidecar: sidecar.update(cells=[None] * 4),
    "a cell less": lambda sidecar: sidecar["cells"].pop(),
    "a cell twice": lambda sidecar: sidecar["cells"].append(dict(sidecar["cells"][0])),
    "a cell in place of another": lambda sidecar: sidecar["cells"].__setitem__(1, dict(sidecar["cells"][0])),
    "a cell without s": lambda sidecar: sidecar["cells"][0].pop("s"),
    "no status": lambda sidecar: sidecar["cells"][0].pop("status"),
    "environments that are null": lambda sidecar: sidecar.update(environments=None),
    "environments that are numbers": lambda sidecar: sidecar.update(environments=[1]),
    "no environment": lambda sidecar: sidecar["cells"][0].pop("environment"),
    "an unknown environment": cell(environment=1),
    "an unknown m": cell(m=99),
    "an m that is a text": cell(m="2"),
    "an m that is a list": cell(m=[2]),
    "an unknown s": cell(s=6),
    "an unknown seed": cell(seed=-1),
    "a status that is a number": cell(status=1),
    "a status that is null": cell(status=None),
    "a status that is a list": cell(status=["done"]),
    "an unknown status": cell(status="finished"),
    "an empty status": cell(status=""),
    "NaN seconds": cell(seconds=float("nan")),
    "infinite seconds": cell(seconds=float("inf")),
    "negative seconds": cell(seconds=-1),
    "seconds that are a text": cell(seconds="1"),
    "NaN in a detail": cell(support_error=[float("nan")]),
}


def refused(log, tmp_path, name):
    """Check that loading is refused with one line that names the file and the remedy, and that nothing is touched."""
    before = contents(tmp_path)
    with pytest.raises(LogError) as error:
        log.load()
    assert str(tmp_path / name) in str(error.value) and "--overwrite" in str(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
def test_a_foreign_or_damaged_table_is_refused(saved, open_log, tmp_path, content):
    saved.files[0].write_bytes(content) if content is not None else saved.files[0].unlink()
    about_scores = content is not None and content == TABLES["no score where one was done"]
    refused(open_log(), tmp_path, "log.json" if about_scores else "log.npy")


@pytest.mark.parametrize("change", SIDECARS.values(), ids=SIDECARS)
def test_a_foreign_or_damaged_sidecar_is_refused(saved, open_log, tmp_path, change):
    file = saved.files[1]
    if change is None:
        file.unlink()
    elif isinstance(change, bytes):
        file.write_bytes(change)
    else:
        sidecar = json.loads(file.read_text())
        change(sidecar)
        file.write_text(json.dumps(sidecar))
    refused(open_log(), tmp_path, "log.json")


@pytest.mark.parametrize("which", [0, 1])
def test_no_damage_makes_loading_crash_or_lose_a_score(saved, open_log, which):
    """A hundred random edits of each file: the log is refused, or what it says is consistent."""
    whole, rng = saved.files[which].read_bytes(), random.Random(0)
    for _ in range(100):
        content, place = bytearray(whole), rng.randrange(len(whole))
        content[place : place + rng.choice([0, 1, 1, 9])] = rng.randbytes(rng.choice([0, 1, 1, 3]))
        saved.files[which].write_bytes(content)
        log = open_log()
        try:
            log.load()
        except LogError:
            continue
        assert all(np.isnan(log.table[log._place(cell)]) == (log.status(cell) != DONE) for cell in log.cells())
        log.sidecar()


def test_another_run_is_told_what_differs(saved, open_log):
    with pytest.raises(LogError, match="it has other settings"):
        open_log(num_epochs=16).load()
    with pytest.raises(LogError, match="it has other axes"):
        open_log(axes=GRID | {"seed": [1, 0]}).load()


# ---- failing disks ----


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failing_disk_leaves_both_files_whole(saved, tmp_path, monkeypatch, failing):
    before, calls = contents(tmp_path), []

    def fail(*_):
        calls.append(1)
        if len(calls) == (1 if failing == "replace" else 2):  # the sidecar fails, after the table was written
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(logbook.os, failing, fail)
    saved.record((3, 5, 1), DONE, 1.0)
    with pytest.raises(LogError, match="No space left on device; free space or choose another --logs_dir"):
        saved.save()
    assert contents(tmp_path) == before


def test_files_are_replaced_together(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    replace_files({path: b"old" for path in paths})
    replace_files({path: b"new" for path in paths})
    assert contents(tmp_path) == {"a": b"new", "b": b"new"}
    with pytest.raises(OSError):
        replace_files({paths[0]: b"newer", tmp_path / "no folder" / "b": b"newer"})
    assert contents(tmp_path) == {"a": b"new", "b": b"new"}
