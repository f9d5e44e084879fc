"""make_figures.py --html: the page holds the numbers of the logs, escapes names, loads nothing, draws in a browser."""

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, save_log
from test_history import save_histories
from test_plotting import SMALL, SMALL_AXES

import make_figures as mf
from plotting import explore, panels
from plotting.logs import SCORE, find_logs, read_log
from plotting.numbers import Quantity
from sweep.table import DONE, kind

NAN, INF = np.nan, np.inf
OURS = [[[120, 30.25], [5, 6]], [[INF, 101], [9, NAN]]]
THEIRS = [[[20, 30], [5, NAN]], [[INF, 50], [NAN, NAN]]]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-dev-shm-usage", "--virtual-time-budget=2000", "--dump-dom")


@pytest.fixture
def small(folder, monkeypatch):
    """Logs of AIHT and IMP with the cells of a figure, one of them skipped, in an empty folder."""
    monkeypatch.setattr(mf, "FIGURES", {"small": SMALL})
    save_log("a", OURS, axes=SMALL_AXES)
    skipped = {(1, 1, place): {"status": "skipped: <too> wide"} for place in (0, 1)}
    save_log("b", THEIRS, method="pruning", axes=SMALL_AXES, cells=skipped)
    return folder


def logs_in(folder="logs"):
    return [read_log(path, with_histories=True) for path in find_logs(Path(folder))]


def data_of(folder="logs", figures=None):
    return explore.page_data(figures or {"small": SMALL}, {str(folder): logs_in(folder)})


def written():
    """The page of the logs, as make_figures.py writes it."""
    pytest.importorskip("plotly")
    assert mf.main(["--html", "new/page.html"]) == 0
    return Path("new/page.html").read_text()


# ---- the data ----


def test_the_page_holds_the_numbers_of_the_grids(small):
    data = data_of()
    [section], [row] = data["sections"], SMALL.rows
    [block], grids = section["blocks"], row.grids(logs_in(), SMALL.seeds)
    assert section["title"] == "Small" and [column["heading"] for column in block["columns"]] == ["AIHT", "IMP"]
    for column in block["columns"]:
        [side], grid = column["sides"], grids[column["heading"]]
        np.testing.assert_array_equal(np.array(side["score"], float).reshape(2, 2, 2), grid.values(SCORE))
        kinds = [kind(data["statuses"][place]) for place in side["status"]]
        assert kinds == grid.kinds.ravel().tolist()
    assert "skipped: <too> wide" in data["statuses"]


def test_every_cell_that_is_shipped_is_shown_on_less_than_ten_megabytes():
    logs = logs_in(ROOT / "logs/reference")
    data = explore.page_data(mf.FIGURES, {"reference": logs})
    shown = set()
    for block in (block for section in data["sections"] for block in section["blocks"]):
        cells = list(product(block["m"], block["s"], block["seeds"]))
        for [side] in (column["sides"] for column in block["columns"]):
            shown |= {(data["origins"][origin]["settings"], *cell, score, weights, data["statuses"][status]) for
                      cell, score, weights, status, origin in zip(cells, *(side[name] for name in (
                          "score", "weights", "status", "origin")), strict=True) if origin is not None}
    there = {(explore.settings_line(log.settings), *cell, log.score(cell), record["num_nonzero"], record["status"])
             for log in logs for cell, record in log.records.items() if log.status(cell) == DONE}
    assert len(there) > 5000 and there <= shown
    if find_spec("plotly"):
        assert len(explore.page_text(data)) < 10e6


def test_cells_of_no_figure_have_a_section_of_their_task(small):
    save_log("more", [[[7]]], axes=[[1], [5], [9]])  # the settings of the figure, but another seed
    save_log("own", [[[8]]], axes=[[3], [7], [0]], expname="mine")
    [_, further] = data_of()["sections"]
    [block] = further["blocks"]
    assert further["title"] == "mlp_planted, further logs" and block["heading"] == "mlp_planted, 1 hidden layer"
    assert (block["m"], block["s"], block["seeds"]) == ([1, 3], [5, 7], [0, 9])
    assert [column["heading"] for column in block["columns"]] == ["AIHT", "AIHT, mine"]


def test_a_figure_that_shows_nothing_new_has_no_section(small):
    more = {"small": SMALL, "again": SMALL}
    assert [section["title"] for section in data_of(figures=more)["sections"]] == ["Small"]


def test_two_sets_stand_side_by_side(small):
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES, folder="others")
    data = explore.page_data({"small": SMALL}, {name: logs_in(name) for name in ("logs", "others")})
    [[aiht, imp]] = [block["columns"] for block in data["sections"][0]["blocks"]]
    assert [side["score"][1] for side in aiht["sides"]] == [30.25, 1] and data["names"] == ["logs", "others"]
    assert set(imp["sides"][1]["score"]) == {None} and set(imp["sides"][1]["status"]) == {0}
    assert data["statuses"][0] == "not run"


def test_a_cell_knows_its_environment_and_its_curve(small):
    save_log("a", OURS, axes=SMALL_AXES, cells={(0, 0, 0): {"num_nonzero": 4, "seconds": 1.23456}},
             environment={"blas": ["openblas Haswell"], "versions": {"numpy": "2"}})
    save_histories("c", "gnhtp", [[1, 4]], [[20, 1 / 3]])
    data = data_of()
    side = data["sections"][0]["blocks"][0]["columns"][0]["sides"][0]
    assert (side["weights"][0], side["seconds"][0]) == (4, 1.235)
    origin = data["origins"][side["origin"][0]]
    assert (origin["BLAS kernel"], origin["numpy"], origin["log"]) == ("openblas Haswell", "2", "mlp_planted/aiht/a")
    assert data["curves"] == [{"step": [1, 4], "score": [20, 0.3333]}]


# ---- the page ----


def test_names_are_escaped_and_nothing_is_loaded(small):
    evil = '</script><img src="https://x.org"> \' "&'
    save_log("evil", [[[1]]], axes=[[1], [5], [0]], expname=evil)
    page = written()
    from plotly.offline import get_plotlyjs

    own = page.replace(get_plotlyjs(), "")
    assert len(own) < len(page) - 10**6 and "</script><img" not in own and own.count("<script>") == 3
    literal = re.search(r"<script>const DATA = (.*);</script>", own)[1]
    assert evil in literal.encode().decode("unicode_escape").replace('\\"', '"')
    assert any(evil in column["heading"] for section in json.loads(literal)["sections"]
               for block in section["blocks"] for column in block["columns"])
    assert not re.findall(r"https?://|//cdn|\bsrc=|\bhref=", own.replace(literal, ""))
    assert "default-src 'none'" in own and "url(" not in own


def test_without_plotly_the_remedy_is_named(small, monkeypatch, capsys):
    monkeypatch.setattr(explore.importlib.util, "find_spec", lambda name: None)
    assert mf.main(["--html", "page.html"]) == 2
    assert "install it: pip install plotly" in capsys.readouterr().err and not Path("page.html").exists()


@pytest.mark.parametrize("flags, words", [
    ("--statistic median", "leave --statistic out"), ("--figure small", "leave --figure out"),
    ("--task mnist", "no logs of --task"), ("--html logs", "logs is a folder"),
    ("--html logs/mlp_planted/aiht/a.npy/x", "cannot write to")])
def test_what_makes_no_page_is_refused(small, capsys, flags, words):
    pytest.importorskip("plotly")
    assert mf.main(["--html", "page.html", *flags.split()]) == 2
    assert words in capsys.readouterr().err


# ---- in a browser ----


def dom(path, state):
    """The page after its scripts have run."""
    run = subprocess.run([CHROMIUM, *FLAGS, f"--user-data-dir={path.parent / 'profile'}", f"file://{path}#{state}"],
                         capture_output=True, text=True, timeout=300, check=True)
    return run.stdout


def numbers_in(page):
    """The numbers in the cells, in the order in which they are drawn: panel by panel, row by row."""
    return re.findall(r'class="heatmap-label"><text[^>]* data-unformatted="([^"]*)"', page)


def spelled(value, signed):
    """A number as the page writes it."""
    text = "∞" if np.isinf(value) else f"{value:.{0 if abs(value) > 99.95 else 1}f}".replace("-", "−")
    return f"+{text}" if signed and value > 0 else text


@pytest.mark.skipif(CHROMIUM is None, reason="takes Chromium")
@pytest.mark.parametrize("state, statistic, differences", [
    ("statistic=mean", "mean", False), ("statistic=median&show=methods&first=AIHT&second=IMP", "median", True),
    ("statistic=exact", "exact", False)])
def test_a_browser_draws_the_numbers_of_the_pictures(small, state, statistic, differences):
    written()
    page = dom(Path("new/page.html").resolve(), state)
    assert 'data-ready="' in page
    [strip], _ = panels.assemble(SMALL, logs_in(), Quantity(statistic=statistic))
    shown = [heatmap for heatmap in strip.heatmaps.values() if heatmap.signed == differences]
    assert numbers_in(page) == [spelled(value, differences) for heatmap in shown for value in heatmap.numbers.ravel()
                                if not np.isnan(value)]


POINT = """<script>addEventListener("load", () => {  // the pointer goes to the last cell of the second panel
  const box = document.querySelectorAll("main .nsewdrag")[1].getBoundingClientRect();
  const at = {clientX: box.right - 5, clientY: box.bottom - 5, bubbles: true, view: window};
  document.querySelectorAll("main .nsewdrag")[1].dispatchEvent(new MouseEvent("mousemove", at));
});</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="takes Chromium")
def test_pointing_at_a_cell_shows_its_seeds(small):
    Path("pointed.html").write_text(written() + POINT)
    details = re.search(r"<aside.*?</aside>", dom(Path("pointed.html").resolve(), ""), re.DOTALL)[0]
    assert "<h2>m 2, s 10</h2><h3>IMP</h3>" in details
    assert details.count("skipped: &lt;too&gt; wide") == 2 and "mlp_planted/pruning/b" in details
