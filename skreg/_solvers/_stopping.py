"""When to stop: a policy of the exact solver, and a monitor of epochs."""

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from skreg._solvers._result import Status

EPS = np.finfo(np.float64).eps
OBJECTIVE_ROUNDING = 10 * EPS  # relative error of J
_NOTHING = EPS**2  # violation that leaves no doubt


def _has_settled(values, share, window):
    """Whether J fell by at most this share of itself in the last iterations."""
    earlier, last = values[-1 - window :][0], values[-1]
    return share == inf or earlier - last <= share * abs(last)


@dataclass(frozen=True)
class Stopping:
    """When the exact solver ends, in single fits and along paths.

    Each rule has a name and a unit that is free of the units of X and y. They are asked
    in this order; without steps that decrease J, `at_a_dead_end` decides.

    Parameters
    ----------
    tol : float
        Optimality: the largest violation of the first-order conditions, in units of
        the gradient at the first start.
    max_iter, max_fun : int
        Limits: iterations, and evaluations of the smooth part of J. The iteration in
        which the latter is reached is completed.
    steady : float
        Optimality also asks that J fell by at most this share of itself in the last
        `window` iterations: badly scaled problems make any unit too large. (Not where
        the violation vanishes even so, as it does where J tends to 0.)
    flat : float
        Flatness: J fell by at most this share of itself in `window` iterations. Below
        the rounding error of J: never.
    window : int
        Iterations.
    patience : int
        Exhaustion: for this many iterations neither J nor the violation has fallen but
        for rounding.
    """

    tol: float
    max_iter: int
    max_fun: int
    steady: float = inf
    flat: float = 0.0
    window: int = 10
    patience: int = 20

    @classmethod
    def of_fit(cls, tol, max_iter, max_fun):
        """That of a single fit; at a minimum J is flat to second order in `tol`."""
        return cls(tol, max_iter, max_fun, steady=0.01 * tol, flat=tol * tol)

    def status(self, values, residuals, n_fun, violation):
        """Why to end here, or None to go on.

        Parameters
        ----------
        values : list of float
            J at the start and after each iteration.
        residuals : list of float
            Size of the proximal gradient at each of these, a first guess of the
            violation, in the same units.
        n_fun : int
            Evaluations so far.
        violation : callable
            Returns the violation at the last one.
        """
        if residuals[-1] <= self.tol:
            vanishes = residuals[-1] <= _NOTHING
            settled = vanishes or _has_settled(values, self.steady, self.window)
            if settled and violation() <= self.tol:
                return Status.CONVERGED
        if self.flat > EPS and len(values) > self.window:
            if _has_settled(values, self.flat, self.window):
                return Status.FTOL
        if self._is_exhausted(values, residuals):
            return self.at_a_dead_end(violation)
        if len(values) > self.max_iter or n_fun >= self.max_fun:
            return Status.MAX_ITER
        return None

    def at_a_dead_end(self, violation):
        """Status of a run that cannot go on."""
        return Status.CONVERGED if violation() <= self.tol else Status.STALLED

    def _is_exhausted(self, values, residuals):
        """Whether neither J nor the violation falls: the limit of precision."""
        if len(residuals) <= self.patience:
            return False
        if not _has_settled(values, OBJECTIVE_ROUNDING, self.patience):
            return False
        early, late = residuals[: -self.patience], residuals[-self.patience :]
        return min(late) > 0.9 * min(early)


def is_due(k, verbose):
    """Whether the k-th of many lines is printed, k = 1, 2, ...

    All if `verbose` is 2 or more; else 1 to 10, then 20, 30, ..., 100, 200, ...
    """
    if verbose < 2:
        return bool(verbose) and k % 10 ** (len(str(k)) - 1) == 0
    return True


@dataclass(frozen=True)
class PathStopping:
    """When fits on a path with hidden layers end: early, as the next one goes on.

    Parameters
    ----------
    flat : float
        Flatness of `Stopping`: what is left to be gained at one lambda is gained at the
        next.
    plateau : float
        A first fit that has gained no more than this share over the null model lies on
        a plateau, where an early end would empty the path: it goes on as a single fit.
    """

    flat: float = 4e-4
    plateau: float = 0.02

    def of(self, stopping):
        """The policy of a single fit with these early ends."""
        return replace(stopping, flat=max(stopping.flat, self.flat))


class Monitor:
    """Watches training epoch by epoch and counts those without improvement.

    Parameters
    ----------
    tol : float
        Smallest improvement that counts.
    n_iter_no_change : int or inf
        Epochs without improvement, in a row, after which training has converged.
    validate : callable or None
        Maps theta to a validation score (greater is better, may be NaN). None watches
        the training objective.
    verbose : bool or int
        Whether to print lines of epochs, as `is_due` says.
    label : str
        Begins each line.
    on_epoch : callable or None
        Called after each epoch with (n_iter, theta, history, monitor); where it returns
        True, training stops.

    Attributes
    ----------
    is_stopped : bool
        Whether `on_epoch` has asked for an end.
    best_loss, best_score : float
        Best values so far.
    best_theta : ndarray or None
        Parameters of the best validation score.
    count : int
        Epochs without improvement, in a row. What is not finite is no improvement.
    """

    def __init__(
        self,
        tol,
        n_iter_no_change,
        validate=None,
        verbose=False,
        label="",
        on_epoch=None,
    ):
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.validate = validate
        self.verbose = verbose
        self.label = label
        self.on_epoch = on_epoch
        self.is_stopped = False
        self.best_loss = np.inf
        self.best_score = -np.inf
        self.best_theta = None
        self.count = 0

    @property
    def criterion(self):
        """What is watched, for messages."""
        return "Training loss" if self.validate is None else "Validation score"

    @property
    def reads_theta(self):
        """Whether `update` needs the parameters."""
        return self.validate is not None or self.on_epoch is not None

    @property
    def has_no_score(self):
        """Whether no validation score has been a number: there is no best network."""
        return self.validate is not None and self.best_theta is None

    def update(self, n_iter, loss, theta, history):
        """Record an epoch; return whether improvement has ceased.

        Parameters
        ----------
        n_iter : int
            Epochs so far, this one included.
        loss : float
            Objective of this epoch.
        theta : ndarray
            Parameters after it.
        history : dict of lists
            Receives "validation_scores" where scores are watched.
        """
        score = None
        if self.validate is None:
            improves = np.isfinite(loss) and loss <= self.best_loss - self.tol
            self.best_loss = min(self.best_loss, loss)
        else:
            score = self.validate(theta)
            history["validation_scores"].append(score)
            improves = np.isfinite(score) and score >= self.best_score + self.tol
            if score > self.best_score:
                self.best_score, self.best_theta = score, theta.copy()
        if is_due(n_iter, self.verbose):
            seen = "" if score is None else f", validation score = {score:f}"
            print(f"[{self.label}] Iteration {n_iter}, loss = {loss:.8f}{seen}")
        self.count = 0 if improves else self.count + 1
        if self.on_epoch is not None:
            self.is_stopped = bool(self.on_epoch(n_iter, theta, history, self))
        return self.count > self.n_iter_no_change

    def announce(self, action):
        """Print why training stops or the learning rate falls, if asked to."""
        if self.verbose:
            print(
                f"[{self.label}] {self.criterion} did not improve more than "
                f"tol={self.tol:f} for {self.n_iter_no_change} consecutive epochs. "
                f"{action}"
            )
