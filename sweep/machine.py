"""The machine of a sweep: the device that is chosen, and what a log says of the hardware, the versions and the code."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from numerics.arrays import cupy_on
from sweep.flags import UsageError
from sweep.methods import METHODS
from sweep.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Device:
    """Where cells are computed: "cpu" or "cuda:N", and a line that says so and why."""

    name: str
    line: str


def choose_device(settings: Settings) -> Device:
    """The GPU that is asked for or there, else the CPU. Raises UsageError for a GPU that is asked for and not there."""
    if settings.device == "cpu":
        return Device("cpu", "CPU")
    gpu = settings.gpu
    try:
        name = torch_gpu(gpu) if METHODS[settings.method].library == "torch" else cupy_on(gpu)[1]
        return Device(f"cuda:{gpu}", f"GPU {gpu}, {name}")
    except RuntimeError as error:
        if settings.device == "cuda":
            raise UsageError(f"argument --device: cuda is not possible, {error}; use --device cpu") from None
        if gpu:
            raise UsageError(f"argument --gpu: {gpu} is not there, {error}; leave it out for the CPU") from None
        return Device("cpu", f"CPU ({error})")


def count_gpus() -> int:
    """GPUs that torch sees; for the share of each worker."""
    import torch

    return torch.cuda.device_count()


def torch_gpu(gpu: int) -> str:
    """The name of a GPU that torch can use; RuntimeError says what is missing."""
    import torch

    if not torch.cuda.is_available():
        raise RuntimeError("no GPU for torch")
    if gpu >= torch.cuda.device_count():
        raise RuntimeError(f"torch finds GPUs 0 to {torch.cuda.device_count() - 1} only")
    return torch.cuda.get_device_name(gpu)


def describe(settings: Settings, device: Device) -> dict:
    """The environment of a sweep, for its log."""
    return {"device": device.name, "device_name": device.line, "processor": processor_name(),
            "threads": settings.threads, "memory_budget": settings.memory_budget, "blas": blas_kernels(),
            "versions": versions(with_cupy=device.name != "cpu"), "commit": commit()}


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
