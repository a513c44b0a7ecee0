"""The objective: data term plus penalties, as one immutable object.

    J(W, b) = 1 / sum(s) * sum_i s_i l(y_i, f(x_i)) + sum_l lam_l Omega_l(W_l)

A `Problem` knows data, network, loss and penalties; lambda is an argument of what it
computes, never a part of it, so that one problem serves a whole path.
"""

from functools import cached_property

import numpy as np
from sklearn.utils import gen_batches

from skreg._core import Data, loss_gradient, loss_sum
from skreg._rules import PenaltySum, Term
from skreg.penalties import without_groups

_ROWS_PER_PASS = 4096  # where rows are converted to float64
_ROUNDING = 1e-12  # relative error of a gradient


class Problem:
    """Training objective of a network.

    Parameters
    ----------
    X : ndarray of shape (n, p), C-ordered, or CSR matrix
        Inputs, float32 or float64; not copied.
    y : ndarray of shape (n, n_targets)
        Targets as the loss reads them.
    sample_weight : ndarray of shape (n,) or None
        Non-negative weights with a positive sum over the training rows.
    network : Network
    loss : Loss
    penalties : tuple of Penalty or None, one per layer
    penalize_intercepts : bool
        Whether each layer's penalty also acts on its intercepts.
    dtype : dtype
        Of the parameters; X of less precision is widened batch by batch.
    rows : ndarray of intp or None
        Training rows; None for all.

    Attributes
    ----------
    n_rows : int
        Number of training rows.
    weight_sum : float
        Sum of their weights.
    """

    def __init__(
        self,
        X,
        y,
        sample_weight,
        network,
        loss,
        penalties,
        penalize_intercepts=False,
        dtype=np.float64,
        rows=None,
    ):
        self.network = network
        self.loss = loss
        self.penalties = penalties
        self.penalize_intercepts = penalize_intercepts
        self.dtype = np.dtype(dtype)
        self.rows = rows
        self._X, self._weights = X, sample_weight
        y = np.ascontiguousarray(y, self.dtype)
        s = sample_weight
        if s is not None:
            s = np.ascontiguousarray(s, self.dtype)
        self.data = Data(X, self.dtype, y, s)
        y, s = (a if rows is None or a is None else a[rows] for a in (y, s))
        self.n_rows = y.shape[0]
        self.weight_sum = float(self.n_rows if s is None else s.sum(dtype=np.float64))
        self.n_targets = y.shape[1]
        self._offset = loss.mean_constant(y, s)
        if loss.out_activation == "softmax":
            y = y == np.arange(network.units[-1])
        #: Raw prediction whose prediction is the weighted mean of the targets.
        self.null_prediction = None
        if self.weight_sum > 0:
            self.null_prediction = loss.link(np.average(y, axis=0, weights=s))
        self._net = self._scratch = self._penalty_sum = None

    def compile(self, capacity):
        """Return (Net, scratch) for passes of at most `capacity` rows."""
        return self.network.compile(capacity, self.dtype, self.loss, self.n_targets)

    def mean_loss(self, loss_total):
        """Data term from a sum of s_i l_i over the training rows."""
        return loss_total / self.weight_sum + self._offset

    def data_value(self, theta):
        """Data term at theta; a forward pass in blocks of rows."""
        net, scratch = self._full_batch()
        if self.rows is None:
            return self.mean_loss(loss_sum(net, self.data, theta, scratch))
        return self.data_value_grad(theta)[0]

    def data_value_grad(self, theta):
        """Data term and its gradient at theta, in blocks of rows.

        Returns
        -------
        value : float
        grad : ndarray of shape (n_parameters,)
        """
        net, scratch = self._full_batch()
        grad = np.empty_like(theta)
        total = loss_gradient(
            net,
            self.data,
            self.rows,
            0,
            self.n_rows,
            theta,
            grad,
            1.0 / self.weight_sum,
            scratch,
        )
        return self.mean_loss(total), grad

    def constant_value(self):
        """Objective of the network that predicts the mean target, without weights."""
        theta = np.zeros(self.network.n_parameters, self.dtype)
        theta[self.network.slices[-1]] = self.null_prediction
        return self.data_value(theta)

    def gradient_unit(self, theta):
        """Largest entry of the data term's gradient where the network is constant.

        The unit in which a gradient is small. It is taken at theta, but with no weights
        in the last layer and the mean target as prediction: unlike the gradient at
        theta itself, it does not grow with the distance of the targets from 0, nor as
        exp does with that of the inputs.

        Parameters
        ----------
        theta : ndarray of shape (n_parameters,)

        Returns
        -------
        float
            Positive. Where inputs tell nothing, and all there is of that gradient is
            rounding, another constant is predicted, 1 by the first unit and 0 by the
            others; it is 1 where that gradient vanishes as well, or is not finite.
        """
        constant = theta.copy()
        constant[self.network.slices[self.network.n_layers - 1]] = 0.0

        def steepest(prediction):
            constant[self.network.slices[-1]] = prediction
            entry = float(np.abs(self.data_value_grad(constant)[1]).max())
            return entry if np.isfinite(entry) else 0.0

        unit = steepest(self.null_prediction)
        another = steepest(np.eye(1, self.network.units[-1])[0])
        return (unit if unit > _ROUNDING * another else another) or 1.0

    @cached_property
    def input_mean(self):
        """Weighted mean of the training rows of X, of shape (p,)."""
        n, p = self._X.shape
        share = np.zeros(n)
        rows = slice(None) if self.rows is None else self.rows
        share[rows] = 1.0 if self._weights is None else self._weights[rows]
        share /= self.weight_sum
        mean = np.zeros(p)
        for batch in gen_batches(n, _ROWS_PER_PASS):
            mean += self._X[batch].T @ share[batch]
        return mean

    def _full_batch(self):
        if self._net is None:
            capacity = self.network.block_rows(self.n_rows)
            self._net, self._scratch = self.compile(capacity)
        return self._net, self._scratch

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

    def penalty_value(self, theta, lam):
        """sum_l lam_l Omega_l(W_l), for lam of shape (n_layers,)."""
        key = tuple(lam)
        if self._penalty_sum is None or self._penalty_sum[0] != key:
            self._penalty_sum = key, PenaltySum(self.terms(lam), self.network.slices)
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging fit is seen
            return self._penalty_sum[1].value(theta)

    def value(self, theta, lam):
        """Objective J at theta."""
        return self.data_value(theta) + self.penalty_value(theta, lam)

    def composite(self, lam):
        """Split J into a smooth part and kinks, for a proximal quasi-Newton solver."""
        return Composite(self, lam)


class Composite:
    """J = f + h at one lambda: f smooth, h a sum of penalties with a prox.

    The smooth part of a penalty (L2; the concave part of MCP and SCAD) joins the data
    term in f, so that h is convex for all built-in penalties.

    Attributes
    ----------
    has_kink : bool
        Whether h is there at all.
    has_ridge : bool
        Whether it is not, but all weights have a smooth penalty.
    penalized : ndarray of bool, shape (n_parameters,)
        The entries on which h acts.
    """

    def __init__(self, problem, lam):
        self._problem = problem
        self._smooth, self._kinks = [], []
        self.penalized = np.zeros(problem.network.n_parameters, dtype=bool)
        terms, slices = problem.terms(lam), problem.network.slices
        for term in terms:
            kink = term.penalty.kink(term.lam)
            if kink is None or kink[0] is not term.penalty:
                self._smooth.append(term)
            if kink is not None:
                self._kinks.append(Term(*kink, "proximal", term.where, term.shape))
                self.penalized[term.where] = True
        self.has_kink = bool(self._kinks)
        smooth = np.zeros_like(self.penalized)
        for term in self._smooth:
            smooth[term.where] = True
        n_weights = problem.network.n_weights
        self.has_ridge = not self.has_kink and bool(smooth[:n_weights].all())
        self._kink_sum = PenaltySum(self._kinks, slices)
        self._sum = PenaltySum(terms, slices) if self._smooth else self._kink_sum
        self.kink_value = self._kink_sum.value
        self.kink_prox = self._kink_sum.prox

    def penalty_value(self, theta, kink):
        """Return all penalties at theta, where h is `kink`."""
        return self._sum.value(theta) if self._smooth else kink

    def smooth_value_grad(self, theta):
        """Return f(theta) and its gradient."""
        value, grad = self._problem.data_value_grad(theta)
        for term in self._smooth:
            part, slope = term.penalty.smooth_part(term.of(theta), term.lam)
            value += part
            grad[term.where] += slope.ravel()
        return value, grad

    def kink_cross(self, theta, candidate):
        """Return the candidate with zeros for what passed a kink since theta."""
        out = candidate.copy()
        for term in self._kinks:
            crossed = term.penalty.cross(term.of(theta), term.of(candidate))
            out[term.where] = crossed.ravel()
        return out
