"""The automatic grid of lambda, and the model without inputs that it is made from."""

from dataclasses import dataclass
from itertools import chain

import numpy as np
from scipy.optimize import minimize

from skreg._network import Network
from skreg._problem import Problem

_MAX_EXTENSION = 20


@dataclass(frozen=True)
class Grid:
    """lambda in the order of a path, and the ratio that continues it, or None."""

    values: np.ndarray
    ratio: float | None = None

    def __iter__(self):
        more = range(1, 1 + _MAX_EXTENSION) if self.ratio else ()
        extension = (self.values[-1] * self.ratio**k for k in more)
        return map(float, chain(self.values, extension))


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
        unit = np.abs(twin.data_value_grad(theta)[1][output]).max() or 1.0

        def value_grad(b):
            theta[output] = b
            value, grad = twin.data_value_grad(theta)
            return value / unit, grad[output].astype(np.float64) / unit

        options = {"gtol": 1e-12, "ftol": 0.0}
        theta[output] = minimize(
            value_grad, start, jac=True, method="L-BFGS-B", options=options
        ).x
    return theta


def reference_lambda(twin, theta, is_linear):
    """Unit of the grid: lambda_max of the generalized linear model, or the like."""
    penalty, (shape,) = twin.penalties[0], twin.network.shapes
    if penalty is None:
        raise ValueError(
            "No layer is penalized, which leaves nothing to choose: set 'penalty', or "
            "give 'reg_lambdas' as a grid."
        )
    gradient = twin.data_value_grad(theta)[1].astype(np.float64)
    if not np.isfinite(gradient).all():  # too large even for a singular value
        return np.inf
    if _is_rounding(twin, gradient):
        return 1.0
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
    if np.isfinite(top):
        return top
    if is_linear:  # with no curvature where a constant predicts perfectly
        return 10 * _largest_curvature(twin, theta) or 1.0
    return np.linalg.norm(gradient[: twin.network.n_weights].reshape(shape), 2)


def _is_rounding(twin, gradient):
    """Whether the gradient of the null model is 0 up to rounding: nothing tells y."""
    if twin.penalize_intercepts:  # theirs is not 0
        return not gradient.any()
    n_weights = twin.network.n_weights
    # As at intercepts without rounding, where their gradient is 0.
    shift = np.outer(twin.data.input_mean, gradient[n_weights:])
    weights = gradient[:n_weights].reshape(shift.shape) - shift
    return np.abs(weights).max() <= np.finfo(twin.dtype).eps * twin.data.largest_product


def _largest_curvature(problem, theta):
    """Largest eigenvalue of the Hessian of the data term in the weights."""
    n_weights, step = problem.network.n_weights, np.cbrt(np.finfo(theta.dtype).eps)
    direction = problem.data_value_grad(theta)[1][:n_weights]
    for _ in range(20):
        length = np.linalg.norm(direction)
        if length == 0:
            break
        shift = np.zeros_like(theta)
        shift[:n_weights] = step * direction / length
        above, below = (problem.data_value_grad(theta + s)[1] for s in (shift, -shift))
        direction = (above - below)[:n_weights] / (2 * step)
    return float(np.linalg.norm(direction))
