"""studies/pictures.py: the images of kept networks are the right ones, in their places; what is wrong is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import write_files
from test_image_tasks import CIFAR_FILES, files_of

import runner
from instances.image import InrMnist, cifar_image, grid_features, image_problem, mnist_image
from models import SparseNet
from studies import pictures as sp
from tasks import TASKS

TRAIN_COUNTS, TEST_COUNTS = [5200, 5200, *[1] * 8], [900, 900, *[1] * 8]  # enough for 1000 test images of 0 and of 1
GRID = "--mlist 2 3 --slist 20 60 --num_epochs 3"
FILES = [f"pictures_{task}_hidden1.{ending}" for task in ("inr_mnist", "inr_cifar10") for ending in ("png", "pdf")]


# ---- data and logs ----


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with small data sets in the formats of MNIST and CIFAR-10."""
    files = files_of(np.random.default_rng(0), TRAIN_COUNTS, TEST_COUNTS, [600, 600, *[1] * 8])
    return write_files(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def ran(data, tmp_path_factory):
    """A folder of logs with their networks: both tasks, one of them by both methods and in two depths."""
    logs = tmp_path_factory.mktemp("logs")
    run(logs, data, f"--task inr_mnist {GRID} --seedlist 0 1")
    run(logs, data, f"--task inr_mnist --method pruning {GRID} --seedlist 0 1")
    run(logs, data, f"--task inr_cifar10 {GRID}")
    run(logs, data, f"--task inr_mnist {GRID} --num_layers 2 --convex")
    return logs


def run(logs, data, line, *more):
    flags = ["--data_dir", str(data), "--logs_dir", str(logs), "--device", "cpu", "--threads", "1", "--save_results"]
    assert runner.main([*line.split(), *flags, *(more or ["--save_models"])]) == 0


@pytest.fixture
def logs(ran, tmp_path):
    """A copy of these logs."""
    return shutil.copytree(ran, tmp_path / "logs")


@pytest.fixture
def draw(tmp_path, data, logs, no_network, saved, capsys):
    """Runs the study on the copy: exit code, names that it printed, stderr."""

    def draw(line="", data_dir=data):
        capsys.readouterr()
        flags = ["--logs_dir", str(logs), "--figures_dir", str(tmp_path / "figures"), "--data_dir", str(data_dir)]
        code = sp.main([*flags, *line.split()])
        out, err = capsys.readouterr()
        return code, [Path(path).name for path in out.split()], err

    return draw


@pytest.fixture
def page(draw, saved):
    """The figure of a command line."""

    def page(line):
        code, _, err = draw(line)
        assert code == 0, err
        return saved[-1]

    return page


def models(logs, task="inr_mnist", method="aiht", num_layers=1):
    """The folder of the networks of the only log of its kind."""
    [folder] = (logs / task / method).glob(f"*hidden{num_layers}*.models")
    return folder


def panels(figure):
    """The Axes of the original, and of the images and blank frames, method after method, row by row."""
    return [ax for ax in figure.axes if ax.axison]


def images(figure):
    """Their pixels; None where a frame is blank."""
    return [ax.images[0].get_array().data if ax.images else None for ax in panels(figure)]


def titles(figure):
    """The names of the methods."""
    return [text.get_text() for ax in figure.axes if not ax.axison for text in ax.texts]


def reasons(figure):
    """What the blank frames say, "" for images."""
    return [ax.texts[0].get_text() if ax.texts else "" for ax in panels(figure)[1:]]


def said(figure):
    """What is said under the original."""
    return " ".join(figure.axes[0].texts[0].get_text().split())


# ---- the pictures ----


def test_every_image_is_that_of_its_network(page, data, logs):
    """By the definition: m down, blocks of methods, s across; each with its PSNR under it."""
    figure = page("--task inr_mnist --mlist 3 2 --slist 20 60 --seed 1")
    original, *drawn = images(figure)
    y = mnist_image(data)
    np.testing.assert_array_equal(original, y.astype(np.float32))
    X = grid_features((28, 28), 1)
    cells = [(method, m, s) for method in ("aiht", "pruning") for m in (3, 2) for s in (20, 60)]
    paths = [models(logs, method=method) / f"m{m}_s{s}_seed1.npz" for method, m, s in cells]
    outputs = [SparseNet.load(path).predict(X) for path in paths]
    for pixels, output in zip(drawn, outputs, strict=True):
        np.testing.assert_array_equal(pixels, np.clip(output.reshape(28, 28), 0, 1))
    assert len({pixels.tobytes() for pixels in drawn}) > 6
    scores = [f"{-10 * np.log10(np.mean((output - y.ravel()) ** 2)):.1f} dB" for output in outputs]
    assert [ax.get_xlabel() for ax in panels(figure)[1:]] == scores
    assert all(ax.images[0].get_clim() == (0, 1) and ax.images[0].get_cmap().name == "gray" for ax in panels(figure))
    places = [tuple(np.round(ax.get_position().p0, 3)) for ax in panels(figure)[1:]]
    rows, columns = (sorted({place[axis] for place in places}) for axis in (1, 0))
    assert places == [(columns[2 * block + column], rows[1 - row]) for block in (0, 1) for row in (0, 1)
                      for column in (0, 1)]
    assert titles(figure) == ["AIHT", "IMP"]
    assert [ax.get_title() for ax in panels(figure)] == ["original", *["s = 20", "s = 60", "", ""] * 2]
    assert [ax.get_ylabel() for ax in panels(figure)[1:]] == ["m = 3", "", "m = 2", "", *[""] * 4]


def test_colours_are_the_channels(page, data, logs):
    original, first, *_ = images(page("--task inr_cifar10 --mlist 3 --slist 60"))
    image, X = cifar_image(data), grid_features((32, 32, 3), 0)
    output = SparseNet.load(models(logs, "inr_cifar10") / "m3_s60_seed0.npz").predict(X).reshape(3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(original[..., channel], image[channel].astype(np.float32))
        np.testing.assert_array_equal(first[..., channel], np.clip(output[channel], 0, 1))


def test_what_was_run_is_said(page, logs, data):
    figure = page("--task inr_mnist --num_layers 2 --slist 20")
    assert "2 hidden layers seed 0 convex epochs 3 m: hidden" in said(figure) and titles(figure) == ["AIHT"]
    assert "1 hidden layer seed 1 epochs 3 m: hidden" in said(page("--task inr_mnist --seed 1 --slist 20"))
    shutil.rmtree(logs / "inr_mnist" / "pruning")
    run(logs, data, "--task inr_mnist --method pruning --mlist 2 --slist 20 --num_epochs 1 --batch_size 400")
    assert "seed 0 AIHT: epochs 3 IMP: batch 400 IMP: epochs 1 m: hidden" in said(page("--task inr_mnist --slist 20"))


def test_all_tasks_with_networks_are_drawn_unless_one_is_named(draw, logs, tmp_path):
    assert draw("--task inr_cifar10") == (0, FILES[2:], "")
    assert draw() == (0, FILES, "") and {path.name for path in (tmp_path / "figures").iterdir()} == {*FILES}
    shutil.rmtree(models(logs, "inr_cifar10"))
    assert draw() == (0, FILES[:2], "")


def test_errors_are_distances_to_the_original_20_times_as_bright(draw, page, saved):
    assert draw("--task inr_mnist --slist 60 --errors")[1][0] == "pictures_inr_mnist_hidden1_errors.png"
    errors, fitted = images(saved[0]), images(page("--task inr_mnist --slist 60"))
    np.testing.assert_array_equal(errors[0], fitted[0])  # the original
    for image, error in zip(fitted[1:], errors[1:], strict=True):
        inside = (image > 0) & (image < 1)  # predictions beyond are drawn as 0 and 1
        np.testing.assert_allclose(error[inside], np.clip(20 * abs(image - fitted[0]), 0, 1)[inside], atol=1e-5)


def test_images_may_have_any_shape(monkeypatch):
    monkeypatch.setitem(TASKS, "inr_ramp", type("Ramp", (InrMnist,), {"image_shape": (4, 9)}))
    problem = image_problem(np.linspace(0, 1, 36).reshape(4, 9), np.zeros((36, 2), np.float32))
    with sp.page.style():
        figure = sp.draw("inr_ramp", {"aiht": []}, [2], [20], problem, [])
    original, blank = panels(figure)
    original.apply_aspect()
    assert images(figure)[0].shape == (4, 9)
    for box in (original.get_window_extent(), blank.get_window_extent()):
        assert box.width / box.height == pytest.approx(9 / 4, rel=0.01)


# ---- which cells ----


@pytest.mark.parametrize("asked, there, expected", [
    ((), {2, 5, 20, 100, 200}, [5, 20, 100]), ((), {200, 20, 5}, [5, 20, 200]), ((), {1, 2, 3, 4, 6}, [1, 3, 6]),
    ((), {7}, [7]), ((), {9, 8}, [8, 9]), ((8, 2), {2, 3}, [8, 2]),
])
def test_the_grid(asked, there, expected):
    assert sp.choose(asked, sp.MLIST, there) == expected


def test_blank_frames_say_why_there_is_no_image(page, logs):
    sidecar = models(logs).with_suffix(".json")
    content = json.loads(sidecar.read_text())
    for entry in content["cells"]:
        if (entry["m"], entry["s"], entry["seed"]) == (3, 60, 0):
            entry["status"] = "failed: MemoryError"
    sidecar.write_text(json.dumps(content))
    (models(logs) / "m2_s60_seed0.npz").unlink()
    shutil.rmtree(models(logs, method="pruning"))  # a method without networks is left out
    figure = page("--task inr_mnist --mlist 2 3 7 --slist 20 60")
    assert titles(figure) == ["AIHT"]
    assert reasons(figure) == ["", "not kept", "", "failed", "not run", "not run"]
    assert all(bool(ax.patch.get_hatch()) != bool(ax.images) for ax in panels(figure))


def test_other_logs_of_the_same_settings_fill_the_grid(page, logs, data):
    """A larger log without networks lets a smaller one run again, to keep them."""
    shutil.rmtree(logs / "inr_mnist")
    run(logs, data, f"--task inr_mnist {GRID}", "--overwrite")  # without --save_models
    run(logs, data, "--task inr_mnist --mlist 4 --slist 20 --num_epochs 2", "--overwrite")  # of other settings
    run(logs, data, "--task inr_mnist --mlist 3 --slist 60 --num_epochs 3")
    run(logs, data, "--task inr_mnist --mlist 2 --slist 20 --num_epochs 3")
    assert reasons(page("--task inr_mnist --mlist 2 3 4 --slist 20 60")) == [
        "", "not kept", "not kept", "", "not run", "not run"]


# ---- the page ----


@pytest.mark.parametrize("line", ["--mlist 2 --slist 20", "--mlist 2 1000 --slist 20 60 100 500 1000",
                                  "--slist 20 --mlist 2 3 4 5 6 7 8 9 10 11 12 13"])
def test_a_page_holds_its_images(page, line, monkeypatch):
    monkeypatch.setattr(sp, "reconstruct", lambda problem, *_: (problem.Y_eval, -12.34))
    figure = page(f"--task inr_mnist {line}")
    assert figure.get_figwidth() < sp.WIDTH + 0.05 and figure.get_figheight() < sp.HEIGHT + 0.05
    figure.axes[0].apply_aspect()
    original, *others = (ax.get_window_extent() for ax in panels(figure))
    sides = {round(length / figure.dpi, 2) for box in others for length in (box.width, box.height)}
    assert sp.SMALLEST <= min(sides) and max(sides) - min(sides) <= 0.01 and max(sides) <= sp.LARGEST + 0.02
    boxes = [original, *others]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


# ---- refusals ----


def refused(draw, line, *words, **more):
    """The one line on stderr, which holds these words."""
    code, names, err = draw(line, **more)
    assert code == 2 and names == [] and len(err.splitlines()) == 1
    assert err.startswith("python -m studies.pictures: error: ") and all(word in err for word in words), err
    return err


@pytest.mark.parametrize("shift, is_refused", [(0.009, False), (-0.011, True), (np.inf, True)])
def test_a_score_that_is_not_that_of_the_log_is_refused(draw, logs, tmp_path, shift, is_refused):
    table = models(logs).with_suffix(".npy")
    scores = np.load(table)
    scores[1, 0, 0] += shift
    np.save(table, scores)
    said = json.loads(table.with_suffix(".json").read_text())
    del said["files"]  # as if the log were older than digests
    said["cells"] = [{name: value for name, value in entry.items() if name != "score"} for entry in said["cells"]]
    table.with_suffix(".json").write_text(json.dumps(said))
    line = "--task inr_mnist --mlist 3 --slist 20"
    if is_refused:
        path = str(models(logs) / "m3_s20_seed0.npz")
        refused(draw, line, path, f"{scores[1, 0, 0]:.2f}", "--data_dir", "run runner.py again")
        assert not (tmp_path / "figures").exists()
    else:
        assert draw(line)[0] == 0


@pytest.mark.parametrize("damage", [
    lambda path: path.write_bytes(path.read_bytes()[:200]),
    lambda path: path.write_text("not an archive"),
    lambda path: np.savez(path, layer0_indices=[0], layer0_values=[1.0], layer0_shape=[1, 1500], output_indices=[0],
                          output_values=[1.0], output_shape=[3, 1], step_sizes=np.zeros(0)),  # of several outputs
    lambda path: shutil.copy(path.with_name("m3_s60_seed0.npz"), path),
])
def test_a_wrong_network_is_refused(draw, logs, damage):
    path = models(logs) / "m3_s20_seed0.npz"
    damage(path)
    refused(draw, "--task inr_mnist", str(path), "delete")


def test_a_broken_log_is_refused(draw, logs):
    sidecar = models(logs).with_suffix(".json")
    sidecar.write_text("{}")
    refused(draw, "--task inr_mnist", "--logs_dir", sidecar.name, "or name another folder")


def test_networks_of_several_settings_are_refused(draw, logs, data):
    run(logs, data, "--task inr_mnist --mlist 2 --slist 20 --num_epochs 2 --expname try --convex")
    err = refused(draw, "--task inr_mnist", "--logs_dir", "--convex False and True", "move one of these logs")
    assert "--expname '' and 'try'" in err and "--num_epochs 3 and 2" in err
    assert draw("--task inr_mnist --seed 1 --slist 20")[0] == 0  # of which there is one alone


@pytest.mark.parametrize("line, words", [
    ("--task inr_mnist --num_layers 3", ("--num_layers 3", "--seed 0", "--save_models")),
    ("--task inr_cifar10 --seed 7", ("inr_cifar10", "--num_layers 1", "--seed 7")),
    ("--task inr_mnist --mlist 7 8", ("--mlist 7 8", "--slist 20", "choose among m 2 3 and s 20 60")),
    ("--task inr_mnist --mlist 2 3 2", ("--mlist: 2 is listed twice", "once")),
    ("--task mnist", ("--task", "'mnist'", "inr_mnist")),
    ("--task inr_mnist --slist 20 60 3 4 5 6 7 8", ("--slist", "8 values", "2 method(s)", "fewer")),
    ("--task inr_mnist --slist 20 --mlist " + " ".join(map(str, range(2, 20))), ("--mlist", "18 values", "fewer")),
])
def test_mistakes_in_the_flags_are_refused(draw, tmp_path, line, words):
    refused(draw, line, *words)
    assert not (tmp_path / "figures").exists()


def test_missing_networks_data_and_folders_are_refused(draw, data, logs, tmp_path):
    refused(draw, "--task inr_mnist", "--data_dir", "train-images-idx3-ubyte", data_dir=tmp_path)
    few = shutil.copytree(data, tmp_path / "few")
    (few / CIFAR_FILES[5]).write_bytes(b"\0" * 3073)
    refused(draw, "--task inr_cifar10", "--data_dir", str(few), data_dir=few)
    (tmp_path / "figures").write_text("a file")
    refused(draw, "--task inr_mnist", "--figures_dir", "choose another")
    (tmp_path / "figures").unlink()
    (tmp_path / "figures" / "pictures_inr_mnist_hidden1.pdf").mkdir(parents=True)
    refused(draw, "--task inr_mnist", "--figures_dir", "cannot be written")
    for folder in list(logs.rglob("*.models")):
        shutil.rmtree(folder)
    refused(draw, "", "--logs_dir", "inr_mnist or inr_cifar10", "--save_models")
