"""What the tests share: a workspace, the array modules of a device, and repeatable hypothesis examples."""

import os
import shlex
import signal
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

from numerics.workspace import Workspace

settings.register_profile("repeatable", deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])  # other processes may be at work
settings.load_profile("repeatable")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's "make test &": the runs of tests would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)  # after every cell of a sweep; other processes do wait
        yield


@pytest.fixture(params=["strict_array", "cupy"])
def device(request):
    """A module whose arrays are not NumPy's: the double of CuPy, and CuPy itself where it finds a GPU."""
    if request.param == "strict_array":
        import strict_array

        return strict_array
    try:
        import cupy
    except Exception as error:  # an installed CuPy that misfits its CUDA raises more than ImportError
        pytest.skip(f"CuPy cannot be imported ({type(error).__name__})")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # no driver, or one that is too old
        pytest.skip(f"CuPy finds no working NVIDIA GPU ({error})")
    if not count:
        pytest.skip("CuPy finds no working NVIDIA GPU")
    return cupy


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch):
    """Downloads fail, and no data set is taken from elsewhere."""

    def fail(*_):
        raise OSError("no network in tests")

    monkeypatch.setattr("instances.files._download", fail)
    monkeypatch.delenv("MLP_IHT_DATA", raising=False)


@pytest.fixture
def cli(folder, no_network, monkeypatch, capfd):
    """Runs a command line of runner.py in an empty folder without network; returns exit code, stdout and stderr."""
    import runner
    from sweep import machine

    monkeypatch.setattr(machine, "commit", lambda: "1a2b")  # two calls of git for every run

    def cli(line, *more):
        capfd.readouterr()
        code = runner.main([*shlex.split(line), *more])
        return SimpleNamespace(code=code, **capfd.readouterr()._asdict())

    return cli


@pytest.fixture
def saved(monkeypatch):
    """The figures that are saved; their files stay empty, since drawing takes half a second."""
    figures = []

    def save(figure, stem):
        figures.append(figure)
        paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("png", "pdf")]
        for path in paths:
            path.write_bytes(b"")
        return paths

    monkeypatch.setattr("plotting.page.save", save)
    return figures


@pytest.fixture
def short(monkeypatch):
    """Short cycles of gnhtp: a fit of 7 steps ends its first and tries the second."""
    from beyond.gnhtp import anneal, layer, regrow

    monkeypatch.setattr(anneal, "PERIOD", 5)
    monkeypatch.setattr(regrow, "EXCHANGES", 5)
    monkeypatch.setattr(anneal, "EXCHANGES", 5)
    monkeypatch.setattr(layer, "AIHT_STEPS", 10)


@pytest.fixture
def work():
    with Workspace() as workspace:
        yield workspace


@pytest.fixture
def one_thread():
    """One thread for torch: on a busy machine its threads wait for each other, and the nets of tests are tiny."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
