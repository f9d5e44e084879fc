"""The studies of samples, of noise, and the picture of creases: what is judged, counted, kept and drawn."""

import json

import numpy as np
import pytest

from studies import creases, samples
from studies.samples import COMPARED, fit, fit_settings, shares


def line(folder, *more):
    folders = ["--logs_dir", str(folder / "logs"), "--figures_dir", str(folder)]
    return ["--methods", "aiht", "creases", "--nlist", "50", "300", "--slist", "5", "--snrlist", "20",
            "--seedlist", "0", *folders, *more]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(samples, "D", 60)
    monkeypatch.setattr(samples, "M", 2)
    monkeypatch.setattr(samples, "NOISY", {"n": 300, "s": 5})
    monkeypatch.setattr(samples, "FRESH", 500)


def test_an_answer_is_judged_on_fresh_inputs():
    exact, noisy = (fit(1, method="creases", n=300, s=5, snr=snr, seed=0) for snr in (None, 20.0))
    overfit = fit(1, method="aiht", n=10, s=20, snr=None, seed=0)
    assert exact["psnr"] > 100 and exact["recall"] == exact["precision"] == 1
    assert -60 < noisy["error"] < -20 and overfit["error"] > -10


@pytest.mark.parametrize("n", [100, 999, 1000, 1001, 50000])
def test_imp_takes_as_many_steps_at_every_n(n):
    given = fit_settings("pruning", n)
    steps = -(-n // (given["batch_size"] or n))
    for epochs, asked in ((given["num_epochs"], 2000), (given["finetune_epochs"], 6000)):
        assert asked * 0.5 <= steps * epochs <= asked * 2


def test_shares_count_refused_fits_as_misses():
    entries = [{"n": 5, "s": 1, "psnr": psnr} for psnr in (150.0, 99.0, None)]
    exact, total = shares(entries, [5, 9], [1])
    np.testing.assert_array_equal(exact, [[1, 0]])
    np.testing.assert_array_equal(total, [[3, 0]])


def test_the_bound_stands_left_of_the_cells_with_as_many_samples_as_weights():
    entries = [{"method": "aiht", "seed": 0, "n": n, "s": s, "psnr": 1.0} for n in (5, 10, 20) for s in (1, 10, 20)]
    [ax] = samples.draw_shares(entries).axes
    x, y = ax.lines[0].get_xydata().T
    assert x.tolist() == [-0.5, -0.5, 0.5, 0.5, 1.5, 1.5]  # s = 10: right of n = 5; s = 20: right of n = 10
    assert y.tolist() == [-0.5, 0.5, 0.5, 1.5, 1.5, 2.5]


def test_finished_fits_are_kept_and_drawn(tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(samples.page, "save", lambda figure, stem: [])
        assert samples.main(line(tmp_path)) == 0
    table = capsys.readouterr().out
    assert "more samples than inputs" in table and "crease pursuit: exact n 50: 0 of 1, n 300: 1 of 1" in table
    monkeypatch.setattr(samples, "fit", None)  # nothing is computed again
    assert samples.main(line(tmp_path)) == 0
    kept = json.loads((tmp_path / "logs" / "samples" / "samples.json").read_text())
    assert len(kept) == 6 and {entry["method"] for entry in kept} < set(COMPARED)
    assert {path.name for path in tmp_path.glob("*.p*")} == {"samples.png", "samples.pdf", "noise.png", "noise.pdf"}


def test_without_noise_there_is_no_figure_of_it(tmp_path, saved):
    assert samples.main([*line(tmp_path), "--methods", "creases", "--nlist", "50", "--snrlist"]) == 0
    assert {path.name for path in tmp_path.glob("*.p*")} == {"samples.png", "samples.pdf"}


def test_the_picture_of_creases_shows_those_of_the_network(tmp_path):
    X = np.random.default_rng(0).standard_normal((500, 2)).astype(np.float32)
    cosine = np.abs(creases.found_creases(X) @ creases.W.T) / np.linalg.norm(creases.W, axis=1)
    np.testing.assert_allclose(cosine.max(axis=0), np.linalg.norm(creases.W, axis=1), rtol=1e-5)
    assert creases.main(["--figures_dir", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"creases.png", "creases.pdf"}
