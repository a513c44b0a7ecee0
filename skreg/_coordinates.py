"""Coordinates in which the units of inputs and targets do not matter.

The deterministic solver sees the network as if inputs and targets were standardized:

    theta = offset + D u,    then    b_1 <- b_1 - mean' W_1,

with a diagonal D of powers of the spreads of inputs and targets. Objective, penalties
and lambda stay what they are; only the solver's variables u, and with them its start,
its metric and its tolerances, are free of units. It sees the objective itself in
units of a power of two: nothing is rounded by that, and no square of a gradient
overflows or vanishes where that of the targets does not.
"""

import numpy as np

# A spread below this share of the mean is 0.
_SPREAD_ROUNDING = 8 * np.finfo(np.float64).eps
_FARTHEST = 30.0  # log of what a unit may differ by from the common one


def degree(penalty):
    """By which power of a unit its value scales; near 0, where it has several."""
    return penalty.degree or (2.0 if penalty.is_smooth else 1.0)


def common_log(logs, degrees):
    """Log of the one lambda that stands for those of all layers, given their logs.

    Layers that are rescaled, W_l <- c_l W_l with a product of all c_l of 1, see their
    lambda times ``c_l ** -degree_l``: of the minima over c, only the product of the
    ``lambda_l ** (1 / degree_l)`` is left.
    """
    return np.average(logs, weights=1 / np.asarray(degrees, dtype=float))


def spread_or_size(spread, mean):
    """Replace spreads that are rounding by the size of the mean, or by 1.

    A constant column has no spread, but its size is the unit of its rounding errors.
    """
    size = np.abs(mean)
    spread = np.where(spread > _SPREAD_ROUNDING * size, spread, size)
    return np.where(spread > 0, spread, 1.0)


def _strengths(penalty, lam, shape):
    """Strength of norms and of squares in each row of a penalized matrix.

    Returns
    -------
    l1, l2 : float or ndarray of shape (n_in, 1)
        A group counts as if its norm were shared equally by its weights; a penalty that
        is not known as data counts as none.
    """
    form = penalty.form(lam, shape) if penalty is not None and lam > 0 else None
    if form is None:
        return 0.0, 0.0
    l1 = form.l1
    if form.groups is not None:
        index, kappa = form.groups.index, form.groups.kappa
        sizes = np.bincount(index, minlength=len(kappa)) * shape[1 - form.groups.axis]
        share = (kappa / np.sqrt(sizes))[index]
        l1 = l1 + (share[:, np.newaxis] if form.groups.axis == 0 else share.mean())
    return l1, form.l2


class Coordinates:
    """The map between parameters theta and the solver's variables u.

    Units flow through the layers: the inputs have the typical spread ``a_0``, the
    outputs that of the targets, ``a_L``, and the units of hidden layer l have ``a_l``:
    1 where the activation saturates; where it is homogeneous, what gives the penalties
    of all layers the same strength. So W_l is ``a_l / a_{l-1}`` times its variable, b_l
    ``a_l`` times. Row j of W_1 has the spread s_j of its input in place of ``a_0``, but
    not where the penalty alone would keep the row near 0, as it does those of inputs
    that hardly vary: with strengths l1 and l2 of |w| and w^2 / 2 its unit is

        1 / (sqrt((s_j / a_1)^2 + l2 / e) + l1 / e),

    where ``e`` is the unit of the objective, ``a_L^2`` times the curvature of the loss.
    All units below the last layer are divided by the root of the number of outputs: the
    curvature of the objective there is a sum over outputs, in the last layer that of
    one. Inputs are centered at their mean, and the last intercepts are counted from the
    null prediction.

    Parameters
    ----------
    network : Network
    penalties : tuple of Penalty or None
        One per layer. One whose prox cannot take a diagonal metric gets a single unit
        for the whole matrix.
    free : bool
        Whether intercepts are free of penalties. If not, shifts of X and y change the
        objective, and nothing is shifted.
    input_mean, input_spread : ndarray of shape (n_inputs,)
    target_spread : float
    null_prediction : ndarray of shape (n_outputs,)
    curvature : float
        Of the loss there.
    lam : ndarray of shape (n_layers,)

    Attributes
    ----------
    scale : ndarray of shape (n_parameters,)
        The diagonal of D.
    mean : ndarray of shape (n_inputs,)
        Of the inputs, or 0 where intercepts are penalized.
    shift : ndarray of shape (n_outputs,)
        Of the last intercepts: the null prediction, or 0 where they are penalized.
    objective_unit : float
        The least power of two above ``e``; 1 where that is not finite.
    target_spread : float
        ``a_L``.
    input_spread : float
        ``a_0``.
    weight_unit : float
        Geometric mean of the units of the weights over the layers.
    imbalance : float >= 1
        The largest of these units divided by their mean. One lambda for all layers is
        so much stronger there.
    """

    # The solver sees what is not finite.
    @np.errstate(divide="ignore", over="ignore", invalid="ignore")
    def __init__(
        self,
        network,
        penalties,
        free,
        input_mean,
        input_spread,
        target_spread,
        null_prediction,
        curvature,
        lam,
    ):
        largest = np.abs(null_prediction).max()
        self.target_spread = target = float(spread_or_size(target_spread, largest))
        if not free:
            input_spread = np.hypot(input_spread, input_mean)
            input_mean, null_prediction = 0 * input_mean, 0 * null_prediction
        constant = input_spread <= _SPREAD_ROUNDING * np.abs(input_mean)
        columns = spread_or_size(input_spread, input_mean)
        typical = float(np.median(columns[~constant])) if not constant.all() else 1.0
        self.input_spread = typical
        self.weight_unit = (self.target_spread / typical) ** (1 / network.n_layers)
        self.mean, self.shift = input_mean, null_prediction
        self._weights = network.slices[0], network.shapes[0]
        self._first = network.slices[network.n_layers]
        self._last = network.slices[-1]
        unit = max(curvature * target * target, np.finfo(float).tiny)
        exponent = min(np.frexp(unit)[1], 1023) if np.isfinite(unit) else 0
        self.objective_unit = float(np.ldexp(1.0, exponent))
        self.scale = np.empty(network.n_parameters)
        units = np.ones(network.n_layers + 1)
        units[[0, -1]] = self.input_spread, self.target_spread
        if network.is_homogeneous:
            units[1:] = typical * np.cumprod(self._balanced(penalties, lam))
        self.imbalance = float((units[1:] / units[:-1]).max() / self.weight_unit)
        for layer in range(network.n_layers):
            self.scale[network.slices[layer]] = units[layer + 1] / units[layer]
            self.scale[network.slices[network.n_layers + layer]] = units[layer + 1]
        if penalties[0] is None or penalties[0].has_metric_prox:
            l1, l2 = _strengths(penalties[0], lam[0], network.shapes[0])
            inverse = np.hypot(columns[:, np.newaxis] / units[1], np.sqrt(l2 / unit))
            rows = self.scale[network.slices[0]].reshape(network.shapes[0])
            rows[:] = 1 / (inverse + l1 / unit)
        self._shares = np.full(network.n_parameters, network.units[-1] ** -0.5)
        self._shares[network.slices[network.n_layers - 1]] = 1.0
        self._shares[self._last] = 1.0
        self.scale *= self._shares
        self._gradient_scale = self.scale / self.objective_unit

    @classmethod
    def of(cls, problem, lam):
        """The coordinates of a problem at lam of shape (n_layers,)."""
        data = problem.data
        return cls(
            problem.network,
            problem.penalties,
            not problem.penalize_intercepts,
            data.input_mean,
            data.input_spread,
            data.target_spread,
            data.null_prediction,
            data.loss.curvature(data.null_prediction),
            lam,
        )

    def _balanced(self, penalties, lam):
        """Units r_l of the weights, of given product, with lam_l r_l^{q_l} all equal.

        q_l is the degree of the penalty. The network is the same for all units of this
        product, so they are equal where some layer is free.
        """
        if any(p is None for p in penalties) or not (lam > 0).all():
            return np.full(len(lam), self.weight_unit)
        degrees = np.array([degree(penalty) for penalty in penalties])
        logs = np.log(lam) + degrees * np.log(self.weight_unit)
        strength = common_log(logs, degrees)
        shares = np.clip((strength - logs) / degrees, -_FARTHEST, _FARTHEST)
        return self.weight_unit * np.exp(shares - shares.mean())

    @np.errstate(over="ignore", invalid="ignore")  # the solver sees what is not finite
    def enter(self, theta):
        """Return the variables u of theta, in float64."""
        u = self.centered(theta)
        u /= self.scale
        return u

    def centered(self, theta):
        """Return D u: theta of X - mean, and of predictions - shift, in float64."""
        theta = theta.astype(np.float64)
        theta[self._first] += self._at_mean(theta)
        theta[self._last] -= self.shift
        return theta

    def leave(self, u):
        """Return theta of the variables u."""
        theta = self.scale * u
        theta[self._last] += self.shift
        theta[self._first] -= self._at_mean(theta)
        return theta

    def _at_mean(self, theta):
        where, shape = self._weights
        return self.mean @ theta[where].reshape(shape)

    def to_gradient(self, grad):
        """Turn a gradient in theta into one in u, in place; return it.

        It is one of the objective in its unit.
        """
        where, shape = self._weights
        weights = grad[where].reshape(shape)  # a view
        weights -= self.mean[:, np.newaxis] * grad[self._first]
        grad *= self._gradient_scale
        return grad

    def start(self, drawn):
        """Return the theta whose variables are drawn at random, at the null prediction.

        Parameters
        ----------
        drawn : ndarray of shape (n_parameters,)
            Initial parameters for standardized data. The last intercepts are replaced.
        """
        u = drawn / self._shares
        u[self._last] = 0.0
        return self.leave(u)


class Standardized:
    """A composite objective, in its unit, as a function of the variables u.

    Parameters
    ----------
    composite : Composite
        Objective of theta.
    coordinates : Coordinates
    """

    # The solver sees what is not finite.
    @np.errstate(divide="ignore", over="ignore", invalid="ignore")
    def __init__(self, composite, coordinates):
        self._composite, self._coordinates = composite, coordinates
        self._scale, self._unit = coordinates.scale, coordinates.objective_unit
        self.is_nonsmooth = composite.is_nonsmooth
        self.penalized = composite.penalized
        self.has_ridge = composite.has_ridge
        if self.is_nonsmooth:
            # The metric of the prox, 1 where it is least.
            self._largest = float(self._scale[self.penalized].max())
            metric = np.ones_like(self._scale)
            relative = self._largest / self._scale[self.penalized]
            metric[self.penalized] = relative * relative
            self._nonsmooth = composite.nonsmooth.in_metric(metric)
            self._free = ~self.penalized

    def smooth_value_grad(self, u):
        """Return the smooth part f and its gradient in u."""
        value, grad = self._composite.smooth_value_grad(self._coordinates.leave(u))
        return value / self._unit, self._coordinates.to_gradient(grad)

    def nonsmooth_value(self, u):
        """Return h, which acts on what no shift changes."""
        return self._composite.nonsmooth_value(self._scale * u) / self._unit

    def prox(self, u, step):
        """Return the minimizer z of |z - u|^2 / (2 step) + h, in its unit, at D z."""
        # A power of a float may raise.
        step = step / self._unit * (self._largest * self._largest)
        z = self._nonsmooth.prox(self._scale * u, step)
        z /= self._scale
        np.copyto(z, u, where=self._free)  # without rounding
        return z

    def cross(self, u, candidate):
        """Return the candidate with zeros for what passed a kink since u."""
        if self._composite.is_crossed_by_sign:
            return self._composite.cross(u, candidate)
        theta = self._scale * candidate
        crossed = self._composite.cross(self._scale * u, theta)
        return np.where(crossed == theta, candidate, crossed / self._scale)

    def penalty_value(self, u, h):
        """Return all penalties at u, as they are, where h in its unit is known."""
        h = h * self._unit
        if not self._composite.has_smooth:
            return h
        return self._composite.penalty_value(self._scale * u, h)
