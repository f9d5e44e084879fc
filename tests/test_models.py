"""models.py: sparse networks against dense forward passes, and the initial weights of the torch network."""

import numpy as np
import pytest
import torch
from helpers import sparse

from models import PREDICT_TILE, SparseLayer, SparseNet, mlp_forward, mlp_weights
from numerics.sparse import SparseVector
from sensing import RandomGates


def layer_of(m, d, indices, values):
    return SparseLayer(SparseVector(np.array(indices, dtype=np.int64), np.array(values, dtype=np.float32), m * d), m, d)


def sparse_layer(m, d, seed, density=0.3, empty=()):
    """A layer [m, d] with normal weights at random places; the neurons `empty` have none."""
    rng = np.random.default_rng([seed, m, d])
    W = rng.standard_normal((m, d)) * (rng.random((m, d)) < density)
    W[list(empty)] = 0
    return SparseLayer(sparse(W), m, d)


def dense(layer):
    """W [m, d] float64."""
    return layer.w.toarray().reshape(layer.m, layer.d).astype(np.float64)


def relu_forward(net, X):
    """Activations of the last hidden layer by torch, float64."""
    Z = torch.from_numpy(X).double()
    for layer in net.layers:
        Z = torch.relu(Z @ torch.from_numpy(dense(layer)).T)
    return Z.numpy()


def inputs(n, d, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d), dtype=np.float32)


NETS = {
    "one layer": SparseNet((sparse_layer(5, 7, 0, empty=[0, 3]),)),
    "two layers": SparseNet((sparse_layer(5, 7, 1, empty=[4]), sparse_layer(6, 5, 1, 0.5, empty=[0]))),
    "three layers": SparseNet((sparse_layer(5, 7, 2), sparse_layer(5, 5, 3, 0.6), sparse_layer(5, 5, 4, 0.6))),
    "full": SparseNet((sparse_layer(4, 7, 5, 1.1), sparse_layer(4, 4, 5, 1.1))),
}
OUTPUTS = {
    "one layer": sparse_layer(3, 5, 6, 0.6),  # reads neurons without weights, too
    "two layers": sparse_layer(4, 6, 7, 0.5, empty=[0, 2]),
    "three layers": sparse_layer(1, 5, 8, 0.9),
    "full": sparse_layer(10, 4, 9, 1.1),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("n", [1, 50, PREDICT_TILE + 3])
def test_predictions_are_those_of_the_dense_net(name, n):
    net, X = NETS[name], inputs(n, 7)
    Z, V = relu_forward(net, X), dense(OUTPUTS[name])  # [n, m], [k, m]
    outputs = Z @ V.T if len(V) > 1 else Z @ V[0]  # one output: [n]
    cases = (net, Z.sum(axis=1)), (SparseNet(net.layers, OUTPUTS[name]), outputs)
    for found, expected in ((net.predict(X), expected) for net, expected in cases):
        assert found.dtype == np.float64 and found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("with_outputs", [False, True])
@pytest.mark.parametrize("name", ["one layer", "two layers"])
def test_random_gates_replace_the_relu_of_the_last_layer(name, with_outputs):
    *first, last = NETS[name].layers
    X = inputs(60, 7)
    Z, used = X, np.arange(7)
    if first:  # the gates see the neurons of the layer before that have weights
        Z, used = relu_forward(SparseNet(tuple(first)), X), first[-1].neurons
    gates = RandomGates(3, len(first), last.m, len(used))
    H = gates.rows(np.arange(last.m)).astype(np.float64)
    hidden = (Z[:, used] @ H.T > 0) * (Z @ dense(last).T)
    net = SparseNet(NETS[name].layers, OUTPUTS[name] if with_outputs else None, gates=gates)
    expected = hidden @ dense(OUTPUTS[name]).T if with_outputs else hidden.sum(axis=1)
    np.testing.assert_allclose(net.predict(X), expected, rtol=1e-12, atol=1e-12)
    assert (hidden < 0).any()  # which a ReLU would not give


@pytest.mark.parametrize("shape", [(5, 6), (5, 8), (7,)])
def test_inputs_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"but the network takes inputs \[n, 7\]"):
        NETS["one layer"].predict(np.zeros(shape, dtype=np.float32))


def test_a_net_describes_itself_in_a_line():
    layer, output = layer_of(20, 100, [7, 9], [1, 0]), layer_of(10, 20, [1, 4], [1, 3])  # a stored zero does not count
    nothing = layer_of(10, 20, [], [])
    assert repr(SparseNet((layer,))) == "SparseNet(100 -> 20 -> sum, 1 nonzero)"
    assert repr(SparseNet((layer,), output)) == "SparseNet(100 -> 20 -> 10, 3 nonzeros)"
    assert repr(SparseNet((layer,), nothing)) == "SparseNet(100 -> 20 -> 10, 1 nonzero)"
    gates = RandomGates(0, 1, 30, 20)
    assert repr(SparseNet((layer, layer_of(30, 20, [0], [1])), None, gates)) == (
        "SparseNet(100 -> 20 -> 30 -> sum, 2 nonzeros, random gates)")


@pytest.mark.parametrize("name", NETS)
def test_dense_weights(name):
    layers, nothing = NETS[name].layers, layer_of(2, NETS[name].layers[-1].m, [], [])
    assert NETS[name].weights()[-1] is None
    for output in (OUTPUTS[name], nothing):
        *hidden, V = SparseNet(layers, output).weights()
        for W, layer in zip([*hidden, V.T], [*layers, output], strict=True):
            assert W.dtype == np.float32
            np.testing.assert_array_equal(W, dense(layer))


@pytest.mark.parametrize("empty", [0, 1])
def test_a_layer_without_weights_silences_the_net(empty):
    layers = [sparse_layer(5, 7, 0), sparse_layer(5, 5, 0)]
    layers[empty] = layer_of(*[(5, 7), (5, 5)][empty], [], [])
    X = inputs(9, 7)
    assert SparseNet(tuple(layers)).predict(X).tolist() == [0] * 9
    assert SparseNet(tuple(layers), sparse_layer(3, 5, 0)).predict(X).tolist() == [[0] * 3] * 9
    assert SparseNet((sparse_layer(5, 7, 0),), layer_of(3, 5, [], [])).predict(X).tolist() == [[0] * 3] * 9
    features = np.arange(layers[empty].d)
    assert layers[empty].activations(np.ascontiguousarray(X.T[features]), features).shape == (0, 9)


# ---- saved networks ----


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("with_outputs, with_gates", [(False, False), (True, False), (False, True), (True, True)])
def test_a_saved_net_is_loaded_unchanged(tmp_path, name, with_outputs, with_gates):
    layers = NETS[name].layers
    columns = len(layers[-2].neurons) if len(layers) > 1 else layers[-1].d
    gates = RandomGates(8, len(layers) - 1, layers[-1].m, columns) if with_gates else None
    net = SparseNet(layers, OUTPUTS[name] if with_outputs else None, gates)
    net.save(tmp_path / "net.npz", {"m": 5})
    loaded, X = SparseNet.load(tmp_path / "net.npz"), inputs(30, 7)
    np.testing.assert_array_equal(loaded.predict(X), net.predict(X))
    assert repr(loaded) == repr(net)


def test_a_saved_net_keeps_the_order_of_many_layers_and_needs_no_settings(tmp_path):
    layers = tuple(sparse_layer(3, 3, seed, 1.1) for seed in range(12))
    SparseNet(layers).save(tmp_path / "net.npz")
    loaded = SparseNet.load(tmp_path / "net.npz")
    assert all((a.w.values == b.w.values).all() for a, b in zip(loaded.layers, layers, strict=True))
    assert np.load(tmp_path / "net.npz")["settings"] == "{}"


@pytest.mark.parametrize("arrays", [
    {},
    {"layer0_shape": [2, 3], "layer0_indices": [0, 6], "layer0_values": [1.0, 2]},  # outside of the shape
    {"layer0_shape": [2, 3], "layer0_indices": [-1, 2], "layer0_values": [1.0, 2]},
    {"layer0_shape": [2, 3], "layer0_indices": [2, 1], "layer0_values": [1.0, 2]},  # not ascending
    {"layer0_shape": [2, 3], "layer0_indices": [1, 1], "layer0_values": [1.0, 2]},
    {"layer0_shape": [2, 3], "layer0_indices": [0, 1], "layer0_values": [1.0]},
    {"layer1_shape": [2, 3], "layer1_indices": [0], "layer1_values": [1.0]},  # the first layer is missing
    {"layer0_shape": [2, 3], "layer0_indices": [0]},
    {"layer0_shape": [2, 3], "layer0_indices": [0], "layer0_values": [[]], "settings": np.array([{}], dtype=object)},
])
def test_a_file_that_is_no_net_is_refused(tmp_path, arrays):
    np.savez(tmp_path / "net.npz", **arrays)
    with pytest.raises(ValueError, match="net.npz is no saved network"):
        SparseNet.load(tmp_path / "net.npz")


def test_a_truncated_or_missing_net_is_refused(tmp_path):
    NETS["full"].save(tmp_path / "net.npz")
    (tmp_path / "net.npz").write_bytes((tmp_path / "net.npz").read_bytes()[:-40])
    with pytest.raises(ValueError, match="net.npz is no saved network"):
        SparseNet.load(tmp_path / "net.npz")
    with pytest.raises(FileNotFoundError):
        SparseNet.load(tmp_path / "none.npz")


def test_a_torch_net_as_a_sparse_one():
    weights = [torch.from_numpy(dense(layer)) for layer in
               (sparse_layer(5, 7, 1, empty=[2]), sparse_layer(4, 5, 1), sparse_layer(3, 4, 1, 0.9))]
    net, X = SparseNet.from_torch(weights), inputs(20, 7)
    expected = mlp_forward(weights, torch.from_numpy(X).double()).numpy()
    np.testing.assert_allclose(net.predict(X), expected, rtol=1e-12, atol=1e-12)
    assert net.num_nonzero == sum(map(torch.count_nonzero, weights)) and len(net.layers) == 2


# ---- the torch network ----


@pytest.mark.parametrize("sizes", [(5, 3, 1), (100, 7, 7, 10)])
def test_mlp_weights_are_those_of_torch(sizes):
    torch.manual_seed(11)
    expected = [torch.nn.Linear(a, b, bias=False).weight for a, b in zip(sizes, sizes[1:], strict=False)]
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    weights = mlp_weights(sizes, 11)
    assert torch.equal(torch.random.get_rng_state(), before)  # the global stream is left alone
    assert len(weights) == len(expected) and all(map(torch.equal, weights, expected))
    assert not torch.equal(mlp_weights(sizes, 12)[0], weights[0])
