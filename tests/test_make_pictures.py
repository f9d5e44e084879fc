"""make_pictures.py: the images of kept networks are the right ones, in their places, and what is wrong is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import make_pictures as mp
import matplotlib.image
import numpy as np
import pytest
from test_image_tasks import CIFAR_FILES, MNIST_FILES, idx, write

import datasets
import runner
import tasks
from models import SparseNet
from tasks import TASKS

TRAIN_COUNTS, TEST_COUNTS = [5200, 5200, *[1] * 8], [900, 900, *[1] * 8]  # enough for 1000 test images of 0 and of 1
GRID = "--mlist 2 3 --slist 20 60 --num_epochs 3"


# ---- data and logs ----


def blocks(rng, shape, side):
    """Images of this shape, of squares of one brightness."""
    small = rng.integers(0, 256, (*shape[:-2], shape[-2] // side, shape[-1] // side), dtype=np.uint8)
    return small.repeat(side, -1).repeat(side, -2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with small data sets in the formats of MNIST and CIFAR-10."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("data")
    labels = [np.repeat(np.arange(10, dtype=np.uint8), counts) for counts in (TRAIN_COUNTS, TEST_COUNTS)]
    arrays = [array for own in labels for array in (blocks(rng, (len(own), 28, 28), 7), own)]
    write(folder, dict(zip(MNIST_FILES, map(idx, arrays), strict=True)))
    counts = [[1] * 10] * 5 + [[600, 600, *[1] * 8]]
    for file, own in zip(CIFAR_FILES, counts, strict=True):
        labels = np.repeat(np.arange(10, dtype=np.uint8), own)
        records = np.column_stack([labels, blocks(rng, (len(labels), 3, 32, 32), 8).reshape(-1, 3072)])
        write(folder, {file: records.tobytes()})
    return folder


@pytest.fixture(scope="module")
def ran(data, tmp_path_factory):
    """A folder of logs: both tasks by both methods, with their networks."""
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
def draw(tmp_path, data, logs, monkeypatch, capsys):
    """Runs make_pictures.py on the copy: exit code, names of the pictures that it printed, stderr."""
    monkeypatch.setattr(datasets, "_download", None)
    monkeypatch.delenv("MLP_IHT_DATA", raising=False)

    def draw(line="", data_dir=data):
        capsys.readouterr()
        flags = ["--logs_dir", str(logs), "--figures_dir", str(tmp_path / "figures"), "--data_dir", str(data_dir)]
        code = mp.main([*flags, *line.split()])
        out, err = capsys.readouterr()
        return code, [Path(path).name for path in out.split()], err

    return draw


@pytest.fixture
def page(draw, monkeypatch):
    """The Figure that a command line would write."""

    def page(line):
        figures = []
        monkeypatch.setattr(mp, "write_figure", lambda figure, target: figures.append(figure) or [])
        assert draw(line)[0] == 0
        [figure] = figures
        return figure

    return page


def models(logs, task="inr_mnist", method="aiht", num_layers=1):
    """The folder of the networks of the only log of its kind."""
    [folder] = (logs / task / method).glob(f"*hidden{num_layers}*.models")
    return folder


def images(figure):
    """The pixels of each image, the original first, then row by row; None where a frame is blank."""
    return [ax.images[0].get_array().data if ax.images else None for ax in figure.axes]


def texts(figure, pattern=""):
    return [text.get_text() for text in figure.texts if re.search(pattern, text.get_text())]


# ---- the pictures ----


def test_every_image_is_that_of_its_network(page, data, logs):
    """By the definition: m down, blocks of methods, s across; each with its PSNR under it."""
    original, *drawn = images(page("--task inr_mnist --mlist 3 2 --slist 20 60 --seed 1"))
    y = tasks.mnist_image(data)
    np.testing.assert_array_equal(original, y.astype(np.float32))
    X = tasks.grid_features((28, 28), 1)
    cells = [(method, m, s) for m in (3, 2) for method in ("aiht", "pruning") for s in (20, 60)]
    paths = [models(logs, method=method) / f"m{m}_s{s}_seed1.npz" for method, m, s in cells]
    outputs = [SparseNet.load(path).predict(X) for path in paths]
    for pixels, output in zip(drawn, outputs, strict=True):
        np.testing.assert_array_equal(pixels, np.clip(output.reshape(28, 28), 0, 1))
    scores = [f"{-10 * np.log10(np.mean((output - y.ravel()) ** 2)):.1f} dB" for output in outputs]
    assert len({pixels.tobytes() for pixels in drawn}) > 6 and max(output.max() for output in outputs) > 1
    assert texts(page("--task inr_mnist --mlist 3 2 --slist 20 60 --seed 1"), " dB$") == scores


def test_colours_are_the_channels(page, data, logs):
    original, first, *_ = images(page("--task inr_cifar10 --mlist 3 --slist 60"))
    image, X = tasks.cifar_image(data), tasks.grid_features((32, 32, 3), 0)
    output = SparseNet.load(models(logs, "inr_cifar10") / "m3_s60_seed0.npz").predict(X).reshape(3, 32, 32)
    for channel in range(3):
        np.testing.assert_array_equal(original[..., channel], image[channel].astype(np.float32))
        np.testing.assert_array_equal(first[..., channel], np.clip(output[channel], 0, 1))


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 2)])
def test_values_are_clipped_to_0_and_1(shape):
    figure = mp.Page(2, 2)
    figure.image(0, 0, 1, np.resize([-0.5, 0.25, 1, 1.5], shape))
    np.testing.assert_array_equal(images(figure.figure)[0].reshape(2, 2, -1)[..., 0], [[0, 0.25], [1, 1]])


def test_grey_is_black_at_0_and_white_at_1_whatever_the_pixels(page):
    for ax in page("--task inr_mnist").axes:
        assert ax.images[0].get_clim() == (0, 1) and ax.images[0].get_cmap().name == "gray"


def test_what_was_run_is_said(page):
    figure = page("--task inr_mnist --num_layers 2")
    words = " ".join(texts(figure, "hidden layer")[0].split())
    assert "2 hidden layers seed 0 epochs 3 convex m: hidden" in words
    assert texts(figure, "^[A-Z]+$") == ["AIHT"]
    figure = page("--task inr_mnist --seed 1")
    words = " ".join(texts(figure, "hidden layer")[0].split())
    assert "1 hidden layer seed 1 epochs 3 m: hidden" in words
    assert texts(figure, "^[A-Z]+$") == ["AIHT", "IMP"] and texts(figure, "^[ms] =") == [
        "m = 2", "m = 3", "s = 20", "s = 60", "s = 20", "s = 60"]


def test_settings_that_methods_do_not_share_name_their_method(page, logs, data):
    shutil.rmtree(logs / "inr_mnist" / "pruning")
    run(logs, data, "--task inr_mnist --method pruning --mlist 2 --slist 20 --num_epochs 1 --batch_size 400")
    words = " ".join(texts(page("--task inr_mnist"), "hidden layer")[0].split())
    assert "seed 0 AIHT: epochs 3 IMP: epochs 1 IMP: batch 400 m: hidden" in words


def test_a_further_method_gets_a_block(page, logs):
    shutil.copytree(logs / "inr_mnist" / "aiht", logs / "inr_mnist" / "gnhtp")
    assert texts(page("--task inr_mnist"), "^[A-Z]+$") == ["AIHT", "GNHTP", "IMP"]


@pytest.mark.parametrize("line, count", [("", 4), ("--task inr_cifar10", 2), ("--task inr_mnist", 2)])
def test_all_tasks_are_drawn_unless_one_is_named(draw, line, count):
    code, names, err = draw(line)
    tasks_drawn = [line.split()[1]] if line else ["inr_mnist", "inr_cifar10"]
    assert (code, err) == (0, "") and len(names) == count
    assert names == [f"pictures_{task}_hidden1.{suffix}" for task in tasks_drawn for suffix in ("png", "pdf")]


def test_a_task_without_networks_is_passed_over(draw, logs):
    shutil.rmtree(models(logs, "inr_cifar10"))
    assert draw()[:2] == (0, ["pictures_inr_mnist_hidden1.png", "pictures_inr_mnist_hidden1.pdf"])


def test_a_new_image_task_is_one_entry_of_the_table(monkeypatch, draw, logs, data):
    """Its images may have any shape."""
    def build(settings, m, s, seed):
        return tasks.image_problem(np.linspace(0, 1, 36).reshape(4, 9), tasks.grid_features((4, 9), seed))

    entry = tasks.Task("a ramp", tasks.IMAGE, build, lambda settings: 36, image=(4, 9))
    monkeypatch.setitem(TASKS, "inr_ramp", entry)
    run(logs, data, f"--task inr_ramp {GRID}")
    assert draw("--task inr_ramp")[1] == ["pictures_inr_ramp_hidden1.png", "pictures_inr_ramp_hidden1.pdf"]


# ---- which cells ----


@pytest.mark.parametrize("asked, there, expected", [
    (None, {2, 5, 20, 100, 200}, [5, 20, 100]), (None, {200, 20, 5}, [5, 20, 200]), (None, {1, 2, 3, 4, 6}, [1, 3, 6]),
    (None, {7}, [7]), (None, {9, 8}, [8, 9]), ([8, 2], {2, 3}, [8, 2]),
])
def test_the_grid(asked, there, expected):
    assert mp.choose(asked, mp.MLIST, there) == expected


def test_blank_frames_say_why_there_is_no_image(page, logs):
    table = models(logs).with_suffix(".json")
    sidecar = json.loads(table.read_text())
    for entry in sidecar["cells"]:
        if (entry["m"], entry["s"], entry["seed"]) == (3, 60, 0):
            entry["status"] = "failed: MemoryError"
    table.write_text(json.dumps(sidecar))
    (models(logs) / "m2_s60_seed0.npz").unlink()
    figure = page("--task inr_mnist --mlist 2 3 7 --slist 20 60")
    assert [pixels is None for pixels in images(figure)[1:]] == [
        False, True, False, False, False, True, False, False, True, True, True, True]
    assert texts(figure, "not|failed") == ["not kept", "failed"] + ["not run"] * 4
    hatched = [ax for ax in figure.axes if not ax.images]
    assert all(ax.patch.get_hatch() for ax in hatched) and len(hatched) == 6


def test_other_logs_of_the_same_settings_fill_the_grid_and_are_left_alone(page, logs, data):
    """A larger log without networks lets a smaller one run again, to keep them."""
    shutil.rmtree(logs / "inr_mnist")
    run(logs, data, f"--task inr_mnist {GRID}", "--overwrite")  # without --save_models
    run(logs, data, "--task inr_mnist --mlist 4 --slist 20 --num_epochs 2", "--overwrite")  # of other settings
    before = {path: path.read_bytes() for path in logs.rglob("*") if path.is_file() and path.suffix != ".lock"}
    run(logs, data, "--task inr_mnist --mlist 3 --slist 60 --num_epochs 3")
    run(logs, data, "--task inr_mnist --mlist 2 --slist 20 --num_epochs 3")
    assert {path: path.read_bytes() for path in before} == before
    [table] = (logs / "inr_mnist" / "aiht").glob("*m2-3*.npy")  # and one that was only begun
    begun = re.sub('"status": "done"', '"status": "not run"', table.with_suffix(".json").read_text())
    write(table.parent, {"z.npy": table.read_bytes(), "z.json": begun.encode()})
    assert texts(page("--task inr_mnist --mlist 2 3 4 --slist 20 60"), "^not") == ["not kept"] * 2 + ["not run"] * 2


def test_a_method_without_networks_is_left_out(page, logs):
    shutil.rmtree(models(logs, method="pruning"))
    assert texts(page("--task inr_mnist"), "^[A-Z]+$") == ["AIHT"]


# ---- the page ----


def wide(logs):
    """Three methods, and the widest scores and axes, which are only said to be there."""
    shutil.copytree(logs / "inr_mnist" / "aiht", logs / "inr_mnist" / "gnhtp")
    return "--task inr_mnist --mlist 2 1000 3 --slist 20 1000 60"


@pytest.mark.parametrize("line", [
    "--task inr_mnist", "--task inr_mnist --mlist 2 --slist 20", "--task inr_cifar10 --mlist 3 --slist 20 60 7 8 9",
    wide, "--task inr_mnist --mlist 2 1000 --slist 20 60 100 500 1000",
    "--task inr_mnist --slist 20 --mlist 2 3 4 5 6 7 8 9 10 11 12 13 14",
])
def test_nothing_is_clipped_or_hidden_or_too_small(page, logs, line, monkeypatch):
    line = line(logs) if callable(line) else line
    monkeypatch.setattr(mp, "reconstruct", lambda problem, *_: (problem.Y_eval, -12.34))
    figure = page(line)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts if text.get_text()]
    width, height = figure.get_size_inches()
    assert width <= mp.WIDTH + 1e-9 and height <= mp.HEIGHT + 1e-9
    for number, box in enumerate(boxes):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width * figure.dpi + 1 and box.y1 <= height * figure.dpi + 1
        assert not any(box.overlaps(other) for other in boxes[number + 1 :])
        assert not any(box.overlaps(ax.get_window_extent()) for ax in figure.axes if ax.images)
    assert min(text.get_fontsize() for text in figure.texts) >= 6
    sides = [ax.get_window_extent().width / figure.dpi for ax in figure.axes]
    assert 0.44 < min(sides) and max(sides) < 1.01


def test_a_grid_that_fills_its_page_is_7_inches_wide(draw, logs, tmp_path):
    assert draw("--task inr_mnist --slist 20 60 7")[0] == 0
    picture = matplotlib.image.imread(tmp_path / "figures" / "pictures_inr_mnist_hidden1.png")
    assert 6.98 <= picture.shape[1] / 200 <= 7.02


def test_same_logs_same_bytes_and_text_stays_text(draw, tmp_path):
    def pictures():
        assert draw("--task inr_mnist")[0] == 0
        return {path.suffix: path.read_bytes() for path in (tmp_path / "figures").iterdir()}

    first = pictures()
    assert pictures() == first and set(first) == {".png", ".pdf"}
    assert b"/FontFile2" in first[".pdf"] and b"/Type3" not in first[".pdf"]


# ---- refusals ----


def refused(draw, line, *words, **more):
    """The one line on stderr, which holds these words."""
    code, names, err = draw(line, **more)
    assert code == 2 and names == [] and len(err.splitlines()) == 1 and err.startswith("make_pictures.py: ")
    assert all(word in err for word in words), err
    return err


@pytest.mark.parametrize("shift, is_refused", [(0.009, False), (-0.009, False), (0.011, True), (-0.011, True)])
def test_a_score_that_is_not_that_of_the_log_is_refused(draw, logs, tmp_path, shift, is_refused):
    table = models(logs).with_suffix(".npy")
    scores = np.load(table)
    scores[1, 0, 0] += shift
    np.save(table, scores)
    if is_refused:
        path = str(models(logs) / "m3_s20_seed0.npz")
        refused(draw, "--task inr_mnist", path, f"{scores[1, 0, 0]:.2f}", "--data_dir", "run runner.py again")
        assert not (tmp_path / "figures").exists()
    else:
        assert draw("--task inr_mnist")[0] == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_score_in_the_log_is_a_wrong_one(draw, logs, value):
    table = models(logs).with_suffix(".npy")
    scores = np.load(table)
    scores[0, 0, 0] = value
    np.save(table, scores)
    refused(draw, "--task inr_mnist", f"{value:.2f} dB")


def test_an_exact_network_has_an_infinite_score(monkeypatch):
    net = type("Net", (), {"load": lambda path: net, "predict": lambda X: np.zeros(4)})
    monkeypatch.setattr(mp, "SparseNet", net)
    problem = tasks.image_problem(np.zeros((2, 2)), np.zeros((4, 3), np.float32))
    assert mp.reconstruct(problem, Path("net.npz"), np.inf)[1] == np.inf


def test_other_data_than_those_that_were_fitted_are_refused(draw, logs, data, tmp_path):
    other = shutil.copytree(data, tmp_path / "other")
    file = other / MNIST_FILES[0]
    file.write_bytes(file.read_bytes()[:16] + file.read_bytes()[16:][::-1])
    file = other / MNIST_FILES[2]
    file.write_bytes(file.read_bytes()[:16] + file.read_bytes()[16:][::-1])
    refused(draw, "--task inr_mnist", "where the log says", "--data_dir", data_dir=other)


def half(path):
    path.write_bytes(path.read_bytes()[:200])


def emptied(path):
    path.write_bytes(b"")


def no_archive(path):
    path.write_text("not an archive")


def no_layers(path):
    np.savez(path, step_sizes=np.zeros(0))


def several_outputs(path):
    layer = {"layer0_indices": [0], "layer0_values": [1.0], "layer0_shape": [1, 1500]}
    output = {"output_indices": [0], "output_values": [1.0], "output_shape": [3, 1]}
    np.savez(path, step_sizes=np.zeros(0), **layer, **output)


def folder_instead(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [half, emptied, no_archive, no_layers, several_outputs, folder_instead])
def test_a_damaged_network_is_refused(draw, logs, damage):
    path = models(logs) / "m3_s20_seed0.npz"
    damage(path)
    refused(draw, "--task inr_mnist", str(path), "delete it and run runner.py again")
    assert draw("--task inr_mnist --mlist 2")[0] == 0  # it is not read where it is not drawn


def test_a_network_of_another_cell_is_refused(draw, logs):
    folder = models(logs)
    shutil.copy(folder / "m3_s20_seed0.npz", folder / "m3_s60_seed0.npz")
    refused(draw, "--task inr_mnist", "m3_s60_seed0.npz", "where the log says")


def test_one_bad_task_does_not_keep_the_other_from_being_drawn(draw, logs):
    half(models(logs) / "m3_s20_seed0.npz")
    code, names, err = draw()
    assert code == 2 and names == ["pictures_inr_cifar10_hidden1.png", "pictures_inr_cifar10_hidden1.pdf"]
    assert len(err.splitlines()) == 1 and "m3_s20_seed0.npz" in err


def test_a_broken_log_is_refused(draw, logs):
    sidecar = models(logs).with_suffix(".json")
    sidecar.write_text("{}")
    refused(draw, "--task inr_mnist", "--logs_dir", sidecar.name, "move that log away")
    assert draw("--task inr_cifar10")[0] == 0


def test_networks_of_several_settings_are_refused(draw, logs, data):
    run(logs, data, "--task inr_mnist --mlist 2 --slist 20 --num_epochs 2 --expname try --convex")
    err = refused(draw, "--task inr_mnist", "--logs_dir", "--convex False and True", "move one of these logs")
    assert "--expname '' and 'try'" in err and "--num_epochs 3 and 2" in err
    assert draw("--task inr_mnist --seed 1")[0] == 0  # of which there is one alone


@pytest.mark.parametrize("line, words", [
    ("--task inr_mnist --num_layers 3", ("--num_layers 3", "--seed 0", "--save_models")),
    ("--task inr_cifar10 --seed 7", ("inr_cifar10", "--num_layers 1", "--seed 7")),
    ("--task inr_mnist --mlist 7 8", ("--mlist 7 8", "--slist 20", "choose among m 2 3 and s 20 60")),
    ("--task inr_mnist --mlist 2 --slist 61", ("--mlist 2", "--slist 61", "s 20 60")),
    ("--task inr_mnist --mlist 2 3 2", ("--mlist 2 3 2", "once")),
    ("--task inr_mnist --slist 20 20", ("--slist 20 20", "once")),
    ("--mlist 0", ("--mlist", "'0'")), ("--slist x", ("--slist", "'x'")), ("--seed -1", ("--seed", "'-1'")),
    ("--num_layers 0", ("--num_layers", "'0'")), ("--task mnist", ("--task", "'mnist'", "inr_mnist")),
    ("--nothing", ("--nothing", "--help")), ("--tas inr_mnist", ("--tas",)),
    ("--task inr_mnist --slist 20 60 3 4 5 6", ("--slist", "6 values", "2 method(s)", "fewer")),
    ("--task inr_mnist --slist 20 --mlist 2 3 4 5 6 7 8 9 10 11 12 13 14 15", ("--mlist", "14 values", "fewer")),
])
def test_mistakes_in_the_flags_are_refused(draw, tmp_path, capsys, line, words):
    try:
        refused(draw, line, *words)
    except SystemExit as stop:  # of argparse
        err = capsys.readouterr().err
        assert stop.code == 2 and len(err.splitlines()) == 1 and all(word in err for word in words)
    assert not (tmp_path / "figures").exists()


def test_logs_without_networks_are_refused(draw, logs):
    for folder in list(logs.rglob("*.models")):
        shutil.rmtree(folder)
    refused(draw, "", "--logs_dir", "inr_mnist or inr_cifar10", "--save_models")
    shutil.rmtree(logs)
    refused(draw, "--task inr_mnist", "--logs_dir", "--save_models")


def test_missing_and_too_few_data_are_refused(draw, data, tmp_path):
    refused(draw, "--task inr_mnist", "--data_dir", "train-images-idx3-ubyte", data_dir=tmp_path)
    few = shutil.copytree(data, tmp_path / "few")
    (few / CIFAR_FILES[5]).write_bytes(b"\0" * 3073)
    refused(draw, "--task inr_cifar10", "--data_dir", str(few), data_dir=few)


def test_a_folder_that_cannot_be_written_is_refused(draw, tmp_path):
    (tmp_path / "figures").write_text("a file")
    refused(draw, "--task inr_mnist", "--figures_dir", "choose another")


def test_a_picture_that_cannot_be_written_is_refused(draw, tmp_path):
    (tmp_path / "figures" / "pictures_inr_mnist_hidden1.pdf").mkdir(parents=True)
    code, _, err = draw("--task inr_mnist")
    assert code == 2 and "--figures_dir" in err and len(err.splitlines()) == 1


def test_help_and_import_touch_nothing(tmp_path):
    script = Path(mp.__file__)
    call = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--num_layers" in call.stdout and call.stderr == "" and not list(tmp_path.iterdir())
    code = "import sys; sys.path.insert(0, sys.argv[1]); import make_pictures; print('torch' in sys.modules)"
    call = subprocess.run([sys.executable, "-c", code, script.parent], cwd=tmp_path, capture_output=True, text=True)
    assert call.stdout == "False\n"
