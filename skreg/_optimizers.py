"""The optimizers of mini-batch training, one row each, and what they remember."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Method:
    """An update rule.

    Parameters
    ----------
    code : int
        Its number in the compiled core (``_core/update.hpp``).
    moments : tuple of {"first", "second"}
        Vectors like theta that it keeps between steps: momentum buffer or first moment;
        second moment.
    is_adaptive : bool
        Whether it measures distance in a diagonal metric of its own, in which proximal
        steps are then taken.
    is_corrected : bool
        Whether steps allow for moments that start at 0 (Kingma & Ba, 2015, section 3).
    is_heavy : bool
        Whether it accumulates momentum without damping: the step of the prox is that of
        a gradient that stays the same, lr / (1 - momentum).
    """

    code: int
    moments: tuple = ()
    is_adaptive: bool = False
    is_corrected: bool = False
    is_heavy: bool = False


METHODS = {
    "sgd": Method(0),
    "momentum": Method(1, ("first",), is_heavy=True),
    "nesterov": Method(2, ("first",), is_heavy=True),
    "rmsprop": Method(3, ("second",), is_adaptive=True),
    "adam": Method(4, ("first", "second"), is_adaptive=True, is_corrected=True),
}


@dataclass(frozen=True)
class Optimizer:
    """An update rule with its hyper-parameters.

    Parameters
    ----------
    method : str
        Key of `METHODS`.
    momentum, beta_1, beta_2, epsilon : float
        As of the estimators; `beta_2` is the decay of the second moment, RMSProp's rho.
    """

    method: str
    momentum: float = 0.9
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    @classmethod
    def of(
        cls,
        solver,
        *,
        momentum=0.9,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        rho=0.9,
        epsilon=1e-8,
    ):
        """Optimizer of the parameters of an estimator."""
        method = solver
        if solver == "sgd" and momentum > 0:
            method = "nesterov" if nesterovs_momentum else "momentum"
        second = rho if solver == "rmsprop" else beta_2
        return cls(method, momentum, beta_1, second, epsilon)

    @property
    def code(self):
        """See `Method`."""
        return METHODS[self.method].code

    @property
    def is_adaptive(self):
        """See `Method`."""
        return METHODS[self.method].is_adaptive

    @property
    def hyper(self):
        """(momentum, beta_1, beta_2, epsilon), as the core reads them."""
        return np.array([self.momentum, self.beta_1, self.beta_2, self.epsilon])

    def prox_step(self, lr):
        """Step of the prox, before the metric, at a learning rate."""
        return lr / (1.0 - self.momentum) if METHODS[self.method].is_heavy else lr


@dataclass(frozen=True, eq=False)
class OptimizerState:
    """What an optimizer remembers between epochs, and between fits when warm.

    Parameters
    ----------
    solver : str
        The solver that it belongs to.
    moments : dict of ndarray of shape (n_parameters,)
        Those of the method, by name.
    n_steps, n_samples, n_epochs : int
        Steps, samples and epochs so far.
    factor : float
        Product of the reductions of the adaptive schedule.
    average, iterate : ndarray of shape (n_parameters,) or None
        Average of the weights over epochs, and the weights that train; None where the
        weights themselves predict.
    """

    solver: str
    moments: dict
    n_steps: int = 0
    n_samples: int = 0
    n_epochs: int = 0
    factor: float = 1.0
    average: np.ndarray | None = None
    iterate: np.ndarray | None = None

    def after_epoch(self, n_steps, n_samples, average):
        """The state after an epoch of these steps and samples; moments are shared."""
        return OptimizerState(
            self.solver,
            self.moments,
            self.n_steps + n_steps,
            self.n_samples + n_samples,
            self.n_epochs + 1,
            self.factor,
            average,
            self.iterate,
        )

    @classmethod
    def resume(cls, state, solver, optimizer, theta):
        """A state where it fits solver and parameters, else a fresh one."""
        known = getattr(state, "solver", None) == solver and all(
            len(moment) == len(theta) for moment in state.moments.values()
        )
        old = state.moments if known else {}
        moments = {
            name: old[name].astype(theta.dtype) if name in old else np.zeros_like(theta)
            for name in METHODS[optimizer.method].moments
        }
        return replace(state if known else cls(solver, {}), moments=moments)
