"""Results of a cross-validation: scores of candidates along lambda, and the choice."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.ma import MaskedArray
from scipy.stats import rankdata

from skreg._cv._crossval import Data, Path, Scores, joined
from skreg._numbers import as_strength, strength_text
from skreg._paths._grid import Grid

_EQUAL = 1e-12  # relative difference of scores that is rounding
# A grid is extended by this share of its values at a time, as long as the best mean
# score improves by more than these shares of its standard error, and of the spread of
# mean scores along the grid.
_EXTENSION, _OF_ERROR, _OF_SPREAD = 0.25, 0.01, 1e-3
# In units of the standard error. TF32 has moved scores of nearly the best strengths
# against each other by up to 0.013 of it rounded on a processor (bench_precision.py, 21
# sets), and by less than an eighth on a card.
_CLOSE = 0.15


@dataclass(frozen=True, eq=False)
class CVResult:
    """Scores of one candidate.

    Parameters
    ----------
    data : Data
    grids : tuple of Grid
        The grid, and the pieces by which it was extended.
    ratio : float or None
        Ratio of neighbors of an automatic grid, which may be extended.
    folds : list of Scores or None
        None where a race has ended before.
    paths : tuple of Path
        On all rows, along the first of the grids.
    is_settled : bool
        Whether an extension would bring nothing.
    """

    data: Data
    grids: tuple[Grid, ...]
    ratio: float | None
    folds: list[Scores | None]
    paths: tuple[Path, ...] = ()
    is_settled: bool = False

    @property
    def is_linear(self):
        """Whether the network has no hidden layers."""
        return len(self._known[0].networks[0].coefs) == 1

    @property
    def _known(self):
        return [fold for fold in self.folds if fold is not None]

    @property
    def is_complete(self):
        """Whether there is a score of every fold."""
        return len(self._known) == len(self.folds)

    @property
    def is_loo(self):
        """Whether folds are single rows that share the networks of all rows."""
        return self._known[0].left_out is not None

    @property
    def fitted_folds(self):
        """Folds with networks of their own."""
        return self._known[:1] if self.is_loo else self._known

    @property
    def reg_lambdas(self):
        """The grid in the order of its path."""
        return self._known[0].reg_lambdas

    def of_folds(self, name):
        """Values of `Scores` as an array (n_folds, n_lambdas), NaN where unknown."""
        nothing = np.full(len(self.reg_lambdas), np.nan)
        return np.array(
            [nothing if f is None else getattr(f, name) for f in self.folds]
        )

    @property
    def mean(self):
        """Mean score over the folds, NaN where one is missing."""
        return self.of_folds("test").mean(axis=0)

    @property
    def std_error(self):
        """Standard error of the mean score; 0 with one fold."""
        scores = self.of_folds("test")
        if len(scores) == 1:
            return np.zeros(scores.shape[1])
        with np.errstate(over="ignore"):  # the scores of what went astray
            return scores.std(axis=0, ddof=1) / np.sqrt(len(scores))

    @property
    def best(self):
        """Index of the best mean score, of equals the largest lambda; None if NaN."""
        return best_row(self.reg_lambdas, self.mean)

    def chosen(self, selection):
        """Index that `selection` chooses, "best" or "1se"."""
        if selection == "best":
            return self.best
        return simplest(self.reg_lambdas, self.mean, self.std_error, self.best)

    @property
    def densest(self):
        """Index of the least lambda within one standard error of the best."""
        level = self.mean[self.best] - self.std_error[self.best]
        return _largest(-self.reg_lambdas, self.mean >= level)

    def close(self, selection):
        """Indices of the choice, and of scores so close that rounding could change it.

        Close to the best and, for "1se", to the level one standard error below it.
        """
        mean, error = self.mean, self.std_error[self.best]
        levels = [mean[self.best], mean[self.best] - error]
        levels = levels[: 1 + (selection == "1se")]
        gaps = [np.abs(mean - level) for level in levels]
        is_close = np.min(gaps, axis=0) <= _CLOSE * error
        is_close[self.chosen(selection)] = True
        return np.flatnonzero(is_close)

    def networks(self, index):
        """Those of all folds at one lambda."""
        return [fold.networks[index] for fold in self.folds]

    @property
    def n_features(self):
        """Mean number of inputs over the fitted folds, along the grid."""
        return self._mean_size(lambda network: network.selected.sum())

    @property
    def n_units(self):
        """Mean number of hidden units over the fitted folds, along the grid."""
        return self._mean_size(lambda network: network.n_units)

    def _mean_size(self, size):
        return np.array(
            [
                np.mean([size(fold.networks[k]) for fold in self.fitted_folds])
                for k in range(len(self.reg_lambdas))
            ]
        )

    def is_null(self, index):
        """Whether the networks of all folds predict a constant at one lambda."""
        return all(network.is_constant for network in self.networks(index))

    # Extension of the grid -----------------------------------------------------------

    @property
    def edge(self):
        """-1 or 1 where an automatic grid is best at its lower or upper end; else 0.

        The upper end is none where all networks are constant: no more can change.
        """
        if self.ratio is None or self.is_settled or self.best is None:
            return 0
        lam = self.reg_lambdas[self.best]
        if lam == self.reg_lambdas.min():
            return -1
        return int(lam == self.reg_lambdas.max() and not self.is_null(self.best))

    @property
    def extension(self):
        """Grid that continues this one beyond its edge, as far as floats go."""
        n = int(np.ceil(_EXTENSION * len(self.grids[0].values)))
        steps = np.arange(1, n + 1) * self.edge
        with np.errstate(over="ignore"):
            values = self.reg_lambdas[self.best] * self.ratio**steps
        floats = np.finfo(float)
        values = np.unique(values.clip(floats.tiny, floats.max))
        return Grid(values[::-1] if self.is_linear else values)

    def extended(self, grid, folds, paths):
        """The result with the scores of an extension, unless that brings nothing."""
        both = zip(self.folds, folds, strict=True)
        folds = [joined([old, new], self.is_linear) for old, new in both]
        grids, paths = (*self.grids, grid), (*self.paths, *paths)
        longer = replace(self, grids=grids, folds=folds, paths=paths)
        before, after = self.mean[self.best], longer.mean[longer.best]
        error, spread = longer.std_error[longer.best], after - np.nanmin(longer.mean)
        if after - before > max(_OF_ERROR * error, _OF_SPREAD * spread):
            return longer
        return replace(self, is_settled=True)


def best_row(reg_lambdas, mean):
    """Index of the best mean score, of equals the largest lambda; None if all NaN."""
    if np.isnan(mean).all():
        return None
    return _largest(reg_lambdas, mean >= np.nanmax(mean) - _rounding(reg_lambdas, mean))


def _rounding(reg_lambdas, mean):
    """Difference from the best score that is rounding, in the unit of the scores.

    Those of a perfect network may vanish, and those of small lambdas may be huge: the
    unit is the size of the best score, or that of the simplest networks if larger.
    """
    simple = _largest(reg_lambdas, np.isfinite(mean))
    return _EQUAL * max(abs(np.nanmax(mean)), abs(mean[simple]))


def simplest(reg_lambdas, mean, error, best):
    """Index of the largest lambda whose score is within one standard error of the best.

    Parameters
    ----------
    reg_lambdas : ndarray of shape (n_lambdas,) or (n_lambdas, n_layers)
    mean, error : ndarray of shape (n_lambdas,)
    best : int
        Index of the best score; no layer gets a smaller lambda than there.

    Returns
    -------
    int
    """
    is_no_less = (reg_lambdas >= reg_lambdas[best]).reshape(len(reg_lambdas), -1)
    is_within = mean >= mean[best] - error[best]
    return _largest(reg_lambdas, is_within & is_no_less.all(axis=1))


def _largest(reg_lambdas, is_allowed):
    """Index of the largest allowed lambda, of several layers by their mean."""
    sizes = reg_lambdas.reshape(len(reg_lambdas), -1).mean(axis=1)
    return int(np.argmax(np.where(is_allowed, sizes, -np.inf)))


def best_result(results):
    """Index of the candidate of the best mean score, of equals the first.

    Raises
    ------
    ValueError
        If no candidate has a score in every fold.
    """
    chosen, highest = None, -np.inf
    for k, result in enumerate(results):
        if result.best is None:
            continue
        score = result.mean[result.best]
        rounding = _rounding(result.reg_lambdas, result.mean)
        if chosen is None or score > highest + rounding:
            chosen, highest = k, score
    if chosen is None:
        raise ValueError(
            "No value of 'reg_lambdas' has a score in every fold: the networks "
            "diverged, or the scorer ('scoring') returned NaN, or, with "
            "cv='loo', the networks have too many weights; pass larger 'reg_lambdas'."
        )
    return chosen


# Tables ------------------------------------------------------------------------------


def as_summary(reg_lambdas, mean, error, n_features, n_units):
    """Lines for the best lambda and the simplest one, from arrays along the grid."""
    best = best_row(reg_lambdas, mean)
    lines = [("", "reg_lambda", "score", "error", "inputs", "units")]
    for name, k in (("best", best), ("1se", simplest(reg_lambdas, mean, error, best))):
        numbers = mean[k], error[k], n_features[k], n_units[k]
        lam = strength_text(reg_lambdas[k])
        lines.append((name, lam, *(f"{number:.4g}" for number in numbers)))
    widths = [max(8, *map(len, column)) for column in list(zip(*lines))[1:]]
    return "\n".join(
        f"{name:4}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths))
        for name, *cells in lines
    )


def as_table(results):
    """`cv_results_`: the columns of GridSearchCV, one row per candidate and lambda.

    Of approximate leave-one-out without those of each fold, which are rows.
    """
    params = [
        {**result.data.point.params, "reg_lambda": as_strength(lam)}
        for result in results
        for lam in result.reg_lambdas
    ]
    table = {}
    for kind in ("fit", "score"):
        times = _columns(results, f"{kind}_time")
        known = np.ma.masked_invalid(times)
        table[f"mean_{kind}_time"] = np.asarray(known.mean(axis=0).filled(np.nan))
        table[f"std_{kind}_time"] = np.asarray(known.std(axis=0).filled(np.nan))
    for name in dict.fromkeys(name for row in params for name in row):
        table[f"param_{name}"] = _param_column(params, name)
    table["params"] = params
    for kind in ("test", "train"):
        scores = _columns(results, kind)
        for k, values in enumerate(scores if not results[0].is_loo else ()):
            table[f"split{k}_{kind}_score"] = values
        table[f"mean_{kind}_score"] = mean = scores.mean(axis=0)
        table[f"std_{kind}_score"] = scores.std(axis=0)
        if kind == "test":
            ranks = rankdata(-np.where(np.isnan(mean), -np.inf, mean), method="min")
            table["rank_test_score"] = ranks.astype(np.int32)
    for name in ("n_features", "n_units"):
        table[name] = np.concatenate([getattr(result, name) for result in results])
    return table


def _columns(results, name):
    return np.concatenate([result.of_folds(name) for result in results], axis=1)


def _param_column(params, name):
    values = [row.get(name) for row in params]
    mask = [name not in row for row in params]
    if name == "reg_lambda" and not any(isinstance(lam, tuple) for lam in values):
        return MaskedArray(np.array(values, dtype=float), mask=mask)
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return MaskedArray(column, mask=mask)
