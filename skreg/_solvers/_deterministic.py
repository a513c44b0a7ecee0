"""Full-batch solver: proximal L-BFGS on the whole objective, in float64."""

from dataclasses import dataclass

import numpy as np

from skreg._coordinates import Standardized
from skreg._solvers._lbfgs import prox_lbfgs
from skreg._solvers._result import Status
from skreg._solvers._stopping import Stopping

# Pairs of vectors that the solver remembers. More of them save iterations, above all on
# plateaus, but each is read twice per iteration: as many as take about half the time of
# an evaluation, which is one per 12 rows if they fit the third cache, and one per 32
# beyond; at least as many as fit the second; fewer where they would fill the memory.
# Half as many for a nonsmooth penalty: their inner products change with the
# zeros, and older pairs help less.
_ROWS_PER_PAIR, _ROWS_PER_FAR_PAIR = 12, 32
_FEWEST_PAIRS, _MOST_PAIRS, _PAIRS_OF_HUGE = 40, 400, 10
_SECOND_CACHE, _THIRD_CACHE, _MEMORY = 2**16, 2**20, 2**24  # pairs of entries


def _n_pairs(n_rows, n_parameters, is_nonsmooth):
    second, third, memory = (
        size // n_parameters for size in (_SECOND_CACHE, _THIRD_CACHE, _MEMORY)
    )
    near, far = min(n_rows // _ROWS_PER_PAIR, third), n_rows // _ROWS_PER_FAR_PAIR
    n_pairs = min(max(near, far, second, _FEWEST_PAIRS), _MOST_PAIRS)
    n_pairs //= 2 if is_nonsmooth else 1
    return max(min(n_pairs, memory), _PAIRS_OF_HUGE)


@dataclass(frozen=True)
class Deterministic:
    """Settings of the deterministic solver.

    Parameters
    ----------
    stopping : Stopping
        When to end; its unit is `Problem.gradient_unit` at the first cold start.
    """

    stopping: Stopping

    def start(self, problem, drawn, lam):
        """Return the theta to start from, of initial parameters drawn at random.

        They are taken as those of standardized inputs and targets, and the last
        intercepts predict the mean target.
        """
        return problem.coordinates(lam).start(drawn)

    def solve(self, problem, lam, theta0, rng, monitor, state=None):
        """Minimize J from theta0; see `Stochastic.solve`, of which this is the twin.

        `rng` is not used. `state` is the unit of the gradient at the first cold start,
        so that tolerances mean the same along a path of warm starts. The history holds
        "data_loss" and "penalty" at each iterate. A watched validation score stops the
        solver as it stops the stochastic ones.
        """
        history = {"data_loss": [], "penalty": [], "validation_scores": []}
        watches = monitor.validate is not None
        coordinates = problem.coordinates(lam)
        objective = Standardized(problem.composite(lam), coordinates)
        complete = start = coordinates.enter(theta0)
        n_complete = 0

        def record(theta, value, h, n_iter):
            nonlocal complete, n_complete
            value *= coordinates.objective_unit
            penalty = objective.penalty_value(theta, h)
            history["data_loss"].append(value - penalty)
            history["penalty"].append(penalty)
            original = coordinates.leave(theta) if monitor.reads_theta else None
            ceased = monitor.update(n_iter, value, original, history)
            complete, n_complete = theta, n_complete + 1
            # Without scores to watch, the solver knows better when to stop.
            return (ceased and watches) or monitor.is_stopped

        result = prox_lbfgs(
            objective,
            start,
            self.stopping,
            scale=(
                state
                if isinstance(state, float)
                else problem.gradient_unit(theta0, coordinates)
            ),
            memory=min(
                _n_pairs(problem.data.n_rows, theta0.size, objective.is_nonsmooth),
                self.stopping.max_iter,
            ),
            longer=objective.has_ridge,
            callback=record,
        )
        if result.status is Status.INTERRUPTED:
            if n_complete == 0:
                raise KeyboardInterrupt
            result.theta, result.n_iter = complete, n_complete
            for values in history.values():
                del values[n_complete:]
        if np.array_equal(result.theta, start):
            result.theta = theta0.astype(np.float64)  # without rounding
        else:
            result.theta = coordinates.leave(result.theta)
        if n_complete == 0:  # theta0 is optimal, or a limit does not allow a step
            history["data_loss"].append(problem.data_value(result.theta))
            history["penalty"].append(problem.penalty_value(result.theta, lam))
        result.history = history
        return result
