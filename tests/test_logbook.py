"""logbook.py: a log's name tells its run from every other; what is on the disk is whole, and ours, or refused."""

import io
import json
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instances.task import Measure
from sweep import logbook
from sweep.logbook import Log, LogError, held
from sweep.names import AXES, log_name
from sweep.settings import completed
from sweep.table import DONE, FAILED, NOT_RUN, SKIPPED
from tasks import TASKS

SETTINGS = completed({"task": "mlp_planted", "method": "pruning"})
GRID = {"m": [2, 3], "s": [5], "seed": [0, 1]}
LAPTOP, SERVER = {"device": "cpu", "commit": "1a2b"}, {"device": "cuda:0", "commit": None}
MEASURE = Measure("PSNR", "dB", (-20, 50))


# ---- names ----

PIECES = ["_", "__", "prune_iters0.5", "output_dim10", "15epochs", "bs5", "..", "-", "0123456789abcdef", "x"]
EXPNAMES = st.one_of(st.text("abzABZ019._-", max_size=60), st.lists(st.sampled_from(PIECES), max_size=3).map("".join))
VALUES_LIKE = {bool: st.booleans(), int: st.integers(0, 2**31 - 1), float: st.one_of(st.floats(0, 1), st.integers(
    1, 10**6).map(float))}  # by the type of a default; other names than the expname stay
WHOLE = st.fixed_dictionaries({name: VALUES_LIKE.get(type(value), st.just(value)) for name, value in SETTINGS.items()}
                              | {"expname": EXPNAMES})
ANY_AXES = st.fixed_dictionaries({axis: st.lists(st.integers(0, 2**32 - 3), min_size=1, max_size=20, unique=True)
                                  for axis in AXES})


@given(WHOLE, ANY_AXES)
def test_names_are_short_and_shell_friendly(settings, axes):
    name = log_name(settings, axes)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name) and len(name + ".json") <= 200
    assert name.startswith("mlp_planted_pruning_")


@given(WHOLE, ANY_AXES, WHOLE, ANY_AXES, st.integers(1, 60))
def test_an_expname_cannot_imitate_another_name(settings, axes, other, other_axes, length):
    name = log_name(settings, axes)
    imitation = other | {"expname": name[-length:]}
    if (imitation, other_axes) != (settings, axes):
        assert log_name(imitation, other_axes) != name


def test_the_order_and_the_inside_of_long_lists_count():
    long = [*range(1000, 1100)]
    swapped = [1000, 1002, 1001, *long[3:]]
    names = {log_name(SETTINGS, GRID | {"m": values}) for values in (long, swapped, long[::-1], long[:-1])}
    assert len(names) == 4
    assert "_m1000..1099-100x" in log_name(SETTINGS, GRID | {"m": long})


# ---- on the disk ----


@pytest.fixture
def open_log(tmp_path):
    def open_log(environment=LAPTOP, axes=GRID, name="log", **settings):
        return Log(tmp_path / name, SETTINGS | settings, axes, MEASURE, environment)

    return open_log


def save_one_of_each_kind(log):
    log.record((2, 5, 0), DONE, 12.5, seconds=0.25, num_nonzero=5)
    log.record((3, 5, 0), f"{SKIPPED}: the labels are all zero", seconds=0.0)
    log.record((2, 5, 1), f"{FAILED}: out of memory", seconds=0.5)
    log.save()
    return log


@pytest.fixture
def saved(open_log):
    return save_one_of_each_kind(open_log())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def edit(sidecar, change):
    said = json.loads(sidecar.read_text())
    change(said)
    sidecar.write_text(json.dumps(said))


def test_what_is_saved_is_loaded(saved, open_log):
    sidecar = json.loads(saved.files[1].read_text())
    assert sidecar["settings"] == SETTINGS and sidecar["axes"] == GRID and sidecar["environments"] == [LAPTOP]
    assert sidecar["cells"][0] == {"m": 2, "s": 5, "seed": 0, "score": 12.5, "status": "done", "environment": 0,
                                   "seconds": 0.25, "num_nonzero": 5}
    assert sidecar["cells"][3] == {"m": 3, "s": 5, "seed": 1, "status": "not run"}
    log = open_log()
    log.load()
    np.testing.assert_array_equal(log.table, [[[12.5, np.nan]], [[np.nan, np.nan]]])
    assert log.records == saved.records and log.sidecar() == saved.sidecar()
    assert log.status((3, 5, 0)) == "skipped: the labels are all zero" and log.status((3, 5, 1)) == NOT_RUN
    assert log.missing() == [(2, 5, 1), (3, 5, 1)]  # what failed is run again
    read = Log.read(saved.files[1])
    assert (read.settings, read.axes, read.measure, read.records) == (SETTINGS, GRID, MEASURE, saved.records)
    saved.measure = Measure()  # of a task that sets no range of colours
    saved.save()
    assert Log.read(saved.files[1]).measure == Measure()
    with pytest.raises(LogError, match="it has other axes"):
        open_log(axes=GRID | {"seed": [1, 0]}).load()


def test_every_cell_knows_its_own_environment(saved, open_log):
    for environment in (SERVER, LAPTOP):
        log = open_log(environment)
        log.load()
        log.record(log.missing()[-1], DONE, np.inf)
        log.save()
    np.testing.assert_array_equal(Log.read(log.files[1]).table, [[[12.5, np.inf]], [[np.nan, np.inf]]])
    sidecar = json.loads(log.files[1].read_text())
    assert sidecar["environments"] == [LAPTOP, SERVER]
    assert [cell.get("environment") for cell in sidecar["cells"]] == [0, 0, 0, 1]


def test_a_table_that_is_older_than_its_sidecar_is_made_up_for(saved, open_log):
    """A process that is killed between the two files leaves one; what is older still is refused."""
    older = saved.files[0].read_bytes()
    for seed, score in ((1, 3.0), (1, 4.0)):
        saved.record((3, 5, seed), DONE, score)
        before = saved.files[0].read_bytes()
        saved.save()
    saved.files[0].write_bytes(before)
    log = open_log()
    log.load()
    assert log.table[1, 0, 1] == 4.0 and (3, 5, 1) not in log.missing()
    saved.files[0].write_bytes(older)
    with pytest.raises(LogError, match="log.npy cannot be continued .it has changed since it was written"):
        open_log().load()


def test_an_older_log_without_digests_must_end_with_its_last_number(saved, open_log):
    edit(saved.files[1], lambda sidecar: (sidecar.pop("files"), [entry.pop("score", 0) for entry in sidecar["cells"]]))
    log = open_log()
    log.load()
    assert log.table[0, 0, 0] == 12.5
    saved.files[0].write_bytes(saved.files[0].read_bytes().replace(b"\n", b"\r\n"))  # a copy in text mode
    with pytest.raises(LogError, match="log.npy cannot be continued"):
        open_log().load()


def test_cells_of_other_lists_are_adopted_with_their_environments(saved, open_log, tmp_path):
    axes = {"m": [3, 2, 9], "s": [5, 6], "seed": [1, 0]}
    for copy in (False, True):
        before = contents(tmp_path)
        log = open_log(SERVER, axes, "grown")
        log.adopt(copy=copy)
        assert (contents(tmp_path) == before) == (not copy)
        assert log.table[1, 0, 1] == 12.5 and np.isfinite(log.table).sum() == 1
        assert log.status((3, 5, 0)) == "skipped: the labels are all zero" and log.status((2, 5, 1)) == NOT_RUN
    sidecar = json.loads(log.files[1].read_text())
    adopted = [cell for cell in sidecar["cells"] if cell["status"] != NOT_RUN]
    assert [sidecar["environments"][cell["environment"]] for cell in adopted] == [LAPTOP, LAPTOP]
    loaded = open_log(SERVER, axes, "grown")
    loaded.load()
    assert loaded.records == log.records


def test_one_run_holds_a_log_at_a_time(tmp_path):
    with held(tmp_path / "log"), held(tmp_path / "other"):
        with pytest.raises(LogError, match=r"log\.npy is being written by another run: wait for it, or .* --expname"):
            with held(tmp_path / "log"):
                pass
    with held(tmp_path / "log"):
        assert not [path for path in tmp_path.iterdir() if not path.name.startswith(".")]
    (tmp_path / ".folder.lock").mkdir()
    with pytest.raises(LogError, match=r"cannot lock .*\.folder\.lock .* choose another --logs_dir"):
        with held(tmp_path / "folder"):
            pass


# ---- logs of other versions ----


def test_logs_that_are_shipped_are_read_whole_and_keep_their_names():
    sidecars = [path for path in Path(logbook.__file__).parents[1].glob("logs/reference/*/*/*.json")]
    for sidecar in sidecars:
        log = Log.read(sidecar)
        assert log_name(log.settings, log.axes) == sidecar.stem and not log.missing()
        assert sidecar.parts[-3:-1] == (log.settings["task"], log.settings["method"])
        assert log.measure == TASKS[log.settings["task"]].measure
    assert sidecars


@pytest.fixture
def older(saved):
    """The saved log as a version would have left it that did not know two of the flags yet."""
    edit(saved.files[1], lambda said: [said["settings"].pop(flag) for flag in ("prune_iters", "prune_score")])
    return saved


def test_a_log_without_newer_settings_is_continued_adopted_and_then_states_them(older, open_log):
    assert Log.read(older.files[1]).settings == SETTINGS
    log, grown = open_log(), open_log(axes=GRID | {"s": [4, 5]}, name="grown")
    log.load()
    assert log.records == older.records and log.missing() == [(2, 5, 1), (3, 5, 1)]
    np.testing.assert_array_equal(log.table, older.table)
    grown.adopt()
    assert grown.table[0, 1, 0] == 12.5 and grown.status((3, 5, 0)).startswith(SKIPPED)
    log.save()
    for file in (log.files[1], grown.files[1]):
        assert json.loads(file.read_text())["settings"] == SETTINGS


@pytest.mark.parametrize("said, own", [
    ({}, {"prune_score": "lamp"}),  # the sidecar lacks what differs from its default here
    ({}, {"num_epochs": 16}),
    ({}, {"expname": "mine"}),
    ({"prune_score": "lamp"}, {}),
    ({"prune_score": None}, {}),
    ({"of_the_future": 0}, {}),  # nobody here knows whether this is its default
])
def test_other_or_unknown_settings_are_neither_continued_nor_adopted(older, open_log, tmp_path, said, own):
    edit(older.files[1], lambda sidecar: sidecar["settings"].update(said))
    before = contents(tmp_path)
    with pytest.raises(LogError, match="it has other settings"):
        open_log(**own).load()
    log = open_log(axes=GRID | {"s": [4, 5]}, name="grown", **own)
    log.adopt()
    assert log.missing() == log.cells() and contents(tmp_path) == before


# ---- damage ----


class Trap:
    """Unpickled, it leaves a trace."""

    def __reduce__(self):
        return os.mkdir, ("trace",)


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


TABLE = np.array([[[12.5, np.nan]], [[np.nan, np.nan]]])
TRAPS = {"a pickle": pickle.dumps(Trap()), "objects": npy(np.array([Trap()], dtype=object), allow_pickle=True)}
TABLES = {
    **TRAPS,
    "empty": b"",
    "an end cut off": npy(TABLE)[:-1],
    "a header cut off": npy(TABLE)[:20],
    "a smaller shape": npy(TABLE[:1]),
    "float32": npy(TABLE.astype(np.float32)),
    "other bytes": npy(TABLE.astype(">f8")),
    "no score where one was done": npy(np.full(TABLE.shape, np.nan)),
}


def cell(**changes):
    """The change of a sidecar that alters its first cell."""
    return lambda sidecar: sidecar["cells"][0].update(changes)


SIDECARS = {
    **TRAPS,
    "missing": None,
    "empty": b"",
    "a list": b"[]",
    "too deep": b"[" * 100000,
    "too many digits": b"9" * 5000,
    "another format": lambda sidecar: sidecar.update(format=99),
    "no cells": lambda sidecar: sidecar["cells"].clear(),
    "cells that are numbers": lambda sidecar: sidecar.update(cells=[1, 2, 3, 4]),
    "a cell in place of another": lambda sidecar: sidecar["cells"].__setitem__(1, dict(sidecar["cells"][0])),
    "an unknown environment": cell(environment=1),
    "an unknown m": cell(m=99),
    "an unknown status": cell(status="finished"),
    "NaN seconds": cell(seconds=float("nan")),
    "negative seconds": cell(seconds=-1),
    "NaN in a detail": cell(support_error=[float("nan")]),
}


@pytest.mark.parametrize("which, change", [*((0, table) for table in TABLES.values()),
                                           *((1, sidecar) for sidecar in SIDECARS.values())],
                         ids=[*(f"table: {name}" for name in TABLES), *(f"sidecar: {name}" for name in SIDECARS)])
def test_a_foreign_or_damaged_file_is_refused_and_kept(saved, open_log, tmp_path, monkeypatch, which, change):
    """In one line that names the file and the remedy; a log of other lists passes over it."""
    monkeypatch.chdir(tmp_path)
    file = saved.files[which]
    if change is None:
        file.unlink()
    elif isinstance(change, bytes):
        file.write_bytes(change)
    else:
        edit(file, change)
    before = contents(tmp_path)
    with pytest.raises(LogError) as error:
        open_log().load()
    named = "log.json" if which else "log.npy"
    assert str(tmp_path / named) in str(error.value) and "move the log away" in str(error.value)
    grown = open_log(axes=GRID | {"s": [4, 5]}, name="grown")
    grown.adopt()
    assert grown.missing() == grown.cells() and contents(tmp_path) == before  # no trace of a trap


def refused_or_consistent(log):
    """Whether a log is loaded; if so its scores are those of done cells, and it can be saved."""
    try:
        log.load()
    except LogError:
        return False
    assert all(np.isnan(log.table[log._place(cell)]) == (log.status(cell) != DONE) for cell in log.cells())
    json.dumps(log.sidecar(), allow_nan=False)
    return True


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10), st.just(10**400), st.floats(), st.text(max_size=4),
    st.sampled_from(["done", "failed: x", "not run", "skipped", "\ud800", "../../x"]), st.just([]), st.just({}),
    st.lists(st.integers(0, 3), max_size=3),
    st.integers(1, 900).map(lambda depth: json.loads("[" * depth + "]" * depth)))


def places(value, path=()):
    """The paths of everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path + (key,) for key, _ in inside] + [p for key, v in inside for p in places(v, path + (key,))]


@st.composite
def damaged(draw, valid):
    """A sidecar with a few things in it replaced, removed or added."""
    sidecar = json.loads(valid)
    for _ in range(draw(st.integers(1, 3))):
        *path, key = draw(st.sampled_from(places(sidecar) or [("format",)]))
        inner = sidecar
        for step in path:
            inner = inner[step]
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove" and sidecar:
            del inner[key]
        elif action == "add" and isinstance(inner, list):
            inner.append(draw(VALUES))
        else:
            inner[key if action == "replace" else draw(st.text(max_size=4))] = draw(VALUES)
    return json.dumps(sidecar).encode()


@settings(max_examples=100)
@given(st.data())
def test_no_sidecar_leads_to_a_traceback(tmp_path_factory, data):
    """What a damaged sidecar says is refused, or is loaded and saved; a longer list takes over what agrees."""
    folder = tmp_path_factory.mktemp("log")
    saved, grown = (Log(folder / name, SETTINGS, GRID | {"s": slist}, MEASURE, SERVER)
                    for name, slist in (("log", [5]), ("grown", [5, 6])))
    saved.environments = [saved.environment]
    save_one_of_each_kind(saved)
    content = data.draw(damaged(saved.files[1].read_bytes()))
    saved.files[1].write_bytes(content)
    grown.adopt()
    log = Log(folder / "log", SETTINGS, GRID, MEASURE, LAPTOP)
    if refused_or_consistent(log):
        log.save()
        again = Log(folder / "log", SETTINGS, GRID, MEASURE, LAPTOP)
        assert refused_or_consistent(again) and again.records == log.records
    else:
        assert saved.files[1].read_bytes() == content


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
