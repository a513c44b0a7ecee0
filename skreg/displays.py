"""Pictures of regularization, in scikit-learn's Display style.

The constructor of each display only stores arrays, the class methods compute them, and
`plot` draws them and sets `ax_` and `figure_`. So each picture can be drawn from stored
arrays alone, again, and on other axes. Only `plot` imports matplotlib.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skreg._choice_display import ChoiceDisplay
from skreg._cv._search_base import SearchCV
from skreg._drawing import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    FittedDisplay,
    add_legend,
    check,
    check_index,
    check_lambdas,
    check_length,
    check_option,
    check_shape,
    curve_style,
    is_finite_from_zero,
    lambda_axis,
    log_axis,
    score_name_of,
)
from skreg._paths._path import RegMLPPath
from skreg._penalty_displays import PenaltyDisplay, ShrinkageDisplay
from skreg._repr import draw
from skreg._typing import Labels

__all__ = [
    "ChoiceDisplay",
    "LambdaPathDisplay",
    "LambdaValidationDisplay",
    "LossCurveDisplay",
    "PenaltyDisplay",
    "ShrinkageDisplay",
    "WeightsDisplay",
]


def _check_grid(reg_lambdas, reg_lambda):
    """Return the grid as an array; the chosen λ may be None."""
    grid = check_lambdas(reg_lambdas)
    is_fine = grid.size and 0 <= grid.min() and grid.max() < np.inf
    check("reg_lambdas", grid, lambda _: is_fine, "at least one finite value >= 0")
    if reg_lambda is not None:
        check("reg_lambda", reg_lambda, is_finite_from_zero, "None or >= 0")
    return grid


class LambdaPathDisplay(FittedDisplay):
    """Weights, or norms of groups of weights, against λ.

    Estimators: RegMLPClassifierCV and RegMLPRegressorCV with ``refit=True``. A path,
    the result of `reg_mlp_path`, can take their place.

    Parameters
    ----------
    reg_lambdas : array-like of shape (n_lambdas,)
        The grid, in any order. 0 is allowed.
    coefs : sequence of length n_lambdas
        For each λ the list of weight matrices `coefs_`, or one matrix, or a vector: the
        curves themselves.
    kind : {"inputs", "units", "weights"}, default="inputs"
        What is a curve, for matrices: the norm of a row (all that leaves an input or
        unit), the norm of a column (all that enters a unit), or a single weight. The
        axis at the top counts the curves that are not 0.
    layer : int, default=0
        Which one of a list of matrices; -1 is the last.
    reg_lambda : float, default=None
        The chosen λ, marked by a vertical line.
    names : sequence of str, default=None
        Names of the inputs or units where the weights start (``kind="units"``: of the
        units where they end), or of curves that are given themselves; None numbers them
        from 0. Of the curves that are not 0 at the chosen (or else the smallest) λ, the
        six largest show theirs. All others are gray.

    Examples
    --------
    >>> from skreg.displays import LambdaPathDisplay
    >>> weights = [[0.9, 0.3], [0.5, 0.0], [0.0, 0.0]]
    >>> display = LambdaPathDisplay([0.01, 0.1, 1.0], weights, reg_lambda=0.1).plot()
    >>> display.ax_.get_ylabel()
    'weight'
    """

    _labels = {
        "inputs": "norm of outgoing weights",
        "units": "norm of incoming weights",
        "weights": "weight",
    }

    def __init__(
        self,
        reg_lambdas: ArrayLike,
        coefs: Sequence[Any],
        *,
        kind: str = "inputs",
        layer: int = 0,
        reg_lambda: float | None = None,
        names: Labels | None = None,
    ) -> None:
        check_option("kind", kind, list(self._labels))
        self.reg_lambdas = _check_grid(reg_lambdas, reg_lambda)
        check_length("coefs", coefs, len(self.reg_lambdas), "one per λ")
        check("coefs[0]", coefs[0], len, "a list of matrices, a matrix or a vector")
        self.ylabel = "weight" if np.ndim(coefs[0][0]) == 0 else self._labels[kind]
        if np.ndim(coefs[0][0]) == 2:
            n = len(coefs[0])
            check_index("layer", layer, -n, n - 1)
            coefs = [matrices[layer] for matrices in coefs]
            self.ylabel += f", layer {layer % n + 1}"
        values = np.stack(coefs)
        axis = 2 if kind == "units" and values.ndim == 3 else 1
        names = range(values.shape[axis]) if names is None else names
        check_length("names", names, values.shape[axis])
        self.names = [str(name) for name in names]
        if values.ndim == 3 and kind == "weights":
            units = range(values.shape[2])
            self.names = [f"{name}→{unit}" for name in self.names for unit in units]
            values = values.reshape(len(values), -1)
        elif values.ndim == 3:
            values = np.linalg.norm(values, axis=3 - axis)
        self.values = check_shape("coefs", values, (len(self.reg_lambdas), None))
        self.reg_lambda = reg_lambda

    @staticmethod
    def _read(estimator, options):
        if isinstance(estimator, RegMLPPath):
            return {"reg_lambdas": estimator.reg_lambdas, "coefs": estimator.coefs}
        of_inputs = options.get("kind") != "units" and options.get("layer", 0) == 0
        names = getattr(estimator, "feature_names_in_", None)
        return {
            "reg_lambdas": estimator.path_.reg_lambdas,
            "coefs": estimator.path_.coefs,
            "reg_lambda": estimator.reg_lambda_,
            "names": names if of_inputs else None,
        }

    def _draw(self, ax):
        order = np.argsort(self.reg_lambdas)
        lambdas, values = self.reg_lambdas[order], self.values[order]
        at = lambdas[0] if self.reg_lambda is None else self.reg_lambda
        sizes = np.abs(values[np.argmin(np.abs(lambdas - at))])
        ranking = np.argsort(-sizes, kind="stable")
        n_named = min(6, np.count_nonzero(sizes))
        named, others = ranking[:n_named], ranking[n_named:]
        for k, curve in enumerate(named):
            style = {"label": self.names[curve], "zorder": 3, **curve_style(k)}
            ax.plot(lambdas, values[:, curve], **style)
        if len(others):
            lines = ax.plot(lambdas, values[:, others], color="0.75", lw=0.7)
            lines[0].set_label(f"others ({len(others)})")
        ax.axhline(0, color="black", lw=0.6)
        lambda_axis(ax, lambdas, self.reg_lambda)
        ax.set_ylabel(self.ylabel)
        # Numbers of nonzero curves along the top, as in glmnet.
        counts = np.count_nonzero(values, axis=1)
        ticks = np.unique(np.linspace(0, len(lambdas) - 1, 7).astype(int))
        place = {"transform": ax.get_xaxis_transform(), "fontsize": "small"}
        for k in ticks:
            ax.text(lambdas[k], 1.02, counts[k], ha="center", **place)
        ax.set_title("number of nonzero curves", fontsize="medium", pad=18)
        add_legend(ax)


class LambdaValidationDisplay(FittedDisplay):
    """Validation and training score against λ: the under- and overfitting picture.

    Estimators: RegMLPClassifierCV and RegMLPRegressorCV. The training scores are drawn
    where `train_scores_`, of shape (n_folds, n_lambdas), exists. As there, the best λ
    is the largest one of the best score.

    Parameters
    ----------
    reg_lambdas : array-like of shape (n_lambdas,)
        The grid, in any order. 0 is allowed.
    scores, train_scores : array-like of shape (n_folds, n_lambdas) or (n_lambdas,)
        Validation scores and, unless None, training scores; greater is better. Those
        of folds are drawn as their mean with its standard error.
    std_error, train_std_error : array-like of shape (n_lambdas,), default=None
        Standard errors of scores that are means already.
    reg_lambda : float, default=None
        The chosen λ, marked by a vertical line.
    score_name : str, default="score"
        Label of the y axis.

    Examples
    --------
    >>> from skreg.displays import LambdaValidationDisplay
    >>> scores = [[0.7, 0.9, 0.6], [0.8, 0.9, 0.5]]  # two folds, three λ
    >>> display = LambdaValidationDisplay([0.01, 0.1, 1.0], scores).plot()
    >>> display.scores, display.std_error
    (array([0.75, 0.9 , 0.55]), array([0.05, 0.  , 0.05]))
    """

    def __init__(
        self,
        reg_lambdas: ArrayLike,
        scores: ArrayLike,
        train_scores: ArrayLike | None = None,
        *,
        std_error: ArrayLike | None = None,
        train_std_error: ArrayLike | None = None,
        reg_lambda: float | None = None,
        score_name: str = "score",
    ) -> None:
        self.reg_lambdas = _check_grid(reg_lambdas, reg_lambda)
        n = len(self.reg_lambdas)
        self.scores, self.std_error = _mean_and_error(scores, std_error, n)
        is_known = np.isfinite(self.scores).any()
        check("scores", self.scores, lambda _: is_known, "finite for at least one λ")
        self.train_scores = self.train_std_error = None
        if train_scores is not None:
            summary = _mean_and_error(train_scores, train_std_error, n)
            self.train_scores, self.train_std_error = summary
        self.reg_lambda = reg_lambda
        self.score_name = score_name

    @staticmethod
    def _read(estimator, options):
        return {
            "reg_lambdas": estimator.reg_lambdas_,
            "scores": estimator.mean_scores_,
            "train_scores": getattr(estimator, "train_scores_", None),
            "std_error": estimator.std_errors_,
            "reg_lambda": estimator.reg_lambda_,
            "score_name": score_name_of(estimator),
        }

    def _draw(self, ax):
        order = np.argsort(self.reg_lambdas)
        lambdas, scores = self.reg_lambdas[order], self.scores[order]
        curves = [(self.scores, self.std_error, "validation", BLUE, "o-")]
        if self.train_scores is not None:
            train = self.train_scores, self.train_std_error
            curves.append((*train, "training", RED, "s--"))
        for values, error, label, color, style in curves:
            error = None if error is None else error[order]
            style = {"fmt": style, "color": color, "ms": 4, "capsize": 2}
            ax.errorbar(lambdas, values[order], error, label=label, **style)
        highest = np.nanmax(scores)  # of equals, up to rounding, the largest λ
        equals = scores >= highest - 1e-12 * max(1.0, abs(highest))
        best = np.flatnonzero(equals)[-1]
        label = f"best λ = {lambdas[best]:.3g}"
        style = {"ms": 14, "mfc": "none", "mec": "black", "zorder": 5}
        ax.plot(lambdas[best], scores[best], "*", label=label, **style)
        if self.std_error is not None:
            level = scores[best] - self.std_error[order][best]
            ax.axhline(level, color=GRAY, ls=":", label="best − 1 std. error")
        lambda_axis(ax, lambdas, self.reg_lambda)
        ax.set_ylabel(self.score_name)
        ax.set_title("← may overfit", loc="left", fontsize="small")
        ax.set_title("may underfit →", loc="right", fontsize="small")
        others = [line for line in ax.lines if line.get_label()[0] != "_"]
        add_legend(ax, [*ax.containers, *others])


@draw.register
def _(path: RegMLPPath, ax):
    LambdaPathDisplay.from_estimator(path, ax=ax)


@draw.register
def _(search: SearchCV, ax):
    LambdaValidationDisplay.from_estimator(search, ax=ax)


def _mean_and_error(scores, std_error, n):
    """Mean over folds and its standard error, None where it is not known."""
    if np.ndim(scores) == 2:
        folds = check_shape("scores", scores, (None, n))
        if len(folds) > 1 and std_error is None:
            std_error = folds.std(axis=0, ddof=1) / np.sqrt(len(folds))
        scores = folds.mean(axis=0)
    if std_error is not None:
        std_error = check_shape("std_error", std_error, (n,))
    return check_shape("scores", scores, (n,)), std_error


class LossCurveDisplay(FittedDisplay):
    """Data loss, penalty and their sum, the objective, during training.

    Estimators: RegMLPClassifier and RegMLPRegressor; with ``early_stopping=True`` they
    have a validation curve.

    Parameters
    ----------
    data_loss, penalty : array-like of shape (n_iterations,)
        The two terms of the attribute `objective`; the penalty includes λ. If all are
        positive, their axis is logarithmic.
    validation : array-like of shape (n_validations,), default=None
        Validation score of the last `n_validations` iterations.
    validation_name : str, default="validation score"
        Name of this curve. "validation loss" is drawn on the axis of the losses,
        anything else on one of its own, at the right.

    Examples
    --------
    >>> from skreg.displays import LossCurveDisplay
    >>> display = LossCurveDisplay([2.0, 1.0, 0.5], [0.1, 0.2, 0.3]).plot()
    >>> display.objective
    array([2.1, 1.2, 0.8])
    """

    def __init__(
        self,
        data_loss: ArrayLike,
        penalty: ArrayLike,
        *,
        validation: ArrayLike | None = None,
        validation_name: str = "validation score",
    ) -> None:
        self.data_loss = check_shape("data_loss", data_loss, (None,))
        self.penalty = check_shape("penalty", penalty, self.data_loss.shape)
        self.objective = self.data_loss + self.penalty
        self.validation = None
        if validation is not None:
            self.validation = check_shape("validation", validation, (None,))
            n, allowed = len(self.data_loss), "in [1, len(data_loss)]"
            check(
                "len(validation)", len(self.validation), lambda k: 1 <= k <= n, allowed
            )
        self.validation_name = validation_name

    @staticmethod
    def _read(estimator, options):
        validation = estimator.validation_scores_
        name = "loss" if estimator.scoring == "loss" else score_name_of(estimator)
        if validation is not None and estimator.scoring == "loss":
            validation = -np.asarray(validation)
        return {
            "data_loss": estimator.data_loss_curve_,
            "penalty": estimator.penalty_curve_,
            "validation": validation,
            "validation_name": f"validation {name}",
        }

    def _draw(self, ax):
        epochs = np.arange(1, len(self.data_loss) + 1)
        ax.plot(epochs, self.objective, "k-", lw=2.5, label="objective")
        ax.plot(epochs, self.data_loss, "--", color=BLUE, label="data loss")
        ax.plot(epochs, self.penalty, "-.", color=RED, label="penalty")
        ax.set_xlabel("iteration (epoch)")
        ax.set_ylabel("loss, mean per sample", labelpad=0)
        ax.locator_params(axis="x", integer=True)
        handles = ax.get_lines()
        if self.validation is not None:
            shared = self.validation_name == "validation loss"
            target = ax if shared else ax.twinx()
            at = epochs[-len(self.validation) :]
            style = {"color": GREEN, "lw": 2, "label": self.validation_name}
            handles = [*handles, *target.plot(at, self.validation, ":", **style)]
            if not shared:
                target.set_ylabel(self.validation_name, color=GREEN)
        if self.data_loss.min() > 0 and self.penalty.min() > 0:
            log_axis(ax)
        add_legend(ax, handles, above=True)


class WeightsDisplay(FittedDisplay):
    """Weight matrices as images or histograms, in which exact zeros are visible.

    Estimators: RegMLPClassifier, RegMLPRegressor and others with `coefs_`. The shares
    of exact zeros are the attribute `sparsity`.

    Parameters
    ----------
    coefs : sequence of array-like of shape (n_in, n_out)
        One matrix per panel.
    kind : {"image", "histogram"}, default="image"
        "image": blue is negative, red positive, gray exactly zero; the colors are the
        same in all panels and saturate at the 99th percentile of the nonzero sizes.
        "histogram": numbers of weights, with a bar of their own for the exact zeros.
    names : sequence of str, default=None
        Titles of the panels; None is "layer 1", "layer 2", ...

    Examples
    --------
    >>> from skreg.displays import WeightsDisplay
    >>> display = WeightsDisplay([[[0.0, 1.5], [-0.5, 0.0]]]).plot()
    >>> display.sparsity
    array([0.5])
    """

    def __init__(
        self,
        coefs: Sequence[ArrayLike],
        *,
        kind: str = "image",
        names: Labels | None = None,
    ) -> None:
        check_option("kind", kind, ["image", "histogram"])
        check("len(coefs)", len(coefs), lambda k: k > 0, "at least 1")
        self.coefs = [check_shape("coefs", W, (None, None)) for W in coefs]
        for W in self.coefs:
            check("coefs", W, lambda W: np.isfinite(W).all(), "finite")
        self.kind = kind
        default = [f"layer {k + 1}" for k in range(len(coefs))]
        self.names = default if names is None else names
        check_length("names", self.names, len(coefs))
        self.sparsity = np.array([np.mean(W == 0) for W in self.coefs])

    @staticmethod
    def _read(estimator, options):
        return {"coefs": estimator.coefs_}

    @property
    def _n_panels(self):
        return len(self.coefs)

    def _draw(self, axes):
        axes = np.atleast_1d(axes)
        for panel, name, share in zip(axes, self.names, self.sparsity):
            title = f"{name}\n{100 * share:.1f} % exact zeros"
            panel.set_title(title, fontsize="small")
        (self._draw_images if self.kind == "image" else self._draw_histograms)(axes)

    def _draw_images(self, axes):
        import matplotlib as mpl

        sizes = np.concatenate([np.abs(W[W != 0]) for W in self.coefs])
        limit = np.quantile(sizes, 0.99) if sizes.size else 1.0
        cmap = mpl.colormaps["RdBu_r"].with_extremes(bad=GRAY)
        style = {"cmap": cmap, "vmin": -limit, "vmax": limit, "aspect": "auto"}
        for panel, W in zip(axes, self.coefs):
            masked = np.ma.masked_equal(W, 0)
            image = panel.imshow(masked, interpolation="nearest", **style)
            panel.set_xlabel("to unit")
            panel.locator_params(nbins=5, integer=True, min_n_ticks=1)
        axes[0].set_ylabel("from input or unit")
        extend = "both" if np.max(sizes, initial=0) > limit else "neither"
        style = {"ax": list(axes), "extend": extend}
        axes[0].figure.colorbar(image, label="weight (gray: exactly 0)", **style)

    def _draw_histograms(self, axes):
        for panel, W in zip(axes, self.coefs):
            nonzero, n_zeros = W[W != 0], np.count_nonzero(W == 0)
            limit = np.max(np.abs(nonzero), initial=1e-12)
            edges = np.linspace(-limit, limit, 32)  # 31 bins, one of them around 0
            panel.hist(nonzero, edges, color=BLUE, label="nonzero weights")
            style = {"color": ORANGE, "label": "exact zeros", "zorder": 3}
            panel.bar(0.0, n_zeros, 0.6 * (edges[1] - edges[0]), **style)
            panel.locator_params(axis="x", nbins=4)
            log_axis(panel)
            panel.set(ylim=(0.7, None), xlabel="weight")
        axes[0].set_ylabel("number of weights")
        add_legend(axes[-1])
