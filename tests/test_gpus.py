"""numerics/gpus.py and its callers, with fakes of the GPUs of CuPy and torch: the choice of a device, its precision."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import strict_array
import torch

from numerics import gpus
from numerics.workspace import BUDGET, GPU_BUDGET, Workspace
from shell.program import UsageError
from studies import conditions
from sweep import cells, machine, workers
from sweep.settings import make_settings

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("cupy", "torch")
SETTINGS = {"task": "mlp_planted", "mlist": [3], "slist": [5], "nmeasurements": 50, "num_epochs": 1}


def settings(library, **changes):
    return make_settings(**SETTINGS | {"method": {"cupy": "aiht", "torch": "pruning"}[library]} | changes)


@pytest.fixture
def fakes(monkeypatch):
    """Two GPUs for each library; `broken` is what a computation raises, `lost` the function of CuPy that is off."""
    fakes = SimpleNamespace(broken=None, lost=None, no_driver=False, count=2, used=[])

    class Cupy:
        __version__ = "99.1"

        def __getattr__(self, name):
            if name == "arange" and fakes.broken:
                raise fakes.broken
            if name == fakes.lost:
                raise ImportError(f"no library for {name}")
            return getattr(strict_array, name)

    def count():
        if fakes.no_driver:  # as CuPy 13.6 and 14 do
            raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient\nmore")
        return fakes.count

    def is_available():  # of CuPy 13.6: it lets all errors through but one, whose code the fake has not
        return count() > 0

    cupy = Cupy()
    runtime = SimpleNamespace(getDeviceCount=count, driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 12090,
                              getDeviceProperties=lambda gpu: {"name": b"Fake", "totalGlobalMem": 24 * 2**30})
    cupy.cuda = SimpleNamespace(
        is_available=is_available, runtime=runtime, cublas=SimpleNamespace(getVersion=lambda handle: 120905),
        device=SimpleNamespace(get_cublas_handle=lambda: 7),
        Device=lambda gpu: SimpleNamespace(use=lambda: fakes.used.append(gpu)))
    arange = torch.arange

    def on_fake(*args, device="cpu"):
        if device != "cpu" and fakes.broken:
            raise fakes.broken
        return arange(*args)

    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for name, value in {"is_available": lambda: True, "device_count": lambda: 2,
                        "get_device_properties": lambda gpu: SimpleNamespace(name="Fake", total_memory=24 * 2**30),
                        }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch, "arange", on_fake)
    for name in gpus.TF32_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return fakes


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_gpu_is_taken_once_it_has_computed_and_its_library_is_named(fakes, monkeypatch, library):
    assert machine.choose_device(settings(library, gpu=1)) == machine.Device("cuda:1", "GPU 1, Fake")
    assert fakes.used == ([1] if library == "cupy" else [])
    with pytest.raises(UsageError, match="argument --gpu: 2 cannot be used .* finds GPUs 0 to 1 only"):
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
    with pytest.raises(UsageError, match=f"--device: cuda is not possible .*{type(error).__name__}.*use --device cpu"):
        machine.choose_device(settings(library, device="cuda"))


def test_without_a_driver_the_cpu_is_taken_and_the_reason_is_told(fakes):
    fakes.no_driver = True
    with pytest.raises(RuntimeError):
        sys.modules["cupy"].cuda.is_available()  # what CuPy 13.6 does: nothing may ask it
    chosen = machine.choose_device(settings("cupy"))
    assert chosen.name == "cpu" and chosen.line == (
        "CPU (CuPy finds no working NVIDIA GPU (cudaErrorInsufficientDriver: CUDA driver version is insufficient))")
    with pytest.raises(UsageError, match="--device: cuda is not possible .CuPy finds no working NVIDIA GPU .*Driver"):
        machine.choose_device(settings("cupy", device="cuda"))
    fakes.no_driver, fakes.count = False, 0
    assert machine.choose_device(settings("cupy")).line == "CPU (CuPy finds no working NVIDIA GPU)"


@pytest.mark.parametrize("lost, there", [("argsort", "argsort"), ("csr_matrix", "sparse")])
def test_a_gpu_must_sort_and_multiply_sparse_matrices(fakes, monkeypatch, lost, there):
    """A start-up product of vectors never came to cuBLAS, cuSPARSE or Thrust."""
    fakes.lost = lost

    def fails(*_, **__):
        raise ImportError(f"no library for {lost}")

    monkeypatch.setattr(strict_array, "csr_matrix", fails if lost == "csr_matrix" else strict_array.csr_matrix)
    assert f"cannot compute on GPU 0 (ImportError: no library for {lost})" in machine.choose_device(
        settings("cupy")).line


def test_wrong_products_are_refused(fakes, monkeypatch):
    monkeypatch.setattr(strict_array.ndarray, "__matmul__", lambda self, other: strict_array.asarray(
        self._data @ other._data + 1))
    assert "cannot compute on GPU 0 (ArithmeticError: products and a sort give" in machine.choose_device(
        settings("cupy")).line


def test_the_log_names_driver_runtime_and_cublas(fakes, monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "KERNEL_MODULE", tmp_path / "version")
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul\nGCC\n")
    device = machine.choose_device(settings("cupy"))
    versions = machine.describe(settings("cupy"), device)["versions"]
    assert versions | {"driver": "580.65.06", "cuda of the driver": "13.0", "cuda": "12.9", "cublas": "120905",
                       "cupy": "99.1"} == versions
    assert "cublas" not in machine.describe(settings("cupy"), machine.Device("cpu", "CPU"))["versions"]


FAKE_CUPY = """
import os
import strict_array
from strict_array import *  # noqa: F403

class cuda:
    class runtime:
        getDeviceCount = staticmethod(lambda: 1)
        getDeviceProperties = staticmethod(lambda gpu: {"name": b"Fake", "totalGlobalMem": 2**34})
        driverGetVersion = runtimeGetVersion = staticmethod(lambda: 13000)
    class cublas:
        getVersion = staticmethod(lambda handle: 1)
    class device:
        get_cublas_handle = staticmethod(lambda: 0)
    class Device:
        def __init__(self, gpu):
            pass
        def use(self):
            print("process", os.getpid())
            open(os.environ["USED"], "a").write(f"{os.getpid()} ")

def __getattr__(name):
    return getattr(strict_array, name)
"""


def test_with_workers_a_child_looks_so_that_no_gpu_is_held(tmp_path, monkeypatch):
    """A GPU in exclusive-process mode would else be lost to worker 0."""
    (tmp_path / "cupy.py").write_text(FAKE_CUPY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}/tests")
    monkeypatch.setenv("USED", str(tmp_path / "used"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    device = machine.choose_device(settings("cupy", workers=2))
    assert device == machine.Device("cuda:0", "GPU 0, Fake") and device.gpu.memory == 2**34
    assert str(os.getpid()) not in (tmp_path / "used").read_text().split() != []
    monkeypatch.setenv("CUPY_TF32", "1")
    with pytest.raises(UsageError, match="environment variable CUPY_TF32"):
        machine.choose_device(settings("cupy", workers=2))
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "cupy.py").write_text("raise ModuleNotFoundError('No module named cupy', name='cupy')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "without"))
    assert machine.choose_device(settings("cupy", workers=2)).line == "CPU (no CuPy)"
    sys.modules.pop("cupy", None)


@pytest.mark.parametrize("library", LIBRARIES)
def test_workers_are_no_more_than_the_memory_of_the_gpus_has_room_for(fakes, monkeypatch, library):
    """3 GiB each on two GPUs of 24."""
    monkeypatch.setattr(machine, "look_from_child", gpus.look)
    assert machine.choose_device(settings(library, workers=16)).name == "cuda:0"
    with pytest.raises(UsageError, match="--workers: 17 on 2 GPU.s. of 24 GiB want 3072 MiB each; use at most 16"):
        machine.choose_device(settings(library, workers=17))
    if library == "cupy":
        assert machine.choose_device(settings(library, workers=46, memory_budget=16)).name == "cuda:0"


def test_workers_that_share_a_gpu_share_its_memory(monkeypatch):
    monkeypatch.delenv(workers.CUPY_LIMIT, raising=False)
    assert workers.memory_shares(5, 2) == {"CUPY_GPU_MEMORY_LIMIT": "33%"} and workers.memory_shares(2, 2) == {}
    monkeypatch.setenv(workers.CUPY_LIMIT, "10%")
    assert workers.memory_shares(5, 2) == {"CUPY_GPU_MEMORY_LIMIT": "10%"}


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
