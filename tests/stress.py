"""Random command lines, random inputs and random kills: what no list of cases thinks of. Anyone can run it.

    python -m tests.stress lines --count 1000 --seed 0     # no traceback, exit codes 0, 1 and 2 alone
    python -m tests.stress inputs --count 500 --seed 0     # an error that names its reason, or a finite network
    python -m tests.stress kills --count 100 --seed 0      # SIGKILL; tables, networks and histories as without it
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

import runner
from beyond import dst
from options import SWITCH, ListOf
from sweep.flags import all_flags
from sweep.methods import METHODS
from sweep.settings import sources
from tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
WORDS = ["", "0", "1", "2", "3", "7", "-1", "1.5", "0.3", "nan", "inf", "1e3", "-1e1", "x", "a b", "é", "\0",
         "2147483648", "1,2", "--", "-", "[1]", "True", "auto", "cpu", "cuda", "normal", "mnist", "lamp", "cg"]
SMALL = "--mlist 2 --slist 5 --nmeasurements 200 --num_epochs 2 --device cpu --threads 1".split()


# ---- command lines ----


def random_line(rng: random.Random, folder: str) -> list[str]:
    """A command line of runner.py, right or wrong."""
    names = [name for names in all_flags().values() for name in names if name not in (
        "workers", "scheduler", "data_dir", "logs_dir", "extend", "gpu")]
    line = ["--task", rng.choice([*TASKS, "mlp_planted", "mlp_planted"]), "--method", rng.choice([*METHODS])]
    line += SMALL if rng.random() < 0.9 else []
    for name in rng.sample(names, rng.randrange(4)):
        limit = next(sources(name))[1].limit
        words = WORDS[:8] if rng.random() < 0.6 else WORDS
        values = [*limit.choices] if limit.choices and rng.random() < 0.7 else words
        count = 0 if limit is SWITCH else rng.randrange(1, 3) if isinstance(limit, ListOf) else 1
        line += [f"--{name}", *rng.choices(values, k=count)]
    return [*line, "--logs_dir", folder, "--data_dir", folder]


def lines(count: int, seed: int) -> Counter[str]:
    """Outcomes of random command lines, in this process."""
    rng, outcomes = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            line, said = random_line(rng, folder), io.StringIO()
            try:
                with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                    status: object = runner.main(line)
            except SystemExit as end:
                status = end.code
            except BaseException:
                status = f"FAULT: {' '.join(line)!r}: {traceback.format_exc().splitlines()[-1]}"
            if status == 2 and len(said.getvalue().strip().splitlines()[-1:]) != 1:
                status = f"FAULT: {' '.join(line)!r} says nothing"
            outcomes[f"exit code {status}" if isinstance(status, int) else str(status)] += 1
    return outcomes


# ---- inputs of fits ----

FITS = {name: method.solve for name, method in METHODS.items() if name not in ("set", "rigl")} | {"dst": dst.solve}


def random_problem(rng: np.random.Generator) -> tuple[object, object]:
    """Inputs and targets, of any scale, layout, type and shape, some of them damaged."""
    n, d, k = int(rng.integers(1, 60)), int(rng.integers(1, 12)), int(rng.integers(0, 4))
    X = rng.standard_normal((n, d)) if rng.random() < 0.8 else rng.integers(-2, 3, (n, d)).astype(float)
    y = np.maximum(X @ rng.standard_normal((d, max(k, 1))), 0)
    y = y[:, 0] if k == 0 else y
    X, y = (array * 2.0 ** float(rng.integers(-130, 130) if rng.random() < 0.3 else 0) for array in (X, y))
    damage = rng.integers(12)
    if damage == 0:
        X[rng.integers(n), rng.integers(d)] = rng.choice([np.nan, np.inf, -np.inf])
    elif damage == 1:
        y = y[:-1]
    elif damage == 2:
        return X.tolist(), y.tolist()
    elif damage == 3:
        return X.astype(str), y
    elif damage == 4:
        return np.ma.masked_array(X, rng.random(X.shape) < 0.1), y
    elif damage == 5:
        return np.asfortranarray(X)[::-1], y.astype(np.longdouble)
    elif damage == 6:
        return X[:0], y[:0]
    elif damage == 7:
        return X * 0, y * 0
    elif damage == 8:
        return X, -y
    return X, y


def inputs(count: int, seed: int) -> Counter[str]:
    """Outcomes of fits of random data."""
    rng, outcomes = np.random.default_rng(seed), Counter[str]()
    for _ in range(count):
        (X, y), name = random_problem(rng), str(rng.choice([*FITS]))
        given = {"s": int(rng.integers(30)), "width": int(rng.integers(1, 6)), "num_epochs": int(rng.integers(1, 6)),
                 "seed": int(rng.integers(5))}
        try:
            net = FITS[name](X, y, **given).net
            outputs = net.predict(X)
            finite = np.isfinite(outputs).all() and all(np.isfinite(layer.w.values).all() for layer in net.layers)
            determined = 1 < given["s"] <= len(X) / 2  # fewer samples may support no network
            empty = net.num_nonzero == 0 and np.max(np.asarray(y)) > 0 and np.asarray(X).any() and determined
            fault = f"FAULT: {name} {given}: {'empty' if finite else 'not finite'}"
            outcome = fault if empty or not finite else "a network"
        except (ValueError, TypeError, FloatingPointError) as error:
            outcome = f"{type(error).__name__}, told" if str(error) else f"FAULT: {name} says nothing"
        except Exception:
            outcome = f"FAULT: {name} {given}: {traceback.format_exc().splitlines()[-1]}"
        outcomes[outcome] += 1
    return outcomes


# ---- kills ----

SWEEPS = [
    "--task mlp_planted --mlist 1 2 3 --slist 4 6 --seedlist 0 1 --nmeasurements 3000 --num_epochs 20 --save_history",
    "--task mlp_planted --method creases --mlist 2 3 --slist 5 8 --seedlist 0 1 --nmeasurements 2000 --save_models",
    "--task mlp_planted --mlist 1 2 3 --slist 4 6 --nmeasurements 2000 --num_epochs 20 --save_models --workers 2",
]


def contents(folder: Path) -> dict[str, object]:
    """Tables, networks and histories in a folder, but for the seconds of these."""
    found: dict[str, object] = {path.name: path.read_bytes() for path in folder.rglob("*.npy")}
    for path in folder.rglob("*.npz"):
        with np.load(path) as arrays:
            found[path.name] = {name: arrays[name].tobytes() for name in arrays.files if name != "seconds"}
    return found


def kills(count: int, seed: int) -> Counter[str]:
    """Outcomes of sweeps that are killed at random times, again and again, until they end."""
    rng, outcomes = random.Random(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as name:
        whole = {}
        for number, line in enumerate(SWEEPS):
            started = time.monotonic()
            subprocess.run(command(line, Path(name, f"whole{number}")), cwd=ROOT, capture_output=True, check=True)
            whole[line] = contents(Path(name, f"whole{number}")), time.monotonic() - started
        while outcomes["kills"] < count:
            line = rng.choice(SWEEPS)
            (expected, seconds), alone = whole[line], True
            with tempfile.TemporaryDirectory() as place:
                while outcomes["kills"] < count:
                    began = time.monotonic()
                    process = subprocess.Popen(command(line, Path(place)), cwd=ROOT, stdout=subprocess.DEVNULL,
                                               stderr=subprocess.DEVNULL, start_new_session=True)
                    try:
                        process.wait(timeout=rng.uniform(0.3, 1.0) * seconds)
                        if alone:  # a whole run: the machine may be quieter by now
                            whole[line] = expected, time.monotonic() - began
                        break
                    except subprocess.TimeoutExpired:
                        os.killpg(process.pid, signal.SIGKILL)
                        process.wait()
                        outcomes["kills"], alone = outcomes["kills"] + 1, False
                done = subprocess.run(command(line, Path(place)), cwd=ROOT, capture_output=True, text=True)
                same = done.returncode == 0 and contents(Path(place)) == expected
                outcomes["sweeps with the same bytes" if same else f"FAULT: {line}: {done.stderr[-300:]}"] += 1
    return outcomes


def command(line: str, folder: Path) -> list[str]:
    """The command of a sweep into a folder."""
    return [sys.executable, "runner.py", *line.split(), "--save_results", "--device", "cpu", "--threads", "1",
            "--logs_dir", str(folder)]


def main() -> int:
    """The exit code: 1 where something was at fault."""
    parser = argparse.ArgumentParser(description="Random command lines, inputs and kills.")
    parser.add_argument("what", choices=("lines", "inputs", "kills"))
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    outcomes = {"lines": lines, "inputs": inputs, "kills": kills}[args.what](args.count, args.seed)
    for outcome, number in outcomes.most_common():
        print(f"{number:5} {outcome}")
    return 1 if any(outcome.startswith("FAULT") for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
