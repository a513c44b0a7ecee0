"""What every solver returns."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class Status(Enum):
    """Why a solver stopped.

    Only `MAX_ITER` and `NON_FINITE` deserve a user's attention; the estimators turn
    statuses into warnings and errors, solvers never do.
    """

    CONVERGED = "converged"
    FTOL = "ftol"
    STALLED = "stalled"
    STOPPED = "stopped"
    MAX_ITER = "max_iter"
    NON_FINITE = "non_finite"
    INTERRUPTED = "interrupted"


@dataclass
class Result:
    """Outcome of a solver.

    Attributes
    ----------
    theta : ndarray of shape (n_parameters,)
        All weights, then all intercepts.
    n_iter : int
        Epochs of a stochastic solver, iterations of a deterministic one.
    status : Status
        Why the solver stopped.
    history : dict of str to list of float
        One value per iteration; the keys depend on the solver.
    optimality : float or None
        Largest violation of the first-order optimality conditions at `theta`,
        relative to the largest gradient entry at the first cold start; None where a
        solver does not measure it.
    state : object
        What the solver needs to continue from here; passed to its next `solve`.
    """

    theta: np.ndarray
    n_iter: int
    status: Status
    history: dict = field(default_factory=dict)
    optimality: float | None = None
    state: object = None
