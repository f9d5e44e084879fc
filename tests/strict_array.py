"""A double of CuPy: NumPy's functions on an array type that NumPy itself may not touch.

It stands in for a GPU in the tests. As on a GPU, the data leave only through `get`, `item` or a conversion of one
element to a Python number; functions and operators take arrays of this type and scalars, nothing else; and results
with no dimension stay arrays. It is stricter than CuPy where that shows a slip: NumPy's own functions refuse it.

It counts what is slow on a GPU: `launches` of kernels (views are free; LAUNCHES says which operations are several, as
read in CuPy's source), `uploads` of arrays from the host, and `synchronisations`, operations for which CuPy 13.6 or 14
waits for the GPU. It keeps the forms of all `calls`, so that tests/test_cupy.py can ask whether the real CuPy has them.
"""

from __future__ import annotations

import operator
import sys
from types import ModuleType

import numpy as np
import scipy.sparse

launches = uploads = synchronisations = 0

PLAIN = {"shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "flags"}  # attributes that hold no data
VIEWS = {"reshape", "ravel", "view", "transpose", "squeeze", "broadcast_to", "empty", "empty_like"}  # launch nothing
WAITING = {"argwhere", "compress", "extract", "flatnonzero", "nonzero", "setdiff1d", "unique", "argpartition",
           "partition", "sort", "argsort"}  # a sort in 13.6
LAUNCHES = {"cumsum": 2, "unique": 8, **dict.fromkeys(("sort", "argsort", "partition", "argpartition"), 4),
            **dict.fromkeys(("argwhere", "compress", "extract", "flatnonzero", "nonzero"), 3)}
DOT, SPARSE_PRODUCT, MASK = 2, 3, 2  # two vectors: multiply, add; cuSPARSE: two, after a copy; a mask: scan, gather
ADDED_AT = {np.dtype(t) for t in ("i4", "u4", "u8", "f2", "f4", "f8", "c8", "c16")}  # what CuPy's ufunc.at can do


calls: set[tuple] = set()  # ("function" or "method", name, number of arguments, keywords), ("ufunc", name, types, type)


class ndarray:  # noqa: N801, the name that CuPy and NumPy use
    """An array on the pretended device."""

    __array_ufunc__ = None  # NumPy's ufuncs refuse it, NumPy's scalars leave an operator to it
    __hash__ = None

    def __init__(self, data: np.ndarray):
        self._data = data

    def __array__(self, *_, **__):
        raise TypeError("implicit conversion to a NumPy array; use get()")

    def __array_function__(self, function, *_):
        raise TypeError(f"numpy.{function.__name__} on an array of the device; take the module from the array")

    def __getattr__(self, name):
        attribute = None if name.startswith("_") else getattr(self._data, name)
        if name in PLAIN:
            return attribute
        if callable(attribute):
            return _function(attribute, name, "method")
        raise AttributeError(f"the device's array has no {name}")

    def __repr__(self):
        return f"device {self._data!r}"

    @property
    def T(self):  # noqa: N802
        return ndarray(self._data.T)

    def get(self) -> np.ndarray:
        _wait()
        return self._data.copy()

    def item(self):
        if self.size != 1:
            raise TypeError(f"one number of an array of shape {self.shape}")
        return self.get().item()

    def tolist(self):
        return self.get().tolist()

    def __len__(self):
        return len(self._data)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        _launch(MASK if _is_mask(key) else bool(_arrays(key)) + 3 * (len(_arrays(key)) > 1) * len(_arrays(key)))
        _wait(_is_mask(key))
        return _wrap(self._data[_unwrap(key)])

    def __setitem__(self, key, value):
        _launch(1 + MASK * (_is_mask(key) and isinstance(value, ndarray)))
        _wait(_is_mask(key) and isinstance(value, ndarray))
        self._data[_unwrap(key)] = _unwrap(value)


def _arrays(key) -> list:
    return [k for k in (key if isinstance(key, tuple) else (key,)) if isinstance(k, ndarray)]


def _is_mask(key) -> bool:
    return any(k.dtype == bool for k in _arrays(key))


def _launch(number=1):
    global launches
    launches += number


def _wait(really=True):
    global synchronisations
    synchronisations += bool(really)


def _unwrap(value):
    """The NumPy data of an argument; NumPy arrays are refused."""
    if isinstance(value, ndarray):
        return value._data
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"a NumPy array of shape {value.shape} meets an array of the device")
    return type(value)(map(_unwrap, value)) if isinstance(value, (tuple, list)) else value


def _wrap(result):
    """A result as array(s) of the device, single numbers too."""
    if isinstance(result, (np.ndarray, np.generic, bool, int, float)):
        return ndarray(np.asarray(result))
    return type(result)(map(_wrap, result)) if isinstance(result, (tuple, list)) else result


def _cost(name, args):
    """The kernels of a function or method."""
    if name in VIEWS:
        return 0
    if name in ("concatenate", "stack"):
        return len(args[0])
    if name in ("matmul", "dot") and all(_unwrap(arg).ndim == 1 for arg in args):
        return DOT
    return LAUNCHES.get(name, 1)


def _function(function, name, kind="function"):
    def call(*args, **kwargs):
        calls.add((kind, name, len(args), tuple(sorted(kwargs))))
        if name in ("argsort", "sort"):
            kwargs["kind"] = "stable"  # as all sorts of CuPy are
        _launch(_cost(name, args))
        _wait(name in WAITING)
        return _wrap(function(*_unwrap(args), **{key: _unwrap(value) for key, value in kwargs.items()}))

    return call


def _dtypes(values):
    """The types of operands: of arrays and NumPy's scalars their dtypes, of Python's numbers their own."""
    return tuple(str(value.dtype) if hasattr(value, "dtype") else type(value).__name__ for value in values)


class _Ufunc:
    def __init__(self, ufunc):
        self._ufunc = ufunc

    def __call__(self, *args, **kwargs):
        _launch()
        result = self._ufunc(*_unwrap(args), **{key: _unwrap(value) for key, value in kwargs.items()})
        calls.add(("ufunc", self._ufunc.__name__, _dtypes(args), str(result.dtype), tuple(sorted(kwargs))))
        return kwargs.get("out", _wrap(result))

    def at(self, array, indices, *values):
        if array.dtype not in ADDED_AT:
            raise TypeError(f"{self._ufunc.__name__}.at on {array.dtype}")
        calls.add(("at", self._ufunc.__name__, _dtypes((array, indices, *values)), str(array.dtype), ()))
        _launch()
        self._ufunc.at(*_unwrap((array, indices, *values)))


def _operator(name):
    ufunc = UFUNCS.get(name.strip("_"), UFUNCS.get(name.strip("_")[1:]))

    def method(self, *others):
        result = getattr(self._data, name)(*_unwrap(others))
        if result is NotImplemented:
            return result
        operands = (*others, self) if name[2] == "r" and name != "__rshift__" else (self, *others)
        if ufunc == "matmul":
            _launch(_cost("matmul", operands))
        else:
            _launch()
            dtype = result[0].dtype if isinstance(result, tuple) else result.dtype
            calls.add(("ufunc", ufunc, _dtypes(operands), str(dtype), ()))
        return _wrap(result)  # in place, a new wrapper of the same data

    return method


UFUNCS = {"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "true_divide", "floordiv": "floor_divide",
          "mod": "remainder", "pow": "power", "matmul": "matmul", "and": "bitwise_and", "or": "bitwise_or",
          "xor": "bitwise_xor", "lshift": "left_shift", "rshift": "right_shift", "divmod": "divmod", "lt": "less",
          "le": "less_equal", "eq": "equal", "ne": "not_equal", "gt": "greater", "ge": "greater_equal",
          "neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
ARITHMETIC = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split()
for _name in [*(kind + name for name in ARITHMETIC for kind in ("", "r", "i")), "divmod", "rdivmod",
              *"lt le eq ne gt ge neg pos abs invert".split()]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))
for _convert in (bool, int, float, operator.index):
    setattr(ndarray, f"__{_convert.__name__}__", lambda self, convert=_convert: convert(self.item()))


def asarray(data, dtype=None):
    """Data on the device: an array that is there already, or a copy of a NumPy array or numbers."""
    global uploads
    calls.add(("function", "asarray", 1, ("dtype",) if dtype else ()))
    if isinstance(data, ndarray):
        return data if dtype in (None, data.dtype) else data.astype(dtype)
    uploads += 1
    return ndarray(np.array(data, dtype=dtype))


def where(condition, *choices):
    """NumPy's where; as in CuPy the condition must be an array."""
    if not isinstance(condition, ndarray):
        raise TypeError(f"where() needs a condition on the device, not {type(condition).__name__}")
    calls.add(("function", "where", 1 + len(choices), ()))
    _launch(1 if choices else LAUNCHES["nonzero"])
    _wait(not choices)
    return _wrap(np.where(condition._data, *_unwrap(choices)))


def __getattr__(name):
    """Everything else is NumPy's function of that name, wrapped; types and constants are NumPy's own."""
    attribute = None if name.startswith("_") else getattr(np, name)
    if name.startswith("_") or isinstance(attribute, ModuleType):
        raise AttributeError(f"the device's module has no {name}")
    if isinstance(attribute, np.ufunc):
        return _Ufunc(attribute)
    if isinstance(attribute, type) or not callable(attribute):
        return attribute
    return _function(attribute, name)


class csr_matrix:  # noqa: N801
    """A sparse matrix on the pretended device, made of (data, indices, indptr), for products and slices of rows."""

    def __init__(self, parts, shape):
        if not all(isinstance(part, ndarray) for part in parts):
            raise TypeError("a sparse matrix of the device is made of arrays of the device")
        _wait()  # whether it is canonical, in 14.2
        self._matrix, self.shape = scipy.sparse.csr_matrix(_unwrap(parts), shape=shape), shape

    def __matmul__(self, other):
        if not isinstance(other, ndarray):
            raise TypeError(f"a sparse matrix of the device meets {type(other).__name__}")
        _launch(SPARSE_PRODUCT)
        return ndarray(self._matrix @ other._data)

    def __getitem__(self, rows):
        part = self._matrix[rows]
        return csr_matrix(tuple(map(ndarray, (part.data, part.indices, part.indptr))), part.shape)


sys.modules[f"{__name__}x.scipy.sparse"] = sys.modules[__name__]  # as cupyx.scipy.sparse belongs to cupy
