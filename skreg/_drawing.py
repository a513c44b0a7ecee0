"""What all displays share: panels, colors, axes, legends, and checks of arguments."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import check_is_fitted

from skreg._numbers import as_float
from skreg._typing import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AxesLike: TypeAlias = "Axes | Sequence[Axes] | Array | None"

# Okabe & Ito: distinct for color-blind readers. Dashes tell curves apart in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "black")
BLUE, RED, GREEN, _, ORANGE, SKY, _ = COLORS
DASHES = (
    "-",
    (0, (4, 1.5)),
    (0, (4, 1.5, 1, 1.5)),
    (0, (1, 1.5)),
    (0, (4, 1.5, 1, 1.5, 1, 1.5)),
    (0, (2, 1)),
    (0, (7, 1.5, 2, 1.5)),
)
GRAY = "0.55"


class Display:
    """Base of the displays, which define `_draw` and, if not 1, `_n_panels`."""

    _n_panels = 1
    ax_: Any  # an Axes or an array of them
    figure_: "Figure"

    def plot(self, ax: AxesLike = None) -> Self:
        """Draw the stored arrays.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            One Axes per panel, or a single one, which is then divided; None makes a
            figure.

        Returns
        -------
        self
            With `ax_`, an Axes or an array of one Axes per panel, and `figure_`.
        """
        axes = self._make_axes(ax)
        self.ax_ = axes[0] if self._n_panels == 1 else axes
        self.figure_ = axes[0].figure
        self._draw(self.ax_)
        return self

    def _draw(self, ax):
        raise NotImplementedError

    def _make_axes(self, ax):
        """Axes of the panels: new ones, those given, or a given one divided."""
        name, n = type(self).__name__, self._n_panels
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            message = f"{name} needs matplotlib: run `pip install skreg[plot]`."
            raise ImportError(message) from error
        if ax is None:
            size = (6.0, 4.0) if n == 1 else (1.5 + 2.5 * n, 3.6)
            figure = plt.figure(figsize=size, layout="constrained")
            return figure.subplots(1, n, squeeze=False)[0]
        axes = np.atleast_1d(np.asarray(ax, dtype=object)).ravel()
        check("ax", len(axes), lambda k: k in (1, n), f"None, one Axes or {n}")
        if len(axes) == n:
            return axes
        spec, allowed = axes[0].get_subplotspec(), f"made by `subplots`, or {n} Axes"
        check("ax", axes[0], lambda _: spec is not None, allowed)
        axes[0].set_axis_off()
        wspace = None if has_layout(axes[0]) else 0.6
        return spec.subgridspec(1, n, wspace=wspace).subplots(squeeze=False)[0]


class FittedDisplay(Display):
    """Base of the displays of fitted estimators, which define `_read`."""

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, ax: AxesLike = None, **options: Any
    ) -> Self:
        """Draw what a fitted estimator has stored.

        Parameters
        ----------
        estimator : estimator
            Fitted, of the kind that the description of the class names.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        **options : dict
            Arguments of the constructor, in place of what the estimator has stored.

        Returns
        -------
        display
            The display, drawn.
        """
        try:
            stored = cls._read(estimator, options)
        except AttributeError as error:
            if isinstance(estimator, BaseEstimator):
                check_is_fitted(estimator, "n_features_in_")
            raise TypeError(
                f"{cls.__name__} cannot draw this `estimator`, {estimator!r}: {error}."
            ) from error
        return cls(**{**stored, **options}).plot(ax)

    @staticmethod
    def _read(estimator, options):
        """Arguments of the constructor that a fitted estimator has stored."""
        raise NotImplementedError


def has_layout(ax):
    """Whether the figure makes room for what is outside the axes."""
    from matplotlib.layout_engine import PlaceHolderLayoutEngine

    engine = ax.figure.get_layout_engine()
    return not isinstance(engine, PlaceHolderLayoutEngine | None)


def add_legend(ax, handles=None, above=False):
    """Legend outside the axes, right of or above them, if there is room for it."""
    place = {"loc": "best", "fontsize": "x-small"}
    if has_layout(ax):
        place = {"fontsize": "small", "frameon": False, "borderaxespad": 0.0}
        place |= {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "handlelength": 2.8}
    if has_layout(ax) and above:
        place |= {"loc": "lower left", "bbox_to_anchor": (0, 1.02), "handlelength": 2}
        place |= {"ncols": 4, "columnspacing": 1.2}
    ax.legend(handles=handles, **place)


def curve_style(k):
    """Color and dashes of the k-th curve, different for 49 of them."""
    n = len(COLORS)
    return {"color": COLORS[k % n], "ls": DASHES[(k + k // n) % n], "lw": 1.8}


def log_axis(ax):
    """Logarithmic y axis with plain numbers: 1, 2, 5, 10, ..."""
    from matplotlib.ticker import LogLocator

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")


def lambda_axis(ax, reg_lambdas, chosen):
    """Logarithmic λ, but linear from 0 to the smallest positive λ; mark the chosen."""
    if chosen is not None:
        ax.axvline(chosen, color="k", lw=1, ls="--", label=f"chosen λ = {chosen:.3g}")
    if np.min(reg_lambdas) > 0:
        ax.set_xscale("log")
    else:
        positive = reg_lambdas[reg_lambdas > 0] if np.any(reg_lambdas) else np.ones(1)
        ax.set_xscale("symlog", linthresh=positive.min())
        ax.set_xlim(-0.2 * positive.min(), 1.5 * positive.max())
    ax.set_xlabel("regularization strength λ (reg_lambda)", labelpad=0)


def score_name_of(estimator):
    """Label of the axis of the scores of a fitted search."""
    scoring = getattr(estimator, "scoring", None)
    if scoring == "loss" or (scoring is None and getattr(estimator, "_is_auto", False)):
        return "minus loss"
    if scoring is None:
        return "accuracy" if is_classifier(estimator) else "R²"
    return scoring.replace("_", " ") if isinstance(scoring, str) else "score"


def check(name, value, is_allowed, allowed):
    """Raise an error unless the value is allowed; one of a wrong type is not."""
    try:
        is_fine = bool(is_allowed(value))
    except (TypeError, ValueError):  # ambiguous arrays as well
        is_fine = False
    if not is_fine:
        raise ValueError(f"`{name}` must be {allowed}; got {value!r}.")


def check_option(name, value, options):
    """Raise an error unless the value is one of the options."""
    check(name, value, lambda given: given in options, f"in {options}")


def check_index(name, value, first, last):
    """Raise an error unless the value is an integer from the first to the last."""
    allowed = range(first, last + 1)
    check(name, value, lambda given: given in allowed, f"in [{first}, {last}]")


def check_length(name, values, n, allowed=None):
    """Raise an error unless there are n values, for which `allowed` may have words."""
    allowed = n if allowed is None else allowed
    check(f"len({name})", len(values), lambda length: length == n, allowed)


def is_finite_from_zero(number):
    """Whether a value is a finite number >= 0."""
    return 0 <= as_float(number) < np.inf


def check_shape(name, values, shape):
    """Return values as a float array; None in `shape` stands for any length."""
    try:
        values = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"`{name}` must be floats; got {values!r}.") from error
    fits = (length is None or length == n for length, n in zip(shape, values.shape))
    if values.ndim != len(shape) or not all(fits):
        raise ValueError(f"`{name}` must have shape {shape}; got {values.shape}.")
    return values


def check_lambdas(reg_lambdas):
    """Return λ along which something is drawn as a float array."""
    if np.ndim(reg_lambdas) == 2:
        raise ValueError(
            "`reg_lambdas` must be one λ for all layers, along which to draw; got a "
            "table with one column per layer."
        )
    return check_shape("reg_lambdas", reg_lambdas, (None,))
