"""The names of logs stay to the letter: this list was written when the logs that are shipped were computed."""

# ruff: noqa: E501  (command lines and names as they are)


import pytest

from sweep.flags import parse_arguments
from sweep.names import NAME_LENGTH, log_name
from sweep.settings import logged

TO_1000 = "1 2 5 10 20 50 100 200 500 1000"
GRIDS = {"small": "--mlist 5 --slist 20", "figure 1": f"--mlist {TO_1000} --slist {TO_1000} --seedlist 0 1 2"}
HISTORIC = """
figure 1: --task mlp_planted
    mlp_planted_aiht_hidden1_m1-2-5-10-20-50-100-200-500-1000_s1-2-5-10-20-50-100-200-500-1000_seed0-1-2_convex0_bs0_bias0_15epochs
small: --task mlp_planted
    mlp_planted_aiht_hidden1_m5_s20_seed0_convex0_bs0_bias0_15epochs
small: --task mlp_planted --method creases --input_dim 30 --output_dim 3 --input_dist uniform --snr 20.0
    mlp_planted_creases_hidden1_m5_s20_seed0_convex0_bs0_bias0_60epochs_input_dim30_output_dim3_input_distuniform_snr20
small: --task mlp_planted --method deep --num_epochs 20 --snr -2.5
    mlp_planted_deep_hidden2_m5_s20_seed0_convex0_bs0_bias0_20epochs_snr-2.5
small: --task mlp_planted --method rigl --update_every 7 --mask_init uniform --drop_fraction 0.5 --nmeasurements 600 --batch_size 100
    mlp_planted_rigl_hidden1_m5_s20_seed0_convex0_bs100_bias0_15epochs_nmeasurements600_update_every7_mask_inituniform_drop_fraction0.5
small: --task mlp_planted --update_every 3 --expname a.b-c_d
    mlp_planted_aiht_hidden1_m5_s20_seed0_convex0_bs0_bias0_15epochs_update_every3__a.b-c_d
small: --task mlp_planted --method pruning --prune_iters 0.0
    mlp_planted_pruning_hidden1_m5_s20_seed0_convex0_bs0_bias0_15epochs_prune_iters0
small: --task mlp_planted --method pruning --prune_iters 5 --prune_score lamp --finetune_epochs 300 --batch_size 1000 --num_epochs 100
    mlp_planted_pruning_hidden1_m5_s20_seed0_convex0_bs1000_bias0_100epochs_prune_iters5_prune_scorelamp_finetune_epochs300
small: --task gaussian_sparse --nmeasurements 300 --num_epochs 50 --expname x
    gaussian_sparse_aiht_hidden1_m5_s20_seed0_convex0_bs0_bias0_50epochs_nmeasurements300__x
small: --task binary_mnist --batch_size 1000 --bias
    binary_mnist_aiht_hidden1_m5_s20_seed0_convex0_bs1000_bias1_15epochs
small: --task inr_mnist --num_epochs 100
    inr_mnist_aiht_hidden1_m5_s20_seed0_convex0_bs0_bias0_100epochs
small: --task inr_cifar10 --method gnhtp --image 1000
    inr_cifar10_gnhtp_hidden1_m5_s20_seed0_convex0_bs0_bias0_108epochs
"""


def name_of(line):
    settings = parse_arguments(line.split())
    grid = settings.grid
    return log_name(logged(settings), {"m": grid.mlist, "s": grid.slist, "seed": grid.seedlist})


def historic():
    lines = HISTORIC.strip().splitlines()
    for head, name in zip(lines[::2], lines[1::2], strict=True):
        grid, flags = head.split(": ", 1)
        yield f"{flags} {GRIDS[grid]}", name.strip()


@pytest.mark.parametrize(("line", "name"), list(historic()))
def test_names_are_what_they_were(line, name):
    assert name_of(line) == name


def test_long_names_are_abridged_as_they_were():
    lists = ["--mlist", *range(1, 60), "--slist", *range(100, 200), "--seedlist", *range(40)]
    line = ("--task mlp_planted --method pruning --nmeasurements 12345 --input_dim 77 --output_dim 11 --input_dist "
            "rademacher --prune_iters 0.123 --prune_score lamp --finetune_epochs 12345 --expname " + 59 * "x")
    name, other = (name_of(f"{line}{end} {' '.join(map(str, lists))}") for end in "xy")
    assert len(name) == len(other) == NAME_LENGTH and name != other  # the hash is of everything
    assert name == ("mlp_planted_pruning_8132fb24276e5fda_hidden1_m1..59-59x69ac2f35_s100..199-100xf0f4a852_seed0.."
                    "39-40x2b6c1a46_convex0_bs0_bias0_15epochs_input_dim77_output_dim11_nmeasurements12345_input_distradem")
