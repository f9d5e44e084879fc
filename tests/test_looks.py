"""One name and one colour for each method, and what figures say of seeds and costs."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from helpers import save_log
from test_plotting import SMALL, SMALL_AXES, all_logs, drawn_entry, texts

import make_figures as mf
from benchmarks import speed
from plotting import lines, looks, words
from plotting.costs import cost, missing
from plotting.figures import FIGURES
from plotting.numbers import Quantity
from studies.real_data import DASHES
from sweep.methods import METHODS, Method


def test_every_method_has_its_own_colour_and_marker():
    assert set(looks.LOOKS) <= set(METHODS)
    for one, two in combinations(looks.LOOKS.values(), 2):
        assert one[0] != two[0] and one[1] != two[1]
    assert not {colour for colour, _ in looks.LOOKS.values()} & {*looks.SPARE, *(grey for _, grey in DASHES.values())}


def test_forms_of_a_method_share_its_colour_and_differ_in_their_lines():
    headings = [heading for entry in FIGURES.values() for row in entry.rows for heading in row.columns]
    drawn = looks.looks(dict.fromkeys(headings))
    for heading, style in drawn.items():
        assert style.items() >= looks.look(looks.method_of(heading)).items()
    forms = looks.looks(["IMP as published", "AIHT", "IMP, finetuned", "IMP, LAMP, finetuned"])
    imp = [style for heading, style in forms.items() if heading.startswith("IMP")]
    assert len({str(style["linestyle"]) for style in imp}) == 3 and forms["AIHT"]["linestyle"] == "-"


def test_a_method_of_a_user_has_a_colour(monkeypatch):
    monkeypatch.setitem(METHODS, "own", Method("IMPROVED", "own", METHODS["aiht"].solve))
    assert looks.method_of("IMPROVED, twice") == "own" and looks.method_of("IMP, twice") == "pruning"
    assert looks.look("own")["color"] == looks.SPARE[0]


def test_curves_of_fewer_weights_are_paler():
    styles = lines.history_styles(["AIHT, s 5", "AIHT, s 100", "GNHTP (num_epochs 5), s 100"])
    pale, full, other = (np.array(style["color"]) for style in styles.values())
    assert np.all(pale >= full) and pale.sum() > full.sum() and not np.allclose(full, other)
    assert full.tolist() == list(looks.shade(looks.LOOKS["aiht"][0], 0))


@pytest.mark.parametrize("seeds, said", [
    ((3,), "seed 3"), ((0, 1, 2), "seeds 0, 1, 2"), (range(50), "seeds 0 to 49"), ((0, 1, 2, 9), "seeds 0, 1, 2, 9")])
def test_seeds_in_words(seeds, said):
    assert words.seeds_words(seeds) == said


# ---- figures ----


def test_a_title_names_the_seeds_that_were_run_and_the_folder_of_the_logs(folder, monkeypatch):
    monkeypatch.setitem(mf.FIGURES, "small", replace(SMALL, seeds=(0, 1, 2)))
    for method in ("aiht", "pruning"):
        save_log(method, np.ones((2, 2, 1)), method=method, axes=[[1, 2], [5, 10], [1]])
    figures = []
    monkeypatch.setattr(mf.page, "save", lambda figure, stem: figures.append(figure) or [])
    assert mf.main(["--figure", "small"]) == 0
    monkeypatch.setattr(mf, "SHIPPED", mf.LOGS.resolve())
    assert mf.main(["--figure", "small"]) == 0
    titles = [figure._suptitle.get_text() for figure in figures]
    head = "AIHT ahead of IMP in 0 of 4 cells\nmean over seed 1"
    assert titles == [f"Small, from the logs in logs: {head}", f"Small: {head}"]
    assert not [text for ax in figures[0].axes for text in texts(ax) if "/" in text]  # no cell lacks a seed


def test_over_a_panel_stands_how_many_of_its_fits_are_exact(folder):
    save_log("a", [[[101, 99], [160, 160]], [[np.nan, 7], [7, 7]]], axes=SMALL_AXES)
    save_log("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES)
    found, _ = drawn_entry(quantity=Quantity(statistic="exact"))
    assert {"AIHT\n3 of 7 exact", "IMP\n0 of 8 exact"} < set(found)


def test_colours_reach_the_top_that_is_asked_for(folder, capsys):
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES)
    save_log("b", np.ones((2, 2, 2)), method="pruning", axes=SMALL_AXES)
    found, _ = drawn_entry(quantity=Quantity(top=170))
    assert found["AIHT"].collections[0].get_clim() == found["IMP"].collections[0].get_clim() == (-20, 170)
    for line, said in (("--top -99", "not above"), ("--top 170 --statistic std", "--top"),
                       ("--top 170 --figure recovery2", "--top"), ("--top 170 --figure opponents", "leave --top out")):
        assert mf.main(line.split()) == 2 and said in capsys.readouterr().err


def test_the_cost_of_a_figure_is_the_sum_of_the_seconds(folder, monkeypatch, capsys):
    seconds = {(m, s, k): {"seconds": 1800.0} for m in (0, 1) for s in (0, 1) for k in (0, 1)}
    save_log("a", np.ones((2, 2, 2)), axes=SMALL_AXES, cells=seconds)
    save_log("b", [[[1, np.nan]]], method="pruning", axes=[[1], [5], [0, 1]], cells={(0, 0, 0): {"seconds": 60.0}})
    assert cost(SMALL, all_logs()) == ("4.0 h", "AIHT 4.0 h, IMP 1 min (1 of 8 fits, the others about 7 min)")
    assert cost(SMALL, []) == ("0 s", "")
    assert missing(SMALL, all_logs()) == [("IMP", 4, 4, 7, 7 * 60.0)] and missing(SMALL, []) == []
    monkeypatch.setitem(mf.FIGURES, "small", SMALL)
    monkeypatch.setattr(mf, "SHIPPED", mf.LOGS)
    assert mf.main(["--figure", "small", "--commands"]) == 0
    out, error = capsys.readouterr()
    assert error.startswith("Small takes about 4.0 h on one core")
    assert out.count("python runner.py") == 2 == out.count("\n")


def test_the_timings_of_a_page_are_drawn_again(tmp_path, saved):
    page = tmp_path / "page.md"
    row = speed.Timing("1 | mlp_planted | IMP | 2 | 20 | 50 | 15", "pruning", 2.5, 1.0, 2.0)
    other = row._replace(cell=row.cell.replace("IMP", "AIHT"), method="aiht")
    page.write_text(f"<!-- cells: why -->\n{row.line(1)}\n{other.line(2)}\n<!-- end -->\n")
    assert speed.timings(page.read_text()) == [row, other]
    assert speed.main(["--draw", "--page", str(page), "--figures_dir", str(tmp_path)]) == 0
    assert texts(saved[-1].axes[0]) == ["1.25", "1.25"]
    page.write_text("<!-- cells: why -->\n<!-- end -->\n")
    assert speed.main(["--draw", "--page", str(page), "--figures_dir", str(tmp_path)]) == 2
