"""The race of candidates: those that are clearly worse after a fold are dropped."""

import numpy as np

# A candidate is dropped where its mean loss is above the leader's by so many standard
# errors of the paired difference. Large data race on so many rows.
_ERRORS, MOST_ROWS = 2.0, 5000


def losses(result, splits, folds):
    """Loss of each held-out row at the best lambda of one candidate.

    Parameters
    ----------
    result : CVResult
    splits : list of (train, test)
    folds : sequence of int
        Folds to look at.

    Returns
    -------
    values, weights : ndarray of shape (n_pairs,)
        One entry per fold and row in it.
    """
    data, per_lambda, weights = result.data, [], []
    for k in folds:
        rows = data.rows.take(splits[k][1])
        fold = result.folds[k]
        per_lambda.append(
            [
                np.full(len(rows.y), np.inf)
                if diverged
                else data.task.loss.per_row(rows.targets, network.raw(rows.X))
                for network, diverged in zip(fold.networks, fold.has_diverged)
            ]
        )
        s = rows.weights
        weights.append(np.ones(len(rows.y)) if s is None else s)
    values, weights = np.concatenate(per_lambda, axis=1), np.concatenate(weights)
    values = np.where(np.isnan(values), np.inf, values)
    return values[np.argmin(np.average(values, axis=1, weights=weights))], weights


def run(results, splits, folds):
    """Compare candidates by their losses on the same rows.

    Parameters
    ----------
    results : list of CVResult
    splits : list of (train, test)
    folds : sequence of int
        Folds that all have run.

    Returns
    -------
    dict of arrays with one entry per candidate
        "difference": mean loss minus that of the best; "error": standard error of it;
        "dropped": whether it is more than 2 errors, or, of those that read few inputs,
        above that of another one.
    """
    pairs = [losses(result, splits, folds) for result in results]
    means = [np.average(values, weights=s) for values, s in pairs]
    if not np.isfinite(means).any():
        return {
            "difference": np.zeros(len(means)),
            "error": np.zeros(len(means)),
            "dropped": np.zeros(len(means), dtype=bool),
        }
    lead, s = pairs[int(np.argmin(means))]
    differences, errors = [], []
    for values, _ in pairs:
        d = values - lead
        mean = np.average(d, weights=s)
        differences.append(mean)
        with np.errstate(invalid="ignore"):
            errors.append(np.sqrt(np.sum((s * (d - mean)) ** 2)) / s.sum())
    differences = np.array(differences)
    errors = np.where(np.isfinite(differences), errors, 0.0)
    dropped = differences > _ERRORS * errors
    few = [k for k, r in enumerate(results) if "max_features" in r.data.point.params]
    if few:  # the same network, of which one number of inputs is enough
        dropped[few] |= differences[few] > differences[few].min()
    return {"difference": differences, "error": errors, "dropped": dropped}


def subsample(targets, n, rng):
    """Indices of n rows whose targets are spread as those of all rows.

    Every so-many-th row in the order of the (first) target, equals in random order.

    Parameters
    ----------
    targets : ndarray of shape (n_rows, n_targets)
    n : int
    rng : RandomState

    Returns
    -------
    ndarray of intp, shape (n,), increasing
    """
    order = np.lexsort((rng.permutation(len(targets)), targets[:, 0]))
    return np.sort(order[np.linspace(0, len(order) - 1, n).round().astype(int)])
