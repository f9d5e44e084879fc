"""numerics/countsketch.py: against exact sums, independence of chunks and threads, and the quality of the hash."""

import math
import tracemalloc

import numpy as np
import pytest
import strict_array
from helpers import assert_close
from hypothesis import given
from hypothesis import strategies as st

from numerics import countsketch
from numerics.arrays import to_host
from numerics.countsketch import ROWS, CountSketch
from numerics.workspace import Workspace


def sketch_of(size, s, seed=0, **where):
    return CountSketch(size, s, np.random.default_rng(seed), **where)


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


@pytest.mark.parametrize("s, draws", [(5, 50), (20, 300), (80, 50), (320, 50)])
def test_errors_are_centred_and_of_the_expected_size(s, draws):
    vector, everything = np.random.default_rng(2).standard_normal(2000), np.arange(2000)
    errors = np.empty((draws, 2000))
    for seed in range(draws):
        sketch = sketch_of(2000, s, seed)
        sketch.add(everything, vector)
        errors[seed] = sketch.estimate(everything) - vector
    z = errors.mean(axis=0) / (errors.std(axis=0) / np.sqrt(draws))
    assert np.abs(z).max() < 6 and np.abs(z.mean()) < 5 / np.sqrt(len(z)) and z.std() == pytest.approx(1, abs=0.1)
    one_row = np.linalg.norm(vector) / np.sqrt(sketch.width)  # standard deviation of the estimate of a single row
    assert errors.std() == pytest.approx(0.546 * one_row, rel=0.1)  # median of four normal numbers: 0.5456 of one


def test_infinite_and_undefined_updates_stay_visible():
    with np.errstate(invalid="ignore"):
        for delta in (np.inf, -np.inf, np.nan):
            sketch = sketch_of(100, 5)
            sketch.add(np.array([3]), np.array([delta]))
            assert not np.isfinite(sketch.table).all(axis=1).any()  # every row
            sketch.add(np.arange(100), np.ones(100))
            sketch.add(np.array([3]), np.array([-delta]))
            assert not np.isfinite(sketch.estimate(np.array([3]))).any()


# ---- size ----


@given(size=st.integers(1, 10**9), s=st.integers(1, 3000))
def test_four_rows_of_the_stated_width(size, s):
    sketch = sketch_of(size, s)
    assert sketch.table.shape == (4, int(s * max(1, math.log(size / s)))) and sketch.table.dtype == np.float64


def test_memory_does_not_grow_with_the_number_of_updates():
    indices, deltas = np.arange(500_000) * 1999, np.ones(500_000)
    sketch = sketch_of(10**9, 100)
    tracemalloc.start()
    sketch.add(indices, deltas)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**20 < indices.nbytes


# ---- the bits ----


def tables(cuts=(), **where):
    """The table and estimates after updates with repeated indices, in one call or cut into several."""
    rng = np.random.default_rng(6)
    indices, deltas = rng.integers(0, 3000, 5000), rng.standard_normal(5000) * 10.0 ** rng.integers(-8, 8, 5000)
    before = indices.tobytes(), deltas.tobytes()
    sketch = sketch_of(3000, 30, **where)
    for part in np.split(np.arange(len(indices)), cuts):
        sketch.add(indices[part], deltas[part])
    estimates = sketch.estimate(np.arange(3000))
    assert sketch.estimate(indices[:0]).shape == (0,) and (indices.tobytes(), deltas.tobytes()) == before
    return sketch.table.tobytes(), estimates.tobytes()


@pytest.mark.parametrize("cuts", [[2500], [0, 1, 2, 3], [4999, 5000], list(range(100, 5000, 100))])
def test_many_calls_are_one_call(cuts):
    assert tables(cuts=cuts) == tables() != tables(seed=1)


def test_the_bits_do_not_depend_on_the_chunks_or_on_how_they_are_mapped(monkeypatch):
    def backwards(function, items):
        items = list(items)
        assert len(items) != 1
        return [function(item) for item in items[::-1]][::-1]

    whole = tables()
    for chunk in (7, 50, 4999, 5000, 10**6):
        monkeypatch.setattr(countsketch, "CHUNK", chunk)
        assert tables() == whole
    monkeypatch.setattr(countsketch, "CHUNK", 50)
    with Workspace(3) as work:
        assert tables(map_parts=backwards) == tables(map_parts=work.map) == whole


def test_on_a_device(device):
    rng = np.random.default_rng(7)
    indices, deltas = rng.integers(0, 3000, 5000), rng.standard_normal(5000)
    host, there = sketch_of(3000, 30), sketch_of(3000, 30, xp=device)
    host.add(indices, deltas)
    there.add(indices, device.asarray(deltas))
    estimates = there.estimate(indices)
    assert type(estimates) is type(there.table) is device.ndarray
    np.testing.assert_allclose(to_host(there.table), host.table, atol=1e-12)
    np.testing.assert_allclose(to_host(estimates), host.estimate(indices), atol=1e-12)


def test_a_gpu_may_add_in_any_order(monkeypatch):
    """Its atomic sums come in an order that varies from run to run; infinite and undefined updates stay visible."""
    shuffle, add_at = np.random.default_rng(8), strict_array._Ufunc.at

    def in_any_order(ufunc, array, indices, values):
        order = strict_array.asarray(shuffle.permutation(indices.size))
        add_at(ufunc, array, indices.reshape(-1)[order], values.reshape(-1)[order])

    monkeypatch.setattr(strict_array._Ufunc, "at", in_any_order)
    rng = np.random.default_rng(7)
    for scale in (1e-250, 1e-8, 1.0, 1e290):
        indices, deltas = rng.integers(0, 3000, 5000), rng.standard_normal(5000) * 10.0 ** rng.integers(-8, 9, 5000)
        host, *there = sketch_of(3000, 30), *(sketch_of(3000, 30, xp=strict_array) for _ in range(3))
        host.add(indices, scale * deltas)
        for sketch in there:
            sketch.add(indices, strict_array.asarray(scale * deltas))
            assert_close(sketch.table, host.table, 1e-12, floor=1e-200)
        assert len({to_host(sketch.table).tobytes() for sketch in there}) == 1
    for delta in (np.inf, -np.inf, np.nan):
        with np.errstate(invalid="ignore"):
            there[0].add(np.array([3, 4]), strict_array.asarray(np.array([1.0, delta])))
        assert not np.isfinite(to_host(there[0].table)).all(axis=1).any()
        there[0].table = strict_array.zeros_like(there[0].table)


# ---- the hash ----


@pytest.mark.parametrize("stride", [1, 2, 3, 64, 100, 110, 785, 794, 2**20 + 1, 2**31])
def test_pairs_collide_as_under_a_random_hash(stride):
    """Buckets and signs of two indices, in the rows of 2000 sketches."""
    indices, drawn = np.array([12345, 12345 + stride]), [sketch_of(70, 10, seed) for seed in range(2000)]
    width = drawn[0].width
    places = [sketch._hash(slice(ROWS), indices) for sketch in drawn]
    buckets = np.concatenate([found - np.arange(ROWS)[:, None] * width for found, _ in places])
    signs, rows = np.concatenate([1 - 2 * (sign >> np.uint64(63)).astype(int) for _, sign in places]), len(buckets)
    assert width == 19 and buckets.min() == 0 and buckets.max() == 18 and set(np.unique(signs)) == {-1, 1}
    loads = np.bincount(buckets.ravel(), minlength=width) / buckets.size
    assert loads == pytest.approx(1 / width, rel=0.2)  # no bucket is favoured,
    by_bucket = np.bincount(buckets.ravel(), signs.ravel()) / np.bincount(buckets.ravel())
    assert np.abs(by_bucket).max() < 0.2  # nor does the sign follow the bucket
    together, product = buckets[:, 0] == buckets[:, 1], signs[:, 0] * signs[:, 1]
    for mean, expected, deviation in [(together.mean(), 1 / width, width**-0.5), (product.mean(), 0, 1),
                                      ((together * product).mean(), 0, width**-0.5)]:
        assert abs(mean - expected) < 4 * deviation / np.sqrt(rows)
    twice = together.reshape(-1, ROWS).sum(axis=1) >= 2
    assert twice.mean() < 2 * 6 / width**2  # rows collide independently
