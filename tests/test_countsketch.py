"""countsketch.py: against exact sums, independence of chunks and threads, and the quality of the hash."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerics import countsketch
from numerics.arrays import to_host
from numerics.countsketch import ROWS, CountSketch, median_of_four
from numerics.workspace import Workspace


def sketch_of(size, s, seed=0, **where):
    return CountSketch(size, s, np.random.default_rng(seed), **where)


def sums(indices, deltas, size):
    return np.bincount(indices, deltas, minlength=size)


def errors(vector, s, draws):
    """Errors [draws, N] of the estimates of a dense vector, over draws of the hash; and the width."""
    everything = np.arange(len(vector))
    found = np.empty((draws, len(vector)))
    for seed in range(draws):
        sketch = sketch_of(len(vector), s, seed)
        sketch.add(everything, vector)
        found[seed] = sketch.estimate(everything) - vector
    return found, sketch.width


# ---- estimates ----


def test_few_entries_are_kept_exactly():
    rng = np.random.default_rng(1)
    for seed in range(50):
        entries = rng.choice(10**6, 4, replace=False)
        sketch = sketch_of(10**6, 2000, seed)
        for _ in range(3):  # the same index may come again, in one call and in later ones
            indices, deltas = np.repeat(entries, 2), rng.integers(-9, 10, 8).astype(np.float64)
            before = sketch.estimate(entries)
            sketch.add(indices, deltas)
            np.testing.assert_array_equal(sketch.estimate(entries), before + deltas[::2] + deltas[1::2])
        others = rng.choice(10**6, 100)
        assert np.count_nonzero(sketch.estimate(others[~np.isin(others, entries)])) == 0


def test_errors_are_centred_and_of_the_expected_size():
    vector = np.random.default_rng(2).standard_normal(2000)
    found, width = errors(vector, 20, draws=300)
    z = found.mean(axis=0) / (found.std(axis=0) / np.sqrt(len(found)))
    assert np.abs(z).max() < 5 and np.abs(z.mean()) < 5 / np.sqrt(len(z)) and z.std() == pytest.approx(1, abs=0.1)
    one_row = np.linalg.norm(vector) / np.sqrt(width)  # standard deviation of the estimate of a single row
    assert found.std() == pytest.approx(0.546 * one_row, rel=0.05)  # median of four normal numbers: 0.5456 of one


def test_each_row_is_unbiased_with_the_variance_of_a_random_hash():
    vector = np.random.default_rng(3).standard_normal(500)
    rows = np.empty((400, ROWS, len(vector)))
    for seed in range(len(rows)):
        sketch = sketch_of(len(vector), 10, seed)
        sketch.add(np.arange(len(vector)), vector)
        rows[seed] = [sketch._hash(row, np.arange(len(vector))) - vector for row in range(ROWS)]
    for row in range(ROWS):
        assert np.abs(rows[:, row].mean()) < 5 * rows[:, row].std() / np.sqrt(rows[:, row].size)
        assert rows[:, row].std() == pytest.approx(np.linalg.norm(vector) / np.sqrt(sketch.width), rel=0.1)
    correlation = np.corrcoef(rows.transpose(1, 0, 2).reshape(ROWS, -1))
    np.testing.assert_allclose(correlation, np.eye(ROWS), atol=0.05)  # a row says something new


def test_errors_fall_with_the_width():
    vector = np.random.default_rng(4).standard_normal(2000)
    for s in (5, 20, 80, 320):
        found, width = errors(vector, s, draws=20)
        assert found.std() * np.sqrt(width) / np.linalg.norm(vector) == pytest.approx(0.53, rel=0.1)


def test_the_large_entries_stand_out():
    rng = np.random.default_rng(5)
    vector = rng.standard_normal(20_000) * 0.05
    large = rng.choice(len(vector), 50, replace=False)
    vector[large] += np.where(rng.random(50) < 0.5, -1, 1) * 10.0
    found = []
    for seed in range(10):
        sketch = sketch_of(len(vector), 200, seed)
        for part in np.array_split(rng.permutation(len(vector)), 9):
            sketch.add(part, vector[part])
        estimates = np.abs(sketch.estimate(np.arange(len(vector))))
        found.append(len(np.intersect1d(np.argsort(estimates)[-50:], large)))
    assert np.mean(found) > 46  # a random hash finds 47.9 of the 50 at this width, and 28 with s = 50


# ---- size ----


@given(size=st.integers(1, 10**9), s=st.integers(1, 3000))
def test_four_rows_of_the_stated_width(size, s):
    sketch = sketch_of(size, s)
    assert sketch.table.shape == (4, int(s * max(1, math.log(size / s)))) and sketch.table.dtype == np.float64


def test_memory_does_not_grow_with_the_number_of_updates():
    size, s = 10**9, 100
    indices, deltas = np.arange(500_000) * 1999, np.ones(500_000)
    sketch = sketch_of(size, s)
    tracemalloc.start()
    sketch.add(indices, deltas)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sketch.table.nbytes == 4 * 8 * int(s * math.log(size / s))
    assert peak < 2 * 2**20 < indices.nbytes
    assert len(sketch.estimate(indices[:3])) == 3


# ---- the bits ----


def tables(size=3000, s=30, **where):
    """The table and estimates after updates with repeated indices, one call per entry of `where["cuts"]`."""
    rng = np.random.default_rng(6)
    indices, deltas = rng.integers(0, size, 5000), rng.standard_normal(5000) * 10.0 ** rng.integers(-8, 8, 5000)
    cuts = where.pop("cuts", [])
    sketch = sketch_of(size, s, **where)
    for part in np.split(np.arange(len(indices)), cuts):
        sketch.add(indices[part], deltas[part])
    return sketch.table.tobytes(), sketch.estimate(np.arange(size)).tobytes()


@pytest.mark.parametrize("cuts", [[2500], [0, 1, 2, 3], [4999, 5000], list(range(100, 5000, 100))])
def test_many_calls_are_one_call(cuts):
    assert tables(cuts=cuts) == tables()


@pytest.mark.parametrize("chunk", [1, 7, 4999, 5000, 10**6])
def test_the_bits_do_not_depend_on_the_chunk(monkeypatch, chunk):
    whole = tables()
    monkeypatch.setattr(countsketch, "CHUNK", chunk)
    assert tables() == whole


def test_the_bits_do_not_depend_on_how_parts_are_mapped(monkeypatch):
    def backwards(function, items):
        items = list(items)
        assert len(items) > 1
        return [function(item) for item in items[::-1]][::-1]

    monkeypatch.setattr(countsketch, "CHUNK", 50)
    whole = tables()
    assert tables(map_parts=backwards) == whole
    with Workspace(3) as work:
        assert tables(map_parts=work.map) == whole


def test_parts_are_really_mapped():
    calls = []
    sketch = sketch_of(100, 5, map_parts=lambda function, items: calls.append(items) or map(function, items))
    sketch.add(np.arange(100), np.ones(100))
    sketch.estimate(np.arange(100))
    assert calls == [range(4), [slice(0, countsketch.CHUNK)]]


def test_the_hash_follows_the_generator():
    rng = np.random.default_rng(0)
    first, second = (CountSketch(1000, 10, rng) for _ in range(2))
    for sketch in (first, second, again := sketch_of(1000, 10)):
        sketch.add(np.arange(1000), np.ones(1000))
    np.testing.assert_array_equal(first.table, again.table)
    assert not np.array_equal(first.table, second.table)


def test_arguments_are_left_alone_and_nothing_may_come():
    indices, deltas = np.arange(50), np.arange(50.0)
    sketch = sketch_of(50, 5)
    sketch.add(indices, deltas)
    table = sketch.table.copy()
    sketch.add(indices[:0], deltas[:0])
    assert sketch.estimate(indices[:0]).shape == (0,) and sketch.estimate(indices).dtype == np.float64
    np.testing.assert_array_equal(sketch.table, table)
    assert indices.tolist() == list(range(50)) == deltas.tolist()


def test_on_a_device(device):
    rng = np.random.default_rng(7)
    indices, deltas = rng.integers(0, 3000, 5000), rng.standard_normal(5000)
    host, there = sketch_of(3000, 30), sketch_of(3000, 30, xp=device)
    host.add(indices, deltas)
    there.add(device.asarray(indices), device.asarray(deltas))
    estimates = there.estimate(device.asarray(indices))
    assert type(estimates) is type(there.table) is device.ndarray
    np.testing.assert_allclose(to_host(there.table), host.table, atol=1e-12)
    np.testing.assert_allclose(to_host(estimates), host.estimate(indices), atol=1e-12)


def test_infinite_and_undefined_updates_stay_visible():
    with np.errstate(invalid="ignore"):
        for delta in (np.inf, -np.inf, np.nan):
            sketch = sketch_of(100, 5)
            sketch.add(np.array([3]), np.array([delta]))
            assert not np.isfinite(sketch.table).all(axis=1).any()  # every row
            sketch.add(np.arange(100), np.ones(100))
            sketch.add(np.array([3]), np.array([-delta]))
            assert not np.isfinite(sketch.estimate(np.array([3]))).any()


# ---- the hash ----


def hashed(indices, width_from, draws):
    """Buckets and signs [rows of all draws, c] of some indices, and the width."""
    drawn = [sketch_of(*width_from, seed) for seed in range(draws)]
    pairs = [sketch._hash(row, indices, np.ones(len(indices))) for sketch in drawn for row in range(ROWS)]
    buckets, signs = map(np.array, zip(*pairs, strict=True))
    assert buckets.min() >= 0 and buckets.max() < drawn[0].width and set(np.unique(signs)) == {-1, 1}
    return buckets, signs, drawn[0].width


INDEX_SETS = {"consecutive": np.arange(2000), "strided": np.arange(2000) * 794,
              "scattered": np.random.default_rng(8).integers(0, 2**32, 2000)}


@pytest.mark.parametrize("indices", INDEX_SETS.values(), ids=INDEX_SETS)
def test_buckets_are_evenly_filled_and_signs_balanced(indices):
    buckets, signs, width = hashed(indices, (400, 20), draws=100)
    assert width == 59
    loads = np.array([np.bincount(row, minlength=width) for row in buckets])
    assert loads.mean(axis=0) == pytest.approx(len(indices) / width, rel=0.1)  # no bucket is favoured over the draws
    expected = len(indices) / width
    chi_square = ((loads - expected) ** 2 / expected).sum(axis=1) / (width - 1)
    assert np.median(chi_square) < 1.2 and chi_square.mean() < 3
    assert abs(signs.mean()) < 5 / np.sqrt(signs.size)
    by_bucket = np.bincount(buckets.ravel(), signs.ravel()) / np.bincount(buckets.ravel())
    assert np.abs(by_bucket).max() < 0.1  # nor does the sign follow the bucket


@pytest.mark.parametrize("stride", [1, 2, 3, 64, 100, 110, 785, 794, 2**20 + 1, 2**31])
def test_pairs_collide_as_under_a_random_hash(stride):
    buckets, signs, width = hashed(np.array([12345, 12345 + stride]), (70, 10), draws=2000)
    rows = len(buckets)
    together, product = buckets[:, 0] == buckets[:, 1], signs[:, 0] * signs[:, 1]
    assert width == 19
    for mean, expected, deviation in [(together.mean(), 1 / width, width**-0.5), (product.mean(), 0, 1),
                                      ((together * product).mean(), 0, width**-0.5)]:
        assert abs(mean - expected) < 4 * deviation / np.sqrt(rows)
    twice = together.reshape(-1, ROWS).sum(axis=1) >= 2
    assert twice.mean() < 2 * 6 / width**2  # rows collide independently


# ---- the median ----

NUMBERS = st.floats(-1e300, 1e300)


@given(columns=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20))
def test_median_of_four(columns):
    four = np.array(columns).T
    np.testing.assert_array_equal(median_of_four(*four), np.median(four, axis=0))


@given(four=st.permutations([-np.inf, 1.0, 4.0, np.inf]))
def test_median_of_four_in_any_order(four):
    assert median_of_four(*np.array(four)[:, None]) == 2.5
