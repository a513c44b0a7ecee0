"""Pictures of regularization, in scikit-learn's Display style.

The constructor of each display only stores arrays, the class methods compute them, and
`plot` draws them and sets `ax_` and `figure_`. So each picture can be drawn from stored
arrays alone, again, and on other axes. Only `plot` imports matplotlib.
"""

import numpy as np

from skreg._choice_display import ChoiceDisplay
from skreg._cv._search_base import SearchCV
from skreg._drawing import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    SKY,
    Display,
    FittedDisplay,
    add_legend,
    check,
    check_lambdas,
    check_shape,
    curve_style,
    lambda_axis,
    log_axis,
    score_name_of,
)
from skreg._engines._compiled import CompiledRows
from skreg._network import Network
from skreg._numbers import as_float
from skreg._optimizers import Optimizer
from skreg._paths._path import RegMLPPath
from skreg._problem import Problem
from skreg._repr import draw
from skreg._solvers._decay import resolve_decay_mode
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._stopping import Monitor
from skreg.losses import regression_loss
from skreg.penalties import check_penalty

__all__ = [
    "ChoiceDisplay",
    "LambdaPathDisplay",
    "LambdaValidationDisplay",
    "LossCurveDisplay",
    "PenaltyDisplay",
    "ShrinkageDisplay",
    "WeightsDisplay",
]

_PENALTIES = ("l1", "l2", "elasticnet")
_SOLVERS = ("sgd", "rmsprop", "adam")


def _is_finite_from_zero(number):
    return 0 <= as_float(number) < np.inf


def _is_positive(number):
    return 0 < as_float(number) < np.inf


def _check_grid(reg_lambdas, reg_lambda):
    """Return the grid as an array; the chosen λ may be None."""
    grid = check_lambdas(reg_lambdas)
    is_fine = grid.size and 0 <= grid.min() and grid.max() < np.inf
    check("reg_lambdas", grid, lambda _: is_fine, "at least one finite value >= 0")
    if reg_lambda is not None:
        check("reg_lambda", reg_lambda, _is_finite_from_zero, "None or >= 0")
    return grid


def _check_penalties(penalties, shape):
    """Return the penalties as objects that fit a matrix of the shape."""
    is_ok = isinstance(penalties, list | tuple) and penalties and None not in penalties
    check("penalties", penalties, lambda _: is_ok, "a list of str or Penalty")
    penalties = [check_penalty(penalty) for penalty in penalties]
    for penalty in penalties:
        penalty.validate(shape)
    return penalties


def _penalty_names(penalties):
    """Names of the classes, with the parameters where one class occurs twice."""
    names = [type(penalty).__name__ for penalty in penalties]
    return names if len(set(names)) == len(names) else [*map(repr, penalties)]


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
        self, reg_lambdas, coefs, *, kind="inputs", layer=0, reg_lambda=None, names=None
    ):
        check("kind", kind, self._labels.__contains__, f"in {list(self._labels)}")
        self.reg_lambdas = _check_grid(reg_lambdas, reg_lambda)
        check("len(coefs)", len(coefs), len(self.reg_lambdas).__eq__, "one per λ")
        check("coefs[0]", coefs[0], len, "a list of matrices, a matrix or a vector")
        self.ylabel = "weight" if np.ndim(coefs[0][0]) == 0 else self._labels[kind]
        if np.ndim(coefs[0][0]) == 2:
            n = len(coefs[0])
            check("layer", layer, range(-n, n).__contains__, f"in [{-n}, {n - 1}]")
            coefs = [matrices[layer] for matrices in coefs]
            self.ylabel += f", layer {layer % n + 1}"
        values = np.stack(coefs)
        axis = 2 if kind == "units" and values.ndim == 3 else 1
        names = range(values.shape[axis]) if names is None else names
        n = values.shape[axis]
        check("len(names)", len(names), n.__eq__, n)
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
        reg_lambdas,
        scores,
        train_scores=None,
        *,
        std_error=None,
        train_std_error=None,
        reg_lambda=None,
        score_name="score",
    ):
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
        self, data_loss, penalty, *, validation=None, validation_name="validation score"
    ):
        self.data_loss = check_shape("data_loss", data_loss, (None,))
        self.penalty = check_shape("penalty", penalty, self.data_loss.shape)
        self.objective = self.data_loss + self.penalty
        self.validation = None
        if validation is not None:
            self.validation = check_shape("validation", validation, (None,))
            n, allowed = len(self.data_loss), "in [1, len(data_loss)]"
            check("len(validation)", len(validation), range(1, n + 1).count, allowed)
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

    def __init__(self, coefs, *, kind="image", names=None):
        kinds = ["image", "histogram"]
        check("kind", kind, kinds.__contains__, f"in {kinds}")
        check("len(coefs)", len(coefs), lambda k: k > 0, "at least 1")
        self.coefs = [check_shape("coefs", W, (None, None)) for W in coefs]
        for W in self.coefs:
            check("coefs", W, lambda W: np.isfinite(W).all(), "finite")
        self.kind = kind
        default = [f"layer {k + 1}" for k in range(len(coefs))]
        self.names = default if names is None else names
        check("len(names)", len(self.names), len(coefs).__eq__, len(coefs))
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


class PenaltyDisplay(Display):
    """Value, derivative and prox of penalties, as functions of one weight.

    Parameters
    ----------
    weights : array-like of shape (n_points,)
        The weight w.
    values, derivatives, proxes : array-like of shape (n_penalties, n_points)
        The three functions; NaN where one is not defined.
    names : sequence of str of length n_penalties
        Names of the penalties.

    Examples
    --------
    >>> from skreg.displays import PenaltyDisplay
    >>> display = PenaltyDisplay.from_penalties(["l1", "l2"])
    >>> display.proxes[:, -1]  # of w = 4
    array([3., 2.])
    """

    _n_panels = 3

    def __init__(self, weights, values, derivatives, proxes, names):
        self.weights = check_shape("weights", weights, (None,))
        self.names = list(names)
        shape = (len(self.names), len(self.weights))
        self.values = check_shape("values", values, shape)
        self.derivatives = check_shape("derivatives", derivatives, shape)
        self.proxes = check_shape("proxes", proxes, shape)

    @classmethod
    def from_penalties(
        cls, penalties=_PENALTIES, *, reg_lambda=1.0, step=1.0, others=(), ax=None
    ):
        """Compute and draw the three functions.

        Parameters
        ----------
        penalties : sequence of str or Penalty, default=("l1", "l2", "elasticnet")
            As the `penalty` of the estimators.
        reg_lambda, step : float, default=1.0
            λ, and the step of the prox. The weight runs from -4λ to 4λ.
        others : sequence of float, default=()
            Other weights of the same row, held fixed: they matter to penalties of
            groups. The value drawn is the excess over that at w = 0.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        """
        for name, number in {"reg_lambda": reg_lambda, "step": step}.items():
            check(name, number, _is_positive, "a finite float > 0")
        weights = 4 * reg_lambda * np.linspace(-1, 1, 401)
        rows = [np.array([[w, *others]]) for w in weights]
        origin = np.array([[0.0, *others]])
        penalties = _check_penalties(penalties, origin.shape)
        values, derivatives, proxes = [], [], []
        for p in penalties:
            at_origin = p.value(origin, reg_lambda)
            values.append([p.value(row, reg_lambda) - at_origin for row in rows])
            slopes = [np.nan] * len(rows)
            if p.has_gradient:
                slopes = [p.gradient(row, reg_lambda)[0, 0] for row in rows]
            derivatives.append(slopes)
            proxes.append([p.prox(row, step, reg_lambda)[0, 0] for row in rows])
        names = _penalty_names(penalties)
        return cls(weights, values, derivatives, proxes, names).plot(ax)

    def _draw(self, axes):
        for panel, name in zip(axes, ("penalty", "derivative", "prox")):
            panel.axhline(0, color="0.8", lw=0.8, zorder=0)
            panel.axvline(0, color="0.8", lw=0.8, zorder=0)
            panel.set(xlabel="weight w", ylabel=name)
        curves = zip(self.names, self.values, self.derivatives, self.proxes)
        for k, (name, *functions) in enumerate(curves):
            for panel, function in zip(axes, functions):
                curve = _with_gaps(self.weights, function)
                panel.plot(*curve, label=name, **curve_style(k))
        style = {"color": GRAY, "lw": 0.8, "zorder": 0, "label": "prox = w"}
        axes[2].plot(self.weights, self.weights, **style)
        add_legend(axes[2])


def _with_gaps(x, y):
    """Interrupt the curve where it jumps, lest a jump look like a steep line."""
    largest = np.nanmax(np.abs(y), initial=0.0)
    jumps = np.flatnonzero(np.abs(np.diff(y)) > 0.05 * largest) + 1
    return np.insert(x, jumps, np.nan), np.insert(y, jumps, np.nan)


class ShrinkageDisplay(Display):
    """One weight without data under each penalty and decay mode, step by step.

    The attribute `zero_steps`, of shape (n_penalties, 3), holds the step from which on
    the weight is exactly 0, NaN where there is none.

    Parameters
    ----------
    weights : array-like of shape (n_penalties, 3, n_steps + 1)
        The weight from the start on; NaN where a combination has no meaning.
        The modes, which are the curves: coupled, decoupled, proximal.
    penalties : sequence of str of length n_penalties
        Names of the penalties, which are the panels.

    Examples
    --------
    With plain SGD, w = 5, η = 0.5 and λ = 1, L1 is exactly 0 after 10 steps in every
    mode, and L2 never.

    >>> from skreg.displays import ShrinkageDisplay
    >>> display = ShrinkageDisplay.from_penalties(["l1", "l2"])
    >>> display.zero_steps
    array([[10., 10., 10.],
           [nan, nan, nan]])
    >>> display.weights[1, 0, :4]  # L2, coupled
    array([5.   , 2.5  , 1.25 , 0.625])
    """

    modes = ("coupled", "decoupled", "proximal")

    def __init__(self, weights, penalties):
        self.penalties = list(penalties)
        self.weights = check_shape("weights", weights, (len(self.penalties), 3, None))
        ends_in_zeros = np.logical_and.accumulate(self.weights[..., ::-1] == 0, axis=2)
        n_zeros = ends_in_zeros.sum(axis=2)
        self.zero_steps = np.where(n_zeros, self.weights.shape[2] - n_zeros, np.nan)

    @classmethod
    def from_penalties(
        cls,
        penalties=_PENALTIES,
        *,
        weight=5.0,
        reg_lambda=1.0,
        learning_rate=0.5,
        n_steps=12,
        solver="sgd",
        momentum=0.0,
        ax=None,
    ):
        """Compute the steps with the solvers of the estimators, and draw them.

        Parameters
        ----------
        penalties : sequence of str or Penalty, default=("l1", "l2", "elasticnet")
            As the `penalty` of the estimators.
        weight, reg_lambda, learning_rate : float, default=5.0, 1.0 and 0.5
            The weight at the start, λ and η.
        n_steps : int, default=12
            Number of steps.
        solver, momentum : {"sgd", "rmsprop", "adam"} and float, default="sgd" and 0.0
            The optimizer; "sgd" with momentum is the heavy ball, not Nesterov's.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        """
        penalties = _check_penalties(penalties, (1, 1))
        for name, value, is_allowed, allowed in (
            ("weight", weight, lambda w: np.isfinite(as_float(w)), "a finite float"),
            ("reg_lambda", reg_lambda, _is_finite_from_zero, "a finite float >= 0"),
            ("learning_rate", learning_rate, _is_positive, "a finite float > 0"),
            ("n_steps", n_steps, lambda n: len(range(n)) > 0, "an int >= 1"),
            ("solver", solver, _SOLVERS.__contains__, f"in {_SOLVERS}"),
            ("momentum", momentum, lambda x: 0 <= x < 1, "a float in [0, 1)"),
        ):
            check(name, value, is_allowed, allowed)
        settings = (weight, reg_lambda, n_steps, solver)
        rates = {"learning_rate_init": learning_rate, "momentum": momentum}
        weights = [
            [_trajectory(penalty, mode, *settings, **rates) for mode in cls.modes]
            for penalty in penalties
        ]
        return cls(weights, _penalty_names(penalties)).plot(ax)

    @property
    def _n_panels(self):
        return len(self.penalties)

    def _draw(self, axes):
        axes = np.atleast_1d(axes)
        # Curves that coincide stay visible: each is thinner than those below it.
        styles = list(zip(self.modes, (SKY, RED, "black"), (6.0, 3.75, 1.5)))
        panels = zip(axes, self.penalties, self.weights, self.zero_steps)
        for panel, name, curves, zero_steps in panels:
            panel.axhline(0, color="0.8", lw=0.8, zorder=0)
            for (mode, color, width), curve, zero in zip(styles, curves, zero_steps):
                panel.plot(curve, color=color, lw=width, label=mode)
                style = {"mec": color, "mfc": "none", "ms": 4 + 2 * width}
                panel.plot(zero, 0, "o", clip_on=False, **style)
            panel.set(title=name, xlabel="step")
            panel.locator_params(axis="x", integer=True)
        axes[0].set_ylabel("weight")
        style = {"mec": GRAY, "mfc": "none", "label": "0 from here on"}
        axes[-1].plot([], [], "o", ms=9, **style)
        add_legend(axes[-1])


def _trajectory(penalty, mode, weight, lam, n_steps, solver, **rates):
    """Weight of a linear model after each step on one sample x = 0, y = 0."""
    try:
        resolve_decay_mode(mode, penalty, solver)
    except ValueError:
        return np.full(n_steps + 1, np.nan)
    network, loss = Network((1, 1), "identity"), regression_loss("squared_error")
    zero = np.zeros((1, 1))
    problem = Problem(CompiledRows(zero, zero, None, loss, 1), network, (penalty,))
    rate = rates.pop("learning_rate_init")
    optimizer = Optimizer.of(solver, nesterovs_momentum=False, **rates)
    one_step = Stochastic(solver, optimizer, (mode,), 1, 1, learning_rate_init=rate)
    theta, state, path = np.array([float(weight), 0.0]), None, [weight]
    for _ in range(n_steps):
        monitor = Monitor(0.0, np.inf)
        result = one_step.solve(problem, np.array([lam]), theta, None, monitor, state)
        theta, state = result.theta, result.state
        path.append(theta[0])
    return np.array(path)
