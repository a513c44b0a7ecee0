"""Penalties on a weight matrix: value, (sub)gradient, prox and decoupled shrink.

λ is never stored in a penalty; it is the argument ``lam`` of every method. The facts
that a solver needs are predicates of the object. A penalty that is missing here is a
subclass of `Penalty` with two methods. There the symbols of the formulas are explained.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skreg._forms import Form, GroupForm
from skreg._groups import metric_group_prox, partition, ratio
from skreg._numbers import as_float, is_boolean
from skreg._penalty import Penalty, WithoutOverflow, cast, check_number, parameter_error

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

Factors: TypeAlias = Sequence[float] | NDArray[Any] | None

_SMALLEST, _LARGEST = map(float, (np.finfo("f4").tiny, np.finfo("f4").max))


class _BuiltIn(WithoutOverflow, Penalty):
    """A penalty that engines know as data, with a factor for each row of W."""

    factors: Factors = None

    def validate(self, shape=None):
        if self.factors is None:
            return
        allowed = "None or a sequence of finite numbers >= 0, one for each row"
        if np.ndim(np.array(self.factors, dtype=object)) != 1 or not all(
            0 <= as_float(factor) < np.inf for factor in self.factors
        ):
            raise parameter_error(self, "factors", allowed)
        if shape is not None and len(self.factors) != shape[0]:
            raise parameter_error(self, "factors", f"{allowed} (here {shape[0]})")

    def _by_row(self, lam, power=1):
        """λ for each row of W, of shape (n_in, 1); without factors a float."""
        # A factor acts on w, so the quadratic part of a penalty has its square.
        if self.factors is None:
            return float(lam)
        return lam * np.array(self.factors, dtype=np.float64)[:, np.newaxis] ** power

    def form(self, lam, shape):
        # By exact type: a subclass may redefine what the data would bypass.
        return self._form(float(lam), shape) if type(self) in _BUILT_IN else None


class L2(_BuiltIn):
    """Ridge penalty, also called weight decay: λ/2 Σ w².

    Gradient λw, prox w / (1 + tλ), shrink max(1 − ηλ, 0) w. No weight becomes exactly
    zero, hence `lambda_max` is infinite (unless G = 0).

    Parameters
    ----------
    factors : array-like of shape (n_in,), default=None
        As in `L1`: the penalty has their squares.

    Examples
    --------
    >>> from skreg.penalties import L2
    >>> L2().prox([[3.0, -0.5, 0.0]], step=1.0, lam=1.0)
    array([[ 1.5 , -0.25,  0.  ]])
    """

    is_smooth = is_convex = is_separable = has_metric_prox = True
    degree = 2.0

    def __init__(self, factors: Factors = None):
        self.factors = factors

    def value(self, W, lam=1.0):
        return self.smooth_part(W, lam)[0]

    def gradient(self, W, lam=1.0):
        W, lam = cast(W, self._by_row(lam, 2))
        return lam * W

    def smooth_part(self, W, lam=1.0):
        gradient = self.gradient(np.asarray(W, dtype=np.float64), lam)  # not of squares
        return float(np.vdot(W, gradient)) / 2, gradient.astype(cast(W)[0].dtype)

    def prox(self, W, step, lam=1.0):
        W, decay = cast(W, step * self._by_row(lam, 2))
        return W / (1 + decay)

    def shrink(self, W, step, lam=1.0):
        W, decay = cast(W, step * self._by_row(lam, 2))
        return np.maximum(1 - decay, 0) * W

    def lambda_max(self, G):
        return np.inf if np.any(G * (self._by_row(1.0) > 0)) else 0.0

    def _form(self, lam, shape):
        return Form(l2=self._by_row(lam, 2))


class L1(_BuiltIn):
    """Lasso penalty: ``λ Σ |w|``.

    Proposed in [1]_. Subgradient λ sign(w), prox S(w, tλ), shrink S(w, ηλ), the exact
    flow of ``λ|w|``: it stops at zero, where a step of the subgradient would overshoot.

    Parameters
    ----------
    factors : array-like of shape (n_in,), default=None
        Factors c_j >= 0 of the rows of W: the penalty is that of the rows c_j w_j, as
        if input j were divided by c_j. 0 is no penalty; None is 1 for every row.

    References
    ----------
    .. [1] Tibshirani (1996), J. R. Stat. Soc. B 58(1).

    Examples
    --------
    >>> from skreg.penalties import L1
    >>> L1().prox([[3.0, -0.5, 0.0]], step=1.0, lam=0.75)
    array([[2.25, 0.  , 0.  ]])
    """

    is_convex = is_separable = has_metric_prox = True
    degree = 1.0

    def __init__(self, factors: Factors = None):
        self.factors = factors

    def value(self, W, lam=1.0):
        terms = np.multiply(self._by_row(lam), np.abs(W), dtype=np.float64)
        return float(np.sum(terms))

    def gradient(self, W, lam=1.0):
        W, lam = cast(W, self._by_row(lam))
        return lam * np.sign(W)

    def prox(self, W, step, lam=1.0):
        W, threshold = cast(W, step * self._by_row(lam))
        return W - np.minimum(np.maximum(W, -threshold), threshold)

    def shrink(self, W, step, lam=1.0):
        return self.prox(W, step, lam)

    def cross(self, W, candidate):
        crossed = (np.sign(W) * candidate < 0) & (self._by_row(1.0) > 0)
        return np.where(crossed, 0, candidate)

    def lambda_max(self, G):
        return float(np.max(ratio(np.abs(G), self._by_row(1.0))))

    def _form(self, lam, shape):
        return Form(l1=self._by_row(lam))


class _L1Mixture(_BuiltIn):
    """r L1 + (1 − r) times the penalty _other(), with r = l1_ratio.

    The prox is the composition of the soft threshold and the other prox, which is exact
    for L2 and for groups, in any diagonal metric.
    """

    is_convex = has_metric_prox = True

    def _parts(self, lam):
        """Both penalties, each with its own λ."""
        r = float(self.l1_ratio)
        return (L1(self.factors), lam * r), (self._other(), lam * (1 - r))

    def validate(self, shape=None):
        check_number(self, "l1_ratio", "a number in [0, 1]", lambda r: 0 <= r <= 1)
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
    """Elastic net: ``λ (r Σ |w| + (1 − r)/2 Σ w²)``, r = ``l1_ratio``.

    Subgradient λ (r sign(w) + (1 − r) w), prox S(w, tλr) / (1 + tλ(1 − r)), shrink
    S(max(1 − ηλ(1 − r), 0) w, ηλr). Proposed in [1]_.

    Parameters
    ----------
    l1_ratio : float, default=0.5
        Share of the L1 part, in [0, 1].
    factors : array-like of shape (n_in,), default=None
        As in `L1`: the ridge part has their squares.

    References
    ----------
    .. [1] Zou and Hastie (2005), J. R. Stat. Soc. B 67(2).

    Examples
    --------
    >>> from skreg.penalties import ElasticNet
    >>> ElasticNet(l1_ratio=0.5).prox([[3.0, -0.5, 0.0]], step=1.0, lam=2.0)
    array([[1., 0., 0.]])
    """

    is_separable = True

    def __init__(self, l1_ratio: float = 0.5, factors: Factors = None):
        self.l1_ratio = l1_ratio
        self.factors = factors

    @property
    def is_smooth(self):
        return self.l1_ratio == 0

    degree = property(lambda self: {0: 2.0, 1: 1.0}.get(self.l1_ratio))

    def _other(self):
        return L2(self.factors)

    def shrink(self, W, step, lam=1.0):
        for part, share in reversed(self._parts(lam)):
            W = part.shrink(W, step, share)
        return W

    def smooth_part(self, W, lam=1.0):
        l2, share = self._parts(lam)[1]
        return l2.smooth_part(W, share)

    def nonsmooth_part(self, lam=1.0):
        return None if self.is_smooth else self._parts(lam)[0]

    def lambda_max(self, G):
        if self.is_smooth:
            return L2(self.factors).lambda_max(G)
        return L1(self.factors).lambda_max(G) / float(self.l1_ratio)

    def _form(self, lam, shape):
        r = float(self.l1_ratio)
        return Form(l1=self._by_row(lam * r), l2=self._by_row(lam * (1 - r), 2))


class GroupLasso(_BuiltIn):
    """Group lasso: λ Σ_g c_g ‖w_g‖₂, which makes whole groups zero.

    Subgradient λ c_g w_g / ‖w_g‖, and 0 for a zero group; prox and shrink
    max(1 − tλc_g / ‖w_g‖, 0) w_g. With an array of steps t the norm of each group is
    the root of a scalar equation, found to rounding. Proposed in [1]_.

    Parameters
    ----------
    by : {"inputs", "units"}, default="inputs"
        "inputs": a group is a row of the weight matrix, all that leaves an input or a
        unit [2]_; a zero row is an unused feature, or a unit that can be removed.
        "units": a group is a column, all that enters a unit; a zero column makes the
        unit constant.
    groups : array-like of int or str, default=None
        One label per row (or column). Those with the same label form one group, for
        instance the columns of a one-hot encoded feature. None: each on its own.
    weighted : bool, default=True
        True: c_g is the square root of the number of weights in the group. False: 1.
    factors : array-like of shape (n_in,), default=None
        Factor of each row of W, the same for the rows of a group, and 0 where they are
        never penalized. It multiplies c_g. With ``by="inputs"`` only.

    References
    ----------
    .. [1] Yuan and Lin (2006), J. R. Stat. Soc. B 68(1).
    .. [2] Scardapane et al. (2017), Neurocomputing 241: groups of a network.

    Examples
    --------
    >>> from skreg.penalties import GroupLasso
    >>> W = [[3.0, 4.0], [0.5, -0.5]]
    >>> GroupLasso(weighted=False).prox(W, step=1.0, lam=2.5)
    array([[1.5, 2. ],
           [0. , 0. ]])
    """

    is_convex = has_metric_prox = True
    degree = 1.0

    def __init__(
        self,
        by: str = "inputs",
        groups: Any = None,
        weighted: bool = True,
        factors: Factors = None,
    ):
        self.by = by
        self.groups = groups
        self.weighted = weighted
        self.factors = factors

    def validate(self, shape=None):
        super().validate(shape)
        if not isinstance(self.by, str) or self.by not in ("inputs", "units"):
            raise parameter_error(self, "by", "'inputs' or 'units'")
        if not is_boolean(self.weighted):
            raise parameter_error(self, "weighted", "True or False")
        labels = np.array([] if self.groups is None else self.groups, dtype=object)
        if labels.ndim != 1 or not all(isinstance(g, (Integral, str)) for g in labels):
            allowed = "None or a 1-d array of integer or string labels"
            raise parameter_error(self, "groups", allowed)
        if self.factors is not None:
            self._validate_factors_of_groups()
        if shape is not None:
            self.partition(shape)

    def _validate_factors_of_groups(self):
        if self.by == "units":
            raise parameter_error(self, "factors", "None with by='units'")
        of_group, labels = {}, () if self.groups is None else self.groups
        for label, factor in zip(labels, self.factors):
            if of_group.setdefault(label, factor) != factor:
                allowed = f"the same for all rows of one group, here {label!r}"
                raise parameter_error(self, "factors", allowed)

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
        factors = None if self.factors is None else tuple(self.factors)
        return partition(tuple(shape), axis, bool(self.weighted), labels, factors)

    def value(self, W, lam=1.0):
        groups = self.partition(np.shape(W))
        return float(np.sum(lam * groups.factor * groups.norm(W)))

    def gradient(self, W, lam=1.0):
        W, lam = cast(W, lam)
        groups = self.partition(W.shape)
        direction = ratio(W, groups.spread(groups.norm(W)))
        return lam * (direction * groups.spread(groups.factor)).astype(W.dtype)

    def prox(self, W, step, lam=1.0):
        W = cast(W)[0]
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
        turned = (groups.sum(W * candidate) < 0) & (groups.factor > 0)
        return np.where(groups.spread(turned), 0, candidate)

    def lambda_max(self, G):
        groups = self.partition(np.shape(G))
        return float(np.max(ratio(groups.norm(G), groups.factor)))

    def _form(self, lam, shape):
        groups = self.partition(shape)
        return Form(groups=GroupForm(groups.axis, groups.index, lam * groups.factor))


class SparseGroupLasso(_L1Mixture, GroupLasso):
    """Sparse group lasso: ``λ (r Σ |w| + (1 − r) Σ_g c_g ‖w_g‖₂)``.

    The subgradient is the sum of the two, the prox and the shrink are the soft
    threshold followed by the prox of the `GroupLasso`. Proposed in [1]_.

    Parameters
    ----------
    l1_ratio : float, default=0.5
        Share r of the L1 part, in [0, 1].
    by : {"inputs", "units"}, default="inputs"
        As in `GroupLasso`.
    groups : array-like of int or str, default=None
        As in `GroupLasso`.
    weighted : bool, default=True
        As in `GroupLasso`.
    factors : array-like of shape (n_in,), default=None
        As in `GroupLasso`, and as in `L1` for the L1 part.

    References
    ----------
    .. [1] Simon et al. (2013), J. Comput. Graph. Stat. 22(2).

    Examples
    --------
    >>> from skreg.penalties import SparseGroupLasso
    >>> W = [[4.0, 5.0, 0.5], [1.0, -1.0, 1.0]]
    >>> SparseGroupLasso(weighted=False).prox(W, step=1.0, lam=2.0)
    array([[2.4, 3.2, 0. ],
           [0. , 0. , 0. ]])
    """

    def __init__(
        self,
        l1_ratio: float = 0.5,
        by: str = "inputs",
        groups: Any = None,
        weighted: bool = True,
        factors: Factors = None,
    ):
        super().__init__(by, groups, weighted, factors)
        self.l1_ratio = l1_ratio

    def _other(self):
        return GroupLasso(self.by, self.groups, self.weighted, self.factors)

    def lambda_max(self, G):
        # Per group the root of ‖S(g, rλ)‖ − (1 − r) c λ, which is convex and
        # decreasing in λ: Newton's method rises monotonically from 0 to it. In units of
        # the largest entry, so that nothing overflows.
        groups = self.partition(np.shape(G))
        unit = float(np.ldexp(1.0, np.frexp(np.max(np.abs(G)))[1] - 1))
        size, r = np.abs(G) / unit, self._by_row(float(self.l1_ratio))
        c = (1 - float(self.l1_ratio)) * groups.factor
        lam = np.zeros(len(c))
        for _ in range(100):
            excess = np.maximum(size - r * groups.spread(lam), 0)
            norm = groups.norm(excess)
            slope = ratio(groups.sum(r * excess), norm) + c
            newton = ratio(norm - c * lam, slope)
            lam += newton
            if np.all(newton <= 1e-15 * lam):
                break
        return float(np.max(lam)) * unit

    def _form(self, lam, shape):
        (l1, l1_share), (group, group_share) = self._parts(lam)
        groups = group._form(group_share, shape).groups
        return Form(l1=l1._by_row(l1_share), groups=groups)


class _FoldedConcave(_BuiltIn):
    """λ|w| near zero, and constant from a saturation point on.

    In between the derivative falls linearly from λ at |w| = start to 0 at |w| = stop;
    ramp(lam) returns these two. The smooth part is concave, the nonsmooth one λ Σ |w|.
    """

    is_separable = has_metric_prox = True

    def value(self, W, lam=1.0):
        size = np.abs(np.asarray(W, dtype=np.float64))
        bend, stop = self._bend(size, lam)
        return float(np.sum(self._by_row(lam) * (np.minimum(size, stop) - bend)))

    def gradient(self, W, lam=1.0):
        return L1(self.factors).gradient(W, lam) + self.smooth_part(W, lam)[1]

    def prox(self, W, step, lam=1.0):
        W = cast(W)[0]
        threshold = np.asarray(step * self._by_row(lam), dtype=np.float64)
        start, stop = self._ramp_by_row(lam)
        size = np.abs(W, dtype=np.float64)
        soft = np.maximum(size - threshold, 0)

        # Small steps: a convex problem, whose solution is continuous in W.
        room = stop - start - threshold
        is_small = room > 0
        share = (stop - np.minimum(size, stop)) / np.where(is_small, room, 1)
        ramp = size - np.where(is_small, threshold, 0) * share
        small = np.where(size <= start + threshold, soft, ramp)

        # Large steps: the better one of two local minima, the soft threshold and W.
        a, b = start + stop, threshold
        switch = np.where(b < a, a / 2 + b / 2, np.sqrt(a) * np.sqrt(b))
        large = np.where(size <= switch, soft, size)
        return (np.sign(W) * np.where(is_small, small, large) + 0.0).astype(W.dtype)

    def smooth_part(self, W, lam=1.0):
        W = cast(W)[0]
        size, slope = np.abs(W, dtype=np.float64), self._by_row(lam)
        bend, stop = self._bend(size, lam)
        start, _ = self._ramp_by_row(lam)
        fraction = np.clip(ratio(size - start, stop - start), 0, 1)
        saved = bend + np.maximum(size - stop, 0)
        gradient = -slope * fraction * np.sign(W)
        return -float(np.sum(slope * saved)), gradient.astype(W.dtype)

    def _bend(self, size, lam):
        """What λ|w| is above the penalty up to the saturation point, over λ; stop."""
        start, stop = self._ramp_by_row(lam)
        way = np.clip(size - start, 0, stop - start)
        return way / 2 * ratio(way, stop - start), stop

    def _ramp_by_row(self, lam):
        """The ramp in units of each row, of a length that float32 can tell from 0."""
        start, stop = self.ramp(float(lam))
        if self.factors is not None:
            with np.errstate(over="ignore"):
                start, stop = (ratio(a, self._by_row(1.0)) for a in (start, stop))
        start = np.minimum(start, _LARGEST / 2)
        stop = np.clip(stop, start + _SMALLEST, _LARGEST)
        return (float(start), float(stop)) if self.factors is None else (start, stop)

    def nonsmooth_part(self, lam=1.0):
        return L1(self.factors), lam

    def lambda_max(self, G):
        return L1(self.factors).lambda_max(G)

    def validate(self, shape=None):
        super().validate(shape)
        if self.saturation is not None:
            check_number(self, "saturation", "None or a number > 0", lambda v: v > 0)

    def _form(self, lam, shape):
        return Form(l1=self._by_row(lam), ramp=self._ramp_by_row(lam))


class MCP(_FoldedConcave):
    """Minimax concave penalty, which does not shrink large weights.

    ``λ|w| − w²/(2γ)`` up to the saturation point ``|w| = γλ``, and λ²γ/2 beyond: λ is
    the slope at 0, not a factor. Subgradient ``sign(w) max(λ − |w|/γ, 0)``. Prox for
    t < γ: S(w, tλ) / (1 − t/γ) if ``|w| ≤ γλ``, else w; for t ≥ γ: w if
    ``|w| > λ √(γt)``, else 0. No shrink. `lambda_max`, that of `L1`, makes 0 a local
    minimum. Proposed in [1]_.

    Parameters
    ----------
    gamma : float, default=3.0
        Positive number γ. The larger, the closer to `L1`.
    saturation : float, default=None
        Saturation point τ > 0 in the unit of the weights. If given, γ is τ/λ, and
        ``gamma`` is not used; the penalty ``λ (|w| − w²/(2τ))`` up to τ is linear in λ.
        This is the form for networks: a fixed γ at the usual, small λ would leave
        almost all weights without penalty.
    factors : array-like of shape (n_in,), default=None
        As in `L1`.

    References
    ----------
    .. [1] Zhang (2010), Ann. Stat. 38(2).

    Examples
    --------
    >>> from skreg.penalties import MCP
    >>> MCP(gamma=3.0).prox([[0.5, 2.0, 4.0]], step=1.0, lam=1.0)
    array([[0. , 1.5, 4. ]])
    """

    def __init__(
        self,
        gamma: float = 3.0,
        saturation: float | None = None,
        factors: Factors = None,
    ):
        self.gamma = gamma
        self.saturation = saturation
        self.factors = factors

    def validate(self, shape=None):
        check_number(self, "gamma", "a number > 0", lambda v: v > 0)
        super().validate(shape)

    def ramp(self, lam):
        """Return where the slope begins to fall and where it has reached 0."""
        fixed = self.saturation is not None
        return 0.0, float(self.saturation) if fixed else float(self.gamma) * lam


class SCAD(_FoldedConcave):
    """Smoothly clipped absolute deviation, which does not shrink large weights.

    The derivative for w > 0 is λ up to λ, then (aλ − w)/(a − 1), and 0 from the
    saturation point aλ on, where the penalty has reached λ²(a + 1)/2: λ is the slope at
    0, not a factor. Prox for t < a − 1: S(w, tλ) if ``|w| ≤ λ(1 + t)``, then
    ((a − 1)w − sign(w) taλ) / (a − 1 − t) if ``|w| ≤ aλ``, else w; for
    a − 1 ≤ t ≤ a + 1: S(w, tλ) if ``|w| ≤ λ(a + 1 + t)/2``, else w; for t > a + 1: w
    if ``|w| > λ √((a + 1)t)``, else 0. No shrink. `lambda_max`, that of `L1`, makes 0
    a local minimum. Proposed in [1]_.

    Parameters
    ----------
    a : float, default=3.7
        Number above 2. The larger, the closer to `L1`.
    saturation : float, default=None
        Saturation point τ > 0 in the unit of the weights. If given, a is τ/λ, and the
        parameter ``a`` is not used. As a may not fall below 2, it is 2, and the
        saturation point is 2λ, for every λ > τ/2.
    factors : array-like of shape (n_in,), default=None
        As in `L1`.

    References
    ----------
    .. [1] Fan and Li (2001), J. Am. Stat. Assoc. 96(456).

    Examples
    --------
    >>> from skreg.penalties import SCAD
    >>> SCAD(a=3.0).prox([[0.5, 1.75, 2.5, 4.0]], step=1.0, lam=1.0)
    array([[0.  , 0.75, 2.  , 4.  ]])
    """

    def __init__(
        self, a: float = 3.7, saturation: float | None = None, factors: Factors = None
    ):
        self.a = a
        self.saturation = saturation
        self.factors = factors

    def validate(self, shape=None):
        check_number(self, "a", "a number > 2", lambda v: v > 2)
        super().validate(shape)

    def ramp(self, lam):
        """Return where the slope begins to fall and where it has reached 0."""
        if self.saturation is None:
            return lam, float(self.a) * lam
        return lam, max(float(self.saturation), 2 * lam)


_BUILT_IN = {L1, L2, ElasticNet, GroupLasso, SparseGroupLasso, MCP, SCAD}


def without_groups(penalty):
    """Return the penalty for another matrix, without labels or factors of rows."""
    named = [n for n in ("groups", "factors") if getattr(penalty, n, None) is not None]
    return clone(penalty).set_params(**dict.fromkeys(named)) if named else penalty


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

    Raises
    ------
    ValueError
        If `penalty` is none of these.

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
