"""When to stop: improvement of the objective or of a validation score."""

import numpy as np


def is_due(k, verbose):
    """Whether the k-th of many lines is printed, k = 1, 2, ...

    All if `verbose` is 2 or more; else 1 to 10, then 20, 30, ..., 100, 200, ...
    """
    if verbose < 2:
        return bool(verbose) and k % 10 ** (len(str(k)) - 1) == 0
    return True


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
