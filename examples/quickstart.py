# %% [markdown]
# # Quickstart: plant a sparse network, and recover it with each method
#
# Run it as `python examples/quickstart.py`, or open it as a notebook (VS Code, PyCharm, Spyder, jupytext).
# The picture is written to figures/quickstart.png, and a network beside it.

# %%
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]) if "__file__" in globals() else "..")

import numpy as np

import aiht
import pruning
from beyond import creases, deep, gnhtp
from beyond.recovery import compare
from instances.planted import planted_net
from plotting import looks, page

n, d, m, s = 5000, 50, 5, 20  # samples, inputs, hidden width, nonzero weights

# %% [markdown]
# ## Plant
# X [n, d] standard normal; y [n] from a random network y = sum_j relu(w_j . x) with s nonzero weights.

# %%
X = np.random.default_rng(0).standard_normal((n, d))
planted = planted_net(d, m, k=1, num_layers=1, s=s, seed=0)
y = planted.predict(X)
print("planted  ", planted)

# %% [markdown]
# ## Recover
# Every method is `fit(X, y, s, width=m)`. What is given beside that is said here. A callback sees each step.

# %%
METHODS = {
    "AIHT": (aiht.fit, {}),  # the paper's solver
    "IMP": (pruning.fit, {"num_epochs": 15, "batch_size": 100, "prune_iters": 3, "finetune_epochs": 15}),  # baseline
    "GNHTP": (gnhtp.fit, {"realizable": True}),  # ours; realizable: a sparse network made y
    "crease pursuit": (creases.fit, {}),  # ours; signs and several outputs, too
}


def left(net):
    """The share of the energy of y that a network leaves."""
    return np.mean((net.predict(X) - y) ** 2) / np.mean(y**2)


curves, found = {}, {}
for name, (fit, options) in METHODS.items():
    curve = curves[name] = [1.0]
    started = time.perf_counter()
    found[name] = fit(X, y, s, width=m, **options, callback=lambda step, state, curve=curve: curve.append(
        left(state.net())))
    curve.append(left(found[name]))
    print(f"{name:14}", found[name], f"{time.perf_counter() - started:5.1f} s,", f"{curve[-1]:.0e} of the energy left")

# %% [markdown]
# ## Compare
# W and V are dense arrays; `compare` matches neurons and says what of the planted network was found.

# %%
W, V = found["crease pursuit"].weights()  # [m, d], and None: the outputs are summed
print("nonzeros of each neuron of W:", np.count_nonzero(W, axis=1))
for name, net in found.items():
    print(f"{name:14} support recall {compare(net, planted)['support_recall']:.2f}")

# %% [markdown]
# ## Two hidden layers at once
# Layer-by-layer methods stop early here; `beyond.deep` fits both layers together.

# %%
two = planted_net(d, m, k=1, num_layers=2, s=s, seed=1)
y_two = two.predict(X)
for name, fit in (("AIHT", aiht.fit), ("joint fit", deep.fit)):
    net = fit(X, y_two, s, width=m, num_layers=2)
    print(f"{name:14}", net, f"{np.mean((net.predict(X) - y_two) ** 2) / np.mean(y_two**2):.0e} of the energy left")

# %% [markdown]
# ## Draw

# %%
with page.style():
    figure = page.new_figure(5, 3)
    ax = figure.subplots()
    for name, curve in curves.items():
        ax.semilogy(curve, label=name, **looks.look(looks.method_of(name)))
    ax.set_xlabel("step (IMP: round)")
    ax.set_ylabel("share of the energy left")
    ax.legend()
    print(*page.save(figure, Path("figures/quickstart")))

# %%
found["crease pursuit"].save("figures/quickstart.npz")  # SparseNet.load reads it
