"""numerics/gpus.py and its callers, with fakes of the GPUs of CuPy and torch: the choice of a device, its precision."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import strict_array
import torch

from numerics import gpus
from numerics.workspace import BUDGET, GPU_BUDGET, Workspace
from shell.program import UsageError
from studies import conditions
from sweep import cells, machine
from sweep.settings import make_settings

LIBRARIES = ("cupy", "torch")
SETTINGS = {"task": "mlp_planted", "mlist": [3], "slist": [5], "nmeasurements": 50, "num_epochs": 1}


def settings(library, **changes):
    return make_settings(**SETTINGS | {"method": {"cupy": "aiht", "torch": "pruning"}[library]} | changes)


@pytest.fixture
def fakes(monkeypatch):
    """Two GPUs for each library; `broken` in it is what a computation raises."""
    fakes = SimpleNamespace(broken=None, used=[])

    class Cupy:
        __version__ = "99.1"

        def __getattr__(self, name):
            if name == "arange" and fakes.broken:
                raise fakes.broken
            return getattr(strict_array, name)

    cupy = Cupy()
    runtime = SimpleNamespace(getDeviceCount=lambda: 2, getDeviceProperties=lambda gpu: {"name": b"Fake"})
    cupy.cuda = SimpleNamespace(is_available=lambda: True, runtime=runtime, Device=lambda gpu: SimpleNamespace(
        use=lambda: fakes.used.append(gpu)))
    arange = torch.arange

    def on_fake(*args, device="cpu"):
        if device != "cpu" and fakes.broken:
            raise fakes.broken
        return arange(*args)

    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for name, value in {"is_available": lambda: True, "device_count": lambda: 2,
                        "get_device_name": lambda gpu: "Fake"}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "arange", on_fake)
    for name in gpus.TF32_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return fakes


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_gpu_is_taken_once_it_has_computed_and_its_library_is_named(fakes, monkeypatch, library):
    assert machine.choose_device(settings(library, gpu=1)) == machine.Device("cuda:1", "GPU 1, Fake")
    assert fakes.used == ([1] if library == "cupy" else [])
    with pytest.raises(UsageError, match="argument --gpu: 2 is not there, .* finds GPUs 0 to 1 only"):
        machine.choose_device(settings(library, gpu=2))
    assert machine.versions(with_cupy=True)["cupy"] == "99.1" and "cupy" not in machine.versions(with_cupy=False)
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    assert "cupy" not in machine.versions(with_cupy=True)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("error", [ImportError("no libnvrtc.so\nmore"), RuntimeError("cuBLAS is missing"), OSError()])
def test_a_gpu_that_cannot_compute_is_none(fakes, library, error):
    fakes.broken = error
    chosen = machine.choose_device(settings(library))
    assert chosen.name == "cpu" and f"cannot compute on GPU 0 ({type(error).__name__}: " in chosen.line
    assert "\n" not in chosen.line and str(error).partition("\n")[0] in chosen.line
    with pytest.raises(UsageError, match=f"--device: cuda is not possible, .*{type(error).__name__}.*use --device cpu"):
        machine.choose_device(settings(library, device="cuda"))


@pytest.mark.parametrize("library, device", [("cupy", "auto"), ("torch", "auto"), ("torch", "cuda")])
@pytest.mark.parametrize("name", gpus.TF32_VARIABLES)
def test_tf32_is_refused_on_a_gpu(fakes, monkeypatch, name, library, device):
    for value, allowed in (("0", True), ("", True), ("1", False)):
        monkeypatch.setenv(name, value)
        if allowed:
            assert machine.choose_device(settings(library, device=device)).name == "cuda:0"
            continue
        with pytest.raises(UsageError, match=f"environment variable {name}: 1 .*unset it"):
            machine.choose_device(settings(library, device=device))
    assert machine.choose_device(settings(library, device="cpu")).name == "cpu"


def test_torch_computes_in_full_precision(fakes):
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        gpus.torch_on(0)
        assert torch.backends.cuda.matmul.allow_tf32 is False
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_workers_share_the_gpus_that_the_library_of_the_method_sees(fakes, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)  # a torch for CPUs
    assert [machine.gpus_of_workers(settings(library), "cuda:0") for library in LIBRARIES] == [2, 0]
    assert machine.gpus_of_workers(settings("cupy"), "cpu") == 0


def test_a_gpu_has_one_thread_and_a_budget_of_its_own(fakes, folder, monkeypatch):
    host, device = Workspace(3), Workspace(3, xp=strict_array)
    assert (host.threads, host.bytes) == (3, BUDGET * 2**20)
    assert (device.threads, device.bytes) == (1, GPU_BUDGET * 2**20)
    made = []

    def workspace(threads, memory_budget=None, xp=np):
        made.append((threads, xp))
        raise ArithmeticError

    monkeypatch.setattr(cells, "Workspace", workspace)
    monkeypatch.setattr(conditions, "Workspace", workspace)
    [result] = cells.run_job([(3, 5, 0)], settings("cupy", threads=3), "cuda:1").values()
    assert "ArithmeticError" in result.status
    with pytest.raises(ArithmeticError):
        conditions.run(conditions.Options(device="cuda", threads=3))
    assert [(threads, xp.__version__) for threads, xp in made] == [(3, "99.1")] * 2
