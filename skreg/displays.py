"""Pictures of regularization, in scikit-learn's Display style.

The constructor of each display stores arrays, the class methods compute them, and
`plot` draws them and sets `ax_` and `figure_`. So each picture can be drawn from stored
arrays alone, again and on other axes. matplotlib is imported by `plot` only.
"""

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from skreg._network import Network
from skreg._problem import Problem
from skreg._solvers._decay import resolve_decay_mode
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._stopping import Monitor
from skreg.losses import regression_loss
from skreg.penalties import check_penalty

__all__ = [
    "LambdaPathDisplay",
    "LambdaValidationDisplay",
    "LossCurveDisplay",
    "PenaltyDisplay",
    "ShrinkageDisplay",
    "WeightsDisplay",
]

# Okabe & Ito: distinct for color-blind readers. Dashes tell curves apart in print.
_BLUE, _RED, _GREEN, _PURPLE, _ORANGE, _SKY = _COLORS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
_DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_GRAY = "0.55"
_LAMBDA = "regularization strength λ (reg_lambda)"
_MODES = ("coupled", "decoupled", "proximal")


def _make_axes(display, ax, n_panels=1):
    """Return n_panels axes side by side: new ones, those given, or one subdivided."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot needs matplotlib. Install it with "
            "`pip install skreg[plot]`."
        ) from error
    if ax is None:
        width = 6 if n_panels == 1 else 1.5 + 2.5 * n_panels
        size = (width, 4 if n_panels == 1 else 3.6)
        figure, axes = plt.subplots(
            1, n_panels, figsize=size, layout="constrained", squeeze=False
        )
        return axes[0]
    axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
    if len(axes) == 1 and n_panels > 1:
        axes[0].set_axis_off()
        grid = axes[0].get_subplotspec().subgridspec(1, n_panels)
        return grid.subplots(squeeze=False)[0]
    if len(axes) != n_panels:
        raise ValueError(
            f"`ax` must be None, one Axes or {n_panels} of them, one per panel of "
            f"{type(display).__name__}; got {len(axes)}."
        )
    return axes


def _finish(display, axes):
    """Set the attributes that every display has after `plot`."""
    display.ax_ = axes[0] if len(axes) == 1 else axes
    display.figure_ = axes[0].figure
    return display


def _legend_outside(ax, handles=None, x=1.02):
    options = {} if handles is None else {"handles": handles}
    ax.legend(
        loc="upper left",
        bbox_to_anchor=(x, 1.0),
        borderaxespad=0.0,
        frameon=False,
        fontsize="small",
        **options,
    )


def _lambda_axis(ax, reg_lambdas):
    """Logarithmic; linear between 0 and the smallest positive λ where 0 is there."""
    if np.min(reg_lambdas) > 0:
        ax.set_xscale("log")
    else:
        positive = reg_lambdas[reg_lambdas > 0]
        ax.set_xscale("symlog", linthresh=np.min(positive, initial=1.0))
    ax.set_xlabel(_LAMBDA)


def _mark_lambda(ax, reg_lambda):
    if reg_lambda is not None:
        label = f"chosen λ = {reg_lambda:.3g}"
        ax.axvline(reg_lambda, color="black", lw=1, ls="--", label=label)


def _as_vector(name, values, n, of="`reg_lambdas`"):
    """Return None or a float vector of length n."""
    if values is None:
        return None
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (n,):
        raise ValueError(
            f"`{name}` must have one value for each of the {n} entries of {of}; got "
            f"an array of shape {values.shape}."
        )
    return values


def _penalty_name(penalty):
    return repr(penalty).removesuffix("()")


def _format_share(share):
    """Percentage in which only 0 and 1 read as 0 % and 100 %."""
    digits = 0 if share in (0, 1) or 0.005 <= share <= 0.995 else 2
    return f"{100 * share:.{digits}f} %"


class LambdaPathDisplay:
    """Weights, or norms of groups of weights, against λ.

    Parameters
    ----------
    reg_lambdas : array-like of shape (n_lambdas,)
        The grid, in any order. 0 is allowed.
    values : array-like of shape (n_lambdas, n_curves)
        Weights or norms at each λ.
    reg_lambda : float, default=None
        The chosen λ, marked by a vertical line.
    names : sequence of str of length n_curves, default=None
        Names of the curves, "0", "1", ... by default.
    value_name : str, default="weight"
        Label of the y axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> import numpy as np
    >>> from skreg.displays import LambdaPathDisplay
    >>> lambdas = np.logspace(-2, 0, 20)
    >>> weights = np.maximum(np.array([1.0, 0.4]) - lambdas[:, None], 0)
    >>> display = LambdaPathDisplay(lambdas, weights, reg_lambda=0.1).plot()
    >>> display.ax_.get_ylabel()
    'weight'
    """

    def __init__(
        self, reg_lambdas, values, *, reg_lambda=None, names=None, value_name="weight"
    ):
        self.reg_lambdas = np.asarray(reg_lambdas, dtype=np.float64)
        self.values = np.asarray(values, dtype=np.float64)
        n = len(self.reg_lambdas)
        if self.values.ndim != 2 or len(self.values) != n:
            raise ValueError(
                f"`values` must have shape ({n}, n_curves), one row per λ; got "
                f"{self.values.shape}."
            )
        self.reg_lambda = reg_lambda
        self.names = names
        self.value_name = value_name

    @classmethod
    def from_coefs(
        cls, reg_lambdas, coefs, *, kind="inputs", layer=0, ax=None, **options
    ):
        """Draw the weight matrices of a path.

        Parameters
        ----------
        reg_lambdas : array-like of shape (n_lambdas,)
            The grid.
        coefs : sequence of length n_lambdas
            For each λ the list of weight matrices `coefs_`, or one matrix.
        kind : {"inputs", "units", "weights"}, default="inputs"
            What a curve is: the norm of a row (all that leaves an input or unit), the
            norm of a column (all that enters a unit), or a single weight.
        layer : int, default=0
            Which of the matrices.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        **options
            Arguments of the constructor: `reg_lambda`, `names`, `value_name`.

        Returns
        -------
        LambdaPathDisplay
        """
        matrices = np.stack([_matrix_of(entry, layer) for entry in coefs])
        if kind == "weights":
            values, name = matrices.reshape(len(matrices), -1), "weight"
        elif kind == "inputs":
            values, name = np.linalg.norm(matrices, axis=2), "norm of input's weights"
        elif kind == "units":
            values, name = np.linalg.norm(matrices, axis=1), "norm of unit's weights"
        else:
            raise ValueError(
                f"`kind` must be 'inputs', 'units' or 'weights'; got {kind!r}."
            )
        options.setdefault("value_name", f"{name}, layer {layer + 1}")
        return cls(reg_lambdas, values, **options).plot(ax)

    @classmethod
    def from_estimator(
        cls, cv_estimator, coefs, *, kind="inputs", layer=0, ax=None, names=None
    ):
        """Draw a path over the grid of a fitted cross-validated estimator.

        Parameters
        ----------
        cv_estimator : estimator
            Has `reg_lambdas_` and `reg_lambda_`.
        coefs, kind, layer, ax
            As in `from_coefs`; `coefs` follows the order of `reg_lambdas_`.
        names : sequence of str, default=None
            As in the constructor. None takes the names of the features if they fit.

        Returns
        -------
        LambdaPathDisplay
        """
        check_is_fitted(cv_estimator, "reg_lambdas_")
        if names is None and kind == "inputs" and layer == 0:
            names = getattr(cv_estimator, "feature_names_in_", None)
        return cls.from_coefs(
            cv_estimator.reg_lambdas_,
            coefs,
            kind=kind,
            layer=layer,
            ax=ax,
            names=names,
            reg_lambda=cv_estimator.reg_lambda_,
        )

    def plot(self, ax=None, *, n_named=6):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        n_named : int, default=6
            So many curves, the largest at the chosen (or else the smallest) λ, have a
            color and a name; the others are gray.

        Returns
        -------
        self
        """
        (ax,) = axes = _make_axes(self, ax)
        order = np.argsort(self.reg_lambdas)
        lambdas, values = self.reg_lambdas[order], self.values[order]
        chosen = lambdas[0] if self.reg_lambda is None else self.reg_lambda
        at_chosen = np.abs(values[np.argmin(np.abs(lambdas - chosen))])
        ranking = np.argsort(-at_chosen, kind="stable")
        named, others = ranking[:n_named], ranking[n_named:]
        if len(others):
            lines = ax.plot(lambdas, values[:, others], color="0.75", lw=0.7)
            lines[0].set_label(f"{len(others)} others")
        for k, curve in enumerate(named):
            name = str(curve) if self.names is None else str(self.names[curve])
            style = {"color": _COLORS[k % 6], "ls": _DASHES[k // 6 % 6]}
            ax.plot(lambdas, values[:, curve], lw=1.8, label=name, **style)
        ax.axhline(0, color="black", lw=0.6)
        _mark_lambda(ax, self.reg_lambda)
        _lambda_axis(ax, lambdas)
        _count_axis(ax, lambdas, np.count_nonzero(values, axis=1))
        ax.set_ylabel(self.value_name)
        _legend_outside(ax)
        return _finish(self, axes)


def _matrix_of(entry, layer):
    """One matrix, of a list of matrices or alone."""
    is_matrix = getattr(entry, "ndim", None) == 2
    return np.asarray(entry if is_matrix else entry[layer], dtype=np.float64)


def _count_axis(ax, lambdas, counts):
    """Numbers of nonzero curves along the top, as in glmnet."""
    top = ax.secondary_xaxis("top")
    at = np.unique(np.linspace(0, len(lambdas) - 1, 7).round().astype(int))
    top.set_xticks(lambdas[at], [str(count) for count in counts[at]])
    top.minorticks_off()
    top.set_xlabel("number of nonzero curves")


class LambdaValidationDisplay:
    """Validation and training score against λ: the under- and overfitting picture.

    Parameters
    ----------
    reg_lambdas : array-like of shape (n_lambdas,)
        The grid, in any order. 0 is allowed.
    mean_scores : array-like of shape (n_lambdas,)
        Validation score, greater is better.
    std_error : array-like of shape (n_lambdas,), default=None
        Its standard error, drawn as error bars.
    train_mean_scores, train_std_error : array-like of shape (n_lambdas,), default=None
        The same for the training score.
    reg_lambda : float, default=None
        The chosen λ, marked by a vertical line.
    score_name : str, default="score"
        Label of the y axis.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skreg.displays import LambdaValidationDisplay
    >>> scores = [[0.7, 0.9, 0.6], [0.8, 0.9, 0.5]]  # folds x lambdas
    >>> display = LambdaValidationDisplay.from_scores([0.01, 0.1, 1.0], scores)
    >>> display.mean_scores
    array([0.75, 0.9 , 0.55])
    """

    def __init__(
        self,
        reg_lambdas,
        mean_scores,
        std_error=None,
        *,
        train_mean_scores=None,
        train_std_error=None,
        reg_lambda=None,
        score_name="score",
    ):
        self.reg_lambdas = np.asarray(reg_lambdas, dtype=np.float64)
        n = len(self.reg_lambdas)
        self.mean_scores = _as_vector("mean_scores", mean_scores, n)
        self.std_error = _as_vector("std_error", std_error, n)
        self.train_mean_scores = _as_vector("train_mean_scores", train_mean_scores, n)
        self.train_std_error = _as_vector("train_std_error", train_std_error, n)
        self.reg_lambda = reg_lambda
        self.score_name = score_name

    @classmethod
    def from_scores(cls, reg_lambdas, scores, train_scores=None, *, ax=None, **options):
        """Draw the scores of single folds, as mean and standard error.

        Parameters
        ----------
        reg_lambdas : array-like of shape (n_lambdas,)
            The grid.
        scores, train_scores : array-like of shape (n_folds, n_lambdas)
            Validation and training scores. One fold has no error bars.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        **options
            Arguments of the constructor: `reg_lambda`, `score_name`.

        Returns
        -------
        LambdaValidationDisplay
        """
        mean, error = _mean_and_error(scores)
        train_mean, train_error = _mean_and_error(train_scores)
        return cls(
            reg_lambdas,
            mean,
            error,
            train_mean_scores=train_mean,
            train_std_error=train_error,
            **options,
        ).plot(ax)

    @classmethod
    def from_estimator(cls, cv_estimator, *, ax=None):
        """Draw the scores of a fitted cross-validated estimator.

        Parameters
        ----------
        cv_estimator : estimator
            Has `reg_lambdas_`, `mean_scores_`, `std_error_` and `reg_lambda_`, and
            maybe `train_scores_` of shape (n_folds, n_lambdas).
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        LambdaValidationDisplay
        """
        check_is_fitted(cv_estimator, "mean_scores_")
        train_scores = getattr(cv_estimator, "train_scores_", None)
        train_mean, train_error = _mean_and_error(train_scores)
        return cls(
            cv_estimator.reg_lambdas_,
            cv_estimator.mean_scores_,
            cv_estimator.std_error_,
            train_mean_scores=train_mean,
            train_std_error=train_error,
            reg_lambda=cv_estimator.reg_lambda_,
            score_name=_score_name(cv_estimator),
        ).plot(ax)

    def plot(self, ax=None):
        """Draw the scores.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        self
        """
        (ax,) = axes = _make_axes(self, ax)
        order = np.argsort(self.reg_lambdas)
        lambdas, mean = self.reg_lambdas[order], self.mean_scores[order]
        if self.train_mean_scores is not None:
            train, error = self.train_mean_scores, self.train_std_error
            error = None if error is None else error[order]
            style = {"color": _RED, "ls": "--", "marker": "s", "label": "training"}
            ax.errorbar(lambdas, train[order], error, ms=4, capsize=2, **style)
        error = None if self.std_error is None else self.std_error[order]
        style = {"color": _BLUE, "marker": "o", "label": "validation"}
        ax.errorbar(lambdas, mean, error, ms=4, capsize=2, **style)
        best = np.nanargmax(mean)
        label = f"best λ = {lambdas[best]:.3g}"
        style = {"marker": "*", "ms": 15, "mfc": "none", "mec": "black", "ls": "none"}
        ax.plot(lambdas[best], mean[best], zorder=5, label=label, **style)
        if error is not None:
            level = mean[best] - error[best]
            label = "best − 1 std. error"
            ax.axhline(level, color=_GRAY, lw=1, ls=":", label=label)
        _mark_lambda(ax, self.reg_lambda)
        _lambda_axis(ax, lambdas)
        ax.set_ylabel(self.score_name)
        ax.set_title("← may overfit", loc="left", fontsize="small")
        ax.set_title("may underfit →", loc="right", fontsize="small")
        _legend_outside(ax)
        return _finish(self, axes)


def _mean_and_error(scores):
    """Mean over folds and its standard error, (None, None) without scores."""
    if scores is None:
        return None, None
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    n_folds = len(scores)
    error = None if n_folds == 1 else scores.std(axis=0, ddof=1) / np.sqrt(n_folds)
    return scores.mean(axis=0), error


def _score_name(estimator):
    scoring = getattr(estimator, "scoring", None)
    if isinstance(scoring, str):
        return scoring.replace("_", " ")
    if scoring is None and is_classifier(estimator):
        return "accuracy"
    return "R²" if scoring is None and is_regressor(estimator) else "score"


class LossCurveDisplay:
    """Data loss, penalty and their sum, the objective, during training.

    Parameters
    ----------
    data_loss, penalty : array-like of shape (n_iterations,)
        The two terms of the objective; the penalty includes λ.
    validation : array-like of shape (n_validations,), default=None
        Validation score of the last `n_validations` iterations.
    validation_name : str, default="validation score"
        Name of this curve. "validation loss" is drawn on the axis of the losses,
        anything else on one of its own, at the right.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

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
        self.data_loss = np.asarray(data_loss, dtype=np.float64)
        n = len(self.data_loss)
        self.penalty = _as_vector("penalty", penalty, n, of="`data_loss`")
        self.objective = self.data_loss + self.penalty
        self.validation = None if validation is None else np.asarray(validation)
        self.validation_name = validation_name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None):
        """Draw the curves of a fitted network.

        Parameters
        ----------
        estimator : RegMLPClassifier or RegMLPRegressor
            Fitted. With ``early_stopping=True`` it has a validation curve.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.

        Returns
        -------
        LossCurveDisplay
        """
        check_is_fitted(estimator, "data_loss_curve_")
        validation, name = estimator.validation_scores_, "validation score"
        if validation is not None and isinstance(estimator.scoring, str):
            is_loss = estimator.scoring == "loss"
            name = f"validation {_score_name(estimator)}"
            validation = -np.asarray(validation) if is_loss else validation
        elif validation is not None:
            name = f"validation {_score_name(estimator)}"
        losses = estimator.data_loss_curve_, estimator.penalty_curve_
        return cls(*losses, validation=validation, validation_name=name).plot(ax)

    def plot(self, ax=None, *, yscale=None):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a figure.
        yscale : {"linear", "log"}, default=None
            Scale of the losses. None is "log" where all of them are positive.

        Returns
        -------
        self
        """
        (ax,) = axes = _make_axes(self, ax)
        n = len(self.data_loss)
        epochs = np.arange(1, n + 1)
        curves = [
            ("objective", self.objective, {"color": "black", "lw": 2.5}),
            ("data loss", self.data_loss, {"color": _BLUE, "ls": "--"}),
            ("penalty", self.penalty, {"color": _RED, "ls": "-."}),
        ]
        positive = self.data_loss.min() > 0 and self.penalty[-1] > 0
        shared = self.validation_name == "validation loss"
        if self.validation is not None:
            style = {"color": _GREEN, "ls": ":", "lw": 2}
            curve = (self.validation_name, self.validation, style)
            if shared:
                curves.append(curve)
        for name, values, style in curves:
            ax.plot(epochs[n - len(values) :], values, label=name, **style)
        handles = ax.get_lines()
        ax.set_yscale(yscale or ("log" if positive else "linear"))
        ax.set_xlabel("iteration (epoch)")
        ax.set_ylabel("loss, mean per sample")
        if self.validation is not None and not shared:
            right = ax.twinx()
            name, values, style = curve
            handles += right.plot(
                epochs[n - len(values) :], values, label=name, **style
            )
            right.set_ylabel(name, color=_GREEN)
        _legend_outside(ax, handles, 1.02 if shared or len(handles) == 3 else 1.25)
        return _finish(self, axes)


class WeightsDisplay:
    """Weight matrices as images or histograms, in which exact zeros are visible.

    Parameters
    ----------
    coefs : sequence of array-like of shape (n_in, n_out)
        One matrix per panel.
    names : sequence of str, default=None
        Titles of the panels, "layer 1", ... by default.

    Attributes
    ----------
    ax_ : matplotlib Axes, or ndarray of Axes
        One per matrix.
    figure_ : matplotlib Figure
    sparsity_ : ndarray of shape (n_matrices,)
        Shares of exact zeros.

    Examples
    --------
    >>> from skreg.displays import WeightsDisplay
    >>> display = WeightsDisplay([[[0.0, 1.5], [-0.5, 0.0]]]).plot()
    >>> display.sparsity_
    array([0.5])
    """

    def __init__(self, coefs, *, names=None):
        self.coefs = [np.asarray(W, dtype=np.float64) for W in coefs]
        self.names = names

    @classmethod
    def from_estimator(cls, estimator, *, kind="image", ax=None):
        """Draw all weight matrices of a fitted network.

        Parameters
        ----------
        estimator : RegMLPClassifier or RegMLPRegressor
            Fitted.
        kind : {"image", "histogram"}, default="image"
            As in `plot`.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.

        Returns
        -------
        WeightsDisplay
        """
        check_is_fitted(estimator, "coefs_")
        return cls(estimator.coefs_).plot(ax, kind=kind)

    def plot(self, ax=None, *, kind="image"):
        """Draw the matrices.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            One Axes per matrix, or one to be divided; None makes a figure.
        kind : {"image", "histogram"}, default="image"
            "image": blue is negative, red positive, gray exactly zero; the colors are
            the same in all panels and saturate at the 99th percentile of the sizes.
            "histogram": number of weights, exact zeros as a bar of their own.

        Returns
        -------
        self
        """
        if kind not in ("image", "histogram"):
            raise ValueError(f"`kind` must be 'image' or 'histogram'; got {kind!r}.")
        axes = _make_axes(self, ax, len(self.coefs))
        self.sparsity_ = np.array([np.mean(W == 0) for W in self.coefs])
        for k, (panel, W) in enumerate(zip(axes, self.coefs)):
            name = f"layer {k + 1}" if self.names is None else self.names[k]
            share = _format_share(self.sparsity_[k])
            panel.set_title(f"{name}\n{share} exact zeros", fontsize="medium")
        if kind == "image":
            self._plot_images(axes)
        else:
            self._plot_histograms(axes)
        return _finish(self, axes)

    def _plot_images(self, axes):
        import matplotlib as mpl
        from matplotlib.patches import Patch

        sizes = np.concatenate([np.abs(W[W != 0]) for W in self.coefs])
        limit = np.quantile(sizes, 0.99) if sizes.size else 1.0
        cmap = mpl.colormaps["RdBu_r"].with_extremes(bad=_GRAY)
        for panel, W in zip(axes, self.coefs):
            image = panel.imshow(
                np.ma.masked_equal(W, 0),
                cmap=cmap,
                norm=mpl.colors.Normalize(-limit, limit),
                aspect="auto",
                interpolation="nearest",
            )
            for axis in (panel.xaxis, panel.yaxis):
                axis.get_major_locator().set_params(integer=True)
            panel.set_xlabel("to unit")
        axes[0].set_ylabel("from input or unit")
        extend = "both" if np.max(sizes, initial=0) > limit else "neither"
        bar = axes[0].figure.colorbar(image, ax=list(axes), extend=extend)
        bar.set_label("weight")
        bar.ax.legend(
            handles=[Patch(color=_GRAY, label="exactly 0")],
            loc="lower left",
            bbox_to_anchor=(-0.5, 1.06),
            borderaxespad=0.0,
            frameon=False,
            fontsize="small",
            handlelength=1.0,
        )

    def _plot_histograms(self, axes):
        for panel, W in zip(axes, self.coefs):
            nonzero, n_zeros = W[W != 0], np.count_nonzero(W == 0)
            limit = np.max(np.abs(nonzero), initial=1e-12)
            edges = np.linspace(-limit, limit, 42)  # 41 bins, one centered at 0
            panel.hist(nonzero, edges, color=_BLUE, label="nonzero weights")
            if n_zeros:
                width = 0.6 * (edges[1] - edges[0])
                style = {"color": _ORANGE, "label": "exact zeros"}
                panel.bar(0.0, n_zeros, width, zorder=3, **style)
            panel.set_yscale("log")
            panel.set_ylim(bottom=0.5)
            panel.set_xlabel("weight")
        axes[0].set_ylabel("number of weights")
        labels = [panel.get_legend_handles_labels() for panel in axes]
        handles = {text: h for group in labels for h, text in zip(*group)}
        _legend_outside(axes[-1], list(handles.values()))


class PenaltyDisplay:
    """Value, derivative and prox of penalties, as functions of one weight.

    Parameters
    ----------
    weights : array-like of shape (n_points,)
        The weight w.
    values, derivatives, proxes : array-like of shape (n_penalties, n_points)
        The three functions; NaN where one is not defined.
    names : sequence of str of length n_penalties
        Names of the penalties.

    Attributes
    ----------
    ax_ : ndarray of 3 matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> from skreg.displays import PenaltyDisplay
    >>> display = PenaltyDisplay.from_penalties(["l1", "l2"], step=1.0, reg_lambda=1.0)
    >>> display.weights[-1], display.proxes[:, -1]
    (np.float64(4.0), array([3., 2.]))
    """

    def __init__(self, weights, values, derivatives, proxes, names):
        self.weights = np.asarray(weights, dtype=np.float64)
        self.values = np.asarray(values, dtype=np.float64)
        self.derivatives = np.asarray(derivatives, dtype=np.float64)
        self.proxes = np.asarray(proxes, dtype=np.float64)
        self.names = list(names)
        shape = (len(self.names), len(self.weights))
        for name in ("values", "derivatives", "proxes"):
            if getattr(self, name).shape != shape:
                raise ValueError(
                    f"`{name}` must have shape {shape}, one row per name and one "
                    f"column per weight; got {getattr(self, name).shape}."
                )

    @classmethod
    def from_penalties(
        cls,
        penalties=("l1", "l2", "elasticnet"),
        *,
        reg_lambda=1.0,
        step=1.0,
        limit=4.0,
        neighbors=(),
        ax=None,
    ):
        """Compute and draw the three functions.

        Parameters
        ----------
        penalties : sequence of str or Penalty, default=("l1", "l2", "elasticnet")
            As the `penalty` parameter of the estimators.
        reg_lambda : float, default=1.0
            λ.
        step : float, default=1.0
            Step of the prox.
        limit : float, default=4.0
            The weight runs from -limit to limit.
        neighbors : sequence of float, default=()
            Other weights of the same row, held fixed: they matter to penalties of
            groups. The value is the one in excess of that at w = 0.
        ax : matplotlib Axes or array of 3 Axes, default=None
            As in `plot`.

        Returns
        -------
        PenaltyDisplay
        """
        weights = np.linspace(-limit, limit, 401)
        penalties = [check_penalty(penalty) for penalty in penalties]
        functions = [
            _scalar_functions(penalty, weights, reg_lambda, step, neighbors)
            for penalty in penalties
        ]
        names = [_penalty_name(penalty) for penalty in penalties]
        return cls(weights, *zip(*functions), names).plot(ax)

    def plot(self, ax=None):
        """Draw the three functions.

        Parameters
        ----------
        ax : matplotlib Axes or array of 3 Axes, default=None
            Three Axes, or one to be divided; None makes a figure.

        Returns
        -------
        self
        """
        axes = _make_axes(self, ax, 3)
        titles = ("penalty", "derivative", "prox")
        for panel, title in zip(axes, titles):
            panel.axhline(0, color="0.8", lw=0.8, zorder=0)
            panel.axvline(0, color="0.8", lw=0.8, zorder=0)
            panel.set_title(title, fontsize="medium")
            panel.set_xlabel("weight w")
        axes[2].plot(self.weights, self.weights, color="0.8", lw=0.8, zorder=0)
        curves = zip(self.names, self.values, self.derivatives, self.proxes)
        for k, (name, *functions) in enumerate(curves):
            style = {"color": _COLORS[k % 6], "ls": _DASHES[k % 6], "lw": 1.8}
            for panel, function in zip(axes, functions):
                panel.plot(*_with_jumps(self.weights, function), label=name, **style)
        _legend_outside(axes[2])
        return _finish(self, axes)


def _scalar_functions(penalty, weights, lam, step, neighbors):
    """Value, derivative and prox of the first weight of a row."""

    def row(w):
        return np.array([[w, *neighbors]])

    values = np.array([penalty.value(row(w), lam) for w in weights])
    values -= penalty.value(row(0.0), lam)
    derivatives = np.full(len(weights), np.nan)
    if penalty.has_gradient:
        derivatives = [penalty.gradient(row(w), lam)[0, 0] for w in weights]
    proxes = [penalty.prox(row(w), step, lam)[0, 0] for w in weights]
    return values, derivatives, proxes


def _with_jumps(x, y):
    """Break the curve where it jumps, so that a jump is no steep line."""
    rise = np.abs(np.diff(y))
    jumps = np.flatnonzero(rise > 0.05 * np.nanmax(np.abs(y), initial=1e-300)) + 1
    return np.insert(x, jumps, np.nan), np.insert(np.asarray(y, float), jumps, np.nan)


class ShrinkageDisplay:
    """One weight without data under each penalty and decay mode, step by step.

    Parameters
    ----------
    weights : array-like of shape (n_penalties, n_modes, n_steps + 1)
        The weight from the start on; NaN where a combination has no meaning.
    penalties, modes : sequence of str
        Names along the first two axes. Each penalty has a panel, each mode a curve.

    Attributes
    ----------
    ax_ : matplotlib Axes, or ndarray of Axes
        One per penalty.
    figure_ : matplotlib Figure
    zero_steps_ : ndarray of shape (n_penalties, n_modes)
        The step from which on the weight is exactly 0, NaN where there is none.

    Examples
    --------
    w = 5, η = 0.5, λ = 1 and plain SGD: L1 is exactly 0 after 10 steps in every mode,
    L2 never, because it halves the weight.

    >>> from skreg.displays import ShrinkageDisplay
    >>> display = ShrinkageDisplay.from_penalties(["l1", "l2"])
    >>> display.zero_steps_
    array([[10., 10., 10.],
           [nan, nan, nan]])
    >>> display.weights[1, 0, :4]  # L2, coupled
    array([5.   , 2.5  , 1.25 , 0.625])
    """

    def __init__(self, weights, penalties, modes=_MODES):
        self.weights = np.asarray(weights, dtype=np.float64)
        self.penalties, self.modes = list(penalties), list(modes)
        shape = (len(self.penalties), len(self.modes))
        if self.weights.ndim != 3 or self.weights.shape[:2] != shape:
            raise ValueError(
                f"`weights` must have shape {shape} + (n_steps + 1,); got "
                f"{self.weights.shape}."
            )

    @classmethod
    def from_penalties(
        cls,
        penalties=("l1", "l2", "elasticnet"),
        *,
        weight=5.0,
        reg_lambda=1.0,
        learning_rate=0.5,
        n_steps=12,
        solver="sgd",
        momentum=0.0,
        modes=_MODES,
        ax=None,
    ):
        """Compute the steps with the solvers of the estimators, and draw them.

        Parameters
        ----------
        penalties : sequence of str or Penalty, default=("l1", "l2", "elasticnet")
            As the `penalty` parameter of the estimators.
        weight : float, default=5.0
            The weight at the start.
        reg_lambda, learning_rate : float, default=1.0 and 0.5
            λ and η.
        n_steps : int, default=12
            Number of steps.
        solver : {"sgd", "rmsprop", "adam"}, default="sgd"
            The optimizer. With momentum > 0, "sgd" is the heavy ball, not Nesterov's.
        momentum : float, default=0.0
            Momentum of "sgd".
        modes : sequence of str, default=("coupled", "decoupled", "proximal")
            Decay modes.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.

        Returns
        -------
        ShrinkageDisplay
        """
        penalties = [check_penalty(penalty) for penalty in penalties]
        settings = (solver, weight, reg_lambda, learning_rate, n_steps, momentum)
        weights = [[_shrink(p, mode, *settings) for mode in modes] for p in penalties]
        return cls(weights, map(_penalty_name, penalties), modes).plot(ax)

    def plot(self, ax=None):
        """Draw the steps.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            One Axes per penalty, or one to be divided; None makes a figure.

        Returns
        -------
        self
        """
        axes = _make_axes(self, ax, len(self.penalties))
        steps = np.arange(self.weights.shape[2])
        self.zero_steps_ = _zero_steps(self.weights)
        # Curves that coincide stay visible: each is thinner than those below it.
        widths = np.linspace(6.0, 1.5, max(len(self.modes), 2))
        for panel, name, curves, zeros in zip(
            axes, self.penalties, self.weights, self.zero_steps_
        ):
            panel.axhline(0, color="0.8", lw=0.8, zorder=0)
            for k, (mode, curve) in enumerate(zip(self.modes, curves)):
                color = (_SKY, _RED, "black", *_COLORS)[k % 9]
                panel.plot(steps, curve, color=color, lw=widths[k], label=mode)
                mark = {"ms": 4 + 2 * widths[k], "mec": color, "mfc": "none"}
                panel.plot(zeros[k], 0, "o", clip_on=False, zorder=4, **mark)
            panel.set_title(name, fontsize="medium")
            panel.set_xlabel("step")
            panel.xaxis.get_major_locator().set_params(integer=True)
        axes[0].set_ylabel("weight")
        label = "exactly 0 from here on"
        mark = {"ls": "none", "marker": "o", "mec": _GRAY, "mfc": "none", "ms": 9}
        axes[-1].plot([], [], label=label, **mark)
        _legend_outside(axes[-1])
        return _finish(self, axes)


def _shrink(penalty, mode, solver, weight, lam, learning_rate, n_steps, momentum):
    """Trajectory of a linear model's weight whose only sample is 0, with target 0."""
    try:
        resolve_decay_mode(mode, penalty, solver)
    except ValueError:
        return np.full(n_steps + 1, np.nan)
    network, loss = Network((1, 1), "identity"), regression_loss("squared_error")
    zero = np.zeros((1, 1))
    problem = Problem(zero, zero, None, network, loss, (penalty,))
    stepper = Stochastic(
        solver,
        (mode,),
        batch_size=1,
        max_iter=1,
        learning_rate_init=learning_rate,
        momentum=momentum,
        nesterovs_momentum=False,
    )
    theta, state, path = np.array([weight, 0.0]), None, [weight]
    for _ in range(n_steps):
        monitor = Monitor(tol=0.0, n_iter_no_change=np.inf)
        result = stepper.solve(problem, np.array([lam]), theta, None, monitor, state)
        theta, state = result.theta, result.state
        path.append(theta[0])
    return np.array(path)


def _zero_steps(weights):
    """First step from which on a trajectory is exactly 0, NaN if it is not."""
    is_zero = np.logical_and.accumulate(weights[..., ::-1] == 0, axis=-1)
    n_zeros = is_zero.sum(axis=-1)
    return np.where(n_zeros > 0, weights.shape[-1] - n_zeros, np.nan)
