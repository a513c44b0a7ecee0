"""
How long does it take to choose λ?
==================================

Chooses λ from 20 values in 5 folds by

* `RegMLPClassifierCV`: warm-started paths, folds in threads,
* ``GridSearchCV`` of `RegMLPClassifier`,
* ``GridSearchCV`` of scikit-learn's ``MLPClassifier`` over ``alpha``,

on (a) 2000 × 20 synthetic samples and (b) the 1797 × 64 digits, with a small network
and small batches and with scikit-learn's defaults. All use Adam with the same network,
batches and number of epochs per fit (no fit stops early), and the same penalty, which
for scikit-learn is ``alpha = batch size × λ``::

    python examples/benchmarks/bench_model_selection.py
    python examples/benchmarks/bench_model_selection.py --rounds 3 --dtype float32

The contenders take turns; a cell is the fastest of its rounds. The worker processes of
``GridSearchCV`` are started beforehand.

With ``--paths``, the question is instead what a warm-started path of ``solver="lbfgs"``
saves against cold fits at the same λ, and whether its objectives are as low. A cold fit
ends in one of many minima, which one is a matter of its start, and at the next λ it is
another one. So the path is compared at each λ over several starts: "mean" columns are
of the geometric means over the starts of warm / cold, "single" counts pairs::

    python examples/benchmarks/bench_model_selection.py --paths --starts 8
"""

import argparse
import time
import warnings
from itertools import product, zip_longest
from statistics import geometric_mean

import numpy as np
from joblib import Parallel, delayed
from sklearn.base import clone
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_classification,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import scale

from skreg import RegMLPClassifier, RegMLPClassifierCV, RegMLPRegressor, reg_mlp_path

NETWORKS = [((32,), 32), ((100,), 200)]  # hidden layers, batch size
REG_LAMBDAS = np.logspace(-5, 0, 20)


def data_sets(dtype):
    X, y = make_classification(2000, 20, n_informative=10, random_state=0)
    yield "(a) 2000 x 20", scale(X).astype(dtype), y
    X, y = load_digits(return_X_y=True)
    yield "(b) digits 1797 x 64", scale(X).astype(dtype), y


def contenders(hidden, batch_size, args):
    params = dict(
        hidden_layer_sizes=hidden,
        batch_size=batch_size,
        max_iter=args.epochs,
        n_iter_no_change=args.epochs,
        random_state=0,
    )
    grid = {"reg_lambda": REG_LAMBDAS}
    search = dict(cv=5, n_jobs=args.n_jobs)
    return {
        "RegMLPClassifierCV": RegMLPClassifierCV(
            **params, reg_lambdas=REG_LAMBDAS, **search
        ),
        "GridSearchCV(RegMLPClassifier)": GridSearchCV(
            RegMLPClassifier(**params), grid, **search
        ),
        "GridSearchCV(MLPClassifier)": GridSearchCV(
            MLPClassifier(**params), {"alpha": batch_size * REG_LAMBDAS}, **search
        ),
    }


def score_and_lambda(model):
    if isinstance(model, GridSearchCV):
        (value,) = model.best_params_.values()
        if "alpha" in model.best_params_:
            value /= model.estimator.batch_size
        return model.best_score_, value
    return np.nanmax(model.mean_scores_), model.reg_lambda_


def compare_searches(args):
    for (name, X, y), (hidden, batch_size) in product(data_sets(args.dtype), NETWORKS):
        models, best = contenders(hidden, batch_size, args), {}
        for _ in range(args.rounds):
            for label, model in models.items():
                Parallel(args.n_jobs)(delayed(abs)(k) for k in range(4))  # warm up
                start = time.perf_counter()
                model.fit(X, y)
                elapsed = time.perf_counter() - start
                best[label] = min(elapsed, best.get(label, np.inf))
        slowest = best["GridSearchCV(MLPClassifier)"]
        print(f"\n{name}, {args.dtype}, hidden {hidden}, batches of {batch_size}")
        print(f"{'':32}{'seconds':>9}{'ratio':>8}{'score':>8}{'chosen λ':>11}")
        for label, seconds in best.items():
            score, chosen = score_and_lambda(models[label])
            ratio = f"{slowest / seconds:.1f}x"
            print(
                f"{label:32}{seconds:9.2f}{ratio:>8}{score:8.3f}{chosen:11.2g}",
                flush=True,
            )


def warm_and_cold(model, X, y, n_lambdas):
    """Processor seconds of a path and of cold fits, and the ratios of objectives."""
    start = time.process_time()
    path = reg_mlp_path(model, X, y, reg_lambdas=n_lambdas)
    between = time.process_time()
    fits = [clone(model).set_params(reg_lambda=lam) for lam in path.reg_lambdas]
    cold = [fit.fit(X, y).loss_ for fit in fits]
    seconds = between - start, time.process_time() - between
    return np.array(seconds), path.objective / cold


def compare_paths(args):
    loaders = {
        "diabetes": (load_diabetes, RegMLPRegressor),
        "breast cancer": (load_breast_cancer, RegMLPClassifier),
        "digits": (load_digits, RegMLPClassifier),
    }
    total = np.zeros(2)
    print(f"{'':28}{'warm s':>8}{'cold s':>8}{'share':>7}  warm / cold objective")
    print(f"{'':51}{'median':>9}{'largest mean':>14}{'single > 1.01':>16}")
    for name, (load, network) in loaders.items():
        X, y = load(return_X_y=True)
        X, y = scale(X), scale(y) if network is RegMLPRegressor else y
        of_data = np.zeros(2)
        for penalty in ("l1", "group_lasso", "l2"):
            model = network(
                (20,), activation="tanh", penalty=penalty, solver="lbfgs", max_iter=3000
            )
            seconds, ratios = np.zeros(2), []
            for start in range(args.starts):
                model.set_params(random_state=start)
                spent, ratio = warm_and_cold(model, X, y, args.n_lambdas)
                seconds += spent / args.starts
                ratios.append(ratio)
            of_data += seconds
            # Paths may end at different lambda, but begin at the same one.
            means = [
                geometric_mean([r for r in of_starts if r is not None])
                for of_starts in zip_longest(*ratios)
            ]
            single = np.concatenate(ratios)
            print(
                f"{name + ', ' + penalty:28}{seconds[0]:8.2f}{seconds[1]:8.2f}"
                f"{seconds[0] / seconds[1]:7.2f}{np.median(single):9.3f}"
                f"{max(means):14.3f}{np.sum(single > 1.01):8} of {len(single)}",
                flush=True,
            )
        print_share(name, of_data)
        total += of_data
    print_share("all", total)


def print_share(label, seconds):
    warm, cold = seconds
    print(f"{label:28}{warm:8.2f}{cold:8.2f}{warm / cold:7.2f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--dtype", choices=["float64", "float32"], default="float64", help="of X"
    )
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--paths", action="store_true")
    parser.add_argument("--starts", type=int, default=1, help="with --paths")
    parser.add_argument("--n-lambdas", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="to try it out: one epoch")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.epochs, arguments.n_lambdas, NETWORKS = 1, 3, NETWORKS[1:]
    warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant
    (compare_paths if arguments.paths else compare_searches)(arguments)
