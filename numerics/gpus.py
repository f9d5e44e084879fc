"""GPUs: CuPy and torch set to one that has computed something, and products in full single precision there.

A library that counts a GPU may still be unable to use it, for example without NVRTC or cuBLAS: so one small kernel and
one product are run before a GPU is taken. TF32, which rounds the factors of a product to 10 bits, is never used.
"""

from __future__ import annotations

import os
from types import ModuleType

import numpy as np

from numerics.arrays import DTYPE, to_host

TF32_VARIABLES = ("CUPY_TF32", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE")


class GpuError(RuntimeError):
    """Why there is no GPU to compute on."""


class PrecisionError(GpuError):
    """The GPU is there, but the environment asks it for products in TF32."""


def cupy_on(gpu: int) -> tuple[ModuleType, str]:
    """CuPy, set to a GPU that works, and the GPU's name. Raises GpuError."""
    try:
        import cupy
    except ModuleNotFoundError:
        raise GpuError("no CuPy") from None
    except Exception as error:  # an installed CuPy that misfits its CUDA raises more than ImportError
        raise GpuError(f"CuPy cannot be imported ({type(error).__name__})") from None
    if not cupy.cuda.is_available():
        raise GpuError("CuPy finds no working NVIDIA GPU")
    check_number("CuPy", gpu, cupy.cuda.runtime.getDeviceCount())
    refuse_tf32()
    try:
        cupy.cuda.Device(gpu).use()
        vector = cupy.arange(3, dtype=DTYPE) + 1
        check_result(to_host(vector @ vector))
    except Exception as error:  # what is missing shows in many ways
        raise GpuError(f"CuPy cannot compute on GPU {gpu} ({first_line(error)})") from None
    return cupy, cupy.cuda.runtime.getDeviceProperties(gpu)["name"].decode()


def torch_on(gpu: int) -> str:
    """The name of a GPU that works with torch, whose products are from now on in full precision. Raises GpuError."""
    import torch

    if not torch.cuda.is_available():
        raise GpuError("torch finds no working NVIDIA GPU")
    check_number("torch", gpu, torch.cuda.device_count())
    refuse_tf32()
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        vector = torch.arange(3.0, device=f"cuda:{gpu}") + 1
        check_result(np.array((vector @ vector).item()))
    except Exception as error:
        raise GpuError(f"torch cannot compute on GPU {gpu} ({first_line(error)})") from None
    return torch.cuda.get_device_name(gpu)


def count_gpus(library: str) -> int:
    """The GPUs that "cupy" or "torch" sees; workers share them."""
    if library == "torch":
        import torch

        return torch.cuda.device_count()
    import cupy

    return cupy.cuda.runtime.getDeviceCount()


def check_number(library: str, gpu: int, count: int) -> None:
    """Raise GpuError where there are fewer GPUs."""
    if gpu >= count:
        raise GpuError(f"{library} finds GPUs 0 to {count - 1} only")


def check_result(value: np.ndarray) -> None:
    """Raise ArithmeticError unless the product of (1, 2, 3) with itself is 14."""
    if value != 14:
        raise ArithmeticError(f"the product of (1, 2, 3) with itself is {value}")


def refuse_tf32() -> None:
    """Raise PrecisionError where a variable asks CuPy, torch or cuBLAS for products in TF32."""
    for name in TF32_VARIABLES:
        value = os.environ.get(name, "")
        if value not in ("", "0"):
            raise PrecisionError(f"environment variable {name}: {value} would round the factors of products to TF32; "
                                 "unset it, or use --device cpu")


def first_line(error: Exception) -> str:
    """The kind of an error and the first line of what it says, of at most 150 characters."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:150]
