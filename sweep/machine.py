"""The machine of a sweep: the device that is chosen, and what a log says of the hardware, the versions and the code."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numerics.gpus import GpuError, PrecisionError, count_gpus, cupy_on, torch_on
from numerics.workspace import default_budget
from shell.program import UsageError
from sweep.code import ROOT, code_of
from sweep.methods import Method
from sweep.settings import Settings


@dataclass(frozen=True)
class Device:
    """Where cells are computed: "cpu" or "cuda:N", and a line that says so and why."""

    name: str
    line: str


def choose_device(settings: Settings) -> Device:
    """The GPU that is asked for or there, else the CPU. Raises UsageError for a GPU that is asked for and not there."""
    if settings.run.device == "cpu":
        return Device("cpu", "CPU")
    gpu = settings.run.gpu
    try:
        name = gpu_name(settings.method, gpu)
        return Device(f"cuda:{gpu}", f"GPU {gpu}, {name}")
    except PrecisionError as error:
        raise UsageError(str(error)) from None
    except GpuError as error:
        if settings.run.device == "cuda":
            raise UsageError(f"argument --device: cuda is not possible, {error}; use --device cpu, or install what is "
                             "missing: pip install -r requirements-gpu.txt") from None
        if gpu:
            raise UsageError(f"argument --gpu: {gpu} is not there, {error}; leave it out for the CPU") from None
        return Device("cpu", f"CPU ({error})")


def gpus_of_workers(settings: Settings, device: str) -> int:
    """GPUs that the workers of a sweep share, as the library of its method counts them; 0 on a CPU."""
    return 0 if device == "cpu" else count_gpus(settings.method.library)


def gpu_name(method: Method, gpu: int) -> str:
    """The name of a GPU that the library of a method can use; raises GpuError, which says what is missing."""
    if not method.library:
        raise GpuError(f"{method.title} computes on the CPU alone")
    return torch_on(gpu) if method.library == "torch" else cupy_on(gpu)[1]


def describe(settings: Settings, device: Device, data: str | None = None) -> dict[str, Any]:
    """The environment of a sweep, for its log; `data` is the digest of what it reads."""
    on_gpu = device.name != "cpu"
    return {"device": device.name, "device_name": device.line, "processor": processor_name(),
            "threads": settings.run.threads,
            "memory_budget": settings.run.memory_budget or default_budget(on_gpu),
            "blas": blas_kernels(), "versions": versions(with_cupy=on_gpu), "commit": commit(),
            "code": dict(code_of(settings)), "data": data}


def versions(with_cupy: bool) -> dict[str, str]:
    """Versions of Python and of the packages that decide on the numbers; CuPy's only where it computes."""
    import importlib.metadata  # 45 ms that --help need not wait for

    found = {"python": platform.python_version()}
    for package in ("numpy", "scipy", "torch"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    if with_cupy:
        try:
            import cupy  # its distribution has other names, such as cupy-cuda13x

            found["cupy"] = cupy.__version__
        except ImportError:  # IMP needs only torch on a GPU
            pass
    return found


def blas_kernels() -> list[str]:
    """The BLAS libraries of NumPy and SciPy, with the kernel that each has picked for this processor.

    For example ["openblas 0.3.31 SkylakeX"]. Scores on images move with the kernel.
    """
    import scipy.linalg  # noqa: F401  (loads a BLAS of its own)
    from threadpoolctl import threadpool_info

    found = (" ".join(filter(None, (info["internal_api"], info["version"], info.get("architecture"))))
             for info in threadpool_info() if info["user_api"] == "blas")
    return sorted(set(found))


def processor_name() -> str:
    """For example "AMD EPYC"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of this code, with "+" where files differ from it; None outside a checkout."""
    git = ["git", "-C", str(ROOT)]
    try:
        run = [subprocess.run([*git, *call], capture_output=True, text=True, timeout=10, check=True).stdout.strip()
               for call in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])]
    except (OSError, subprocess.SubprocessError):
        return None
    return run[0] + ("+" if run[1] else "")
