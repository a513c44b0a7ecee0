"""The objective: data term plus penalties, as one immutable object.

    J(W, b) = 1 / sum(s) * sum_i s_i l(y_i, f(x_i)) + sum_l lam_l Omega_l(W_l)

A `Problem` knows network and penalties, and leaves the data term to an engine; lambda
is an argument of what it computes, never a part of it, so that one problem serves a
whole path.
"""

from dataclasses import dataclass

import numpy as np

from skreg._coordinates import Coordinates
from skreg._engines import DataTerm
from skreg._engines._rules import PenaltySum, Term, form_of
from skreg._network import Network
from skreg.penalties import without_groups

_GRADIENT_ROUNDING = 1e-12  # relative error of a gradient


@dataclass(frozen=True, eq=False)
class Problem:
    """Training objective of a network.

    Parameters
    ----------
    data : DataTerm
        Rows and loss, on some engine.
    network : Network
    penalties : tuple of Penalty or None, one per layer
    penalize_intercepts : bool
        Whether each layer's penalty also acts on its intercepts.
    """

    data: DataTerm
    network: Network
    penalties: tuple
    penalize_intercepts: bool = False

    def coordinates(self, lam=None):
        """Variables that are free of the units of X and y.

        They depend on lam of shape (n_layers,), None for 0, in what does not matter to
        the minimum: units that layers share, and those of inputs that hardly vary.
        """
        lam = np.zeros(self.network.n_layers) if lam is None else lam
        return Coordinates.of(self, lam)

    @property
    def dtype(self):
        """Precision of theta."""
        return self.data.dtype

    def data_value(self, theta):
        """Data term at theta."""
        return self.data.value(self.network, theta)

    def data_value_grad(self, theta):
        """Data term and its gradient at theta.

        Returns
        -------
        value : float
        grad : ndarray of shape (n_parameters,)
        """
        return self.data.value_grad(self.network, theta)

    @np.errstate(over="ignore", invalid="ignore")  # what is not finite is seen
    def gradient_unit(self, theta, coordinates):
        """Largest entry of the data term's gradient where the network is constant.

        The unit in which a gradient is small. It is taken at theta, but with no weights
        in the last layer and the mean target as prediction: unlike the gradient at
        theta itself, it does not grow with the distance of the targets from 0, nor as
        exp does with that of the inputs.

        Parameters
        ----------
        theta : ndarray of shape (n_parameters,)
        coordinates : Coordinates

        Returns
        -------
        float
            Positive, of the gradient in the variables of the coordinates, and of the
            objective in its unit. Where inputs tell nothing, and all there is of that
            gradient is rounding, another constant is predicted, one unit more by the
            first output; it is 1 where that gradient vanishes as well or is not finite.
        """
        network = self.network
        constant = coordinates.enter(theta)
        constant[network.slices[network.n_layers - 1]] = 0.0

        def steepest(prediction):
            constant[network.slices[-1]] = prediction
            grad = self.data_value_grad(coordinates.leave(constant))[1]
            entry = float(np.abs(coordinates.to_gradient(grad)).max())
            return entry if np.isfinite(entry) else 0.0

        null = self.data.null_prediction - coordinates.shift
        null = null / coordinates.target_spread
        unit = steepest(null)
        another = steepest(null + np.eye(1, network.units[-1])[0])
        return (unit if unit > _GRADIENT_ROUNDING * another else another) or 1.0

    def blocks(self):
        """Yield (layer, penalty, slice, shape) of each penalized block of theta.

        Penalized intercepts are a block of one row, as if they left a constant input,
        in groups of their own.
        """
        network = self.network
        for layer, penalty in enumerate(self.penalties):
            if penalty is None:
                continue
            yield layer, penalty, network.slices[layer], network.shapes[layer]
            if self.penalize_intercepts:
                intercepts = network.slices[network.n_layers + layer]
                row = (1, network.units[layer + 1])
                yield layer, without_groups(penalty), intercepts, row

    def terms(self, lam, modes=None):
        """Return the penalties that act, in given modes or, for their values, any."""
        modes = modes or ("coupled",) * self.network.n_layers
        return [
            Term(penalty, float(lam[layer]), modes[layer], s, shape)
            for layer, penalty, s, shape in self.blocks()
            if lam[layer] > 0
        ]

    def penalty(self, lam, modes=None):
        """Sum of the penalties at lam of shape (n_layers,), as `terms` has them."""
        return PenaltySum(self.terms(lam, modes), self.network.slices)

    def penalty_value(self, theta, lam):
        """sum_l lam_l Omega_l(W_l), for lam of shape (n_layers,)."""
        return self.penalty(lam).value(theta)

    def composite(self, lam):
        """Split J into smooth and nonsmooth, for a proximal quasi-Newton solver."""
        return Composite(self, lam)


class Composite:
    """J = f + h at one lambda: f smooth, h a sum of penalties with a prox.

    The smooth part of a penalty (L2; the concave part of MCP and SCAD) joins the data
    term in f, so that h is convex for all built-in penalties.

    Attributes
    ----------
    is_nonsmooth : bool
        Whether h is there at all.
    has_ridge : bool
        Whether it is not, but all weights have a smooth penalty.
    has_smooth : bool
        Whether some penalty has a smooth part.
    penalized : ndarray of bool, shape (n_parameters,)
        The entries on which h acts.
    nonsmooth : PenaltySum
        h itself.
    is_crossed_by_sign : bool
        Whether `cross` depends on signs alone, not on the units of theta.
    """

    def __init__(self, problem, lam):
        self._problem = problem
        terms, slices = problem.terms(lam), problem.network.slices
        nonsmooth, smooth = [], []
        for term in terms:
            part = term.penalty.nonsmooth_part(term.lam)
            if part is None or part[0] is not term.penalty:
                smooth.append(term)
            if part is not None:
                nonsmooth.append(Term(*part, "proximal", term.where, term.shape))
        self.nonsmooth = PenaltySum(nonsmooth, slices)
        self.is_nonsmooth, self.has_smooth = bool(nonsmooth), bool(smooth)
        self._sum = PenaltySum(terms, slices) if smooth else self.nonsmooth
        n_parameters = problem.network.n_parameters
        self.penalized = _mark(nonsmooth, n_parameters)
        is_smooth = _mark(smooth, n_parameters)[: problem.network.n_weights]
        self.has_ridge = not self.is_nonsmooth and bool(is_smooth.all())

        # What is known as data is done for all layers at once.
        self._ridge, self._concave = np.zeros(n_parameters), []
        for term in smooth:
            form = form_of(term)
            if form is None or form.ramp is not None:
                self._concave.append(term)
            else:
                term.of(self._ridge)[:] = form.l2
        self._signed, self._turning = np.zeros(n_parameters, dtype=bool), []
        for term in nonsmooth:
            form = form_of(term)
            if form is None or form.groups is not None:
                self._turning.append(term)
            else:
                term.of(self._signed)[:] = np.greater(form.l1, 0)
        self.is_crossed_by_sign = not self._turning

    def penalty_value(self, theta, h):
        """Return all penalties at theta, where the nonsmooth part is h."""
        return self._sum.value(theta) if self.has_smooth else h

    def smooth_value_grad(self, theta):
        """Return f(theta) and its gradient."""
        value, grad = self._problem.data_value_grad(theta)
        if self.has_smooth:
            slope = self._ridge * theta
            value += float(theta @ slope) / 2
            grad += slope
        for term in self._concave:
            part, slope = term.penalty.smooth_part(term.of(theta), term.lam)
            value += part
            grad[term.where] += slope.ravel()
        return value, grad

    def nonsmooth_value(self, theta):
        """Return h(theta)."""
        return self.nonsmooth.value(theta)

    def prox(self, theta, step):
        """Return the minimizer z of |z - theta|^2 / (2 step) + h(z)."""
        return self.nonsmooth.prox(theta, step)

    def cross(self, theta, candidate):
        """Return the candidate with zeros for what passed a kink since theta."""
        crossed = self._signed & (np.sign(theta) * candidate < 0)
        out = np.where(crossed, 0.0, candidate)
        for term in self._turning:
            turned = term.penalty.cross(term.of(theta), term.of(candidate))
            out[term.where] = turned.ravel()
        return out


def _mark(terms, n_parameters):
    """Whether each parameter is in one of the terms."""
    marked = np.zeros(n_parameters, dtype=bool)
    for term in terms:
        marked[term.where] = True
    return marked
