"""The automatic grid of lambda, and the model without inputs that it is made from."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.optimize import minimize

from skreg._coordinates import degree
from skreg._network import Network
from skreg._problem import Problem

_MAX_EXTENSION = 20
_GRADIENT_ROUNDING = 4  # of the null model, in units of the precision


@dataclass(frozen=True)
class Grid:
    """lambda in the order of a path, and the ratio that continues it, or None.

    What continues it ends where lambda would be infinite.
    """

    values: np.ndarray
    ratio: float | None = None

    def __iter__(self):
        steps = np.arange(1.0, 1 + _MAX_EXTENSION if self.ratio else 0)
        with np.errstate(over="ignore"):
            extension = self.values[-1] * np.float64(self.ratio or 1) ** steps
        return map(float, chain(self.values, extension[np.isfinite(extension)]))


def linear_twin(problem):
    """The problem without hidden layers, of the first penalty that there is."""
    units = problem.network.units
    network = Network((units[0], units[-1]), problem.network.activation)
    penalties = tuple(p for p in problem.penalties if p is not None)[:1] or (None,)
    return Problem(problem.data, network, penalties, problem.penalize_intercepts)


def null_theta(twin):
    """Parameters of the twin: weights 0, intercepts optimal then (0 if penalized)."""
    theta = np.zeros(twin.network.n_parameters, twin.dtype)
    output = twin.network.slices[-1]
    if twin.penalize_intercepts:
        return theta
    theta[output] = start = twin.data.null_prediction
    if twin.data.loss.name in ("huber", "absolute_error", "quantile"):
        spread = twin.coordinates().target_spread
        unit = np.abs(twin.data_value_grad(theta)[1][output]).max() or 1.0

        def value_grad(shift):
            theta[output] = start + spread * shift
            value, grad = twin.data_value_grad(theta)
            return value / (unit * spread), grad[output].astype(np.float64) / unit

        options = {"gtol": 1e-12, "ftol": 0.0}
        best = minimize(
            value_grad, 0 * start, jac=True, method="L-BFGS-B", options=options
        )
        theta[output] = start + spread * best.x
    return theta


@np.errstate(over="ignore")  # what is not finite is seen
def automatic_ends(problem, twin, theta, eps):
    """Both ends of an automatic grid.

    The upper one is lambda_max of the generalized linear model, or the like, in the
    units of lambda for the network: those of a product of several weights differ from
    those of one. The lower one is `eps` times that, or, where one lambda is stronger in
    one layer than in the others, as weak in the strongest one.

    Parameters
    ----------
    problem : Problem
    twin : Problem
        The same without hidden layers.
    theta : ndarray
        Its null model.
    eps : float

    Returns
    -------
    bottom, top : float
    """
    penalty, (shape,) = twin.penalties[0], twin.network.shapes
    if penalty is None:
        raise ValueError(
            "No layer is penalized, which leaves nothing to choose: set 'penalty', or "
            "give 'reg_lambdas' as a grid."
        )
    gradient = twin.data_value_grad(theta)[1].astype(np.float64)
    if not np.isfinite(gradient).all():  # too large even for a singular value
        return np.inf, np.inf
    weights = _centered_weights(twin, gradient)
    if _is_rounding(twin, weights):
        return eps, 1.0
    try:
        penalty.validate(shape)
        top = max(
            penalty.lambda_max(gradient[s].reshape(block))
            for _, _, s, block in twin.blocks()
        )
    except (NotImplementedError, ValueError) as error:
        raise ValueError(
            f"There is no automatic grid for penalty={penalty!r}: give 'reg_lambdas' "
            f"as a grid. ({error})"
        ) from error
    n_layers = problem.network.n_layers
    if not np.isfinite(top) and n_layers == 1:
        # With no curvature where a constant predicts perfectly.
        top = 10 * _largest_curvature(twin, theta) or 1.0
        return eps * top, top
    if not np.isfinite(top):
        top = np.linalg.norm(weights, 2)
    power = degree(penalty)
    top = top * twin.coordinates().weight_unit ** (1 - power / n_layers)
    return eps * top / problem.coordinates().imbalance ** power, top


def _weight_gradient(problem, theta):
    """Gradient of a linear model's data term in the weights; see below."""
    gradient = problem.data_value_grad(theta)[1].astype(np.float64)
    return _centered_weights(problem, gradient)


def _centered_weights(problem, gradient):
    """The weights' part of a linear model's gradient, as a matrix, changed in place.

    Intercepts that are free follow the weights, so that the prediction at the mean
    input stays: where they are optimal this changes rounding alone.
    """
    weights = gradient[problem.network.slices[0]].reshape(problem.network.shapes[0])
    if not problem.penalize_intercepts:
        weights -= np.outer(
            problem.data.input_mean, gradient[problem.network.slices[-1]]
        )
    return weights


def _is_rounding(twin, gradient):
    """Whether the gradient of the null model is 0 up to rounding: nothing tells y.

    `gradient` is that of the weights, as a matrix.
    """
    if twin.penalize_intercepts:  # theirs is not 0
        return not gradient.any()
    data = twin.data
    size = np.hypot(data.input_mean, data.input_spread) * data.largest_target
    rounding = _GRADIENT_ROUNDING * np.finfo(twin.dtype).eps * size
    return (np.abs(gradient) <= rounding[:, np.newaxis]).all()


def _largest_curvature(problem, theta):
    """Largest eigenvalue of the Hessian of the data term in the weights.

    Power iteration, in which the Hessian times a vector is a central difference of
    gradients. Its length is one of predictions, in units of the targets' spread, and
    the intercepts follow the weights, so that inputs are seen as centered.
    """
    step, spread = np.cbrt(np.finfo(theta.dtype).eps), problem.data.input_spread
    weights = problem.network.slices[0]
    intercepts = problem.network.slices[-1]
    direction, largest = _weight_gradient(problem, theta), 0.0
    for _ in range(20):
        norm = np.linalg.norm(direction)
        if not 0 < norm < np.inf:
            break
        direction = direction / norm
        length = np.linalg.norm(spread[:, np.newaxis] * direction)
        length = step * problem.coordinates().target_spread / length
        shift = np.zeros_like(theta)
        shift[weights] = length * direction.ravel()
        if not problem.penalize_intercepts:
            shift[intercepts] = -length * (problem.data.input_mean @ direction)
        above, below = (_weight_gradient(problem, theta + s) for s in (shift, -shift))
        direction = (above - below) / (2 * length)
        largest = np.linalg.norm(direction)
    return float(largest)
