"""
Do label smoothing and mixup gain on top of the automatic choice?
=================================================================

skreg has neither. Both train on sums of log-losses, so that rows and weights emulate
them: a smoothed label is a row for each class, by its share; and as mixup's pairs are
symmetric, its loss is that of a row's own label at t x_i + (1 - t) x_j with t from
Beta(alpha + 1, alpha), of which each row gets a few draws, held through training::

    SKREG_DATA=... python examples/benchmarks/bench_augmentation.py

On the sets of classes of ``bench_accuracy.py tabular``, ``param_grid="auto"`` chooses
network, penalty and solver. These are cross-validated again, plain and with each change
of the training part of each fold, along eight lambda around the choice. Batches grow
with the rows, so that steps remain as many. "repeated" has the rows of mixup without
mixing: what larger batches do alone.

Printed is the log-loss on test rows of the mean of the networks of the folds, each
variant at its lambda of the best score, and that of "nested": the variant of the least
out-of-fold loss. Then the same of predictions sharpened by one factor, chosen on
out-of-fold predictions, as "stack" does it. "auto" is the choice with
``refit="stack"``.

``--whole`` does not stop at one network: the whole automatic choice, with its race and
its stack, is made on plain and on smoothed rows, and "nested" is one of these. With
``--results FILE``, a run that was cut goes on.
"""

import argparse
import contextlib
import warnings
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
from bench_accuracy import (
    Results,
    data_folder,
    judge,
    mean_and_error,
    skreg_auto,
    tabular_split,
    timed_fit,
)
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import scale

from skreg import RegMLPClassifierCV
from skreg._cv import _points, _race

STEPS = np.arange(-4, 4)  # of the grid of the automatic choice, around its lambda
FLOOR = 1e-3  # losses below count as this in ratios, or one set would rule the mean
N_WHOLE = 3  # variants of the whole choice: plain and smoothing


# Variants: functions (X, y, number of classes, rng) -> X, y, weights, copies of a row.


def plain(X, y, n_classes, rng):
    return X, y, np.ones(len(y)), 1


def smoothing(eps):
    def variant(X, y, n_classes, rng):
        labels = np.tile(np.arange(n_classes), len(y))
        is_own = labels == np.repeat(y, n_classes)
        weights = (1 - eps) * is_own + eps / n_classes
        return np.repeat(X, n_classes, axis=0), labels, weights, n_classes

    return variant


def mixup(alpha, copies=4):
    """Without mixing where alpha is 0."""

    def variant(X, y, n_classes, rng):
        own = np.repeat(np.arange(len(y)), copies)
        other = rng.integers(len(y), size=len(own))
        t = rng.beta(alpha + 1, alpha, (len(own), 1)) if alpha else 1.0
        return t * X[own] + (1 - t) * X[other], y[own], np.ones(len(own)), copies

    return variant


VARIANTS = {
    "plain": plain,
    "smoothing .05": smoothing(0.05),
    "smoothing .1": smoothing(0.1),
    "mixup .2": mixup(0.2),
    "repeated": mixup(0.0),  # is not among those that "nested" chooses from
}


def augmented(variant, X, y, folds, seed):
    """The rows, then those of each fold: X, y, weights, splits, copies of a row."""
    rng, n_rows = np.random.default_rng(seed), len(y)
    parts, splits = [(X, y, np.ones(n_rows))], []
    for train, test in folds:
        *part, copies = variant(X[train], y[train], y.max() + 1, rng)
        splits.append((np.arange(n_rows, n_rows + len(part[1])), test))
        n_rows += len(part[1])
        parts.append(part)
    return *(np.concatenate(arrays) for arrays in zip(*parts)), splits, copies


def folds_of(X, y, seed, quick):
    """Those that "auto" takes."""
    folds = StratifiedKFold(3 if quick else 5, shuffle=True, random_state=seed)
    return list(folds.split(X, y))


def sharpened(probabilities, factor):
    return softmax(factor * np.log(np.clip(probabilities, 1e-15, 1)), axis=1)


def sharpness_of(probabilities, y):
    """Factor of the least log-loss; a row more of all classes keeps it finite."""

    def objective(factor):
        logs = np.log(np.clip(sharpened(probabilities, factor), 1e-300, 1))
        return -logs[np.arange(len(y)), y].mean() - logs.mean() / len(y)

    return minimize_scalar(objective, bounds=(1, 10), method="bounded").x


def measure(split_of, split, quick):
    """Loss and seconds of the automatic choice, then for each variant: losses out of
    fold and on test rows, the same sharpened, steps to its lambda, seconds."""
    X, y, X_test, y_test, _ = split_of(split)
    auto = skreg_auto("stack")(True, split, quick)
    with portfolio_of(len(y), copies=1):
        seconds = timed_fit(auto, X, y)
    row = [judge(auto, X_test, y_test, True)[0], seconds]
    params = dict(auto.best_params_)
    center = params.pop("reg_lambda")
    step = np.abs(np.diff(np.log(auto.reg_lambdas_))).mean()
    folds = folds_of(X, y, split, quick)
    for variant in VARIANTS.values():
        *table, weights, splits, copies = augmented(variant, X, y, folds, split)
        if params["solver"] == "adam":
            params["batch_size"] = copies * auto.best_params_["batch_size"]
        model = RegMLPClassifierCV(
            **params,
            reg_lambdas=center * np.exp(step * STEPS),
            cv=splits,
            scoring="loss",
            refit="folds",
            random_state=split,
        )
        seconds = timed_fit(model, *table, sample_weight=weights)
        out_of_fold = model.oof_predictions_[: len(y)]
        of_test = model.predict_proba(X_test)
        for factor in (1.0, sharpness_of(out_of_fold, y)):
            row.append(log_loss(y, sharpened(out_of_fold, factor)))
            row.append(log_loss(y_test, sharpened(of_test, factor)))
        row += [np.log(model.reg_lambda_ / center) / step, seconds]
    return row


@contextlib.contextmanager
def portfolio_of(n_rows, copies):
    """Let "auto" take networks that read all inputs, batches as for rows without
    copies, and race on all of them."""
    before = _points.portfolio

    def portfolio(network, *_):
        points = before(network, n_rows, n_features=0)
        for params in points.values():
            if params["solver"] == "adam":
                params["batch_size"] *= copies
        return points

    with patch.object(_points, "portfolio", portfolio):
        with patch.object(_race, "MOST_ROWS", np.inf):
            yield


def measure_whole(split_of, split, quick):
    """For the automatic choice on the rows of each variant: loss out of fold and on
    test rows, seconds."""
    X, y, X_test, y_test, _ = split_of(split)
    row = []
    for variant in list(VARIANTS.values())[:N_WHOLE]:
        *table, weights, splits, copies = augmented(
            variant, X, y, folds_of(X, y, split, quick), split
        )
        model = RegMLPClassifierCV(
            param_grid="auto", refit="stack", cv=splits, random_state=split
        )
        with portfolio_of(len(y), copies):
            seconds = timed_fit(model, *table, sample_weight=weights)
        row.append(log_loss(y, model.oof_predictions_[: len(y)]))
        row += [log_loss(y_test, model.predict_proba(X_test)), seconds]
    return row


def report(title, labels, names, held_out, losses, n_candidates):
    """Print losses on test rows, and their ratios to those of the first variant.

    `held_out` and `losses` have axes set, split, variant; "nested" is one of the first
    `n_candidates` of these.
    """
    pick = held_out[..., :n_candidates].argmin(axis=-1)[..., None]
    nested = np.take_along_axis(losses, pick, axis=-1)
    losses = np.concatenate([losses, nested], axis=-1).mean(axis=1)
    print(f"\n{title:26}" + "".join(f"{label:>15}" for label in [*labels, "nested"]))
    for name, row in zip(names, losses):
        print(f"{name:26}" + "".join(f"{loss:15.4f}" for loss in row))
    ratios = np.maximum(losses, FLOOR) / np.maximum(losses[:, :1], FLOOR)
    mean, error = np.transpose([mean_and_error(column) for column in np.log(ratios).T])
    lines = {"geometric mean of ratios": np.exp(mean), "± of its logarithm": error}
    lines["median"] = np.median(ratios, axis=0)
    for label, values in lines.items():
        print(f"{label:26}" + "".join(f"{value:15.3f}" for value in values))
    for label, counts in (("better", ratios < 1), ("worse", ratios > 1)):
        print(f"{label:26}" + "".join(f"{n:15d}" for n in counts.sum(axis=0)))


def report_points(names, rows):
    """Print the tables of the networks chosen; rows are those of `measure`."""
    labels, auto = list(VARIANTS), rows[..., :1]
    fits = rows[..., 2:].reshape(*rows.shape[:2], len(labels), 6)
    for title, k in (("as they are", 0), ("sharpened", 2)):
        losses = np.concatenate([fits[..., k + 1], auto], axis=-1)
        report(title, [*labels, "auto"], names, fits[..., k], losses, len(labels) - 1)
    seconds = [*fits[..., 5].sum(axis=(0, 1)), rows[..., 1].sum()]
    print(f"\n{'seconds':26}" + "".join(f"{value:15.1f}" for value in seconds))
    at_end = np.isin(fits[..., 4].round(), STEPS[[0, -1]]).sum(axis=(0, 1))
    print(f"{'lambda at an end':26}" + "".join(f"{n:15d}" for n in at_end))


def report_whole(names, rows):
    """Print the table of the whole choice; rows are those of `measure_whole`."""
    fits = rows.reshape(*rows.shape[:2], N_WHOLE, 3)
    labels = list(VARIANTS)[:N_WHOLE]
    report("whole choice", labels, names, fits[..., 0], fits[..., 1], N_WHOLE)
    seconds = fits[..., 2].sum(axis=(0, 1))
    print(f"\n{'seconds':26}" + "".join(f"{value:15.1f}" for value in seconds))


def wine(split):
    """Small data that is always there."""
    X, y = load_wine(return_X_y=True)
    X = scale(X)
    return X[::2], y[::2], X[1::2], y[1::2], True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument("--sets", nargs="+", help="names of sets, default: all")
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--whole", action="store_true", help="the whole choice")
    parser.add_argument("--results", type=Path, help="file of results, to go on with")
    parser.add_argument(
        "--quick", action="store_true", help="to try it out: small data of its own"
    )
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    results, sets = Results(args.results), {"wine": wine}
    if not args.quick:
        files = sorted((data_folder() / "tabular").glob("*.npz"))
        files = [file for file in files if not args.sets or file.stem in args.sets]
        sets = {file.stem: partial(tabular_split, file) for file in files}
        sets = {name: of for name, of in sets.items() if of(0)[-1]}
    parts = [(measure_whole, report_whole)] * (args.whole or args.quick)
    parts = [(measure, report_points)] * (not args.whole) + parts
    for measure_one, report_all in parts:
        rows = [
            results.of(
                measure_one.__name__,
                name,
                split,
                measure=partial(measure_one, split_of, split, args.quick),
            )
            for name, split_of in sets.items()
            for split in range(args.splits)
        ]
        report_all(sets, np.reshape(rows, (len(sets), args.splits, -1)))


if __name__ == "__main__":
    main()
