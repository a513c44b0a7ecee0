"""
Does TF32 choose another strength?
==================================

On CUDA, searches with cold starts multiply float32 matrices in TF32
(``precision="tf32"``): operands have 10 bits of mantissa. They train strengths whose
scores are close to the best again in float32. On the development sets of
``bench_accuracy.py tabular``, the same search chooses lambda in TF32, in float32 and in
float64::

    SKREG_DATA=... python examples/benchmarks/bench_precision.py
    SKREG_DATA=... python examples/benchmarks/bench_precision.py --device cuda

It has 20 strengths of an L1 penalty, 5 folds and 40 epochs of Adam from cold starts,
for 64 units; classes are judged by log-loss, values by R2. Without a GPU, operands are
rounded before each product ("torch:cpu", two hours); sums are in float32 either way.
"steps" is by how many points of the grid the choice moves from that of float32, and
"loss" what that costs, in the scores of float32, in units of their standard error;
"again" is how many strengths were trained again.
"""

import argparse
import contextlib
import warnings
from unittest.mock import patch

import numpy as np
import torch
from bench_accuracy import data_folder, tabular_split
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skreg import RegMLPClassifierCV, RegMLPRegressorCV
from skreg._engines import _device, _torch_passes, _torch_training

SINGLE, DOUBLE = np.float32, np.float64


def as_tf32(a):
    """Round float32 to 10 bits of mantissa, to nearest."""
    bits = a.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def product(a, b, out):
    torch.bmm(as_tf32(a), as_tf32(b), out=out)


def transposed_product(a, b, out):
    product(a.transpose(1, 2), b, out)


def rounds(device, precision, dtype):
    return device != "cpu" and precision == "tf32"


@contextlib.contextmanager
def rounded(device, precision):
    """Stands for `computing`: products of float32 as on CUDA, where that is asked."""
    if precision == "exact":
        yield
        return
    with (
        patch.object(_torch_passes, "_product", product),
        patch.object(_torch_passes, "_transposed_product", transposed_product),
    ):
        yield


@contextlib.contextmanager
def as_on_cuda():
    with (
        patch.object(_torch_training, "computing", rounded),
        patch.object(_device, "rounds", rounds),
    ):
        yield


def search(X, y, is_classifier, split, options, **params):
    kind = RegMLPClassifierCV if is_classifier else RegMLPRegressorCV
    return kind(
        (64,),
        penalty="l1",
        reg_lambdas=np.logspace(-5, -1, options.n_strengths),
        cv=5,
        start="cold",
        max_iter=options.n_epochs,
        tol=0.0,
        batch_size=64,
        scoring="neg_log_loss" if is_classifier else None,
        refit=False,
        random_state=split,
        **params,
    ).fit(X, y)


def problems(options):
    """Yield name, X, y, whether y are classes, and the seed."""
    if options.quick:
        X, y = load_wine(return_X_y=True)
        yield "wine", scale(X), y, True, 0
        return
    for split in range(options.splits):
        for file in sorted((data_folder() / "tabular").glob("*.npz")):
            X, y, *_, is_classifier = tabular_split(file, split)
            yield file.stem, X, y, is_classifier, split


def compare(X, y, is_classifier, split, options):
    """Moves of the choice in TF32 and float64, what they cost, and fits made again."""
    is_cuda = options.device.startswith("cuda")
    with contextlib.nullcontext() if is_cuda else as_on_cuda():
        tf32, single = (
            search(
                *(X.astype(SINGLE), y, is_classifier, split, options),
                device=options.device,
                precision=precision,
            )
            for precision in ("tf32", "exact")
        )
    double = search(X.astype(DOUBLE), y, is_classifier, split, options)
    best, mean = single.best_index_, single.mean_scores_
    moves = [
        (k - best, (mean[best] - mean[k]) / single.std_errors_[best])
        for k in (tf32.best_index_, double.best_index_)
    ]
    return moves, np.sum((tf32.scores_ == single.scores_).all(axis=0))


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--device", default="torch:cpu")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small, to try it out")
    options = parser.parse_args()
    options.n_strengths, options.n_epochs = (3, 2) if options.quick else (20, 40)
    print(f"{'set':30}{'split':>6}{'tf32 steps':>12}{'loss':>8}{'again':>8}", end="")
    print(f"{'float64 steps':>15}{'loss':>8}")
    moves = []
    for name, X, y, is_classifier, split in problems(options):
        moved, n_again = compare(X, y, is_classifier, split, options)
        (tf32, loss), (double, other) = moved
        print(f"{name:30}{split:6}{tf32:12}{loss:8.3f}{n_again:8}", end="")
        print(f"{double:15}{other:8.3f}", flush=True)
        moves.append((tf32, double))
    same = [sum(move == 0 for move in each) for each in zip(*moves)]
    print(f"\nThe same choice as float32: tf32 {same[0]}, float64 {same[1]}", end="")
    print(f" of {len(moves)} searches")


if __name__ == "__main__":
    main()
