"""numerics/training.py: its gradients and steps against torch's automatic differentiation and torch's Adam."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from models import mlp_forward
from numerics import training
from numerics.training import Gradients, Rate, cut, gradient, is_sparse, train

pytestmark = pytest.mark.usefixtures("one_thread")
LOSSES = {"squared": functional.mse_loss, "cross_entropy": functional.cross_entropy}
CASES = [(num_layers, k, loss) for num_layers in (1, 2, 3)
         for k, loss in ((1, "squared"), (4, "squared"), (4, "cross_entropy"))]


def instance(num_layers, k, density, loss, seed=0):
    """Masked weights of a network d = 12, m = 9, their masks, and 60 samples."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [12, *[9] * num_layers, k]
    masks = [torch.rand(o, i, generator=generator) < density for i, o in zip(sizes, sizes[1:], strict=False)]
    weights = [torch.randn(mask.shape, generator=generator) * mask for mask in masks]
    X, Y = torch.randn(60, 12, generator=generator), torch.randn(60, k, generator=generator)
    return weights, masks, X, Y if loss == "squared" else functional.one_hot(Y.argmax(1), k).float()


def by_autograd(weights, X, Y, loss):
    leaves = [W.clone().requires_grad_() for W in weights]
    LOSSES[loss](mlp_forward(leaves, X), Y).backward()
    return [W.grad for W in leaves]


@pytest.mark.parametrize("num_layers, k, loss", CASES)
def test_gradients_are_those_of_autograd(monkeypatch, num_layers, k, loss):
    """Of all weights, in one tile or several; of those in a mask, as matrices and as sparse ones."""
    weights, masks, X, Y = instance(num_layers, k, 0.4, loss)
    expected = by_autograd(weights, X, Y, loss)
    for chunk in (10**6, 9 * 7):
        monkeypatch.setitem(training.CHUNK_VALUES, "cpu", chunk)
        torch.testing.assert_close(gradient(weights, X, Y, loss), expected, rtol=1e-4, atol=1e-6)
    for density, sparse in ((0, False), (2, True)):
        monkeypatch.setattr(training, "SPARSE_DENSITY", density)
        assert [is_sparse(mask) for mask in masks] == [sparse] * len(masks)
        masked = [W * mask for W, mask in zip(expected, masks, strict=True)]
        for threads in (1, 2, 3):
            with ThreadPoolExecutor(threads) as pool:
                gradients = Gradients(weights, masks, threads, pool.map)
                torch.testing.assert_close(gradients.network.weights(), weights)
                for _ in range(2):  # the slopes of the first call are gone in the second
                    slopes = gradients.of(cut(X, Y, 25), loss)
            gradients.values.copy_(slopes)  # so that they come out as weights
            torch.testing.assert_close(gradients.network.weights(), masked, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("density, rate", [(0.05, Rate()), (0.5, Rate()), (1.0, Rate()), (0.5, Rate(0.02)),
                                           (0.5, Rate(0.02, decays=True))])
@pytest.mark.parametrize("num_layers, k, loss", CASES)
def test_a_training_is_that_of_torch(num_layers, k, loss, density, rate):
    weights, masks, X, Y = instance(num_layers, k, density, loss, seed=1)
    batches = list(zip(X.split(25), Y.split(25), strict=True))
    expected = [W.clone() for W in weights]
    optimizer = torch.optim.Adam(expected, lr=rate.first)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 60 if rate.decays else 1)
    for _ in range(20):
        for x, y in batches:
            for W, G, mask in zip(expected, by_autograd(expected, x, y, loss), masks, strict=True):
                W.grad = G * mask
            optimizer.step()
            falling.step()
    before = [W.clone() for W in weights]
    trained = train(weights, masks, batches, 20, loss, rate=rate)
    torch.testing.assert_close(trained, expected, rtol=1e-3, atol=1e-5)
    assert all(torch.equal(W, V) for W, V in zip(weights, before, strict=True))
    assert not any(W[~mask].any() for W, mask in zip(trained, masks, strict=True))


def test_what_goes_wrong_in_a_thread_is_heard_of(monkeypatch):
    weights, masks, X, Y = instance(1, 1, 1.0, "squared")
    monkeypatch.setitem(training.CHUNK_VALUES, "cpu", 9 * 7)
    with pytest.raises(ValueError):
        train(weights, masks, [(X[:, :5], Y)], 1, "squared", threads=2)


def test_corrections_as_tensors_are_those_of_numbers():
    """As on a GPU, where a step must be the same kernels each time."""
    slopes = torch.randn(30, 200, generator=torch.Generator().manual_seed(0))
    steps = [kind(torch.ones(200)) for kind in (training.Adam, training.TensorAdam)]
    for row in slopes:
        for adam in steps:
            adam.step(row)
    torch.testing.assert_close(steps[1].values, steps[0].values, rtol=1e-6, atol=1e-7)
    assert (steps[0].values != 1).all()


class Graph:
    """A double of a CUDA graph: what is called while it is captured is held back, and called by replay."""

    held: list = []

    def replay(self):
        for step in self.held:
            step()


def test_epochs_are_replayed_as_they_were_captured(monkeypatch):
    """The training of a GPU on the CPU: its kernels may not change, nor wait, after the first epoch."""
    weights, masks, X, Y = instance(2, 4, 0.5, "cross_entropy")
    batches, capturing, made = list(zip(X.split(25), Y.split(25), strict=True)), [], []

    @contextlib.contextmanager
    def graph(graph):
        capturing.append(graph)
        graph.held = []
        yield
        capturing.pop()

    step = training.TensorAdam.step

    def step_or_hold(adam, slopes, rate):
        if capturing:
            capturing[0].held.append(lambda: step(adam, made.pop(), rate))
        else:
            step(adam, slopes, rate)

    of = training.Gradients.of

    def of_or_hold(gradients, batch, loss):
        if capturing:
            capturing[0].held.append(lambda: made.append(of(gradients, batch, loss)))
            return None
        return of(gradients, batch, loss)

    monkeypatch.setattr(training.TensorAdam, "step", step_or_hold)
    monkeypatch.setattr(Gradients, "of", of_or_hold)
    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, double in {"Stream": lambda: stream, "current_stream": lambda: stream, "CUDAGraph": Graph,
                         "stream": lambda stream: contextlib.nullcontext(), "graph": graph}.items():
        monkeypatch.setattr(torch.cuda, name, double)
    expected = train(weights, masks, batches, 7, "cross_entropy")
    monkeypatch.setattr(training, "Adam", training.TensorAdam)
    monkeypatch.setattr(training, "repeated", lambda call, times: [call() for _ in range(times)]
                        if call.__name__ == "replay" else training.replayed(call, times))
    torch.testing.assert_close(train(weights, masks, batches, 7, "cross_entropy"), expected, rtol=1e-5, atol=1e-7)


def test_a_gradient_of_all_weights_asks_no_mask(monkeypatch):
    """On a GPU each question is a wait: dynamic sparse training asks for a gradient in every step."""
    weights, _, X, Y = instance(2, 4, 1.0, "squared")
    monkeypatch.setattr(torch.Tensor, "all", None)
    assert [G.shape for G in gradient(weights, X, Y, "squared")] == [W.shape for W in weights]
