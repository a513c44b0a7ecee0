"""Mini-batch solvers: sgd, rmsprop and adam, with the penalty in one of three slots."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from math import isnan

import numpy as np

from skreg._optimizers import Optimizer, OptimizerState
from skreg._solvers._averaging import average_of, network_of
from skreg._solvers._result import Result, Status
from skreg._solvers._schedules import epoch_rates
from skreg._solvers._shuffling import shuffler

# "adaptive" divides the learning rate by this, and stops below this rate.
_ADAPTIVE_DIVISOR, _ADAPTIVE_LOWEST_RATE = 5.0, 1e-6


@dataclass(frozen=True)
class Stochastic:
    """Settings of a mini-batch solver.

    Parameters
    ----------
    solver : {"sgd", "rmsprop", "adam"}
    optimizer : Optimizer
        Its update rule and hyper-parameters.
    modes : tuple of str
        Resolved decay mode of each layer.
    batch_size, max_iter : int
        At most the number of training rows; epochs.
    learning_rate, learning_rate_init, power_t
        Schedule; see `epoch_rates`.
    shuffle : bool
    horizon : int or None
        Epochs over which the cosine schedule runs in a stream of single epochs; None
        starts it anew in each call, over `max_iter`.
    ema : float in [0, 1)
        Decay per epoch of an average of the weights, which is the result in their place
        and is watched; see `_averaging`.

    Notes
    -----
    The data term of a batch B is estimated by n / (|B| sum(s)) * sum_B s_i l_i: without
    bias, and not divided by the weights of the batch, so that lambda keeps its meaning
    for every batch size.

    References
    ----------
    SGD with momentum as b <- mu b + g, w <- w - lr b (or g + mu b: Nesterov), the form
    of Sutskever et al. (2013) as used by PyTorch. RMSProp: Tieleman & Hinton (2012).
    Adam: Kingma & Ba (2015), algorithm 1. Decoupled decay: Loshchilov & Hutter (2019),
    algorithms 1 and 2. Proximal steps in the metric of the optimizer: Yun, Lozano &
    Yang (2021), algorithm 1.
    """

    solver: str
    optimizer: Optimizer
    modes: tuple
    batch_size: int
    max_iter: int
    learning_rate: str = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    shuffle: bool = True
    horizon: int | None = None
    ema: float = 0.0

    def start(self, problem, drawn, lam):
        """Return the theta to start from: the initial parameters as they are drawn."""
        return drawn

    def solve(self, problem, lam, theta0, rng, monitor, state=None):
        """Train for at most `max_iter` epochs.

        Parameters
        ----------
        problem : Problem
        lam : ndarray of shape (n_layers,)
        theta0 : ndarray of shape (n_parameters,)
            Start; not changed.
        rng : RandomState
            Shuffles the samples.
        monitor : Monitor
        state : OptimizerState or None
            State to continue from; None starts anew.

        Returns
        -------
        Result
            History: "data_loss" and "penalty" per epoch, and "validation_scores". The
            data loss is the mean over the batches of an epoch, each taken just before
            its step; the penalty is the one at the start of the epoch. With one batch
            per epoch their sum is therefore the objective, exactly. Both are of the
            weights that train, also where their average is the result.
        """
        state = OptimizerState.resume(state, self.solver, self.optimizer, theta0)
        theta0, state = self._resume_average(theta0, state)
        if self.horizon is None and state.n_epochs:
            state = replace(state, n_epochs=0)
        n_rows = problem.data.n_rows
        penalties = problem.penalty(lam, self.modes)
        runner = problem.data.epochs(
            problem.network,
            self.optimizer,
            penalties,
            theta0,
            state.moments,
            self.batch_size,
        )
        shuffles = self.shuffle and n_rows > self.batch_size
        drawing = shuffler(rng, n_rows * self.max_iter)
        with drawing if shuffles else nullcontext() as shuffle:
            order = problem.data.row_order() if shuffles else None
            return self._solve(
                problem, penalties, runner, order, shuffle, monitor, state
            )

    def _solve(self, problem, penalties, runner, order, shuffle, monitor, state):
        history = {"data_loss": [], "penalty": [], "validation_scores": []}
        status, n_iter = Status.MAX_ITER, 0
        runner.snapshot()  # of the last complete epoch
        try:
            while n_iter < self.max_iter:
                penalty = penalties.value(runner.theta)
                if shuffle:
                    shuffle(order)
                rates = self.rates(
                    problem.data.n_rows,
                    n_samples=state.n_samples,
                    n_epochs=state.n_epochs,
                    factor=state.factor,
                )
                data_loss = runner.run(order, rates, state.n_steps)
                # The penalty may make weights that are NaN 0, but not what they cost.
                diverged = isnan(data_loss) or not np.isfinite(runner.theta).all()
                history["data_loss"].append(data_loss)
                history["penalty"].append(penalty)
                average = average_of(state.average, runner.theta, self.ema)
                ceased = monitor.update(
                    n_iter + 1,
                    data_loss + penalty,
                    network_of(average, runner.theta),
                    history,
                )
                n_iter += 1
                runner.snapshot()
                state = state.after_epoch(len(rates), problem.data.n_rows, average)
                if diverged:
                    status = Status.NON_FINITE
                    break
                if monitor.is_stopped:
                    status = Status.STOPPED
                    break
                if ceased:
                    factor = self.lowered(state.factor)
                    if factor is None:
                        monitor.announce("Stopping.")
                        status = Status.CONVERGED
                        break
                    monitor.count = 0
                    rate = self.learning_rate_init * factor
                    monitor.announce(f"Setting learning rate to {rate:g}.")
                    state = replace(state, factor=factor)
        except KeyboardInterrupt:
            if n_iter == 0:
                raise
            status = Status.INTERRUPTED
            runner.restore()
            for values in history.values():
                del values[n_iter:]
        iterate = None if state.average is None else runner.theta
        state = replace(state, moments=runner.moments, iterate=iterate)
        theta = network_of(state.average, runner.theta)
        return Result(theta, n_iter, status, history, state=state)

    def _resume_average(self, theta0, state):
        """Weights to train from, and the state with their average, or without one.

        An average goes on only where theta0 is its network, as the last fit has left
        it: not after early stopping, which may have kept another one, and not where a
        user has set weights.
        """
        average, iterate = state.average, state.iterate
        if average is None:
            return theta0, state
        if self.ema > 0 and len(average) == len(theta0):
            average, iterate = (a.astype(theta0.dtype) for a in (average, iterate))
            if np.array_equal(network_of(average, iterate), theta0):
                return iterate, replace(state, average=average)
        return theta0, replace(state, average=None)

    def rates(self, n_rows, *, n_samples, n_epochs, factor):
        """Learning rates of the steps of the next epoch.

        Parameters
        ----------
        n_rows : int
            Of the training data.
        n_samples, n_epochs : int
            Rows and epochs trained on before.
        factor : float
            Product of the reductions that "adaptive" has made so far.

        Returns
        -------
        ndarray of shape (n_steps,)
        """
        horizon = self.horizon or self.max_iter
        return epoch_rates(
            self.learning_rate,
            self.learning_rate_init,
            -(-n_rows // self.batch_size),
            samples_seen=n_samples,
            power_t=self.power_t,
            factor=factor,
            progress=(n_epochs / horizon, (n_epochs + 1) / horizon),
        )

    def lowered(self, factor):
        """The next factor of the rate where "adaptive" lowers it; None to stop."""
        rate = self.learning_rate_init * factor
        if self.learning_rate != "adaptive" or rate <= _ADAPTIVE_LOWEST_RATE:
            return None
        return factor / _ADAPTIVE_DIVISOR
