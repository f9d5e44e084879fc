"""The methods that train with torch, on a double of a GPU: tensors that know that they are elsewhere.

A GPU's tensors meet no tensors of the host, but numbers without dimensions, and do not become arrays unless they are
brought there.
"""

import numpy as np
import pytest
import torch
from helpers import assert_close

import pruning
from beyond import dst
from numerics import training

GPU = torch.device("cuda:0")
pytestmark = pytest.mark.usefixtures("one_thread")


class Tagged(torch.Tensor):
    """A tensor that pretends to be on a GPU."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(function, "__name__", "")
        if function == torch.Tensor.device.__get__:
            return GPU
        if function == torch.Tensor.is_cuda.__get__:
            return True
        if name in ("numpy", "__array__"):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        given = [*args, *kwargs.values(), *(part for arg in args if isinstance(arg, (list, tuple)) for part in arg)]
        if any(isinstance(each, torch.Tensor) and not isinstance(each, Tagged) and each.ndim for each in given):
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
        if name == "cpu" or name == "to" and str(args[1]) == "cpu":
            return args[0].as_subclass(torch.Tensor)
        if name == "to" and str(args[1]).startswith("cuda"):
            return args[0]
        kwargs.pop("device", None)
        return super().__torch_function__(function, types, args, kwargs)


@pytest.fixture
def gpu(monkeypatch):
    """What is made on a GPU, or moved to it, is tagged; the epochs of a training are not recorded."""
    tensor, to = torch.tensor, torch.Tensor.to

    def made(data, device="cpu", **kwargs):
        return to_tagged(tensor(data, **kwargs), device)

    def to_tagged(self, *target, **kwargs):
        there = target and str(target[0]).startswith("cuda")
        return self.as_subclass(Tagged) if there else to(self, *target, **kwargs)

    monkeypatch.setattr(torch, "tensor", made)
    monkeypatch.setattr(torch.Tensor, "to", to_tagged)
    monkeypatch.setattr(training, "replayed", training.repeated)
    monkeypatch.setitem(training.CHUNK_VALUES, "cuda", 2**20)


def test_the_double_refuses_what_a_gpu_refuses(gpu):
    there, here = torch.ones(3).to(GPU), torch.ones(3)
    assert there.is_cuda and there.device == GPU and (there + 1).is_cuda and not there.cpu().is_cuda
    for wrong in (lambda: there + here, lambda: here @ there, lambda: torch.cat([there, here]), lambda: there[here > 0],
                  lambda: there.numpy(), lambda: np.asarray(there)):
        with pytest.raises((RuntimeError, TypeError)):
            wrong()


@pytest.mark.parametrize("method, options", [
    (pruning, {}), (pruning, {"batch_size": 50, "prune_iters": 3, "finetune_epochs": 2, "prune_score": "lamp"}),
    (pruning, {"num_layers": 2, "loss": "cross_entropy", "batch_size": 64}), (dst, {"update_every": 3}),
    (dst, {"update_every": 3, "batch_size": 50, "grow": "random", "loss": "cross_entropy"})])
def test_a_training_on_a_gpu_is_that_of_the_cpu(gpu, method, options):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((150, 8), dtype=np.float32)
    Y = np.eye(3, dtype=np.float32)[(X[:, :3]).argmax(axis=1)]
    nets = [method.fit(X, Y, 30, width=6, num_epochs=6, device=device, **options) for device in ("cpu", "cuda:0")]
    assert_close(nets[1].predict(X), nets[0].predict(X), 1e-3)
    assert nets[1].num_nonzero == nets[0].num_nonzero > 0
