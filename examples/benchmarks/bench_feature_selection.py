"""
Which inputs does a sparse network keep, and are they worth keeping?
====================================================================

Selects 10, 20 and 50 inputs of four data sets with

* skreg: a network with a group lasso on the rows of every matrix, along a path of
  rising lambda, each fit started from the one before (dense to sparse), and reweighted
  by it where lambda is large;
* LassoNet (Lemhadri, Ruan, Abraham, Tibshirani 2021; ``pip install lassonet``, skipped
  where missing), with its default settings and as many hidden units;
* L1 logistic regression, along a path from sparse to dense (a skreg network without
  hidden layers: the problem is convex, so the software does not matter);
* mutual information of each input with the class.

Then it trains the same two classifiers on the selected inputs alone, a small network
with an L2 penalty and extra trees, and prints their accuracy on rows that neither the
selection nor the training has seen. `SKREG_DATA` names the folder of the data sets
(mice_protein.npz, mnist.npz, madelon.npz, golub_leukemia.npz)::

    SKREG_DATA=... python examples/benchmarks/bench_feature_selection.py
    SKREG_DATA=... python examples/benchmarks/bench_feature_selection.py \\
        --data madelon --methods skreg "mutual information" --repeats 1

From a path, the network for k is the sparsest one that still has k inputs, and of it
the k inputs with the largest weights: all methods select exactly k, or "nan" is printed
where a path never has as many (a lasso on the 38 rows of golub). A path ends as soon as
it has no more than 10 inputs, for both networks, and "seconds" is the processor time up
to there on one thread, the median over the repeats; it includes the dense start, but
not the training on the selected inputs.

Splits: golub and madelon have their own test (validation) set, of 34 and 600 rows; of
MNIST, 5000 random training images and all 10000 test images are used. Mice protein has
no split: "mice" holds out a random fifth of the rows, as papers do, though 15 rows come
from each mouse, so that the test rows have near-copies in training; "mice, held out"
holds out a fifth of the mice instead. Scaling and imputation are fitted on the training
rows. Repeats differ in all seeds and, for mice and MNIST, in the rows. The settings
below are the same for all data sets. They were chosen on parts of the training rows.
"""

import argparse
import os
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_selection import mutual_info_classif
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler
from threadpoolctl import threadpool_limits

from skreg import RegMLPClassifier
from skreg.penalties import L1, GroupLasso

try:
    import torch
    from lassonet import LassoNetClassifier
except ImportError:
    LassoNetClassifier = None

HIDDEN = (64,)
SIZES = (10, 20, 50)
N_MNIST = 5000


# Data: functions of a seed that return training and test set, prepared.


def load(name):
    return np.load(Path(os.environ["SKREG_DATA"]) / name, allow_pickle=False)


def prepare(transformer, X_train, y_train, X_test, y_test):
    X_train = transformer.fit_transform(X_train.astype(np.float32))
    X_test = transformer.transform(X_test.astype(np.float32))
    y_train, y_test = y_train.astype(np.int64), y_test.astype(np.int64)
    return np.float32(X_train), y_train, np.float32(X_test), y_test


def mice(seed, whole=False):
    data = load("mice_protein.npz")
    X, y = data["X"], data["y"]
    groups = data["group"] if whole else np.arange(len(X))
    splitter = GroupShuffleSplit(1, test_size=0.2, random_state=seed)
    train, test = next(splitter.split(X, y, groups))
    transformer = make_pipeline(SimpleImputer(), StandardScaler())
    return prepare(transformer, X[train], y[train], X[test], y[test])


def mnist(seed):
    data = load("mnist.npz")
    rows = np.random.default_rng(seed).choice(60000, N_MNIST, replace=False)
    X_train, y_train = data["X_train"][rows], data["y_train"][rows]
    transformer = FunctionTransformer(lambda X: X / 255)
    return prepare(transformer, X_train, y_train, data["X_test"], data["y_test"])


def madelon(seed):
    data = load("madelon.npz")
    parts = [data[key] for key in ("X_train", "y_train", "X_valid", "y_valid")]
    return prepare(StandardScaler(), *parts)


def golub(seed):
    data = load("golub_leukemia.npz")
    parts = [data[key] for key in ("X_train", "y_train", "X_test", "y_test")]
    log = FunctionTransformer(lambda X: np.log10(np.clip(X, 100, 16000)))
    return prepare(make_pipeline(log, StandardScaler()), *parts)


def digits(seed):
    """What ships with scikit-learn, to try the benchmark out."""
    X, y = load_digits(return_X_y=True)
    parts = train_test_split(X, y, train_size=500, random_state=seed)
    return prepare(StandardScaler(), parts[0], parts[2], parts[1], parts[3])


DATA = {
    "mice": mice,
    "mice, held out": partial(mice, whole=True),
    "mnist": mnist,
    "madelon": madelon,
    "golub": golub,
}


# Methods: functions of training data and seed that return scores of the inputs, one row
# per model of a path, from dense to sparse; 0 for an input that is not used.


def reference_lambda(X, y):
    """Smallest lambda at which a linear model with the group lasso has no weights."""
    Y = np.eye(y.max() + 1)[y]
    if Y.shape[1] == 2:
        Y = Y[:, 1:]
    return GroupLasso().lambda_max(X.T @ (Y.mean(axis=0) - Y) / len(X))


def skreg_path(X, y, seed, ratio=1.15, n_steps=100, n_dense_steps=500, adaptive=0.08):
    """Group lasso; from `adaptive` times the reference lambda on, reweighted.

    Small lambda removes noise. Large lambda has to choose among correlated inputs, and
    there the group lasso spreads the weights, for it shrinks all of them alike. Hence
    the adaptive group lasso (Zou 2006; Candes, Wakin and Boyd 2008): the penalty of an
    input is divided by its weight in the model before, so that the large ones are
    shrunk little and the small ones vanish. The same is done by scaling the inputs with
    these weights. From the start it would also keep what the dense network overfits.
    """
    batch_size = min(100, len(X))
    n_batches = -(-len(X) // batch_size)
    network = RegMLPClassifier(
        HIDDEN,
        penalty="group_lasso",
        batch_size=batch_size,
        tol=0,
        n_iter_no_change=np.inf,
        warm_start=True,
        random_state=seed,
    )
    unit, lam, scores, scale = reference_lambda(X, y), 1e-3, [], np.ones_like(X[0])
    while not scores or np.count_nonzero(scores[-1]) > min(SIZES):
        steps = n_steps if scores else n_dense_steps
        network.set_params(reg_lambda=lam * unit, max_iter=-(-steps // n_batches))
        scores.append(scale * network.fit(scale * X, y).feature_importances_)
        if lam >= adaptive:
            used = scores[-1] > 0
            before, scale = scale, scores[-1] / scores[-1][used].mean()
            # The network still computes the same.
            network.coefs_[0][used] *= (before[used] / scale[used])[:, None]
        lam *= ratio
    return scores


class PathEnds(Exception):
    pass


def lassonet_path(X, y, seed):
    torch.set_num_threads(1)
    scores = []

    def record(model, history):
        skip = model.model.skip.weight.detach().norm(dim=0)
        scores.append((skip * history[-1].selected).numpy())
        if np.count_nonzero(scores[-1]) <= min(SIZES):
            raise PathEnds

    network = LassoNetClassifier(
        hidden_dims=HIDDEN, random_state=seed, torch_seed=seed, verbose=0
    )
    try:
        network.path(X, y, callback=record)
    except PathEnds:
        pass
    return scores


def l1_path(X, y, seed, ratio=1.1):
    model = RegMLPClassifier(
        (), penalty=L1(), solver="lbfgs", warm_start=True, max_iter=1000, tol=1e-3
    )
    reference, scores = reference_lambda(X, y), []
    lam = reference
    # With fewer rows than max(SIZES) there may never be as many inputs.
    while lam > 1e-3 * reference and np.count_nonzero(scores[-1:]) < max(SIZES):
        lam /= ratio
        scores.append(model.set_params(reg_lambda=lam).fit(X, y).feature_importances_)
    return scores[::-1]


def mutual_information(X, y, seed):
    # Of inputs without information, those of lower number come first.
    scores = mutual_info_classif(X, y, random_state=seed)
    return [scores + np.finfo(np.float64).tiny]


METHODS = {
    "skreg": skreg_path,
    "LassoNet": lassonet_path,
    "L1 logistic": l1_path,
    "mutual information": mutual_information,
}
if LassoNetClassifier is None:
    del METHODS["LassoNet"]


# Measuring


def select(scores, k):
    """Return k inputs of the sparsest model of a path that has as many, or None."""
    models = [s for s in scores if np.count_nonzero(s) >= k]
    return np.argsort(-models[-1], kind="stable")[:k] if models else None


def accuracies(inputs, data, seed):
    """Accuracy on the test set of a network and of extra trees on these inputs."""
    if inputs is None:
        return np.nan, np.nan
    X_train, y_train, X_test, y_test = data
    X_train, X_test = X_train[:, inputs], X_test[:, inputs]
    scale = MinMaxScaler((-1, 1)).fit(X_train)
    network = RegMLPClassifier(
        HIDDEN, reg_lambda=1e-3, solver="lbfgs", max_iter=300, random_state=seed
    )
    network.fit(scale.transform(X_train), y_train)
    trees = ExtraTreesClassifier(300, random_state=seed).fit(X_train, y_train)
    return (
        network.score(scale.transform(X_test), y_test),
        trees.score(X_test, y_test),
    )


def measure(method, loader, repeats):
    """Return seconds, and accuracies of shape (repeats, sizes, 2)."""
    seconds, results = [], []
    for seed in range(repeats):
        data = loader(seed)
        start = time.process_time()
        scores = METHODS[method](*data[:2], seed)
        seconds.append(time.process_time() - start)
        results.append([accuracies(select(scores, k), data, seed) for k in SIZES])
    return seconds, np.array(results)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="to try it out: digits")
    args = parser.parse_args()
    data = {name: DATA[name] for name in args.data}
    if args.quick:
        data, args.repeats = {"digits": digits}, 1
    elif "SKREG_DATA" not in os.environ:
        parser.exit("Set SKREG_DATA to the folder of the data sets.\n")
    # A fixed number of steps ends at max_iter, on purpose.
    warnings.simplefilter("ignore", ConvergenceWarning)
    cells = [f"{kind}, k={k}" for kind in ("network", "trees") for k in SIZES]
    print(f"{'% accuracy':36s}{'seconds':>8s}", *(f"{cell:>13s}" for cell in cells))
    for name, loader in data.items():
        for method in args.methods:
            with threadpool_limits(1):
                seconds, results = measure(method, loader, args.repeats)
            means = 100 * results.mean(axis=0).T.ravel()
            spread = 100 * results.std(axis=0).T.ravel()
            row = (f"{m:7.1f} ± {s:3.1f}" for m, s in zip(means, spread))
            print(
                f"{name:16s}{method:20s}{np.median(seconds):8.1f}",
                *row,
                flush=True,
            )


if __name__ == "__main__":
    main()
