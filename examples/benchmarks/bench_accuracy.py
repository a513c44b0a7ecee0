"""
How accurate are regularized networks?
======================================

Four comparisons and a check, on data in the folder named by `SKREG_DATA`::

    SKREG_DATA=... python examples/benchmarks/bench_accuracy.py tabular
    SKREG_DATA=... python examples/benchmarks/bench_accuracy.py published
    SKREG_DATA=... python examples/benchmarks/bench_accuracy.py madelon
    SKREG_DATA=... python examples/benchmarks/bench_accuracy.py intervals
    python examples/benchmarks/bench_accuracy.py synthetic

``tabular`` trains all contenders on the same random splits of each set in
``tabular/*.npz`` (arrays X, y, task: "c" for classes, "r" for values): 75 % of the
rows, at most 1500, for training, and at most 4000 others for the test, inputs and
target values standardized by the training rows. It prints the loss on the test rows
(log-loss; root mean squared error in standard deviations of y), accuracy, inputs kept,
and processor time of `fit`. Whatever a contender chooses, it chooses on training rows.
Then "skreg auto" (stack and folds) and "skreg recommended" are compared with the
others: the geometric mean of the ratios of losses over the sets; sets won, tied and
lost (tied: the mean difference over the splits is within its standard error; one split
has none, so only equal losses tie); and the ratio of processor times.

``published`` repeats 50 published splits of five sets (``published/*.npz``, with the
accuracies of eight methods on each) and prints mean accuracy and inputs kept, and the
mean difference of accuracies to LassoNet with its standard error over the splits.
Inputs are scaled before the split, as they were there.

``madelon`` selects inputs of ``madelon.npz``, 20 of 500 or as many as LassoNetCV likes,
on its training rows, and judges by its validation rows.

``intervals`` counts how many targets of the test rows lie in the intervals of level 0.9
of "skreg auto folds", on the sets of ``tabular`` with values.

``synthetic`` selects 5 of 40 and 15 of 60 inputs from 300 rows of a known function:
how many of the inputs selected are false, how many true ones are found, and how far
predictions are from the function.

RealMLP-TD (``pip install pytabkit``) and LassoNet (``pip install lassonet``) are left
out where they are not installed. ``--quick`` takes few sets, one split, and small
searches. With ``--results FILE``, each fit adds a line of JSON to the file, and what is
there is read and not fitted again: a run that was cut goes on.
"""

import argparse
import json
import os
import time
import warnings
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
from scipy.stats import loguniform
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, root_mean_squared_error
from sklearn.model_selection import RandomizedSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import LabelEncoder, StandardScaler
from threadpoolctl import threadpool_limits

import skreg
from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    stability_selection,
)

QUICK_SETS = ["saheart", "tecator"]
SCORING = {True: "neg_log_loss", False: "neg_mean_squared_error"}  # classes, values
DRAWS = {  # of the tuned MLP of scikit-learn
    "hidden_layer_sizes": [(32,), (100,), (64, 64)],
    "activation": ["relu", "tanh"],
    "alpha": loguniform(1e-6, 1),
    "learning_rate_init": loguniform(3e-4, 1e-2),
    "batch_size": [32, 128],
    "max_iter": [50, 100, 200],
}


# Contenders: functions of (classes or values?, seed, quick?) that return an estimator.


def sklearn_default(is_classifier, seed, quick):
    return (MLPClassifier if is_classifier else MLPRegressor)(random_state=seed)


def sklearn_tuned(is_classifier, seed, quick):
    return RandomizedSearchCV(
        sklearn_default(is_classifier, seed, quick),
        DRAWS,
        n_iter=3 if quick else 20,
        cv=3,
        scoring=SCORING[is_classifier],
        random_state=seed,
    )


def boosting(is_classifier, seed, quick):
    return (
        HistGradientBoostingClassifier
        if is_classifier
        else HistGradientBoostingRegressor
    )(random_state=seed)


def realmlp(is_classifier, seed, quick):
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    return (RealMLP_TD_Classifier if is_classifier else RealMLP_TD_Regressor)(
        random_state=seed, n_threads=1, device="cpu"
    )


def lassonet(is_classifier, seed, quick):
    from lassonet import LassoNetClassifierCV, LassoNetRegressorCV

    return (LassoNetClassifierCV if is_classifier else LassoNetRegressorCV)(
        cv=5, random_state=seed, device="cpu"
    )


def skreg_default(is_classifier, seed, quick):
    return (RegMLPClassifier if is_classifier else RegMLPRegressor)(random_state=seed)


def skreg_recommended(is_classifier, seed, quick):
    return (RegMLPClassifier if is_classifier else RegMLPRegressor)(
        **skreg.recommended(), random_state=seed
    )


def skreg_auto(refit):
    """Everything chosen by one call: penalty, network, solver and lambda."""

    def contender(is_classifier, seed, quick):
        return (RegMLPClassifierCV if is_classifier else RegMLPRegressorCV)(
            param_grid="auto",
            refit=refit,
            cv=3 if quick else None,
            random_state=seed,
        )

    return contender


CONTENDERS = {
    "sklearn default": sklearn_default,
    "sklearn tuned": sklearn_tuned,
    "boosting": boosting,
    "RealMLP-TD": realmlp,
    "LassoNetCV": lassonet,
    "skreg default": skreg_default,
    "skreg recommended": skreg_recommended,
    "skreg auto folds": skreg_auto("folds"),
    "skreg auto stack": skreg_auto("stack"),
}
OURS = ["skreg auto stack", "skreg auto folds", "skreg recommended"]  # are compared
PACKAGES = {"RealMLP-TD": "pytabkit", "LassoNetCV": "lassonet"}  # others: always there


def available(labels, results):
    """Those that are installed, or of which there are results."""
    measured = {label for _, _, label, _ in results.known}
    for label in labels:
        package = PACKAGES.get(label)
        if package is None or find_spec(package) or label in measured:
            yield label
        else:
            print(f"{label} is left out: {package} is not installed")


class Results:
    """Results of single fits by (part, set, contender, split), also in a file."""

    def __init__(self, path):
        self.path, self.known = path, {}
        if path is not None and path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()
            self.known = {tuple(key): row for key, row in map(json.loads, lines)}

    def of(self, *key, measure):
        """What `measure()` returns, a list of numbers, unless it is known."""
        if key not in self.known:
            self.known[key] = [float(value) for value in measure()]
            if self.path is not None:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([key, self.known[key]]) + "\n")
        return self.known[key]

    def of_splits(self, args, part, name, label, measure, *data):
        """What `measure(label, split, *data, quick)` returns for each split."""
        return [
            self.of(
                part,
                name,
                label,
                split,
                measure=partial(measure, label, split, *data, args.quick),
            )
            for split in range(args.splits)
        ]


def timed_fit(model, X, y, **params):
    """Fit on one thread; return processor seconds."""
    start = time.process_time()
    with threadpool_limits(1):
        model.fit(X, y, **params)
    return time.process_time() - start


def selected(model, n_features):
    """Mask of the inputs that predictions depend on."""
    for name in ("selected_features_", "best_selected_"):  # skreg, LassoNet
        if hasattr(model, name):
            return np.asarray(getattr(model, name), dtype=bool)
    return np.ones(n_features, dtype=bool)


def data_folder():
    if "SKREG_DATA" not in os.environ:
        raise SystemExit("SKREG_DATA must name the folder of the data sets.")
    return Path(os.environ["SKREG_DATA"])


def mean_and_error(values):
    """Mean and its standard error (nan of one value)."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return values.mean(), error


# Tabular sets


def tabular_split(file, split):
    """Return X and y of training and test rows, and whether y are classes."""
    with np.load(file, allow_pickle=False) as data:
        X, y = data["X"].astype(float), data["y"]
        is_classifier = str(data["task"]) == "c"
    y = LabelEncoder().fit_transform(y) if is_classifier else y.astype(float)
    train, test = train_test_split(
        np.arange(len(y)),
        test_size=0.25,
        random_state=1000 + split,
        stratify=y if is_classifier else None,
    )
    train, test = train[:1500], test[:4000]
    varies = np.ptp(X[train], axis=0) > 0
    scaler = StandardScaler().fit(X[train][:, varies])
    X_train, X_test = (scaler.transform(X[rows][:, varies]) for rows in (train, test))
    y_train, y_test = y[train], y[test]
    if not is_classifier:
        mean, std = y_train.mean(), y_train.std()
        y_train, y_test = (y_train - mean) / std, (y_test - mean) / std
    return X_train, y_train, X_test, y_test, is_classifier


def judge(model, X, y, is_classifier):
    """Return loss and accuracy (nan for values)."""
    if not is_classifier:
        return root_mean_squared_error(y, np.ravel(model.predict(X))), np.nan
    probabilities = model.predict_proba(X)
    loss = log_loss(y, probabilities, labels=np.arange(probabilities.shape[1]))
    return loss, np.mean(probabilities.argmax(axis=1) == y)


def measure_tabular(label, split, file, quick):
    """Return loss, accuracy, inputs kept and seconds."""
    X, y, X_test, y_test, is_classifier = tabular_split(file, split)
    model = CONTENDERS[label](is_classifier, split, quick)
    seconds = timed_fit(model, X, y)
    loss, accuracy = judge(model, X_test, y_test, is_classifier)
    return loss, accuracy, selected(model, X.shape[1]).sum(), seconds


def tabular(args, results):
    labels = list(available(args.contenders or CONTENDERS, results))
    files = sorted((data_folder() / "tabular").glob("*.npz"))
    files = [file for file in files if not args.sets or file.stem in args.sets]
    print(f"{'set':30}{'contender':20}{'loss':>8}{'±':>7}", end="")
    print(f"{'accuracy':>10}{'inputs':>8}{'seconds':>9}")
    losses, seconds = {}, {}  # (set, contender): one value per split
    for file, label in product(files, labels):
        rows = results.of_splits(
            args, "tabular", file.stem, label, measure_tabular, file
        )
        rows = np.array(rows)
        losses[file.stem, label], seconds[file.stem, label] = rows[:, 0], rows[:, 3]
        loss, error = mean_and_error(rows[:, 0])
        _, accuracy, n_inputs, elapsed = rows.mean(axis=0)
        print(
            f"{file.stem:30}{label:20}{loss:8.3f}{error:7.3f}"
            f"{accuracy:10.3f}{n_inputs:8.1f}{elapsed:9.1f}",
            flush=True,
        )
    for ours in OURS:
        if ours in labels:
            others = [label for label in labels if label not in OURS]
            compare([file.stem for file in files], losses, seconds, ours, others)


def compare(names, losses, seconds, ours, others):
    """Print how one contender does against others, over sets and splits."""
    print(f"\n{ours + ' against':26}{'loss ratio':>12}{'won':>6}{'tied':>6}", end="")
    print(f"{'lost':>6}{'time ratio':>12}")
    for label in others:
        ratios, outcomes = [], []
        for name in names:
            mine, theirs = losses[name, ours], losses[name, label]
            # losses of 0 up to rounding count as 1e-3, or one set would rule the mean
            ratios.append(max(mine.mean(), 1e-3) / max(theirs.mean(), 1e-3))
            difference, error = mean_and_error(mine - theirs)
            tied = abs(difference) <= np.nan_to_num(error)
            outcomes.append("tied" if tied else "won" if difference < 0 else "lost")
        mine, theirs = (
            sum(seconds[name, who].sum() for name in names) for who in (ours, label)
        )
        print(f"{label:26}{np.exp(np.mean(np.log(ratios))):12.3f}", end="")
        counts = (outcomes.count(outcome) for outcome in ("won", "tied", "lost"))
        print("".join(f"{count:6d}" for count in counts), end="")
        print(f"{mine / theirs:12.3f}")


# Madelon


def measure_madelon(label, seed, quick):
    """Return accuracy, loss, inputs kept and seconds."""
    with np.load(data_folder() / "madelon.npz", allow_pickle=False) as data:
        X, y = data["X_train"][: 500 if quick else None], data["y_train"]
        X_test, y_test = data["X_valid"], data["y_valid"]
    scaler = StandardScaler().fit(X)
    X, X_test = (scaler.transform(rows).astype(np.float32) for rows in (X, X_test))
    few = RegMLPClassifierCV(
        penalty="group_lasso", max_features=20, random_state=seed, cv=2 if quick else 5
    )
    model = lassonet(True, seed, quick) if label == "LassoNetCV" else few
    seconds = timed_fit(model, X, y[: len(X)].astype(int))
    loss, accuracy = judge(model, X_test, y_test, True)
    return accuracy, loss, selected(model, X.shape[1]).sum(), seconds


def madelon(args, results):
    print(f"{'contender':20}{'accuracy':>9}{'loss':>8}{'inputs':>8}{'seconds':>9}")
    for label in available(args.contenders or ["skreg", "LassoNetCV"], results):
        rows = results.of_splits(args, "madelon", "madelon", label, measure_madelon)
        accuracy, loss, n_kept, seconds = np.mean(rows, axis=0)
        print(
            f"{label:20}{accuracy:9.3f}{loss:8.3f}{n_kept:8.1f}{seconds:9.1f}",
            flush=True,
        )


# Intervals


def measure_intervals(label, split, file, quick):
    """Return the share of targets inside, mean width and seconds."""
    X, y, X_test, y_test, _ = tabular_split(file, split)
    model = CONTENDERS[label](False, split, quick)
    seconds = timed_fit(model, X, y)
    lower, upper = model.predict_interval(X_test, level=0.9)
    inside = (lower <= y_test) & (y_test <= upper)
    return inside.mean(), (upper - lower).mean(), seconds


def intervals(args, results):
    print(f"{'set':30}{'inside':>8}{'±':>7}{'width':>8}{'seconds':>9}")
    for file in sorted((data_folder() / "tabular").glob("*.npz")):
        with np.load(file, allow_pickle=False) as data:
            is_classifier = str(data["task"]) == "c"
        if is_classifier or (args.sets and file.stem not in args.sets):
            continue
        rows = results.of_splits(
            args, "intervals", file.stem, "skreg auto folds", measure_intervals, file
        )
        share, standard_error = mean_and_error([row[0] for row in rows])
        _, width, seconds = np.mean(rows, axis=0)
        print(
            f"{file.stem:30}{share:8.3f}{standard_error:7.3f}{width:8.2f}{seconds:9.1f}",
            flush=True,
        )


# Published splits


def published_contenders(seed, quick):
    common = dict(solver="lbfgs", max_iter=1000, random_state=seed)
    common |= dict(activation="tanh", penalty="group_lasso", cv=2 if quick else 5)
    return {
        "skreg recommended": skreg_recommended(True, seed, quick),
        "skreg 1-SE": RegMLPClassifierCV((20,), selection="1se", **common),
        "skreg auto": skreg_auto("folds")(True, seed, quick),
    }


def measure_published(label, seed, X, y, quick):
    """Return accuracy, inputs kept and seconds."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=2 / 3, random_state=seed, shuffle=True, stratify=y
    )
    model = published_contenders(seed, quick)[label]
    seconds = timed_fit(model, X_train, y_train)
    accuracy = np.mean(model.predict(X_test) == y_test)
    return accuracy, selected(model, X.shape[1]).sum(), seconds


def published(args, results):
    print(f"{'set':16}{'contender':18}{'accuracy':>9}{'inputs':>8}", end="")
    print(f"{'- LassoNet':>12}{'±':>7}{'seconds':>9}")
    for file in sorted((data_folder() / "published").glob("*.npz")):
        if args.sets and file.stem not in args.sets:
            continue
        with np.load(file, allow_pickle=False) as data:
            X, y = StandardScaler().fit_transform(data["X"].astype(float)), data["y"]
            theirs = {
                key.removeprefix("published_").removesuffix("_acc"): data[key]
                for key in data
                if key.endswith("_acc")
            }
        for label, accuracy in theirs.items():
            print(f"{file.stem:16}{label:18}{100 * accuracy.mean():9.1f}")
        for label in args.contenders or published_contenders(0, args.quick):
            rows = results.of_splits(
                args, "published", file.stem, label, measure_published, X, y
            )
            accuracy, n_inputs, seconds = np.transpose(rows)
            difference, error = mean_and_error(
                100 * (accuracy - theirs["LassoNet"][: args.splits])
            )
            print(
                f"{file.stem:16}{label:18}{100 * accuracy.mean():9.1f}"
                f"{n_inputs.mean():8.1f}{difference:12.1f}{error:7.1f}"
                f"{seconds.mean():9.1f}",
                flush=True,
            )


# Synthetic inputs


def synthetic_rows(n, n_inputs, n_true, seed):
    """Standard normal inputs; the function: a tanh network of 3 units on the first."""
    rng = np.random.default_rng(seed)
    # weights of at least 0.7 in size: each true input can be found
    W = rng.choice([-1, 1], (n_true, 3)) * rng.uniform(0.7, 1.5, (n_true, 3))
    v = rng.choice([-1, 1], 3) * rng.uniform(1, 2, 3)

    def function(X):
        return np.tanh(X[:, :n_true] @ W * np.sqrt(5 / n_true)) @ v

    X, X_test = (
        rng.standard_normal((n, n_inputs)),
        rng.standard_normal((3000, n_inputs)),
    )
    f, f_test = function(X), function(X_test)
    y = f + 0.3 * f.std() * rng.standard_normal(n)
    mean, std = y.mean(), y.std()
    return X, (y - mean) / std, X_test, (f_test - mean) / std


class Stable:
    """A network on the inputs that stability selection finds."""

    def __init__(self, network, search, n_pairs):
        self.network, self.search, self.n_pairs = network, search, n_pairs

    def fit(self, X, y):
        result = stability_selection(
            self.network, X, y, n_pairs=self.n_pairs, max_false=2.0, random_state=0
        )
        self.mean, self.selected_features_ = y.mean(), result.selected_features_
        if self.selected_features_.any():
            self.search.fit(X[:, self.selected_features_], y)
        return self

    def predict(self, X):
        if not self.selected_features_.any():
            return np.full(len(X), self.mean)
        return self.search.predict(X[:, self.selected_features_])


def synthetic_contenders(n_true, seed, quick):
    common = dict(activation="tanh", penalty="group_lasso", solver="lbfgs")
    common |= dict(max_iter=1000, random_state=seed)
    network = RegMLPRegressor((20,), **common)
    common["cv"] = 2 if quick else 5
    contenders = {
        "skreg group lasso": RegMLPRegressorCV((20,), **common),
        "skreg 1-SE": RegMLPRegressorCV((20,), selection="1se", **common),
        "skreg adaptive": RegMLPRegressorCV((20,), adaptive=1.0, **common),
        "skreg max_features": RegMLPRegressorCV((20,), max_features=n_true, **common),
        "skreg stability": Stable(
            network, RegMLPRegressorCV((20,), **common), 5 if quick else 50
        ),
    }
    if find_spec("lassonet"):
        contenders["LassoNetCV"] = lassonet(False, seed, quick)
    return contenders


def measure_synthetic(label, seed, n_true, n_inputs, quick):
    """Return false share, power, inputs selected, error and seconds."""
    X, y, X_test, f_test = synthetic_rows(300, n_inputs, n_true, seed)
    model = synthetic_contenders(n_true, seed, quick)[label]
    seconds = timed_fit(model, X, y)
    kept = selected(model, n_inputs)
    error = root_mean_squared_error(f_test, np.ravel(model.predict(X_test)))
    false_share = kept[n_true:].sum() / max(kept.sum(), 1)
    return false_share, kept[:n_true].mean(), kept.sum(), error, seconds


def synthetic(args, results):
    print(
        f"{'inputs':12}{'contender':20}{'false share':>12}{'±':>6}{'power':>7}", end=""
    )
    print(f"{'selected':>10}{'error':>8}{'seconds':>9}")
    for n_true, n_inputs in [(5, 40), (15, 60)]:
        name = f"{n_true} of {n_inputs}"
        for label in args.contenders or synthetic_contenders(n_true, 0, args.quick):
            rows = results.of_splits(
                args, "synthetic", name, label, measure_synthetic, n_true, n_inputs
            )
            false_share, standard_error = mean_and_error([row[0] for row in rows])
            _, power, n_kept, error, seconds = np.mean(rows, axis=0)
            print(
                f"{name:12}{label:20}{false_share:12.2f}"
                f"{standard_error:6.2f}{power:7.2f}{n_kept:10.1f}{error:8.3f}"
                f"{seconds:9.1f}",
                flush=True,
            )


PARTS = {
    "tabular": (tabular, 3),
    "published": (published, 50),
    "madelon": (madelon, 1),
    "intervals": (intervals, 3),
    "synthetic": (synthetic, 8),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--sets", nargs="+", help="names of sets, default: all")
    parser.add_argument("--contenders", nargs="+", help="default: all of the part")
    parser.add_argument("--splits", type=int, help="splits or seeds")
    parser.add_argument("--results", type=Path, help="file of results, to go on with")
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if args.quick and args.results:
        parser.error("--results are those of full runs, without --quick")
    os.environ["OMP_NUM_THREADS"] = "1"  # which skreg's own threads go by
    run, n_splits = PARTS[args.part]
    args.splits = args.splits or (1 if args.quick else n_splits)
    if args.quick and not args.sets:
        few = {"tabular": QUICK_SETS, "published": ["wine"], "intervals": ["tecator"]}
        args.sets = few.get(args.part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        run(args, Results(args.results))


if __name__ == "__main__":
    main()
