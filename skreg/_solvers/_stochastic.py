"""Mini-batch solvers: sgd, rmsprop and adam, with the penalty in one of three slots."""

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from skreg._core import loss_gradient, step, train, write_metric
from skreg._rules import compile_rule
from skreg._solvers._result import Result, Status
from skreg._solvers._schedules import epoch_rates
from skreg._solvers._shuffling import shuffler

# Floating-point operations per call of the core: Python, and with it Ctrl-C, is served
# in between, some tens of times per second.
_FLOPS_PER_CALL = 1e9

# "adaptive" divides the learning rate by this, and stops below this rate.
_ADAPTIVE_DIVISOR, _ADAPTIVE_LOWEST_RATE = 5.0, 1e-6


@dataclass
class OptimizerState:
    """What an optimizer remembers between epochs, and between fits when warm.

    Attributes
    ----------
    solver : str
        The solver that it belongs to.
    first, second : ndarray of shape (n_parameters,)
        Momentum buffer or first moment; second moment.
    n_steps, n_samples, n_epochs : int
        Steps, samples and epochs so far.
    factor : float
        Product of the reductions of the adaptive schedule.
    """

    solver: str
    first: np.ndarray
    second: np.ndarray
    n_steps: int = 0
    n_samples: int = 0
    n_epochs: int = 0
    factor: float = 1.0

    @classmethod
    def resume(cls, state, solver, theta):
        """Copy of a state where it fits solver and parameters, else a fresh one."""
        fits = getattr(state, "solver", None) == solver
        if not fits or len(state.first) != len(theta):
            return cls(solver, np.zeros_like(theta), np.zeros_like(theta))
        return replace(
            state,
            first=state.first.astype(theta.dtype),
            second=state.second.astype(theta.dtype),
        )


@dataclass(frozen=True)
class Stochastic:
    """Settings of a mini-batch solver.

    Parameters are those of the estimators; `modes` holds the resolved decay mode of
    each layer. `horizon` is the number of epochs over which the cosine schedule runs in
    a stream of single epochs; None starts it anew in each call, over `max_iter`.

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
    modes: tuple
    batch_size: int
    max_iter: int
    learning_rate: str = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    rho: float = 0.9
    epsilon: float = 1e-8
    shuffle: bool = True
    horizon: int | None = None

    @property
    def method(self):
        """Name of the update in the compiled core."""
        if self.solver == "sgd" and self.momentum > 0:
            return "nesterov" if self.nesterovs_momentum else "momentum"
        return self.solver

    @property
    def hyper(self):
        """(momentum, beta_1, beta_2 or rho, epsilon), as the core reads them."""
        second = self.rho if self.solver == "rmsprop" else self.beta_2
        return np.array([self.momentum, self.beta_1, second, self.epsilon])

    def compile_rule(self, problem, lam):
        """Return the update as a `Rule`, and the penalties that it leaves to Python."""
        terms, slices = problem.terms(lam, self.modes), problem.network.slices
        return compile_rule(terms, slices, self.method, self.hyper)

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
            per epoch their sum is therefore the objective, exactly.
        """
        state = OptimizerState.resume(state, self.solver, theta0)
        if self.horizon is None:
            state.n_epochs = 0
        shuffles = self.shuffle and problem.n_rows > self.batch_size
        drawing = shuffler(rng, problem.n_rows * self.max_iter)
        with drawing if shuffles else nullcontext() as shuffle:
            epoch = _Epoch(self, problem, lam, theta0, state, shuffle)
            return self._solve(epoch, monitor)

    def _solve(self, epoch, monitor):
        problem, lam, state = epoch.problem, epoch.lam, epoch.state
        history = {"data_loss": [], "penalty": [], "validation_scores": []}
        last = epoch.snapshot()  # of the last complete epoch
        status, n_iter = Status.MAX_ITER, 0
        try:
            while n_iter < self.max_iter:
                penalty = problem.penalty_value(epoch.theta, lam)
                data_loss = epoch.run()
                diverged = not np.isfinite(epoch.theta).all()
                history["data_loss"].append(data_loss)
                history["penalty"].append(penalty)
                ceased = monitor.update(
                    n_iter + 1, data_loss + penalty, epoch.theta, history
                )
                n_iter += 1
                epoch.snapshot(last)
                if diverged:
                    status = Status.NON_FINITE
                    break
                if ceased and not self._lower_rate(state, monitor):
                    status = Status.CONVERGED
                    break
        except KeyboardInterrupt:
            if n_iter == 0:
                raise
            status = Status.INTERRUPTED
            epoch.restore(last)
            for values in history.values():
                del values[n_iter:]
        return Result(epoch.theta, n_iter, status, history, state=state)

    def _lower_rate(self, state, monitor):
        """Lower the rate of the adaptive schedule; False where training is to stop."""
        rate = self.learning_rate_init * state.factor
        if self.learning_rate != "adaptive" or rate <= _ADAPTIVE_LOWEST_RATE:
            monitor.announce("Stopping.")
            return False
        state.factor /= _ADAPTIVE_DIVISOR
        monitor.count = 0
        monitor.announce(f"Setting learning rate to {rate / _ADAPTIVE_DIVISOR:g}.")
        return True


class _Epoch:
    """Runs one epoch at a time on buffers that live as long as a fit.

    `shuffle` shuffles an index array in place; None leaves the samples as they lie.
    """

    def __init__(self, solver, problem, lam, theta0, state, shuffle):
        self.solver, self.problem, self.lam, self.state = solver, problem, lam, state
        self.shuffle = shuffle
        self.theta = theta0.copy()
        self.grad = np.empty_like(theta0)
        self.net, self.scratch = problem.compile(
            problem.network.block_rows(solver.batch_size)
        )
        n = problem.n_rows
        self.n_batches = -(-n // solver.batch_size)
        self.order = problem.rows
        if shuffle:
            self.order = np.arange(n) if self.order is None else self.order.copy()
        self.rule, self.python_terms = solver.compile_rule(problem, lam)
        flops = 6.0 * solver.batch_size * problem.network.n_weights
        self.batches_per_call = max(1, int(_FLOPS_PER_CALL // flops))
        if self.python_terms:
            self.batches_per_call = 1
            self.metric = np.empty_like(theta0)

    def snapshot(self, out=None):
        """Copy parameters and state, into an earlier snapshot where one is given."""
        state = self.state
        arrays = (self.theta, state.first, state.second)
        out = (*(a.copy() for a in arrays), {}) if out is None else out
        for target, source in zip(out, arrays):
            np.copyto(target, source)
        out[3].update(
            n_steps=state.n_steps,
            n_samples=state.n_samples,
            n_epochs=state.n_epochs,
            factor=state.factor,
        )
        return out

    def restore(self, snapshot):
        """Return to a snapshot."""
        state = self.state
        for target, source in zip((self.theta, state.first, state.second), snapshot):
            np.copyto(target, source)
        for name, value in snapshot[3].items():
            setattr(state, name, value)

    def run(self):
        """Train on every sample once; return the mean data loss."""
        solver, state, problem = self.solver, self.state, self.problem
        if self.shuffle:
            self.shuffle(self.order)
        horizon = solver.horizon or solver.max_iter
        rates = epoch_rates(
            solver.learning_rate,
            solver.learning_rate_init,
            self.n_batches,
            samples_seen=state.n_samples,
            power_t=solver.power_t,
            factor=state.factor,
            progress=(state.n_epochs / horizon, (state.n_epochs + 1) / horizon),
        )
        total = 0.0
        run = self._run_in_python if self.python_terms else self._run_compiled
        for begin in range(0, self.n_batches, self.batches_per_call):
            end = min(begin + self.batches_per_call, self.n_batches)
            start = begin * solver.batch_size
            stop = min(end * solver.batch_size, problem.n_rows)
            total += run(start, stop, rates[begin:end])
            state.n_steps += end - begin
        state.n_samples += problem.n_rows
        state.n_epochs += 1
        return problem.mean_loss(total)

    def _run_compiled(self, start, stop, rates):
        solver, state, problem = self.solver, self.state, self.problem
        return train(
            self.net,
            problem.data,
            self.order,
            start,
            stop,
            solver.batch_size,
            problem.n_rows / problem.weight_sum,
            self.rule,
            rates,
            state.n_steps,
            self.theta,
            self.grad,
            state.first,
            state.second,
            self.scratch,
        )

    def _run_in_python(self, start, stop, rates):
        """One step for penalties that the core does not know; same order of slots."""
        state, problem = self.state, self.problem
        theta, grad, lr, t = self.theta, self.grad, rates[0], state.n_steps + 1
        scale = problem.n_rows / problem.weight_sum / (stop - start)
        total = loss_gradient(
            self.net,
            problem.data,
            self.order,
            start,
            stop,
            theta,
            grad,
            scale,
            self.scratch,
        )
        for term in self.python_terms:
            penalty, lam, mode, s, _ = term
            if mode == "coupled":
                grad[s] += penalty.gradient(term.of(theta), lam).ravel()
            elif mode == "decoupled":
                theta[s] = penalty.shrink(term.of(theta), lr, lam).ravel()
        step(self.rule, theta, grad, state.first, state.second, lr, t)
        self._prox_in_python(lr, t)
        return total

    def _prox_in_python(self, lr, t):
        solver = self.solver
        adaptive = solver.solver in ("rmsprop", "adam")
        heavy = solver.solver == "sgd"
        tau = lr / (1.0 - solver.momentum) if heavy else lr
        for term in self.python_terms:
            if term.mode != "proximal":
                continue
            tau_block = tau
            if adaptive:
                write_metric(self.rule, self.state.second, t, self.metric)
                tau_block = tau / term.of(self.metric)
            new = term.penalty.prox(term.of(self.theta), tau_block, term.lam)
            self.theta[term.where] = new.ravel()
