"""The calls that the solvers make on the double of CuPy, held against the real CuPy: names, arguments and types.

CuPy can be imported without a GPU. Where it is not installed these tests are skipped; .ci/run installs it.
"""

import inspect
import re

import numpy as np
import pytest
import strict_array

import aiht
from beyond import creases
from beyond.gnhtp.fit import fit as gnhtp
from beyond.gnhtp.least_squares import cholesky, conjugate_gradients
from instances.planted import planted_problem
from numerics.gpus import samples_of_work
from numerics.workspace import Workspace
from sensing import GaussianSensing, RandomGates, ReluSensing

try:
    import cupy
except Exception as error:  # an installed CuPy that misfits its CUDA raises more than ImportError
    pytest.skip(f"CuPy cannot be imported ({type(error).__name__})", allow_module_level=True)

WEAK = {"int": np.int8, "float": np.float16}  # Python's numbers, which take the type of the arrays that they meet


def forms():
    """What CuPy is asked for in fits with one and ten outputs, deep ones, in batches, and in small budgets."""
    strict_array.calls.clear()
    problem = planted_problem(20, 50, 0, nmeasurements=900, input_dim=20)
    classes = np.eye(10, dtype=np.float32)[np.digitize(problem.Y, np.linspace(0.5, 3, 9))]
    X, y, Y = map(strict_array.asarray, (problem.X, problem.Y, classes))
    samples_of_work(strict_array)
    for memory_budget in (16, 512):
        with Workspace(1, memory_budget, strict_array) as work:
            call = {"width": 20, "work": work}
            for own in ({}, {"convex": True}, {"num_layers": 2, "batch_size": 200}):
                aiht.fit(X, y, 50, num_epochs=4, **call, **own)
                aiht.fit(X, Y, 90, num_epochs=4, loss="cross_entropy", **call, **own)
            gnhtp(X, y, 40, num_epochs=8, realizable=True, **call)
            gnhtp(X, y, 40, num_epochs=8, **call)
            creases.solve(X, y, 30, num_epochs=6, **call)
            A = ReluSensing(X.T, RandomGates(0, 0, 20, 20), 20, work).columns(np.arange(600) % 400 // 2 * 2)
            for solve in (cholesky, lambda A, y: conjugate_gradients(A, y, np.zeros(600), 3)):
                solve(A, y)
            aiht.recover(GaussianSensing(0, 900, 100, work, strict_array), y, 5, 2)
    return sorted(strict_array.calls, key=str)


FORMS = forms()


def signature_of(function):
    """The signature of a function, or of a method in Cython, whose documentation begins with it."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        inside = re.match(r"[\w.]+\((.*?)\)( ->|\n|$)", function.__doc__).group(1)
        words = [re.sub(r"^\w+ (?=\w+(=|$))", "", word.strip()) for word in inside.split(",")]  # a type before a name
        return inspect.signature(eval(f"lambda {', '.join(words)}: None"))


@pytest.mark.parametrize("kind, name, number, keywords", [form for form in FORMS if form[0] in ("function", "method")])
def test_functions_and_methods_take_these_arguments(kind, name, number, keywords):
    function = getattr(cupy if kind == "function" else cupy.ndarray, name)
    signature_of(function).bind(*range(number + (kind == "method")), **dict.fromkeys(keywords))


def loop(ufunc, operands):
    """The types of the result in the first loop of a ufunc that takes these operands: CuPy's rule."""
    given = [np.dtype(WEAK.get(operand, operand)) for operand in operands]
    for types in ufunc.types:
        inside, outside = types.split("->")
        if len(inside) == len(given) and all(map(np.can_cast, given, map(np.dtype, inside))):
            return np.dtype(outside[0])
    raise TypeError(f"{ufunc} has no loop for {operands}")


@pytest.mark.parametrize("kind, name, operands, result, keywords", [form for form in FORMS if form[0] == "ufunc"])
def test_ufuncs_give_the_types_of_numpy(kind, name, operands, result, keywords):
    assert set(keywords) <= {"out", "dtype"}
    if name == "divmod":
        assert callable(cupy.divmod)
    elif "dtype" not in keywords:
        assert loop(getattr(cupy, name), operands) == np.dtype(result) or "out" in keywords


@pytest.mark.parametrize("kind, name, operands, result, keywords", [form for form in FORMS if form[0] == "at"])
def test_additions_at_places_are_there(kind, name, operands, result, keywords):
    """In one type: atomic additions do not convert."""
    assert callable(getattr(cupy, name).at) and operands[0] == operands[2] == result
    assert np.dtype(result) in strict_array.ADDED_AT and operands[1] == "int64"


def test_the_forms_are_many():
    """A double that records nothing would pass."""
    assert len(FORMS) > 80 and {form[0] for form in FORMS} == {"function", "method", "ufunc", "at"}


def test_sorts_are_stable():
    """Of equal entries the first stay."""
    for module in (cupy, strict_array):
        assert "stable" in (module.argsort.__doc__ or "stable")
    array = strict_array.asarray(np.repeat([1.0, 0.0], 40))
    assert strict_array.argsort(array).get().tolist() == [*range(40, 80), *range(40)]


def test_without_a_driver_there_is_an_error_and_no_gpu():
    from numerics.gpus import GpuError, cupy_on

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        with pytest.raises(GpuError, match=f"CuPy finds no working NVIDIA GPU .{str(error)[:20]}"):
            cupy_on(0)
    else:
        assert count > 0 and cupy_on(0)[1].memory > 0
