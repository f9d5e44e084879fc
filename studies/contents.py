"""What the tables of the docs count: the cells of their rows. studies/tables.py counts them and writes the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Settings = dict[str, object]  # those that are not at their default
Axes = tuple[tuple[int, ...], tuple[int, ...]]  # m and s

EASY: Axes = (1, 2, 5, 10, 20), (5, 10, 20, 50, 100)
SIGNS: Axes = (5, 10, 20), (10, 20, 50, 100)
IMAGE: Axes = (5, 20, 100), (20, 100, 500)
FEWER: Settings = {"nmeasurements": 10000}
SIGNED: Settings = FEWER | {"planted_signs": True}
TEN: Settings = {"output_dim": 10}
TWO: Settings = {"num_layers": 2}

Row = tuple[str, Settings, list[Axes], Sequence[int]]


def by_weights(outputs: str, settings: Settings) -> list[Row]:
    """Rows of a grid of Figures 1 and 2, by numbers of weights; a row with no fit is left out."""
    widths = (2, 5, 10, 20, 50, 100, 200, 500, 1000)
    numbers = [("s 10 20 50", (10, 20, 50)), *((f"s = {s}", (s,)) for s in (100, 200, 500, 1000))]
    return [(f"{outputs}, {words}, what was run of the paper's m, seeds 0 1 2", settings, [(widths, slist)], (0, 1, 2))
            for words, slist in numbers]


FITS: dict[str, list[Row]] = {  # method: in words, of parts, seeds
    "creases": [
        ("signs (`--planted_signs`), m 5 10 20, s 10 20 50 100, seeds 0 1 2", SIGNED, [SIGNS], (0, 1, 2)),
        ("the same", {"planted_signs": True}, [SIGNS], (0, 1, 2)),
        ("signs, m = 50, s 10 20 50 100, seeds 0 1 2", SIGNED, [((50,), SIGNS[1])], (0, 1, 2)),
        ("the paper's task, m 1 2 5 10 20, s 5 10 20 50 100, seeds 0 1 2", {}, [EASY], (0, 1, 2)),
        ("ten outputs, (5, 20) (5, 50) (5, 100) (10, 50) (20, 50) (20, 100), seeds 0 to 5", FEWER | TEN,
         [((5,), (20, 50, 100)), ((10,), (50,)), ((20,), (50, 100))], range(6)),
        ("the same, seeds 0 1", TEN, [((5,), (20, 50, 100)), ((10,), (50,)), ((20,), (50, 100))], (0, 1)),
        ("signs, as in the first row, seeds 100 101 102 and 200 201 202, on which nothing was tuned", SIGNED, [SIGNS],
         (100, 101, 102, 200, 201, 202)),
        ("signs, m = 50, as in the third row, seeds 200 201 202", SIGNED, [((50,), SIGNS[1])], (200, 201, 202)),
        ("the paper's task, as in the fourth row, seeds 100 101 102", FEWER, [EASY], (100, 101, 102)),
        ("signs, (200, 100) (200, 200) (1000, 200), seed 0", SIGNED, [((200,), (100, 200)), ((1000,), (200,))], (0,)),
        ("the paper's task, (200, 200) (1000, 200), seeds 0 1 2", FEWER, [((200, 1000), (200,))], (0, 1, 2)),
    ],
    "deep": [
        ("m 5 10 20, s 10 20 50, seeds 0 1 2", FEWER | TWO, [((5, 10, 20), (10, 20, 50))], (0, 1, 2)),
        ("(5, 50), (10, 100), (50, 100), seeds 0 1", FEWER | TWO, [((5,), (50,)), ((10, 50), (100,))], (0, 1)),
        ("(20, 100), seeds 0 to 5", FEWER | TWO, [((20,), (100,))], range(6)),
        ("m 5 10 20, s 10 20 50, seeds 400 401 402, on which nothing was tuned", FEWER | TWO,
         [((5, 10, 20), (10, 20, 50))], (400, 401, 402)),
        ("(20, 200), (50, 200), seed 0, with the trials alone", FEWER | TWO, [((20, 50), (200,))], (0,)),
        *by_weights("one output", TWO),
        *by_weights("ten outputs", TWO | TEN),
    ],
    "gnhtp": [
        ("m 1 2 5 10 20, s 5 10 20 50 100, seeds 0 1 2", {}, [EASY], (0, 1, 2)),
        ("the same, seeds 3 4 5, on which nothing was tuned", {}, [EASY], (3, 4, 5)),
        ("(50, 20), (50, 50), (200, 100), seeds 0 1 2", {}, [((50,), (20, 50)), ((200,), (100,))], (0, 1, 2)),
        ("(200, 200), seeds 0 1 2", {}, [((200,), (200,))], (0, 1, 2)),
        ("(1000, 200), seeds 0 1 2", {}, [((1000,), (200,))], (0, 1, 2)),
    ],
}
WORDS = {  # what a figure shows, by the task of its rows
    ("1", "mlp_planted"): "planted networks", ("2", "mlp_planted"): "ten outputs",
    ("3", "binary_mnist"): "two digits", ("3", "mnist"): "ten digits",
    ("4", "inr_mnist"): "an MNIST image", ("5", "inr_cifar10"): "a CIFAR-10 image",
}
PARTS: tuple[tuple[str, int, str, Callable[[int, int], bool]], ...] = (  # figure, row, which cells, in words and (m, s)
    ("2", 0, "m <= 2", lambda m, s: m <= 2),
    ("2", 0, "m = 5, 10", lambda m, s: 5 <= m <= 10),
    ("2", 0, "m >= 20", lambda m, s: m >= 20),
    ("2", 1, "m <= 20", lambda m, s: m <= 20),
    ("2", 1, "m >= 50", lambda m, s: m >= 50),
    ("3", 1, "s <= 500", lambda m, s: s <= 500),
    ("3", 1, "s >= 1000", lambda m, s: s >= 1000),
)

BY_NUMBER: list[tuple[str, Settings]] = [  # of inr_mnist: method and settings, in words and as they are
    ("SET, 3000 epochs", {"method": "set", "num_epochs": 3000}),
    ("RigL, 3000 epochs", {"method": "rigl", "num_epochs": 3000}),
    ("SET, 100 epochs, `--update_every 10`", {"method": "set", "num_epochs": 100, "update_every": 10}),
    ("RigL, 100 epochs, `--update_every 10`", {"method": "rigl", "num_epochs": 100, "update_every": 10}),
    ("IMP, trained and finetuned", {"method": "pruning", "num_epochs": 300, "prune_iters": 0.2,
                                    "finetune_epochs": 300}),
    ("AIHT, 100 epochs", {"method": "aiht", "num_epochs": 100}),
]
