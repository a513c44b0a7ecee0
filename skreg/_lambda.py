"""Regularization strengths of other libraries and of textbooks, as one table.

Each convention relates its strength v to the canonical λ of skreg, so any two of them
are connected through it: source → canonical λ → target.
"""

import inspect
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skreg._numbers import as_float

# The factor k of each formula: λ = k v, or λ = k / v where v multiplies the loss or is
# a time. The parameters of a function are the arguments of `convert_lambda` it needs.
_FACTORS = {
    "v": lambda: 1.0,
    "2 v": lambda: 2.0,
    "v / 2": lambda: 0.5,
    "v / n": lambda n_samples: 1 / n_samples,
    "2 v / n": lambda n_samples: 2 / n_samples,
    "v / (2 n)": lambda n_samples: 1 / (2 * n_samples),
    "1 / (n v)": lambda n_samples: 1 / n_samples,
    "v / B": lambda batch_size: 1 / batch_size,
    "K v": lambda n_outputs: n_outputs,
    "2 K v": lambda n_outputs: 2 * n_outputs,
    "K v / 2": lambda n_outputs: n_outputs / 2,
    "v / √K": lambda n_outputs: 1 / math.sqrt(n_outputs),
    "v / s": lambda y_scale: 1 / y_scale,
    "s v / n": lambda y_scale, n_samples: y_scale / n_samples,
    "v / η": lambda learning_rate: 1 / learning_rate,
    "B / (η n v)": lambda batch_size, learning_rate, n_samples: (
        batch_size / learning_rate / n_samples
    ),
}
_INVERSE = ("1 / (n v)", "B / (η n v)")

_PENALTIES = ("l2", "l1", "group_lasso")


@dataclass(frozen=True)
class _Convention:
    """Canonical λ as a formula in v for each penalty; None where it has no penalty."""

    name: str
    meaning: str
    l2: str | None
    l1: str | None = None
    group_lasso: str | None = None

    @property
    def formulas(self):
        fields = {name: getattr(self, name) for name in _PENALTIES}
        return {name: formula for name, formula in fields.items() if formula}

    @property
    def is_inverse(self):
        return any(formula in _INVERSE for formula in self.formulas.values())


_ROWS = (
    ("skreg", "reg_lambda", "v", "v", "v"),
    ("sklearn_mlp_lbfgs", "MLP alpha, solver lbfgs", "v / n"),
    ("sklearn_mlp_minibatch", "MLP alpha, solvers sgd and adam", "v / B"),
    ("sklearn_ridge", "Ridge, RidgeClassifier alpha", "v / n"),
    ("sklearn_lasso", "Lasso alpha", None, "v"),
    ("sklearn_elasticnet", "ElasticNet alpha", "v", "v"),
    ("sklearn_multitask_lasso", "MultiTaskLasso alpha", None, None, "v / √K"),
    ("sklearn_logistic", "LogisticRegression C", "1 / (n v)", "1 / (n v)"),
    ("sklearn_sgd", "SGDClassifier, SGDRegressor alpha", "v", "v"),
    ("sklearn_glm", "Poisson-, Gamma-, TweedieRegressor alpha", "v"),
    ("sklearn_huber", "HuberRegressor alpha, s = ``scale_``", "s v / n"),
    ("sklearn_quantile", "QuantileRegressor alpha", None, "v"),
    ("skglm", "Lasso, SparseLogisticRegression, ... alpha", "v", "v"),
    ("celer", "Lasso, ElasticNet alpha", "v", "v"),
    ("torch", "weight_decay, CrossEntropyLoss", "v"),
    ("torch_mse", "weight_decay, MSELoss", "K v / 2"),
    ("torch_bce", "weight_decay, BCEWithLogitsLoss", "K v"),
    ("torch_adamw", "AdamW weight_decay (decoupled)", "v"),
    ("keras", "l2(v), l1(v), CategoricalCrossentropy", "2 v", "v"),
    ("keras_mse", "l2(v), l1(v), MeanSquaredError", "K v", "K v / 2"),
    ("keras_bce", "l2(v), l1(v), BinaryCrossentropy", "2 K v", "K v"),
    ("keras_weight_decay", "Keras 3 weight_decay (decoupled)", "v"),
    ("tfa_weight_decay", "TensorFlow Addons SGDW, AdamW (decoupled)", "v / η"),
    ("loshchilov_hutter", "λ of their SGDW, AdamW paper (decoupled)", "v / η"),
    ("timescale", "τ of AdamW in epochs (decoupled)", "B / (η n v)"),
    ("glmnet", "lambda, any family but gaussian", "v", "v"),
    ("glmnet_gaussian", "lambda, gaussian, s = sd(y) by 1/n", "v / s", "v"),
    ("statsmodels", "OLS, GLM.fit_regularized alpha", "v", "v"),
    ("statsmodels_logit", "Logit.fit_regularized('l1') alpha", None, "v / n"),
    ("xgboost_gblinear", "gblinear reg_lambda, reg_alpha", "v", "v"),
    ("xgboost_gbtree", "gbtree reg_lambda, reg_alpha, of leaves", "v / n", "v / n"),
    ("textbook_sum", "``Σℓ + v Σw²``, ``Σℓ + v Σ|w|``", "2 v / n", "v / n"),
    ("textbook_mean_n", "``Σℓ/n + (v/n) Σw²``, ``... Σ|w|``", "2 v / n", "v / n"),
    ("textbook_mean_2n", "``Σℓ/n + v/(2n) Σw²``, ``... Σ|w|``", "v / n", "v / (2 n)"),
    ("textbook_mean_half", "``Σℓ/n + (v/2) Σw²``, ``... Σ|w|``", "v", "v / 2"),
    ("textbook_sum_half", "``Σℓ + (v/2) Σw²``, ``... Σ|w|``", "v / n", "v / (2 n)"),
)
_CONVENTIONS = {row[0]: _Convention(*row) for row in _ROWS}


def convert_lambda(
    value: ArrayLike,
    source: str,
    target: str = "skreg",
    *,
    penalty: str | None = None,
    n_samples: float | None = None,
    batch_size: float | None = None,
    n_outputs: float | None = None,
    y_scale: float | None = None,
    learning_rate: float | None = None,
) -> float | NDArray[np.float64]:
    """Convert a regularization strength from one convention to another.

    The canonical λ of skreg multiplies the penalty next to the *mean* loss, with half
    the squared error, summed over the outputs::

        (1/n) Σ_i ℓ(y_i, f(x_i)) + λ Ω(w),    Ω = ½ Σw² (L2) or Σ|w| (L1)

    Others sum the loss, drop a ½ or divide by the batch size, so the same number is
    another model there. The table gives the canonical λ of a strength v, where
    n = `n_samples`, B = `batch_size`, K = `n_outputs`, s = `y_scale`,
    η = `learning_rate`, and "–" marks a penalty that the convention lacks.

    TABLE

    Parameters
    ----------
    value : float or array-like of float
        The strength in the convention `source`: finite and >= 0. C of
        "sklearn_logistic", which multiplies the loss, and τ of "timescale": > 0,
        infinity allowed.
    source : str
        Convention of `value`, a name in the table.
    target : str, default="skreg"
        Convention of the result, a name in the table.
    penalty : {"l2", "l1", "group_lasso"}, default=None
        The penalty that the strength belongs to. None is enough where the result is
        the same for every penalty that both conventions have; an elastic net then
        keeps its `l1_ratio`. Elsewhere convert the two parts of an elastic net one by
        one, ``l1_ratio * v`` as "l1" and ``(1 - l1_ratio) * v`` as "l2".
    n_samples : float > 0, default=None
        Number of training samples, or the sum of their weights.
    batch_size : float > 0, default=None
        Samples per step, or the sum of their weights. The "auto" of scikit-learn is
        ``min(200, n_samples)``.
    n_outputs : float > 0, default=None
        Number of outputs which the loss is averaged over; tasks of MultiTaskLasso.
    y_scale : float > 0, default=None
        For glmnet ``np.std(y)``, or the root mean square of y if there is no
        intercept. For HuberRegressor the fitted `scale_`.
    learning_rate : float > 0, default=None
        For TensorFlow Addons the rate of the step, for Loshchilov and Hutter their
        base rate α, for "timescale" the peak rate.

    Returns
    -------
    float or ndarray of float
        The strength in the convention `target`; a float for a scalar `value`.

    Raises
    ------
    ValueError
        If a name is unknown, a number is out of range, a needed argument is missing,
        a convention lacks the penalty, or the result depends on a `penalty` not given.

    Notes
    -----
    ℓ is the log-loss, ½ (y - f)² or the half deviance. For a text that writes (y - f)²
    without the ½, convert half its strength. Plain SGD with rate η on k times the mean
    loss moves like skreg with rate k η: k = n for the sums, 2/K for "torch_mse".

    Only the strength is converted, not the choice of weights: weight decay in PyTorch
    includes the intercepts (`penalize_intercepts=True`), statsmodels its constant
    column. glmnet [2]_ is meant with ``standardize=FALSE``, and the GLM of statsmodels
    with L1_wt > 0 wherever its family has a free scale.

    Decoupled weight decay [1]_ shrinks by 1 - ηλ in each step. This is a penalty in the
    objective for plain SGD only; otherwise use it with ``decay_mode="decoupled"``. The
    weights are then an average of the last updates, over 1/(ηλ) steps or
    τ = B / (η n λ) epochs: the timescale [3]_, which some keep fixed where batch size,
    data or rate change.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization",
       ICLR 2019.
    .. [2] J. Friedman, T. Hastie and R. Tibshirani, "Regularization paths for
       generalized linear models via coordinate descent", J. Stat. Softw. 33(1), 2010.
    .. [3] X. Wang and L. Aitchison, "How to set AdamW's weight decay as you scale model
       and dataset size", arXiv:2405.13698, 2024.

    Examples
    --------
    >>> from skreg import convert_lambda
    >>> convert_lambda(10.0, "sklearn_ridge", n_samples=200)
    0.05
    >>> convert_lambda([0.01, 0.1], "skreg", "sklearn_logistic", n_samples=100)
    array([1. , 0.1])
    >>> convert_lambda(0.001, "keras", penalty="l2")
    0.002
    """
    arguments = {
        "n_samples": n_samples,
        "batch_size": batch_size,
        "n_outputs": n_outputs,
        "y_scale": y_scale,
        "learning_rate": learning_rate,
    }
    for name, number in arguments.items():
        if number is not None:
            _check_positive(name, number)
    origin, end = _lookup("source", source), _lookup("target", target)
    factors = [
        (_factor(origin, common, arguments), _factor(end, common, arguments))
        for common in _common_penalties(origin, end, penalty)
    ]
    ratios = [of_source / of_target for of_source, of_target in factors]
    if not all(math.isclose(ratio, ratios[0]) for ratio in ratios):
        raise ValueError(
            f"`penalty` must be given to convert from {origin.name!r} to "
            f"{end.name!r}, where the result depends on it; got None, allowed are "
            f"{_common_penalties(origin, end, None)}."
        )
    of_source, of_target = factors[0]
    strength = _check_value(value, origin)
    # λ = 0 is C = inf, in both directions; nothing else is zero or infinite.
    with np.errstate(all="ignore"):
        canonical = of_source / strength if origin.is_inverse else of_source * strength
        result = of_target / canonical if end.is_inverse else canonical / of_target
    is_inside = (strength > 0) & (strength < np.inf)
    if np.any(is_inside & ~((result > 0) & (result < np.inf))):
        given = {name: n for name, n in arguments.items() if n is not None}
        raise ValueError(
            f"`value` must be converted to a positive float; got {value!r} with "
            f"{given}, which is {result} as {end.name!r}."
        )
    return float(result) if np.ndim(result) == 0 else result


def _lookup(parameter, name):
    if not isinstance(name, str) or name not in _CONVENTIONS:
        raise ValueError(
            f"`{parameter}` must be one of {list(_CONVENTIONS)}; got {name!r}."
        )
    return _CONVENTIONS[name]


def _common_penalties(source, target, penalty):
    is_known = isinstance(penalty, str) and penalty in _PENALTIES
    if penalty is not None and not is_known:
        raise ValueError(
            f"`penalty` must be one of {_PENALTIES} or None; got {penalty!r}."
        )
    common = [name for name in source.formulas if name in target.formulas]
    if not common or (penalty is not None and penalty not in common):
        raise ValueError(
            f"`penalty` must be known to both conventions; got {penalty!r}, but "
            f"{source.name!r} has {list(source.formulas)} and {target.name!r} has "
            f"{list(target.formulas)}."
        )
    return common if penalty is None else [penalty]


def _factor(convention, penalty, arguments):
    formula = convention.formulas[penalty]
    factor = _FACTORS[formula]
    needed = {name: arguments[name] for name in inspect.signature(factor).parameters}
    for name, number in needed.items():
        if number is None:
            raise ValueError(
                f"`{name}` must be given for {convention.name!r}, where λ = {formula}; "
                "got None, allowed is a finite number > 0."
            )
    k = factor(**needed)
    if not 0 < k < math.inf:
        raise ValueError(
            f"λ = {formula} of {convention.name!r} is beyond the range of floats; got "
            + ", ".join(f"`{name}`={number!r}" for name, number in needed.items())
            + "."
        )
    return k


def _check_positive(name, number):
    if not 0 < as_float(number) < math.inf:
        raise ValueError(f"`{name}` must be a finite number > 0; got {number!r}.")


def _check_value(value, source):
    strength = _as_floats(value)
    in_range = (
        strength > 0 if source.is_inverse else (0 <= strength) & (strength < np.inf)
    )
    if not np.all(in_range):
        allowed = "> 0" if source.is_inverse else "finite and >= 0"
        raise ValueError(
            f"`value` must be {allowed} for {source.name!r}; got {value!r}."
        )
    return strength


def _as_floats(value):
    """An array of float64, NaN where there is no number."""
    try:
        values = np.asarray(value)
    except ValueError:  # lists of different lengths
        return np.array(np.nan)
    if values.dtype.kind in "fiu":
        return values.astype(np.float64)
    if values.dtype.kind != "O":
        return np.array(np.nan)
    return np.array([as_float(v) for v in values.flat]).reshape(values.shape)


def _table():
    """All conventions as the lines of a reStructuredText table."""
    rows = [("name", "strength v", "λ, L2", "λ, L1", "λ, groups")]
    for convention in _CONVENTIONS.values():
        formulas = (convention.formulas.get(name, "–") for name in _PENALTIES)
        rows.append((convention.name, convention.meaning, *formulas))
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = " ".join("=" * width for width in widths)
    lines = [
        " ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
        for row in rows
    ]
    return [rule, lines[0], rule, *lines[1:], rule]


# Printed from the table that computes, so the two agree. There is no text under -OO.
if convert_lambda.__doc__:
    _text = inspect.cleandoc(convert_lambda.__doc__) + "\n"
    convert_lambda.__doc__ = _text.replace("TABLE", "\n".join(_table()))
