"""The picture of a choice by cross-validation: all candidates, not the chosen alone."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from skreg._drawing import (
    GRAY,
    FittedDisplay,
    add_legend,
    check,
    check_index,
    check_lambdas,
    check_length,
    check_shape,
    curve_style,
    lambda_axis,
    score_name_of,
)
from skreg._typing import Labels

_MOST_INPUTS = 12


class ChoiceDisplay(FittedDisplay):
    """Scores of all candidates along λ, their processor times, and the race.

    Estimators: RegMLPClassifierCV and RegMLPRegressorCV, with any `param_grid`. Of a
    race on a part of the rows, dropped candidates have neither scores nor times. Unless
    ``refit=False``, a last panel shows on how many folds each input was selected.

    Parameters
    ----------
    labels : sequence of str of length n_candidates
        Names of the candidates.
    reg_lambdas : sequence of n_candidates arrays of shape (n_lambdas,)
        The grid of each candidate, in any order. 0 is allowed.
    scores : sequence of n_candidates arrays of shape (n_folds, n_lambdas)
        Validation scores, greater is better; NaN where a fold has not run. Drawn is the
        mean of the folds that have run with its standard error, which one fold has not.
    times : array-like of shape (n_candidates,)
        Processor time in seconds of the fits that have given these scores, NaN if not
        known. Those of a race on a part of the rows come on top.
    chosen : int
        Index of the chosen candidate.
    reg_lambda : float
        The chosen λ.
    dropped : array-like of bool, shape (n_candidates,), default=None
        Which candidates a race has dropped; None for none.
    frequencies : array-like of shape (n_inputs,), default=None
        Share of the folds in which each input was selected; None leaves the panel out.
    names : sequence of str of length n_inputs, default=None
        Names of the inputs; None numbers them from 0. The 12 of the highest frequency
        are drawn.
    score_name : str, default="score"
        Label of the y axis.

    Examples
    --------
    >>> from skreg.displays import ChoiceDisplay
    >>> scores = [[[0.7, 0.9], [0.8, 0.9]], [[0.5, 0.4], [float("nan")] * 2]]
    >>> display = ChoiceDisplay(
    ...     ["l1", "l2"], [[0.01, 0.1], [0.1, 1.0]], scores, [3.0, 1.0],
    ...     chosen=0, reg_lambda=0.1, dropped=[False, True],
    ... ).plot()
    >>> display.mean_scores[1]
    array([0.5, 0.4])
    """

    def __init__(
        self,
        labels: Labels,
        reg_lambdas: Sequence[ArrayLike],
        scores: Sequence[ArrayLike],
        times: ArrayLike,
        *,
        chosen: int,
        reg_lambda: float,
        dropped: ArrayLike | None = None,
        frequencies: ArrayLike | None = None,
        names: Labels | None = None,
        score_name: str = "score",
    ) -> None:
        self.labels, n = [str(label) for label in labels], len(labels)
        for name, values in {"reg_lambdas": reg_lambdas, "scores": scores}.items():
            check_length(name, values, n, f"{n}, one per candidate")
        check_index("chosen", chosen, 0, n - 1)
        self.reg_lambdas = [check_lambdas(grid) for grid in reg_lambdas]
        pairs = zip(scores, self.reg_lambdas)
        scores = [check_shape("scores", s, (None, len(grid))) for s, grid in pairs]
        summaries = [_of_known_folds(values) for values in scores]
        self.mean_scores, self.std_errors = map(list, zip(*summaries))
        self.times = check_shape("times", times, (n,))
        dropped = np.zeros(n) if dropped is None else dropped
        self.dropped = check_shape("dropped", dropped, (n,)).astype(bool)
        grid = self.reg_lambdas[chosen]
        allowed = "a value of the chosen candidate's grid"
        check("reg_lambda", reg_lambda, lambda value: value in grid, allowed)
        self.chosen, self.reg_lambda = chosen, float(reg_lambda)
        self.frequencies = self.names = None
        if frequencies is not None:
            self.frequencies = check_shape("frequencies", frequencies, (None,))
            n_inputs = len(self.frequencies)
            names = range(n_inputs) if names is None else names
            check_length("names", names, n_inputs)
            self.names = [str(name) for name in names]
        self.score_name = score_name

    @staticmethod
    def _read(estimator, options):
        table, row = estimator.cv_results_, estimator.best_index_
        blocks = _blocks(table["params"])
        chosen = next(k for k, rows in enumerate(blocks) if row in rows)
        race = getattr(estimator, "race_", None)
        labels = [_label(table["params"][rows[0]]) for rows in blocks]
        lambdas = np.array(table["param_reg_lambda"].tolist())
        stored = [_scores_and_time(table, rows) for rows in blocks]
        stored[chosen] = estimator.scores_, stored[chosen][1]
        grids = [lambdas[rows] for rows in blocks]
        dropped = None
        if race is not None:
            labels, dropped = race["params"], race["dropped"]
            n, kept = len(labels), range(len(labels))
            if len(blocks) < n:  # the table has only those that have won the race
                kept = np.flatnonzero(~dropped)
            at = dict(zip(kept, range(len(blocks))))
            nothing = (np.empty((1, 0)), np.nan)
            grids = [grids[at[k]] if k in at else np.empty(0) for k in range(n)]
            stored = [stored[at[k]] if k in at else nothing for k in range(n)]
            chosen = int(kept[chosen])
        scores, times = zip(*stored)
        return {
            "labels": labels,
            "reg_lambdas": grids,
            "scores": scores,
            "times": times,
            "chosen": chosen,
            "reg_lambda": estimator.reg_lambda_,
            "dropped": dropped,
            "frequencies": _frequencies(getattr(estimator, "folds_", None)),
            "names": getattr(estimator, "feature_names_in_", None),
            "score_name": score_name_of(estimator),
        }

    @property
    def _n_panels(self):
        return 2 if self.frequencies is None else 3

    def _draw(self, axes):
        self._draw_scores(axes[0])
        self._draw_times(axes[1])
        if self.frequencies is not None:
            self._draw_frequencies(axes[2])
        add_legend(axes[-1], axes[0].get_legend_handles_labels()[0])

    def _draw_scores(self, ax):
        curves = zip(self.labels, self.reg_lambdas, self.mean_scores, self.std_errors)
        for k, (label, grid, mean, error) in enumerate(curves):
            order, style = np.argsort(grid), curve_style(k) | {"marker": "o"}
            if self.dropped[k]:
                label += " (dropped)"
                style |= {"lw": 0.8, "marker": "x"}
            style |= {"label": label, "ms": 4, "capsize": 2}
            error = None if np.isnan(error).all() else error[order]
            ax.errorbar(grid[order], mean[order], error, **style)
        at = np.flatnonzero(self.reg_lambdas[self.chosen] == self.reg_lambda)[0]
        style = {"ms": 14, "mfc": "none", "mec": "black", "zorder": 5, "ls": ""}
        label = f"chosen, λ = {self.reg_lambda:.3g}"
        score = self.mean_scores[self.chosen][at]
        ax.plot(self.reg_lambda, score, marker="*", label=label, **style)
        lambda_axis(ax, np.concatenate(self.reg_lambdas), None)
        ax.set_xlabel("λ (reg_lambda)")
        ax.set_ylabel(self.score_name)

    def _draw_times(self, ax):
        for k, time in enumerate(self.times):
            color = curve_style(k)["color"]
            style = {"facecolor": color}
            if self.dropped[k]:
                style = {"facecolor": "none", "hatch": "///"}
            ax.barh(k, time, edgecolor=color, **style)
        marks = ["×" if dropped else "" for dropped in self.dropped]
        marks[self.chosen] = "★"
        ax.set_yticks(range(len(marks)), marks)
        ax.set_ylim(len(marks) - 0.4, -0.6)
        ax.set_xlabel("processor time in s")
        ax.set_xlim(left=0)

    def _draw_frequencies(self, ax):
        order = np.argsort(-self.frequencies, kind="stable")[:_MOST_INPUTS]
        ax.barh(range(len(order)), self.frequencies[order], color=GRAY)
        ax.set_yticks(range(len(order)), [self.names[k] for k in order])
        ax.set_ylim(len(order) - 0.4, -0.6)
        ax.set_xlim(0, 1)
        ax.set_xlabel("selected in folds")
        if len(order) < len(self.frequencies):
            ax.set_title(
                f"{len(order)} of {len(self.frequencies)} inputs", size="small"
            )


def _of_known_folds(scores):
    """Mean of the folds that have run, and its standard error; NaN where there is none.

    A λ that has diverged on a fold that has run has no score, as for the choice.
    """
    has_run = ~np.isnan(scores).all(axis=1)
    known = scores[has_run]
    nothing = np.full(scores.shape[1], np.nan)
    if len(known) == 0:
        return nothing, nothing
    if len(known) == 1:
        return known[0], nothing
    return known.mean(axis=0), known.std(axis=0, ddof=1) / np.sqrt(len(known))


def _blocks(params):
    """Rows of each candidate in `cv_results_`, which share all values but λ."""
    blocks, last = [], None
    for row, point in enumerate(params):
        others = {name: id(v) for name, v in point.items() if name != "reg_lambda"}
        if others != last:
            blocks.append([])
        blocks[-1].append(row)
        last = others
    return blocks


def _label(params):
    """Parameters of a candidate but λ."""
    others = {name: value for name, value in params.items() if name != "reg_lambda"}
    return "\n".join(f"{k}={v!r}" for k, v in others.items()) or "network"


def _scores_and_time(table, rows):
    """Scores of shape (n_folds, n_lambdas), and the time of all fits of a candidate.

    Of approximate leave-one-out the table has means alone.
    """
    names = (f"split{k}_test_score" for k in range(len(table)))
    names = [name for name in names if name in table] or ["mean_test_score"]
    scores = np.array([table[name][rows] for name in names])
    n_run = np.count_nonzero(~np.isnan(scores).all(axis=1))
    return scores, n_run * table["mean_fit_time"][rows].sum()


def _frequencies(folds):
    """Share of the folds whose networks select each input; None without networks."""
    if folds is None:
        return None
    kept = [folds.of_fold(k).selected for k in range(int(folds.folds.max()) + 1)]
    return np.mean(kept, axis=0)
