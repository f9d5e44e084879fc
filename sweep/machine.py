"""The machine of a sweep: the device that is chosen, and what a log says of the hardware, the versions and the code."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numerics.gpus import Gpu, GpuError, PrecisionError, count_gpus, look, look_from_child
from numerics.workspace import default_budget
from shell.program import UsageError
from sweep.code import ROOT, code_of
from sweep.settings import Settings


@dataclass(frozen=True)
class Device:
    """Where cells are computed: "cpu" or "cuda:N", and a line that says so and why."""

    name: str
    line: str
    gpu: Gpu | None = field(default=None, compare=False)


WORKER_OVERHEAD = 1024  # MiB beside its budget, estimated: the context of CUDA (some 500 MiB) and the data of a cell


def choose_device(settings: Settings) -> Device:
    """The GPU that is asked for or there, else the CPU. Raises UsageError for a GPU that is asked for and not there."""
    if settings.run.device == "cpu":
        return Device("cpu", "CPU")
    gpu = settings.run.gpu
    try:
        found = gpu_of(settings, gpu)
    except PrecisionError as error:
        raise UsageError(str(error)) from None
    except GpuError as error:
        if settings.run.device == "cuda":
            raise UsageError(f"argument --device: cuda is not possible ({error}); use --device cpu, or add CuPy if "
                             "missing: pip install -r requirements-gpu.txt") from None
        if gpu:
            raise UsageError(f"argument --gpu: {gpu} cannot be used ({error}); leave it out") from None
        return Device("cpu", f"CPU ({error})")
    check_room(settings, found)
    return Device(f"cuda:{gpu}", f"GPU {gpu}, {found.name}", found)


def gpus_of_workers(settings: Settings, device: str) -> int:
    """GPUs that the workers of a sweep share, as the library of its method counts them; 0 on a CPU."""
    return 0 if device == "cpu" else count_gpus(settings.method.library)


def gpu_of(settings: Settings, gpu: int) -> Gpu:
    """A GPU that the library of a method can use; raises GpuError, which says what is missing.

    Where workers compute, a child process looks: a GPU may be one that a single process can use, and they need it.
    """
    if not settings.method.library:
        raise GpuError(f"{settings.method.title} computes on the CPU alone")
    elsewhere = settings.run.workers or settings.run.scheduler
    return (look_from_child if elsewhere else look)(settings.method.library, gpu)


def check_room(settings: Settings, gpu: Gpu) -> None:
    """Raise UsageError where the workers that share a GPU want more memory than it has."""
    run, gpus = settings.run, count_gpus(settings.method.library)
    each = (run.memory_budget or default_budget(gpu=True)) + WORKER_OVERHEAD
    room = max(gpu.memory // 2**20 // each, 1)  # workers on one GPU
    if run.workers > room * gpus:
        remedy = ", or a smaller --memory_budget" if settings.method.library == "cupy" else ""
        raise UsageError(f"argument --workers: {run.workers} on {gpus} GPU(s) of {gpu.memory / 2**30:.0f} GiB want "
                         f"{each} MiB each; use at most {room * gpus}{remedy}")


def describe(settings: Settings, device: Device, data: str | None = None) -> dict[str, Any]:
    """The environment of a sweep, for its log; `data` is the digest of what it reads."""
    on_gpu = device.name != "cpu"
    return {"device": device.name, "device_name": device.line, "processor": processor_name(),
            "threads": settings.run.threads,
            "memory_budget": settings.run.memory_budget or default_budget(on_gpu),
            "blas": blas_kernels(), "versions": versions(on_gpu) | (device.gpu.versions if device.gpu else {}),
            "commit": commit(),
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
