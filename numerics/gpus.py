"""GPUs: CuPy and torch set to one that has computed something, and products in full single precision there.

A library that counts a GPU may still be unable to use it, for example without NVRTC or cuBLAS: so one small kernel and
one product are run before a GPU is taken. TF32, which rounds the factors of a product to 10 bits, is never used.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

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

    def product() -> float:
        cupy.cuda.Device(gpu).use()
        vector = cupy.arange(3, dtype=DTYPE) + 1
        return float(to_host(vector @ vector))

    check("CuPy", gpu, cupy.cuda, product)
    return cupy, cupy.cuda.runtime.getDeviceProperties(gpu)["name"].decode()


def torch_on(gpu: int) -> str:
    """The name of a GPU that works with torch, whose products are from now on in full precision. Raises GpuError."""
    import torch

    def product() -> float:
        torch.backends.cuda.matmul.allow_tf32 = False
        vector = torch.arange(3.0, device=f"cuda:{gpu}") + 1
        return (vector @ vector).item()

    check("torch", gpu, torch.cuda, product)
    return torch.cuda.get_device_name(gpu)


def count_gpus(library: str) -> int:
    """The GPUs that "cupy" or "torch" sees; workers share them."""
    if library == "torch":
        import torch

        return torch.cuda.device_count()
    import cupy

    return cupy.cuda.runtime.getDeviceCount()


def check(library: str, gpu: int, cuda: Any, product: Callable[[], float]) -> None:
    """Raise GpuError unless a library can use a GPU, PrecisionError where the environment asks for products in TF32.

    Args:
        cuda: the module of the library.  product: makes the product of (1, 2, 3) with itself on the GPU.
    """
    if not cuda.is_available():
        raise GpuError(f"{library} finds no working NVIDIA GPU")
    if gpu >= (count := count_gpus(library.lower())):
        raise GpuError(f"{library} finds GPUs 0 to {count - 1} only")
    for name in TF32_VARIABLES:
        if (asked := os.environ.get(name, "")) not in ("", "0"):
            raise PrecisionError(f"environment variable {name}: {asked} would round the factors of products to TF32; "
                                 "unset it, or use --device cpu")
    try:
        if (value := product()) != 14:
            raise ArithmeticError(f"the product of (1, 2, 3) with itself is {value}")
    except Exception as error:  # what is missing shows in many ways
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:150]
        raise GpuError(f"{library} cannot compute on GPU {gpu} ({reason})") from None
