"""GPUs: CuPy and torch set to one that has computed something, and products in full single precision there.

A library that counts a GPU may still be unable to use it, for example without NVRTC, cuBLAS or cuSPARSE: so one small
product of each kind and a sort are computed before a GPU is taken. TF32, which rounds the factors of a product to 10
bits, is never used.

    python -m numerics.gpus cupy 0

prints as JSON what is found: a process of its own, which leaves a GPU to others that only one process may use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from numerics.arrays import DTYPE, Array, to_host
from numerics.products import sparse_matrix

ROOT = Path(__file__).resolve().parents[1]
TF32_VARIABLES = ("CUPY_TF32", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE")
KERNEL_MODULE = Path("/proc/driver/nvidia/version")  # its first line names the version of the driver


class GpuError(RuntimeError):
    """Why there is no GPU to compute on."""


class PrecisionError(GpuError):
    """The GPU is there, but the environment asks it for products in TF32."""


@dataclass(frozen=True)
class Gpu:
    """A GPU that has computed something: its name, its memory in bytes, and versions of CUDA for the log."""

    name: str
    memory: int
    versions: dict[str, str] = field(default_factory=dict)


# ---- look for one ----


def look(library: str, gpu: int) -> Gpu:
    """A GPU that "cupy" or "torch" can use, to which it is set. Raises GpuError."""
    return torch_on(gpu) if library == "torch" else cupy_on(gpu)[1]


def look_from_child(library: str, gpu: int) -> Gpu:
    """The same from a process that ends, so that this one never holds the GPU. Raises GpuError."""
    run = subprocess.run([sys.executable, "-m", __name__, library, str(gpu)], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        raise GpuError(f"the process that looked for one ended with code {run.returncode} "
                       f"({first_line(run.stderr.strip().rpartition(chr(10))[2])})")
    found = json.loads(run.stdout.strip().rpartition("\n")[2])
    if kind := found.pop("error", None):
        raise {error.__name__: error for error in (GpuError, PrecisionError)}[kind](found["reason"])
    return Gpu(**found)


def cupy_on(gpu: int) -> tuple[ModuleType, Gpu]:
    """CuPy, set to a GPU that works. Raises GpuError."""
    try:
        import cupy
    except ModuleNotFoundError:
        raise GpuError("no CuPy") from None
    except Exception as error:  # an installed CuPy that misfits its CUDA raises more than ImportError
        raise GpuError(f"CuPy cannot be imported ({type(error).__name__})") from None

    def compute() -> np.ndarray:
        cupy.cuda.Device(gpu).use()
        return to_host(samples_of_work(cupy))

    check("CuPy", gpu, compute, samples_of_work(np))
    facts = cupy.cuda.runtime.getDeviceProperties(gpu)
    return cupy, Gpu(facts["name"].decode(), int(facts["totalGlobalMem"]), cuda_versions(cupy))


def torch_on(gpu: int) -> Gpu:
    """A GPU that works with torch, whose products are from now on in full precision. Raises GpuError."""
    import torch

    def compute() -> np.ndarray:
        torch.backends.cuda.matmul.allow_tf32 = False
        A = torch.arange(6.0, device=f"cuda:{gpu}").view(2, 3)
        return torch.cat([(A @ A.T).flatten(), A[1] @ A.T, (-A[0]).sort().values]).cpu().numpy()

    A = np.arange(6.0).reshape(2, 3)
    check("torch", gpu, compute, np.concatenate([(A @ A.T).ravel(), A[1] @ A.T, np.sort(-A[0])]))
    facts = torch.cuda.get_device_properties(gpu)
    return Gpu(facts.name, facts.total_memory, driver_version() | {"cuda": str(torch.version.cuda)})


def samples_of_work(xp: ModuleType) -> Array:
    """One small product of each kind and a sort: what needs NVRTC, cuBLAS, cuSPARSE and Thrust on a GPU."""
    A = xp.arange(6, dtype=DTYPE).reshape(2, 3)
    sparse = sparse_matrix(np.array([[0, 2], [3, 0]], dtype=DTYPE), A)
    return xp.concatenate([(A @ A.T).ravel(), A @ A[1], (sparse @ A).ravel(), A[1][xp.argsort(-A[1], kind="stable")]])


def check(library: str, gpu: int, compute: Callable[[], np.ndarray], expected: np.ndarray) -> None:
    """Raise GpuError unless a library can use a GPU, PrecisionError where the environment asks for products in TF32.

    Args:
        compute: computes whole numbers on the GPU.  expected: the right ones.
    """
    try:
        count = count_gpus(library.lower())
    except Exception as error:  # no driver, or one that is too old
        raise GpuError(f"{library} finds no working NVIDIA GPU ({first_line(error)})") from None
    if not count:
        raise GpuError(f"{library} finds no working NVIDIA GPU")
    if gpu >= count:
        raise GpuError(f"{library} finds {'GPU 0' if count == 1 else f'GPUs 0 to {count - 1}'} only")
    for name in TF32_VARIABLES:
        if (asked := os.environ.get(name, "")) not in ("", "0"):
            raise PrecisionError(f"environment variable {name}: {asked} would turn on TF32 products; "
                                 "unset it, or use --device cpu")
    try:
        if not np.array_equal(found := compute(), expected):
            raise ArithmeticError(f"products and a sort give {found.tolist()}, not {expected.tolist()}")
    except Exception as error:  # what is missing shows in many ways
        raise GpuError(f"{library} cannot compute on GPU {gpu} ({type(error).__name__}: {first_line(error)})") from None


def first_line(error: object) -> str:
    """The first line of what an error says, shortened."""
    return str(error).strip().partition("\n")[0][:150]


# ---- what there is ----


def count_gpus(library: str) -> int:
    """The GPUs that "cupy" or "torch" sees; workers share them. CuPy raises where there is no driver, or an old one."""
    if library == "torch":
        import torch

        return torch.cuda.device_count()
    import cupy

    return cupy.cuda.runtime.getDeviceCount()


def cuda_versions(cupy: Any) -> dict[str, str]:
    """Versions of the driver, of the CUDA that it is for, and of the libraries that CuPy uses."""
    runtime = cupy.cuda.runtime
    numbers = {"cuda of the driver": runtime.driverGetVersion(), "cuda": runtime.runtimeGetVersion()}
    found = {name: f"{number // 1000}.{number % 1000 // 10}" for name, number in numbers.items()}
    return driver_version() | found | {"cublas": str(cupy.cuda.cublas.getVersion(cupy.cuda.device.get_cublas_handle()))}


def driver_version() -> dict[str, str]:
    """The version of the driver, where Linux tells it."""
    try:
        words = KERNEL_MODULE.read_text().partition("\n")[0].split()
    except OSError:
        return {}
    return {"driver": next((word for word in words if word[0].isdigit()), "unknown")}


def main(argv: list[str] | None = None) -> int:
    library, gpu = argv or sys.argv[1:]
    try:
        print(json.dumps(asdict(look(library, int(gpu)))))
    except GpuError as error:
        print(json.dumps({"error": type(error).__name__, "reason": str(error)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
