"""A fitted network: all that a fit leaves behind, as one value."""

from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from skreg import _prune
from skreg._engines._device import predictor
from skreg._matrix import take_inputs
from skreg._network import Network
from skreg._optimizers import OptimizerState
from skreg._rows import Header
from skreg._task import Classification, Regression, Task
from skreg.losses import regression_loss

EQUAL = 1e-6  # relative difference of objectives that count as equal
# Epochs of which a stream of `partial_fit` calls keeps the curves.
LONGEST_STREAM = 10_000


@dataclass(frozen=True)
class History:
    """Curves of the training, one entry per epoch or iteration.

    Parameters
    ----------
    data_loss, penalty : list of float
        The two terms of the objective.
    validation_scores : list of float
        Empty where none were watched.
    """

    data_loss: list = field(default_factory=list)
    penalty: list = field(default_factory=list)
    validation_scores: list = field(default_factory=list)

    @property
    def objective(self):
        """Their sum, J, as a list."""
        return [a + b for a, b in zip(self.data_loss, self.penalty)]

    @property
    def last_objective(self):
        """J of the last epoch, without a look at the others."""
        return self.data_loss[-1] + self.penalty[-1]

    def extended(self, other, longest=None):
        """This history and then another one; of both the last `longest` entries."""
        start = None if longest is None else -longest
        return History(
            *(
                [*getattr(self, f.name), *getattr(other, f.name)][start:]
                for f in fields(self)
            )
        )


@dataclass(frozen=True, eq=False)
class Fitted:
    """A network and the record of its training.

    Parameters
    ----------
    task : Task
        Turns raw predictions into answers.
    header : Header
        Columns of the X that it was fitted to.
    network : Network
    coefs, intercepts : list of ndarray
        Weights and intercepts of each layer.
    inputs : ndarray of intp or None
        Columns of X that the network reads; None for all.
    modes : tuple of str
        Decay mode of each layer.
    history : History
    n_iter : int
        Epochs or iterations of the last call of `fit`.
    n_seen : int
        Training samples seen, counted over all epochs.
    best_loss, best_score : float or None
        Least objective; or, where scores were watched, the best of them.
    n_stale : int
        Epochs without improvement in a row, for the next call of a stream.
    optimality : float or None
        Violation of the optimality conditions, where the solver measures it.
    state : OptimizerState, float or None
        What the solver needs to go on from here.
    rng : RandomState or None
        Random stream as the fit has left it.
    null_value : float or None
        Data term of the best constant on the training rows; None for streams.
    """

    task: Task
    header: Header
    network: Network
    coefs: list
    intercepts: list
    inputs: np.ndarray | None = None
    modes: tuple = ()
    history: History = field(default_factory=History)
    n_iter: int = 0
    n_seen: int = 0
    best_loss: float | None = None
    best_score: float | None = None
    n_stale: int = 0
    optimality: float | None = None
    state: OptimizerState | float | None = None
    rng: np.random.RandomState | None = None
    null_value: float | None = None

    @property
    def dtype(self):
        """Precision of the weights."""
        return self.coefs[0].dtype

    def theta(self, dtype=None):
        """All parameters as one new vector."""
        dtype = self.dtype if dtype is None else dtype
        return self.network.pack(self.coefs, self.intercepts, dtype)

    def raw(self, X, device="cpu", n_jobs=1):
        """Raw predictions of shape (n, n_outputs) for X as engines read it."""
        X = take_inputs(X, self.inputs)
        return predictor(device, self.network, X, n_jobs)(self.theta())

    # What the network uses -----------------------------------------------------------

    @cached_property
    def _alive(self):
        return _prune.alive_units(self.coefs)

    def per_feature(self, values):
        """One value per column of X from one per row of the first matrix; else 0."""
        if self.inputs is None:
            return values
        out = np.zeros(self.header.n_features, dtype=values.dtype)
        out[self.inputs] = values
        return out

    @property
    def selected(self):
        """Mask of the columns of X from which a path of weights leads to an output."""
        return self.per_feature(self._alive[0])

    @property
    def is_constant(self):
        """Whether the network predicts a constant.

        No path of weights leads from an input to an output; or, of penalties without
        exact zeros, both terms of the objective are those of weights 0, up to rounding.
        """
        is_dense = all(W.all() for W in self.coefs)
        if not (is_dense or _prune.fed_units(self.coefs)[-1].any()):
            return True
        if self.null_value is None:
            return False
        gain = abs(self.null_value - self.history.data_loss[-1])
        penalty = self.history.penalty[-1]
        return 0 < penalty and max(gain, penalty) <= EQUAL * abs(self.null_value)

    @property
    def importances(self):
        """Norm of the weights that lead from each column of X to an alive unit."""
        # Unlike the root of squares, without overflow.
        norms = np.hypot.reduce(self.coefs[0][:, self._alive[1]], axis=1)
        return self.per_feature(norms)

    @property
    def n_units(self):
        """Alive units of the hidden layers."""
        return int(sum(mask.sum() for mask in self._alive[1:-1]))

    @property
    def n_nonzero(self):
        """Weights that are not 0."""
        return sum(map(np.count_nonzero, self.coefs))

    def compact(self):
        """The same function without unused inputs and dead units; a new value."""
        kept, coefs, intercepts = _prune.prune(
            self.coefs, self.intercepts, self.network.activation
        )
        inputs = self.inputs
        if len(kept) < len(self.coefs[0]):
            inputs = kept if inputs is None else inputs[kept]
        units = (len(kept), *(W.shape[1] for W in coefs))
        return replace(
            self,
            network=replace(self.network, units=units),
            coefs=coefs,
            intercepts=intercepts,
            inputs=inputs,
            state=None,  # its vectors belong to the weights that were there
        )

    # Plain data ----------------------------------------------------------------------

    def to_plain(self):
        """Dictionary of numbers, strings, arrays and containers of them.

        It is what files hold of a fitted network, so that no private class is in them.
        """
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain["task"] = _task_to_plain(self.task)
        plain["header"] = vars(self.header).copy()
        plain["history"] = vars(self.history).copy()
        plain["network"] = {
            "units": self.network.units,
            "activation": self.network.activation,
        }
        if isinstance(self.state, OptimizerState):
            plain["state"] = vars(self.state).copy()
        return plain

    @classmethod
    def from_plain(cls, plain):
        """Inverse of `to_plain`."""
        state = plain["state"]
        return cls(
            **{
                **plain,
                "task": _task_from_plain(plain["task"]),
                "header": Header(**plain["header"]),
                "history": History(**plain["history"]),
                "network": Network(**plain["network"]),
                "state": OptimizerState(**state) if isinstance(state, dict) else state,
            }
        )


def _task_to_plain(task):
    if isinstance(task, Classification):
        return vars(task).copy()
    return {
        "loss": task.loss.name,
        "param": task.loss.param,
        "n_outputs": task.n_outputs,
    }


def _task_from_plain(plain):
    if "classes" in plain:
        return Classification(**plain)
    return Regression(
        regression_loss(plain["loss"], plain["param"]), plain["n_outputs"]
    )


def as_estimator(template, fitted, **params):
    """A new fitted estimator.

    Parameters
    ----------
    template : RegMLPClassifier or RegMLPRegressor
        Gives class and parameters; not changed.
    fitted : Fitted
    **params : dict
        Parameters in which it differs from the template.
    """
    estimator = type(template)(**{**template.get_params(deep=False), **params})
    estimator.fitted_ = fitted
    fitted.header.write(estimator)
    return estimator
