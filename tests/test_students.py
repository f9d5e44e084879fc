"""Two hidden layers by dense students: SOAP, the working form, what is merged and turned, limits and repeatability."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_close, bits

from beyond import soap
from beyond.deep import solve, students
from beyond.deep.cut import cut, squares
from beyond.deep.descent import Budget
from beyond.deep.grow import Growth, regrown
from beyond.deep.merge import merged, oriented, turned, with_open_row
from beyond.deep.network import Samples
from beyond.deep.newton import pushed, refined
from beyond.deep.recovery import compare
from beyond.deep.rows import without_skip
from beyond.deep.student import Student, jacobian
from instances.planted import planted_problem
from models import SparseLayer, SparseNet
from numerics.workspace import Workspace
from studies import dense_networks


def random_student(rng, d=6, k1=5, k2=4, k=3, density=0.7):
    shapes = {"W": (k1, d), "A": (k2, k1), "C": (k, k2), "M": (k, k1)}
    weights = {name: rng.normal(size=shape) * (rng.random(shape) < density) for name, shape in shapes.items()}
    if k == 1:
        weights["C"] = np.sign(rng.normal(size=(1, k2)))
    return Student(**weights, signs=k == 1)


def outputs(net, X):
    """By the definition."""
    H = np.maximum(X @ net.W.T, 0)
    return np.maximum(H @ net.A.T, 0) @ net.C.T + H @ net.M.T


def samples(net, work, n=3000, seed=0):
    X = np.random.default_rng(seed).normal(size=(n, net.W.shape[1]))
    return Samples(np.ascontiguousarray(X.T), np.ascontiguousarray(outputs(net, X).T), work)


def test_soap_is_adam_in_the_eigenbasis_of_shampoo():
    """Against the same on the vector of all entries, in the basis kron(U, V), with the bases by Gram-Schmidt."""
    rng = np.random.default_rng(0)
    W, target, beta, rate = rng.normal(size=(4, 3)), rng.normal(size=(4, 3)), soap.DECAY, 0.01
    K = rng.normal(size=(12, 12))

    def gradient(W):
        return (K.T @ (K @ (W - target).ravel())).reshape(W.shape)

    def orthogonal(B):
        Q = []
        for b in B.T:
            b = b - sum((q @ b) * q for q in Q) if Q else b
            Q.append(b / np.linalg.norm(b))
        return np.array(Q).T

    ours = W.copy()
    optimiser = soap.Soap([ours])
    for _ in range(26):
        optimiser.step([gradient(ours)], rate)
    G = gradient(W)
    L, R, m, v = (1 - beta) * G @ G.T, (1 - beta) * G.T @ G, np.zeros(12), np.zeros(12)
    U, V = (np.linalg.eigh(side)[1][:, ::-1] for side in (L, R))
    for t in range(1, 26):
        G = gradient(W)
        L, R = beta * L + (1 - beta) * G @ G.T, beta * R + (1 - beta) * G.T @ G
        Q = np.kron(U, V)
        m, v = beta * m + (1 - beta) * G.ravel(), beta * v + (1 - beta) * (Q.T @ G.ravel()) ** 2
        step = (Q.T @ m / (1 - beta**t)) / (np.sqrt(v / (1 - beta**t)) + soap.EPS)
        W = W - rate * (Q @ step).reshape(W.shape)
        if t % soap.EVERY == 0:
            orders = [np.argsort(-np.diag(B.T @ S @ B)) for S, B in ((L, U), (R, V))]
            v = v.reshape(W.shape)[np.ix_(*orders)].ravel()
            U, V = (orthogonal((S @ B)[:, order]) for (S, B), order in zip(((L, U), (R, V)), orders, strict=True))
    assert_close(ours, W, 1e-4)


@pytest.mark.parametrize("k", [1, 3])
def test_slopes_are_finite_differences_and_pushes_their_transpose(k, work):
    net, step = random_student(np.random.default_rng(1), k=k), 1e-6
    data = samples(net, work, n=40)
    D = np.random.default_rng(2).normal(size=data.y.shape)
    moved = [net.moved_to(net.theta + step * e) for e in np.eye(net.count)]
    expected = [np.sum((outputs(other, data.XT.T) - outputs(net, data.XT.T)).T * D, axis=0) / step for other in moved]
    J, now = jacobian(net, data.XT, D), net.signals(data.XT)
    assert (abs(J - expected) < 1e-4).mean() > 0.99  # a sample may lie on a crease
    p = np.random.default_rng(3).normal(size=net.count)
    assert_close(J.T @ p, np.sum(pushed(net, p, data, now) * D, axis=0), 1e-12)
    gradient = [part[kept != 0] for part, kept in zip(net.gradient(D, data.XT, now), net.parts, strict=True)]
    assert_close(np.concatenate(gradient), J.sum(axis=1), 1e-12)
    assert_close(net.gauges() @ np.array([np.zeros(net.count), J.sum(axis=1)]).T, 0 * net.gauges()[:, :2], 1, 1e-9)


def test_squares_are_those_of_the_jacobian(work):
    net = random_student(np.random.default_rng(1), density=1)
    data = samples(net, work, n=200)
    total = sum(jacobian(net, data.XT, np.repeat(e[:, None], 200, axis=1)) ** 2 for e in np.eye(3))
    assert_close(np.concatenate([part.ravel() for part in squares(net, data)]), total.mean(axis=1) / 3, 1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_copies_of_units_and_rows_are_merged(k, work):
    """A unit that stands twice, rows that stand twice or opposite, one that is always open and one that never is."""
    net = random_student(np.random.default_rng(4), k1=4, k2=3, k=k, density=1)
    data, C = samples(net, work), np.sign(net.C) if k == 1 else net.C
    units = Student(np.vstack([net.W, 3 * net.W[:1]]), np.hstack([net.A, net.A[:, :1] / 2]), net.C,
                    np.hstack([net.M, net.M[:, :1]]))
    rows = np.vstack([units.A, 0.5 * units.A[0], -units.A[1], np.abs(units.A[2]), -np.abs(units.A[2])])
    more = Student(units.W, rows, np.hstack([units.C, *[C[:, :1]] * 4]), units.M, k == 1)
    one = merged(more, samples(more, work), 1e-14)
    assert one.W.shape[0] == 4 and one.A.shape[0] == 3 and one.loss(samples(more, work)) < 1e-20
    assert merged(net, data, 1e-14).A.shape == (3, 4)


def test_rows_turned_round_are_turned_back(work):
    rng = np.random.default_rng(5)
    net = random_student(rng, k1=8, k2=5, k=4, density=0.4).tidied()
    net = Student(net.W, net.A, net.C, np.zeros((4, len(net.W))))
    turned = Student(net.W, net.A * np.where(np.arange(len(net.A)) < 2, -1, 1)[:, None], net.C,
                     net.C[:, :2] @ net.A[:2])
    data = samples(net, work)
    assert turned.loss(data) < 1e-25
    back = oriented(turned, data, 1e-12, sums=False)
    assert np.count_nonzero(abs(back.M) > 1e-9) == 0 and back.loss(data) < 1e-25


@pytest.mark.parametrize("k", [1, 3])
def test_many_dense_rows_are_turned_back_at_once(k, work):
    """No turn of one or two of them makes the skip any sparser."""
    net = random_student(np.random.default_rng(9), k1=9, k2=8, k=k, density=1)
    net, wrong = replace(net, M=np.zeros((k, 9))), np.arange(8) % 2 == 0
    turned = replace(net, A=np.where(wrong[:, None], -net.A, net.A), M=net.C[:, wrong] @ net.A[wrong])
    data = samples(net, work)
    assert turned.loss(data) < 1e-25
    back = oriented(turned, data, 1e-12, sums=False)
    assert not (abs(back.M) > 1e-9).any() and back.loss(data) < 1e-25


@pytest.mark.parametrize("sums", [False, True])
def test_a_skip_that_is_a_row_that_is_always_open_becomes_one(sums, work):
    """It has weights of both signs, so that it would be two rows."""
    rng, x = np.random.default_rng(11), np.eye(6)[0]
    net = random_student(rng, k1=8, k2=6, k=1, density=1)
    W, M = np.vstack([net.W[:5], x, -x, 0.9 * x]), np.array([[0, 0, 0, 0, 0, 1, 1, -1.0]])  # a tenth of x_1, or -x_1
    net = replace(net, W=W, C=np.abs(net.C) if sums else net.C, M=M if sums else -M)
    data = samples(net, work)
    for rows in ([], [1, 4], [0, 2, 5]):
        found = with_open_row(turned(net, rows), data, sums)
        assert not found.M.any() and len(found.A) == 7 and found.loss(data) < 1e-25
    both = replace(net, M=np.array([[1.0, -1, 0, 0, 0, 0, 0, 0]]))
    assert with_open_row(both, data, sums) is both


def test_samples_that_a_network_fits_worst_are_used_from_then_on(monkeypatch, work):
    monkeypatch.setattr(students, "SAMPLES", 100)
    monkeypatch.setattr(students, "MISSED", 40)
    net = replace(random_student(np.random.default_rng(10), k=1), signs=True)
    rare = np.concatenate([net.W[0] * 0.01, [-1.0]])  # a unit that few samples open
    X = np.hstack([np.random.default_rng(1).normal(size=(3000, net.W.shape[1])), np.full((3000, 1), 0.03)])
    wide = replace(net, W=np.hstack([net.W, np.zeros((len(net.W), 1))]))
    whole = replace(wide, W=np.vstack([wide.W, rare]), A=np.hstack([net.A, np.zeros((len(net.A), 1))]),
                    M=np.hstack([net.M, [[1.0]]]))
    Y = outputs(whole, X)
    errors = np.abs(outputs(wide, X) - Y).ravel()
    assert 0 < np.mean(errors > 1e-12) < 0.2
    full = Samples(np.ascontiguousarray(X.T, dtype=np.float32), np.float32(Y.T), work)
    search = students.StudentSearch(full, 20, 6, Budget(1), np.random.default_rng(2), False, lambda *_: None)
    before, exponent = len(search.data), 2.0**search.exponent
    assert not search.missed(replace(whole, W=whole.W * exponent)) and len(search.data) == before
    assert search.missed(replace(wide, W=wide.W * exponent)) and len(search.data) == before + 40
    new = search.data.take(np.arange(40))
    assert (np.abs(outputs(wide, new.XT.T * exponent) - new.y.T) > 1e-6).all()


@pytest.mark.parametrize("k", [1, 4])
def test_the_skip_becomes_rows(k, work):
    rng = np.random.default_rng(6)
    net = random_student(rng, k1=8, k2=3, k=k)
    u, v = np.zeros((2, 8)), rng.normal(size=(k, 2)) if k > 1 else np.array([[1.0, -1.0]])
    u[0, :4], u[1, [4, 6]] = rng.random(4) + 0.5, 1, 
    net = Student(net.W, net.A, net.C, v @ u, k == 1)
    rows = without_skip(net)
    assert not rows.M.any() and len(rows.A) == 5 and rows.loss(samples(net, work)) < 1e-25
    assert rows.count == net.count - np.count_nonzero(net.M) + 6 + (v.size if k > 1 else 0)


def test_what_is_cut_and_moved_is_found_again(work):
    net = random_student(np.random.default_rng(7), density=0.6).tidied()
    data = samples(net, work)
    near = net.moved_to(net.theta * (1 + 0.02 * np.random.default_rng(8).normal(size=net.count)))
    found, value = refined(near, data, Budget(99), 30, 1e-20)
    assert value < 1e-16 and found.loss(data) == value
    assert cut(net, data, 1e-30).count == net.count > cut(net, data, 1e-2).count


def lacking(rng, k):
    """A network and the same without one weight, without a unit on one input and without a row of two units."""
    net = random_student(rng, k1=6, k2=5, k=k, density=0.8)
    W, A, M, C = net.W.copy(), net.A.copy(), net.M.copy(), net.C.copy()
    W[5], A[:, 5], M[:, 5] = -2 * np.eye(6)[3], 0, 0  # the unit: relu(-2 x_3), in row 2 alone
    A[2, 5] = 0.3
    A[4], C[:, 4] = 0, np.eye(k)[0]  # the row: relu(h_1 - 2 h_0), for output 0
    A[4, [1, 0]] = 0.2, -0.4
    whole = Student(W, A, C, M, k == 1)
    parts = [W.copy(), A.copy(), M.copy()]
    parts[0][1, np.flatnonzero(W[1])[0]] = 0
    units, rows = np.arange(6), np.arange(5)
    return whole, [whole.with_parts(*parts), whole.part(units[:5], rows), whole.part(units, rows[:4])]


@pytest.mark.parametrize("k", [1, 3])
def test_what_a_student_lacks_is_found_by_its_gain(k, work):
    whole, (weight, unit, row) = lacking(np.random.default_rng(9), k)
    data = samples(whole, work)
    assert np.count_nonzero(Growth(weight, data).with_weights().W[1]) == np.count_nonzero(whole.W[1])
    grown = Growth(unit, data).with_unit()
    assert grown.W[5].nonzero()[0] == [3] and grown.W[5, 3] < 0 and grown.A[2, 5] > 0
    assert np.count_nonzero(grown.A[:, 5]) + np.count_nonzero(grown.M[:, 5]) == 1
    a = Growth(row, data).with_row().A[4]
    assert a[1] > 0 > a[0]
    for net in (weight, unit, row):
        other, value = regrown(net, data, net.loss(data), Budget(99), 1e-16)
        assert value < 1e-13 and other.loss(data) == value


def test_a_sum_has_no_negative_rows(work):
    """Growth adds none, and the search takes away one that stands for a positive one."""
    rng = np.random.default_rng(12)
    net = random_student(rng, k1=4, k2=3, k=1, density=1)
    net = Student(np.abs(net.W) * np.sign(rng.normal(size=net.W.shape)), net.A, np.ones((1, 3)), np.zeros((1, 4)), True)
    data = samples(net, work, n=2000)
    less = Samples(data.XT, net.part(np.arange(4), np.arange(2)).signals(data.XT).Y, work)  # a row less
    assert Growth(net.part(np.arange(4), np.arange(1)), data, sums=True).with_row().C.min() == 1
    assert Growth(net, less).with_row().C.min() == -1
    assert Growth(net, less, sums=True).with_row().C.min() >= 0
    search = students.StudentSearch(data.astype(np.float32), 40, 6, Budget(50), rng, True, lambda *_: None)
    A = np.vstack([net.A, -net.A[2], net.A[2] + net.A[1] / 50])
    wrong = Student(net.W, A, np.array([[1.0, 1, 1, -1e-9, 1]]), net.M, True)
    wrong = search.summed(replace(wrong, C=np.sign(wrong.C), A=A * np.abs([[1], [1], [1], [1e-9], [1e-9]])))
    assert wrong.C.min() == 1 and wrong.loss(data) < 1e-10


def test_candidates_count_by_what_no_present_weight_can_do(work):
    whole, (net, *_) = lacking(np.random.default_rng(10), 1)
    data = samples(whole, work, n=500)
    moves = np.vstack([np.random.default_rng(11).normal(size=(2, 500)), jacobian(net, data.XT, np.ones((1, 500)))[:1]])
    J = jacobian(net, data.XT, np.ones((1, 500))).T
    left = [np.sum((v - J @ np.linalg.lstsq(J, v, rcond=None)[0]) ** 2) / (v @ v) for v in moves]
    assert_close(Growth(net, data).free(moves), np.maximum(left, 0.02), 1e-6)


@pytest.mark.parametrize("m, s, seed, outputs, signs", [(5, 24, 0, 3, False), (5, 20, 2, 1, True)])
def test_small_networks_are_recovered(m, s, seed, outputs, signs, monkeypatch):
    monkeypatch.setattr(students, "STEPS", 2000)
    problem = planted_problem(m, s, seed, num_layers=2, input_dim=20, nmeasurements=5000, output_dim=outputs,
                              planted_signs=signs)
    found = solve(problem.X, problem.Y, s, width=m, num_epochs=200)
    assert found.details["exact"] and found.net.num_nonzero <= s
    assert max(len(layer.neurons) for layer in found.net.layers) <= m
    X = np.random.default_rng(5).normal(size=(2000, 20)).astype(np.float32)
    assert_close(found.net.predict(X), problem.planted.predict(X), 1e-4)


@pytest.mark.parametrize("width, s", [(2, 24), (5, 6)])
def test_an_answer_keeps_the_limits_and_the_threads_do_not_matter(width, s, monkeypatch):
    monkeypatch.setattr(students, "STEPS", 800)
    problem, found = planted_problem(5, 24, 0, num_layers=2, input_dim=20, nmeasurements=3000, output_dim=3), []
    for threads in (1, 2):
        with Workspace(threads) as work:
            found.append(solve(problem.X, problem.Y, s, width=width, num_epochs=12, work=work))
    assert bits(found[0].net) == bits(found[1].net) and found[0].net.num_nonzero <= s
    assert max(len(layer.neurons) for layer in found[0].net.layers) <= width
    left = np.mean((found[0].net.predict(problem.X) - problem.Y) ** 2) / np.mean(problem.Y**2.0)
    assert found[0].details["energy_left"] == pytest.approx(left, rel=1e-3) and not found[0].details["exact"]


@pytest.mark.parametrize("outputs, signs", [(3, False), (1, True)])
def test_equal_networks_are_recovered_with_outputs_and_signs(outputs, signs):
    """Units and rows in another order and scale, a unit and a row in two parts; then a weight that is missing."""
    problem = planted_problem(6, 40, 0, num_layers=2, input_dim=10, nmeasurements=50, output_dim=outputs,
                              planted_signs=signs)
    planted, rng = problem.planted, np.random.default_rng(0)
    W, A, C = (layer.dense().astype(float) for layer in (*planted.layers, planted.output))
    scale, rows = rng.random(6) + 0.5, np.ones(6) if signs else rng.random(6) + 0.5
    W, A, C = W * scale[:, None], A / scale * rows[:, None], C / rows
    W, A = np.vstack([W, 2 * W]), np.hstack([A / 2, A / 4])
    order, turn = rng.permutation(12), rng.permutation(6)

    def found(W):
        A2, C2 = A[turn][:, order], C[:, turn]
        layers = (SparseLayer.from_dense(W[order]), SparseLayer.from_dense(np.vstack([A2 / 2, A2 / 2])))
        return compare(SparseNet(layers, SparseLayer.from_dense(np.hstack([C2, C2]))), planted)

    same = found(W)
    assert same["support_precision"] == same["support_recall"] == 1 and same["neurons_lost"] == 0
    assert same["weights_used"] == same["weights_planted"]
    assert same["signs_found" if signs else "output_recall"] == 1
    used = np.flatnonzero(W[:6].any(axis=1) & A[:, :6].any(axis=0))[0]
    fewer = W.copy()
    fewer[[used, used + 6], np.flatnonzero(W[used])[0]] = 0
    assert found(fewer)["layer0_recall"] < 1 == found(fewer)["layer0_precision"]


@pytest.mark.parametrize("biases", [False, True])
def test_dense_networks_are_compared_up_to_scale_and_order(biases):
    true, weights = dense_networks.planted(6, 3, biases, 0)
    X = dense_networks.inputs(50, 6, biases, np.random.default_rng(0)).astype(float)
    W, A = (layer.dense().astype(float) for layer in true.layers)
    c = true.output.dense()[0]
    H = np.maximum(X[:, :6] @ W[:3, :6].T + (W[:3, 6] if biases else 0), 0)
    y = np.maximum(H @ A[:3, :3].T + (A[:3, 3] if biases else 0), 0) @ c[:3]
    assert_close(true.predict(X), y, 1e-5)
    assert weights == np.count_nonzero(W) + np.count_nonzero(A)
    order, scale = np.random.default_rng(1).permutation(len(W)), np.random.default_rng(2).random(len(W)) + 0.5
    same = [SparseLayer.from_dense((W * scale[:, None])[order]), SparseLayer.from_dense((A / scale)[::-1, order])]
    output = SparseLayer.from_dense(true.output.dense()[:, ::-1])
    assert dense_networks.largest_error(SparseNet(tuple(same), output), true) < 1e-6
    near = [SparseLayer.from_dense(W), SparseLayer.from_dense(A + 0.01 * (A != 0))]
    assert 1e-3 < dense_networks.largest_error(SparseNet(tuple(near), true.output), true) < 0.1
    fewer = [SparseLayer.from_dense(W[1:]), SparseLayer.from_dense(A[:, 1:])]
    assert dense_networks.largest_error(SparseNet(tuple(fewer), true.output), true) is None
