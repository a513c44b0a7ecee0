"""Judgement of fits: what their user should know, and whether a constant is better."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning

from skreg import _validation as validation
from skreg._fitted import EQUAL
from skreg._solvers._deterministic import Deterministic
from skreg._solvers._result import Status
from skreg._warnings import warn
from skreg.losses import REGRESSION_LOSSES

# In units of `optimality_`; the second one at kinks of ReLU networks, where minimizers
# often lie.
_FAR_FROM_OPTIMAL, _FAR_EVEN_AT_KINKS = 0.1, 1.0
_MODERATE_WEIGHT = 100.0  # the most with which a network is not asked for its loss
# Share of the loss of a constant by which one output of several may exceed it, and all
# of them may along a path: mini-batches leave noise about what a penalty has emptied.
_CLEARLY = 0.01
_DOMINATED = 10.0  # times the loss of its constant is below that of another output
_ALMOST_CONSTANT = 0.1  # share of the loss of 0 that is near a constant without loss


# Before a fit ------------------------------------------------------------------------


def warn_before(training, estimator, lam):
    """Warn where penalties, rates or scores cannot do what they are meant to."""
    penalties = training.problem.penalties
    validation.warn_if_vacuous(penalties, lam)
    if "decoupled" not in training.modes:  # which does not minimize J
        validation.warn_if_equivalent(estimator, training.problem, lam)
    decoupled = [
        strength
        for penalty, strength, mode in zip(penalties, lam, training.modes)
        if penalty is not None and mode == "decoupled"
    ]
    if max(decoupled, default=0.0) * estimator.learning_rate_init > 1.0:
        warn(
            f"reg_lambda={estimator.reg_lambda!r} times learning_rate_init="
            f"{estimator.learning_rate_init!r} is above 1: decoupled decay sets the "
            "weights to 0 in every step. Lower one of them."
        )
    warn_of_constant_targets(training)


def warn_of_constant_targets(training):
    """Warn where early stopping has no R^2 to watch."""
    if getattr(training.validate, "replaces_r2", False):
        warn(
            "early_stopping=True: the validation targets are constant, where R2 cannot "
            "tell networks apart. Minus the data loss is watched in its place. Set "
            "scoring='loss', or hold out other rows, by 'validation_fraction', "
            "'random_state' or y_val.",
            ConvergenceWarning,
        )


# Worse than a constant ---------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """How a network is worse than a constant on the rows that have trained it.

    Parameters
    ----------
    loss, null_value : float
        Its data loss, and that of the constant.
    outputs : tuple of int
        Outputs that are worse than their own constants, where all together are not.
    """

    loss: float
    null_value: float
    outputs: tuple = ()


def judge(training, theta, loss):
    """`Verdict` of a network of a path, or None.

    Parameters
    ----------
    training : Training
    theta : ndarray of shape (n_parameters,)
    loss : float
        Its data term.
    """
    problem = training.problem
    if training.validate is not None and training.task.classes is not None:
        return None  # kept for its accuracy, which needs no small loss
    null = float(problem.data.null_value)
    if is_worse(problem, loss, _CLEARLY):
        return Verdict(float(loss), null)
    outputs = worse_outputs(problem, theta)
    return Verdict(float(loss), null, outputs) if outputs else None


def is_worse(problem, loss, slack=EQUAL):
    """Whether a data loss is above that of a constant, by a share of the latter."""
    null = problem.data.null_value
    if loss <= null + slack * abs(null):
        return False
    return not loss <= _level(problem, null, _loss_of_zero(problem), slack)


def worse_outputs(problem, theta):
    """Numbers of the outputs that are worse than their own constants.

    The loss is a sum over outputs in the user's units, so that those of large values
    dominate it. At a minimum of J none is worse, but fits end before.
    """
    data = problem.data
    if len(data.null_prediction) == 1 or data.loss.name not in REGRESSION_LOSSES:
        return ()
    null, zero = data.losses_of_constants
    is_dominated = _DOMINATED * null < null.max()
    if not is_dominated.any():
        return ()
    own = data.losses_of_outputs(problem.network, theta)
    is_fine = own <= _level(problem, null, zero, _CLEARLY)
    return tuple(np.flatnonzero(is_dominated & ~is_fine).tolist())


def _level(problem, null, zero, slack):
    """Data loss above which a constant is better, from those of it and of zero.

    Where a constant has no loss but for rounding, no fit reaches it; near is enough.
    One at 0 has no unit, and nothing is worse. Penalized intercepts may be kept at 0.
    """
    near = np.where(zero > 0, _ALMOST_CONSTANT * zero, np.inf)
    is_perfect = _is_perfect(problem, null, zero)
    level = np.where(is_perfect, near, null + slack * np.abs(null))
    if problem.penalize_intercepts:
        level = np.maximum(level, zero + slack * np.abs(zero))
    return level


def _loss_of_zero(problem):
    """Data loss where all raw predictions are 0."""
    zeros = np.zeros(problem.network.n_parameters, problem.dtype)
    return problem.data_value(zeros)


def _is_perfect(problem, null, zero):
    """Whether a constant has no loss but for rounding."""
    rounding = 10 * np.finfo(problem.dtype).eps
    if problem.data.loss.name in ("squared_error", "huber"):
        rounding **= 2
    return np.abs(null) <= rounding * np.abs(zero)


def is_null_model(problem, fitted):
    """Whether a penalty has left nothing but a constant, with something to predict.

    Parameters
    ----------
    problem : Problem
        Of the rows that have trained it.
    fitted : Fitted

    Returns
    -------
    bool
        False where a constant predicts perfectly.
    """
    if not fitted.is_constant:
        return False
    null, zero = problem.data.null_value, _loss_of_zero(problem)
    return not _is_perfect(problem, null, zero)


def loss_in_doubt(training, fitted):
    """Data loss of a result of mini-batches or early stopping; None if it must be fine.

    Steps are absolute, so data in other units than the usual ones may be out of reach,
    and the last step may have gone anywhere. The mean loss of the last epoch is free.
    It vouches for moderate weights, unless the result is another network than the one
    that trained. Those that validation keeps for their accuracy need no small loss.
    """
    keeps_the_last = training.validate is None or training.task.classes is not None
    if isinstance(training.solver, Deterministic) and keeps_the_last:
        return None
    data, theta = training.problem.data, fitted.theta()
    is_good = training.is_stream or (
        keeps_the_last
        and training.solver.ema == 0
        and not is_worse(training.problem, fitted.history.data_loss[-1])
    )
    if is_good and np.abs(theta).max() <= _MODERATE_WEIGHT:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        return training.problem.data_value(theta.astype(data.dtype, copy=False))


def warn_of_verdicts(verdicts, of, estimator):
    """Warn once where networks of a path or search are worse than a constant.

    Parameters
    ----------
    verdicts : list of Verdict or None
        Of each network.
    of : str
        Says which networks these are.
    estimator : RegMLPClassifier or RegMLPRegressor
        Of these networks.
    """
    found = [verdict for verdict in verdicts if verdict is not None]
    wholly = [verdict for verdict in found if not verdict.outputs]
    n, n_worse = len(verdicts), len(wholly or found)
    who = f"The network {of}" if n == 1 else f"{n_worse} of {n} networks {of}"
    if wholly:
        worst = max(wholly, key=lambda verdict: verdict.loss)
        _warn_of_loss(who, worst.loss, worst.null_value, estimator)
    elif found:
        outputs = set().union(*(verdict.outputs for verdict in found))
        _warn_of_outputs(who, sorted(outputs))


def _warn_of_loss(who, loss, null_value, estimator):
    advice = "Try another 'random_state', lower 'tol', or scale the data."
    if estimator.solver != "lbfgs":
        scaling = "Scale X, for instance by StandardScaler"
        if not is_classifier(estimator):
            scaling += ", and y by TransformedTargetRegressor"
        advice = f"{scaling}, or lower 'learning_rate_init'."
    if estimator.early_stopping:
        advice += (
            " early_stopping=True keeps the best validation score: hold out other "
            "rows, by 'validation_fraction', 'random_state' or X_val, or raise "
            "'n_iter_no_change'."
        )
    warn(
        f"{who} ended with a data loss of {loss:.3g}, but a constant has "
        f"{null_value:.3g}. {advice}",
        ConvergenceWarning,
    )


def _warn_of_outputs(who, outputs):
    warn(
        f"{who} ended worse than constants in outputs {list(outputs)} of y. The loss "
        "is a sum over outputs, in which those of larger values dominate. Scale y, for "
        "instance by TransformedTargetRegressor with StandardScaler.",
        ConvergenceWarning,
    )


# After a fit -------------------------------------------------------------------------


def warn_after(training, estimator, result, fitted, loss):
    """Warn where a fit has not done what its user may believe.

    `loss` is that of `loss_in_doubt`.
    """
    status, problem = result.status, training.problem
    who = f"solver={estimator.solver!r}"
    if status is Status.INTERRUPTED:
        warn("Training interrupted by user.")
    elif status is Status.NON_FINITE or not np.isfinite(fitted.history.last_objective):
        warn(
            "Training diverged; the weights of the best validation score are kept. "
            "Lower 'learning_rate_init' or scale the data.",
            ConvergenceWarning,
        )
    elif training.is_stream:
        return
    elif is_null_model(problem, fitted):
        warn(
            f"The network predicts a constant: reg_lambda={estimator.reg_lambda!r} "
            "leaves no weights between inputs and outputs. Lower it, or scale the "
            "data, unless X tells nothing of y.",
            ConvergenceWarning,
        )
    elif status is Status.MAX_ITER:
        _warn_of_limits(estimator, result)
        if outputs := _dominated(training, fitted):
            _warn_of_outputs(who, outputs)
    elif loss is not None and is_worse(problem, loss):
        _warn_of_loss(who, loss, problem.data.null_value, estimator)
    elif outputs := _dominated(training, fitted):
        _warn_of_outputs(who, outputs)
    elif status is Status.STOPPED:
        return
    elif loss is None and _is_above_a_constant(training, fitted):
        warn(
            f"{who} ended with an objective of {fitted.history.last_objective:.3g}, "
            f"but a constant has {problem.data.null_value:.3g}. Try another "
            "'random_state', lower 'tol', or scale the data.",
            ConvergenceWarning,
        )
    elif _is_far_from_optimal(training, result):
        warn(
            f"{who} hardly decreases the objective any more, but the "
            f"optimality conditions are not met (optimality_ = {result.optimality:.1g}"
            "). Scale the data, or lower 'tol'.",
            ConvergenceWarning,
        )


def _warn_of_limits(estimator, result):
    limits = f"max_iter={estimator.max_iter}"
    if estimator.solver == "lbfgs":
        limits += f", max_fun={estimator.max_fun}"
    warn(
        f"solver={estimator.solver!r} stopped after {result.n_iter} iterations "
        f"({limits}) and has not converged yet. Increase the limit, scale the "
        "data, or raise 'tol'.",
        ConvergenceWarning,
    )


def _dominated(training, fitted):
    """`worse_outputs` of a fit that has gained something, which others dominate."""
    problem = training.problem
    if is_worse(problem, fitted.history.data_loss[-1]):
        return ()
    return worse_outputs(problem, fitted.theta(problem.dtype))


def _is_above_a_constant(training, fitted):
    """Whether the exact solver has ended above the objective of the mean target."""
    problem = training.problem
    if not isinstance(training.solver, Deterministic) or problem.penalize_intercepts:
        return False  # or a constant has its price as well
    return is_worse(problem, fitted.history.last_objective)


def _is_far_from_optimal(training, result):
    if result.optimality is None or result.optimality <= training.tol:
        return False
    is_smooth = training.problem.network.is_smooth
    return result.optimality > (_FAR_FROM_OPTIMAL if is_smooth else _FAR_EVEN_AT_KINKS)
