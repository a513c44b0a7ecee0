"""Penalties on a weight matrix: value, (sub)gradient, prox and decoupled shrink.

λ is never stored in a penalty; it is the argument ``lam`` of every method. The facts
that a solver needs are predicates of the object. A penalty that is missing here is a
subclass of `Penalty` with two methods. In the formulas t is the step of the prox, η the
learning rate of the decoupled shrink, and S(w, t) = sign(w) max(|w| − t, 0) the soft
threshold.

References
----------
.. [1] Tibshirani (1996), J. R. Stat. Soc. B 58(1): lasso.
.. [2] Zou and Hastie (2005), J. R. Stat. Soc. B 67(2): elastic net.
.. [3] Yuan and Lin (2006), J. R. Stat. Soc. B 68(1): group lasso.
.. [4] Scardapane et al. (2017), Neurocomputing 241: groups of a network.
.. [5] Simon et al. (2013), J. Comput. Graph. Stat. 22(2): sparse group lasso.
.. [6] Zhang (2010), Ann. Stat. 38(2): MCP.
.. [7] Fan and Li (2001), J. Am. Stat. Assoc. 96(456): SCAD.
.. [8] Parikh and Boyd (2014), Found. Trends Optim. 1(3): proximal algorithms.
"""

import math
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, clone

from skreg._groups import metric_group_prox, partition, ratio

__all__ = [
    "L1",
    "L2",
    "MCP",
    "SCAD",
    "ElasticNet",
    "GroupLasso",
    "Penalty",
    "SparseGroupLasso",
    "check_penalty",
]


def _cast(W, *factors):
    """Return W as a floating array, and the factors in its precision."""
    W = np.asarray(W)
    if W.dtype not in (np.float32, np.float64):
        W = W.astype(np.float64)
    return W, *(np.asarray(factor, dtype=W.dtype) for factor in factors)


def _parameter_error(penalty, name, allowed):
    return ValueError(
        f"The {name!r} parameter of {type(penalty).__name__} must be {allowed}. "
        f"Got {getattr(penalty, name)!r} instead."
    )


def _check_number(penalty, name, allowed, is_allowed):
    """Raise unless the parameter is a finite number for which is_allowed holds."""
    number = getattr(penalty, name)
    is_number = isinstance(number, Real) and not isinstance(number, bool)
    if not (is_number and math.isfinite(number) and is_allowed(number)):
        raise _parameter_error(penalty, name, allowed)


class Penalty(BaseEstimator):
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
    has_gradient, has_shrink : bool
        The class defines the method.

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

    @property
    def has_gradient(self):
        return type(self).gradient is not Penalty.gradient

    @property
    def has_shrink(self):
        return type(self).shrink is not Penalty.shrink

    def validate(self, shape=None):
        """Raise a ValueError if a parameter is not allowed (for W of this shape)."""

    def value(self, W, lam=1.0):
        """Return the penalty term of the objective, a float. It includes λ."""
        raise self._missing("value")

    def gradient(self, W, lam=1.0):
        """Return the gradient of `value`; at a kink a subgradient, with sign(0) = 0."""
        raise self._missing("gradient")

    def prox(self, W, step, lam=1.0):
        """Return the minimizer Z of Σ (Z − W)² / (2 step) + value(Z, lam), see [8]."""
        raise self._missing("prox")

    def shrink(self, W, step, lam=1.0):
        """Return W after one step of the penalty alone: decoupled decay."""
        raise self._missing("shrink")

    def smooth_part(self, W, lam=1.0):
        """Return value and gradient of the part that may join the data term."""
        if self.is_smooth:
            return self.value(W, lam), self.gradient(W, lam)
        return 0.0, np.zeros_like(_cast(W)[0])

    def kink(self, lam=1.0):
        """Return what `smooth_part` leaves out: None, or a penalty and its λ."""
        return None if self.is_smooth else (self, lam)

    def cross(self, W, candidate):
        """Return the candidate with zeros for what passed a kink on the way from W.

        A solver calls it on the penalty that `kink` returns.
        """
        return candidate

    def lambda_max(self, G):
        """Return the smallest λ at which W = 0 is optimal, inf if there is none.

        G is the gradient of the data term at W = 0.
        """
        raise self._missing("lambda_max")

    def _missing(self, method):
        return NotImplementedError(
            f"{type(self).__name__} does not define {method!r}. See skreg.penalties."
            "Penalty for what a penalty has to define."
        )


class L2(Penalty):
    """Ridge penalty, also called weight decay: λ/2 Σ w².

    Gradient λw, prox w / (1 + tλ), shrink max(1 − ηλ, 0) w. No weight becomes exactly
    zero, hence `lambda_max` is infinite (unless G = 0).

    Examples
    --------
    >>> from skreg.penalties import L2
    >>> L2().prox([[3.0, -0.5, 0.0]], step=1.0, lam=1.0)
    array([[ 1.5 , -0.25,  0.  ]])
    """

    is_smooth = is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return float(lam / 2 * np.square(W, dtype=np.float64).sum())

    def gradient(self, W, lam=1.0):
        W, lam = _cast(W, lam)
        return lam * W

    def smooth_part(self, W, lam=1.0):
        gradient = self.gradient(W, lam)
        return float(np.vdot(W, gradient)) / 2, gradient

    def prox(self, W, step, lam=1.0):
        W, decay = _cast(W, step * lam)
        return W / (1 + decay)

    def shrink(self, W, step, lam=1.0):
        W, decay = _cast(W, step * lam)
        return np.maximum(1 - decay, 0) * W

    def lambda_max(self, G):
        return np.inf if np.any(G) else 0.0


class L1(Penalty):
    """Lasso penalty [1]: λ Σ |w|.

    Subgradient λ sign(w), prox S(w, tλ), shrink S(w, ηλ). The shrink is the exact flow
    of λ|w|: it stops at zero, where a step of the subgradient would overshoot.

    Examples
    --------
    >>> from skreg.penalties import L1
    >>> L1().prox([[3.0, -0.5, 0.0]], step=1.0, lam=0.75)
    array([[2.25, 0.  , 0.  ]])
    """

    is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return float(lam * np.abs(W).sum(dtype=np.float64))

    def gradient(self, W, lam=1.0):
        W, lam = _cast(W, lam)
        return lam * np.sign(W)

    def prox(self, W, step, lam=1.0):
        W, threshold = _cast(W, step * lam)
        return W - np.minimum(np.maximum(W, -threshold), threshold)

    def shrink(self, W, step, lam=1.0):
        return self.prox(W, step, lam)

    def cross(self, W, candidate):
        return np.where(np.sign(W) * candidate < 0, 0, candidate)

    def lambda_max(self, G):
        return float(np.max(np.abs(G)))


class _L1Mixture(Penalty):
    """r L1 + (1 − r) times the penalty _other(), with r = l1_ratio.

    The prox is the composition of the soft threshold and the other prox, which is exact
    for L2 and for groups, in any diagonal metric.
    """

    is_convex = has_metric_prox = True

    def _parts(self, lam):
        """Both penalties, each with its own λ."""
        r = float(self.l1_ratio)
        return (L1(), lam * r), (self._other(), lam * (1 - r))

    def validate(self, shape=None):
        _check_number(self, "l1_ratio", "a number in [0, 1]", lambda r: 0 <= r <= 1)
        super().validate(shape)

    def value(self, W, lam=1.0):
        return sum(part.value(W, share) for part, share in self._parts(lam))

    def gradient(self, W, lam=1.0):
        return sum(part.gradient(W, share) for part, share in self._parts(lam))

    def prox(self, W, step, lam=1.0):
        for part, share in self._parts(lam):
            W = part.prox(W, step, share)
        return W

    def cross(self, W, candidate):
        for part, share in self._parts(1.0):
            candidate = part.cross(W, candidate) if share > 0 else candidate
        return candidate


class ElasticNet(_L1Mixture):
    """Elastic net [2]: λ (r Σ |w| + (1 − r)/2 Σ w²), with r = ``l1_ratio``.

    Subgradient λ (r sign(w) + (1 − r) w), prox S(w, tλr) / (1 + tλ(1 − r)), shrink
    S(max(1 − ηλ(1 − r), 0) w, ηλr).

    Parameters
    ----------
    l1_ratio : float, default=0.5
        Share of the L1 part, in [0, 1].

    Examples
    --------
    >>> from skreg.penalties import ElasticNet
    >>> ElasticNet(l1_ratio=0.5).prox([[3.0, -0.5, 0.0]], step=1.0, lam=2.0)
    array([[1., 0., 0.]])
    """

    is_separable = True

    def __init__(self, l1_ratio=0.5):
        self.l1_ratio = l1_ratio

    @property
    def is_smooth(self):
        return self.l1_ratio == 0

    def _other(self):
        return L2()

    def shrink(self, W, step, lam=1.0):
        for part, share in reversed(self._parts(lam)):
            W = part.shrink(W, step, share)
        return W

    def smooth_part(self, W, lam=1.0):
        l2, share = self._parts(lam)[1]
        return l2.smooth_part(W, share)

    def kink(self, lam=1.0):
        return None if self.is_smooth else self._parts(lam)[0]

    def lambda_max(self, G):
        if self.is_smooth:
            return L2().lambda_max(G)
        return L1().lambda_max(G) / float(self.l1_ratio)


class GroupLasso(Penalty):
    """Group lasso [3]: λ Σ_g c_g ‖w_g‖₂, which makes whole groups zero.

    Subgradient λ c_g w_g / ‖w_g‖, and 0 for a zero group; prox and shrink
    max(1 − tλc_g / ‖w_g‖, 0) w_g. With an array of steps t the norm of each group is
    the root of a scalar equation, found to rounding.

    Parameters
    ----------
    by : {"inputs", "units"}, default="inputs"
        "inputs": a group is a row of the weight matrix, all that leaves an input or a
        unit [4]; a zero row is an unused feature, or a unit that can be removed.
        "units": a group is a column, all that enters a unit; a zero column makes the
        unit constant.
    groups : array-like of int or str, default=None
        One label per row (or column). Those with the same label form one group, for
        instance the columns of a one-hot encoded feature. None: each on its own.
    weighted : bool, default=True
        True: c_g is the square root of the number of weights in the group. False: 1.

    Examples
    --------
    >>> from skreg.penalties import GroupLasso
    >>> W = [[3.0, 4.0], [0.5, -0.5]]
    >>> GroupLasso(weighted=False).prox(W, step=1.0, lam=2.5)
    array([[1.5, 2. ],
           [0. , 0. ]])
    """

    is_convex = has_metric_prox = True

    def __init__(self, by="inputs", groups=None, weighted=True):
        self.by = by
        self.groups = groups
        self.weighted = weighted

    def validate(self, shape=None):
        if self.by not in ("inputs", "units"):
            raise _parameter_error(self, "by", "'inputs' or 'units'")
        if not isinstance(self.weighted, (bool, np.bool_)):
            raise _parameter_error(self, "weighted", "True or False")
        labels = np.array([] if self.groups is None else self.groups, dtype=object)
        if labels.ndim != 1 or not all(isinstance(g, (Integral, str)) for g in labels):
            allowed = "None or a 1-d array of integer or string labels"
            raise _parameter_error(self, "groups", allowed)
        if shape is not None:
            self.partition(shape)

    def partition(self, shape):
        """Return the groups of a matrix of this shape and their weights c_g."""
        axis = 0 if self.by == "inputs" else 1
        labels = None if self.groups is None else tuple(self.groups)
        if labels is not None and len(labels) != shape[axis]:
            lines = "rows" if self.by == "inputs" else "columns"
            raise ValueError(
                f"The 'groups' parameter of {type(self).__name__} must hold one label "
                f"for each of the {shape[axis]} {lines}. Got {len(labels)} labels "
                "instead."
            )
        return partition(tuple(shape), axis, bool(self.weighted), labels)

    def value(self, W, lam=1.0):
        groups = self.partition(np.shape(W))
        return float(lam * np.sum(groups.factor * groups.norm(W)))

    def gradient(self, W, lam=1.0):
        W, lam = _cast(W, lam)
        groups = self.partition(W.shape)
        scale = ratio(groups.factor, groups.norm(W))
        return lam * W * groups.spread(scale).astype(W.dtype)

    def prox(self, W, step, lam=1.0):
        W = _cast(W)[0]
        groups = self.partition(W.shape)
        c = float(lam) * groups.factor
        if np.ndim(step) > 0:
            Z = metric_group_prox(W, step, c, groups)
        else:
            scale = np.maximum(1 - ratio(step * c, groups.norm(W)), 0)
            Z = W * groups.spread(scale)
        return Z.astype(W.dtype) + 0.0  # a zero has no sign

    def shrink(self, W, step, lam=1.0):
        return self.prox(W, step, lam)

    def cross(self, W, candidate):
        groups = self.partition(W.shape)
        turned = groups.sum(W * candidate) < 0
        return np.where(groups.spread(turned), 0, candidate)

    def lambda_max(self, G):
        groups = self.partition(np.shape(G))
        return float(np.max(groups.norm(G) / groups.factor))


class SparseGroupLasso(_L1Mixture, GroupLasso):
    """Sparse group lasso [5]: λ (r Σ |w| + (1 − r) Σ_g c_g ‖w_g‖₂).

    The subgradient is the sum of the two, the prox and the shrink are the soft
    threshold followed by the prox of the `GroupLasso`.

    Parameters
    ----------
    l1_ratio : float, default=0.5
        Share r of the L1 part, in [0, 1].
    by, groups, weighted : same as in `GroupLasso`
        The groups and their c_g.

    Examples
    --------
    >>> from skreg.penalties import SparseGroupLasso
    >>> W = [[4.0, 5.0, 0.5], [1.0, -1.0, 1.0]]
    >>> SparseGroupLasso(weighted=False).prox(W, step=1.0, lam=2.0)
    array([[2.4, 3.2, 0. ],
           [0. , 0. , 0. ]])
    """

    def __init__(self, l1_ratio=0.5, by="inputs", groups=None, weighted=True):
        super().__init__(by, groups, weighted)
        self.l1_ratio = l1_ratio

    def _other(self):
        return GroupLasso(self.by, self.groups, self.weighted)

    def lambda_max(self, G):
        # Per group the root of ‖S(g, rλ)‖ − (1 − r) c λ, which is convex and
        # decreasing in λ: Newton's method rises monotonically from 0 to it.
        groups = self.partition(np.shape(G))
        r, size = float(self.l1_ratio), np.abs(G)
        c = (1 - r) * groups.factor
        lam = np.zeros(len(c))
        for _ in range(100):
            excess = np.maximum(size - groups.spread(r * lam), 0)
            norm = groups.norm(excess)
            newton = ratio(norm - c * lam, r * ratio(groups.sum(excess), norm) + c)
            lam += newton
            if np.all(newton <= 1e-15 * lam):
                break
        return float(np.max(lam))


class _FoldedConcave(Penalty):
    """λ|w| near zero, and constant from a saturation point on.

    In between the derivative falls linearly from λ at |w| = start to 0 at |w| = stop;
    ramp(lam) returns these two. The smooth part is concave, the kink is λ Σ |w|.
    """

    is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        return L1().value(W, lam) + self.smooth_part(W, lam)[0]

    def gradient(self, W, lam=1.0):
        return L1().gradient(W, lam) + self.smooth_part(W, lam)[1]

    def prox(self, W, step, lam=1.0):
        W, threshold = _cast(W, step * lam)
        start, stop = self.ramp(float(lam))
        size = np.abs(W)
        soft = np.maximum(size - threshold, 0)

        # Small steps: a convex problem, whose solution is continuous in W.
        room = stop - start - threshold
        share = (stop - size) / np.where(room > 0, room, 1)
        ramp = np.where(size < stop, size - threshold * share, size)
        small = np.where(size <= start + threshold, soft, ramp)

        # Large steps: the better one of two local minima, the soft threshold and W.
        a, b = start + stop, threshold
        switch = np.where(b < a, (a + b) / 2, np.sqrt(a * b))
        large = np.where(size <= switch, soft, size)
        return np.sign(W) * np.where(room > 0, small, large) + 0.0

    def smooth_part(self, W, lam=1.0):
        W = _cast(W)[0]
        start, stop = self.ramp(float(lam))
        size, width = np.abs(W), stop - start
        fraction = np.clip(ratio(size - start, width), 0, 1)  # of the way to stop
        saved = width / 2 * np.square(fraction) + np.maximum(size - stop, 0)
        gradient = -float(lam) * fraction * np.sign(W)
        return -float(lam * np.sum(saved)), gradient.astype(W.dtype)

    def kink(self, lam=1.0):
        return L1(), lam

    def lambda_max(self, G):
        return L1().lambda_max(G)

    def validate(self, shape=None):
        if self.saturation is not None:
            _check_number(self, "saturation", "None or a number > 0", lambda v: v > 0)


class MCP(_FoldedConcave):
    """Minimax concave penalty [6], which does not shrink large weights.

    λ|w| − w²/(2γ) up to the saturation point |w| = γλ, and λ²γ/2 beyond: λ is the slope
    at 0, not a factor. Subgradient sign(w) max(λ − |w|/γ, 0). Prox for t < γ:
    S(w, tλ) / (1 − t/γ) if |w| ≤ γλ, else w; for t ≥ γ: w if |w| > λ √(γt), else 0.
    No shrink. `lambda_max`, that of `L1`, makes 0 a local minimum.

    Parameters
    ----------
    gamma : float, default=3.0
        Positive number γ. The larger, the closer to `L1`.
    saturation : float, default=None
        Saturation point τ > 0 in the unit of the weights. If given, γ is τ/λ, and
        ``gamma`` is not used; the penalty, λ (|w| − w²/(2τ)) up to τ, is linear in λ.
        This is the form for networks: a fixed γ at the usual, small λ would leave
        almost all weights without penalty.

    Examples
    --------
    >>> from skreg.penalties import MCP
    >>> MCP(gamma=3.0).prox([[0.5, 2.0, 4.0]], step=1.0, lam=1.0)
    array([[0. , 1.5, 4. ]])
    """

    def __init__(self, gamma=3.0, saturation=None):
        self.gamma = gamma
        self.saturation = saturation

    def validate(self, shape=None):
        _check_number(self, "gamma", "a number > 0", lambda v: v > 0)
        super().validate(shape)

    def ramp(self, lam):
        """Return where the slope begins to fall and where it has reached 0."""
        fixed = self.saturation is not None
        return 0.0, float(self.saturation if fixed else self.gamma * lam)


class SCAD(_FoldedConcave):
    """Smoothly clipped absolute deviation [7], which does not shrink large weights.

    The derivative for w > 0 is λ up to λ, then (aλ − w)/(a − 1), and 0 from the
    saturation point aλ on, where the penalty has reached λ²(a + 1)/2: λ is the slope at
    0, not a factor. Prox for t < a − 1: S(w, tλ) if |w| ≤ λ(1 + t), then
    ((a − 1)w − sign(w) taλ) / (a − 1 − t) if |w| ≤ aλ, else w; for a − 1 ≤ t ≤ a + 1:
    S(w, tλ) if |w| ≤ λ(a + 1 + t)/2, else w; for t > a + 1: w if |w| > λ √((a + 1)t),
    else 0. No shrink. `lambda_max`, that of `L1`, makes 0 a local minimum.

    Parameters
    ----------
    a : float, default=3.7
        Number above 2. The larger, the closer to `L1`.
    saturation : float, default=None
        Saturation point τ > 0 in the unit of the weights. If given, a is τ/λ, and the
        parameter ``a`` is not used. As a may not fall below 2, it is 2, and the
        saturation point is 2λ, for every λ > τ/2.

    Examples
    --------
    >>> from skreg.penalties import SCAD
    >>> SCAD(a=3.0).prox([[0.5, 1.75, 2.5, 4.0]], step=1.0, lam=1.0)
    array([[0.  , 0.75, 2.  , 4.  ]])
    """

    def __init__(self, a=3.7, saturation=None):
        self.a = a
        self.saturation = saturation

    def validate(self, shape=None):
        _check_number(self, "a", "a number > 2", lambda v: v > 2)
        super().validate(shape)

    def ramp(self, lam):
        """Return where the slope begins to fall and where it has reached 0."""
        fixed = self.saturation is not None
        return lam, float(max(self.saturation, 2 * lam) if fixed else self.a * lam)


def without_groups(penalty):
    """Return the penalty with each row (column) as a group, for another matrix."""
    if getattr(penalty, "groups", None) is None:
        return penalty
    return clone(penalty).set_params(groups=None)


_BY_NAME = {
    "l1": lambda l1_ratio: L1(),
    "l2": lambda l1_ratio: L2(),
    "elasticnet": ElasticNet,
    "group_lasso": lambda l1_ratio: GroupLasso(),
    "sparse_group_lasso": SparseGroupLasso,
}


def check_penalty(penalty, l1_ratio=0.5):
    """Return the penalty that the ``penalty`` parameter of an estimator stands for.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet", "group_lasso", "sparse_group_lasso"}, \
            Penalty or None
        A penalty is returned unchanged.
    l1_ratio : float, default=0.5
        Share of the L1 part in "elasticnet" and "sparse_group_lasso".

    Returns
    -------
    Penalty or None
        The penalty. Its parameters are not checked, see `Penalty.validate`.

    Examples
    --------
    >>> from skreg.penalties import check_penalty
    >>> check_penalty("elasticnet", l1_ratio=0.3)
    ElasticNet(l1_ratio=0.3)
    """
    if penalty is None or isinstance(penalty, Penalty):
        return penalty
    if isinstance(penalty, str) and penalty in _BY_NAME:
        return _BY_NAME[penalty](l1_ratio)
    names = ", ".join(repr(name) for name in _BY_NAME)
    raise ValueError(
        f"The 'penalty' parameter must be None, one of {names}, or an instance of "
        f"skreg.penalties.Penalty. Got {penalty!r} instead."
    )
