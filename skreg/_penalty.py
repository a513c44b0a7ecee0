"""The contract of a penalty, for those of the library and for your own."""

import inspect
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from skreg._forms import Form
from skreg._numbers import as_float
from skreg._repr import DocumentationLinks


def cast(W, *factors):
    """Return W as a floating array, and the factors in its precision."""
    W = np.asarray(W)
    if W.dtype not in (np.float32, np.float64):
        W = W.astype(np.float64)
    return W, *(np.asarray(factor, dtype=W.dtype) for factor in factors)


def parameter_error(penalty, name, allowed):
    return ValueError(
        f"The {name!r} parameter of {type(penalty).__name__} must be {allowed}. "
        f"Got {getattr(penalty, name)!r} instead."
    )


def check_number(penalty, name, allowed, is_allowed):
    """Raise unless the parameter is a finite number for which is_allowed holds."""
    number = as_float(getattr(penalty, name))
    if not (np.isfinite(number) and is_allowed(number)):
        raise parameter_error(penalty, name, allowed)


class Penalty(DocumentationLinks, BaseEstimator):
    """Base class of all penalties, and the contract for your own.

    A subclass defines `value` and `prox`; also `gradient` to be used with
    ``decay_mode="coupled"``, and `shrink` with ``decay_mode="decoupled"``. ``__init__``
    only stores parameters, `validate` checks them. Arguments of all methods:

    - ``W``, ``G``, ``candidate``: float arrays of shape (n_in, n_out), never modified.
      Results have the same shape and precision.
    - ``step``: float ≥ 0, or an array like ``W``, the inverse of a diagonal metric, for
      instance the learning rate divided by Adam's denominator.
    - ``lam``: float, the strength λ ≥ 0.

    Attributes
    ----------
    is_smooth, is_convex, is_separable : bool
        The gradient exists everywhere; the penalty is convex; it is a sum over single
        weights. False unless declared by the class.
    has_metric_prox : bool
        `prox` accepts an array of steps, as adaptive solvers (Adam, RMSProp) need.
        False unless declared by the class.
    degree : float or None
        The value at cW, for any c > 0, is that at W times c to this power; None unless
        declared by the class.
    has_gradient, has_shrink : bool
        The class defines the method.

    Notes
    -----
    In the formulas of the classes in `skreg.penalties`, λ is ``lam``, t is the ``step``
    of the prox and η that of the shrink, and S(w, t) = sign(w) max(abs(w) − t, 0) is
    the soft threshold. The prox is defined in [1]_, section 1.1.

    References
    ----------
    .. [1] Parikh and Boyd (2014), "Proximal algorithms", Found. Trends Optim. 1(3).

    Examples
    --------
    Weights that must not be negative, for any λ > 0:

    >>> import numpy as np
    >>> from skreg.penalties import Penalty
    >>> class Nonnegative(Penalty):
    ...     is_convex = is_separable = has_metric_prox = True
    ...
    ...     def value(self, W, lam=1.0):
    ...         return 0.0 if np.all(W >= 0) else np.inf
    ...
    ...     def prox(self, W, step, lam=1.0):
    ...         return np.maximum(W, 0)
    >>> W = np.array([[1.0, -2.0], [-0.5, 3.0]])
    >>> Nonnegative().value(W)
    inf
    >>> Nonnegative().prox(W, step=0.1)
    array([[1., 0.],
           [0., 3.]])
    """

    is_smooth = False
    is_convex = False
    is_separable = False
    has_metric_prox = False
    degree: float | None = None

    @property
    def has_gradient(self) -> bool:
        return type(self).gradient is not Penalty.gradient

    @property
    def has_shrink(self) -> bool:
        return type(self).shrink is not Penalty.shrink

    def validate(self, shape: tuple[int, int] | None = None) -> None:
        """Raise a ValueError if a parameter is not allowed (for W of this shape)."""

    def value(self, W: NDArray[Any], lam: float = 1.0) -> float:
        """Return the penalty term of the objective, a float. It includes λ."""
        raise self._missing("value")

    def gradient(self, W: NDArray[Any], lam: float = 1.0) -> NDArray[Any]:
        """Return the gradient of `value`; at a kink a subgradient, with sign(0) = 0."""
        raise self._missing("gradient")

    def prox(
        self, W: NDArray[Any], step: float | NDArray[Any], lam: float = 1.0
    ) -> NDArray[Any]:
        """Return the minimizer Z of Σ (Z − W)² / (2 step) + value(Z, lam).

        See Parikh and Boyd (2014), section 1.1.
        """
        raise self._missing("prox")

    def shrink(
        self, W: NDArray[Any], step: float | NDArray[Any], lam: float = 1.0
    ) -> NDArray[Any]:
        """Return W after one step of the penalty alone: decoupled decay."""
        raise self._missing("shrink")

    def smooth_part(
        self, W: NDArray[Any], lam: float = 1.0
    ) -> tuple[float, NDArray[Any]]:
        """Return value and gradient of the part that may join the data term."""
        if self.is_smooth:
            return self.value(W, lam), self.gradient(W, lam)
        return 0.0, np.zeros_like(cast(W)[0])

    def nonsmooth_part(self, lam: float = 1.0) -> tuple["Penalty", float] | None:
        """Return what `smooth_part` leaves out: None, or a penalty and its λ."""
        return None if self.is_smooth else (self, lam)

    def cross(self, W: NDArray[Any], candidate: NDArray[Any]) -> NDArray[Any]:
        """Return the candidate with zeros for what passed a kink on the way from W.

        A solver calls it on the penalty that `nonsmooth_part` returns.
        """
        return candidate

    def lambda_max(self, G: NDArray[Any]) -> float:
        """Return the smallest λ at which W = 0 is optimal, inf if there is none.

        G is the gradient of the data term at W = 0.
        """
        raise self._missing("lambda_max")

    def form(self, lam: float, shape: tuple[int, int]) -> Form | None:
        """Return the penalty on a matrix of this shape as data, a `Form`, or None.

        None, as of any penalty of your own, leaves it to the methods.
        """
        return None

    def _missing(self, method):
        return NotImplementedError(
            f"{type(self).__name__} does not define {method!r}. See skreg.penalties."
            "Penalty for what a penalty has to define."
        )


_ARGUMENTS = {
    "value": ("W", "lam"),
    "gradient": ("W", "lam"),
    "prox": ("W", "step", "lam"),
    "shrink": ("W", "step", "lam"),
}


def check_methods(penalty, shape):
    """Raise where a method of your own penalty does not fit the contract.

    Each one is called once on a matrix of this shape: solvers would broadcast a result
    of another shape, and train on it.

    Raises
    ------
    TypeError
        If a method does not take the arguments that solvers pass by position.
    ValueError
        If it returns something else than a number (`value`) or an array like W, or
        modifies W.
    """
    W = np.linspace(-1, 1, shape[0] * shape[1]).reshape(shape)
    W[0, 0] = 0.0
    steps = [0.5, np.full(shape, 0.5)] if penalty.has_metric_prox else [0.5]
    for name, arguments in _ARGUMENTS.items():
        if getattr(type(penalty), name) is getattr(Penalty, name):
            continue
        _check_signature(penalty, name, arguments)
        for step in steps if name == "prox" else steps[:1]:
            values = {"W": W.copy(), "step": step, "lam": 0.5}
            with np.errstate(all="ignore"):
                result = getattr(penalty, name)(*(values[a] for a in arguments))
            _check_result(penalty, name, result, () if name == "value" else shape)
            if not np.array_equal(values["W"], W):
                raise ValueError(f"{type(penalty).__name__}.{name} must not modify W.")


def _check_signature(penalty, name, arguments):
    signature = inspect.signature(getattr(penalty, name))
    try:
        signature.bind(*arguments)
    except TypeError:
        raise TypeError(
            f"{type(penalty).__name__}.{name} must take ({', '.join(arguments)}), by "
            f"position; lam is the strength λ. Got {signature}."
        ) from None


def _check_result(penalty, name, result, shape):
    kind = np.ndarray if shape else float | int | np.number | np.ndarray
    is_number = isinstance(result, kind) and np.asarray(result).dtype.kind in "fiu"
    if is_number and np.shape(result) == shape:
        return
    wanted = f"an array like W, here of shape {shape}" if shape else "a float"
    got = repr(result)
    if isinstance(result, np.ndarray):
        got = f"an array of shape {result.shape} and dtype {result.dtype}"
    raise ValueError(
        f"{type(penalty).__name__}.{name} must return {wanted}. Got {got}."
    )


class WithoutOverflow:
    """Mixin of penalties for which what exceeds all floats is infinite, no warning.

    It wraps the methods of each subclass as this is defined, so that none of the many
    overrides can lack the decorator.
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        methods = {"value", "gradient", "prox", "shrink", "smooth_part"}
        for name in methods & vars(cls).keys():
            setattr(cls, name, np.errstate(over="ignore")(getattr(cls, name)))
