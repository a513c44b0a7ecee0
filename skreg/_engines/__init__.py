"""Engines: who computes the data term of the objective.

The solvers know the data term by the two protocols below and nothing of rows, memory or
devices. One class per engine implements them: `_compiled.CompiledRows` on a core of the
processor.
"""

from typing import Protocol

import numpy as np


class DataTerm(Protocol):
    """Weighted mean loss of a network over the training rows.

    ``1 / sum(s) * sum_i s_i l(y_i, f(x_i))``, for any network with the same inputs and
    outputs: the network is an argument of each call.

    Attributes
    ----------
    n_rows : int
        Training rows.
    weight_sum : float
        Sum of their weights s.
    dtype : dtype
        Of theta.
    loss : Loss
    input_mean, input_spread : ndarray of shape (n_inputs,)
        Weighted mean and standard deviation of the columns of X.
    target_spread : float
        Typical standard deviation of the targets, the root of their mean variance; 1
        for losses whose predictions have an own unit.
    null_prediction : ndarray of shape (n_outputs,)
        Raw prediction whose prediction is the weighted mean of the targets.
    null_value : float
        Data term of the network that predicts it everywhere.
    largest_target : float
        Largest |y|.
    """

    n_rows: int
    weight_sum: float
    dtype: np.dtype

    def value(self, network, theta):
        """Data term at theta."""

    def value_grad(self, network, theta):
        """Data term and its gradient at theta, of the shape of theta."""

    def losses_of_outputs(self, network, theta):
        """Data term of each output of a regression, of shape (n_outputs,), float64."""

    @property
    def losses_of_constants(self):
        """The same at `null_prediction` and at 0, of shape (2, n_outputs)."""

    def row_order(self):
        """Indices of the training rows as they lie, to be shuffled; a copy."""

    def epochs(self, network, optimizer, penalties, theta, moments, batch_size):
        """Return an `EpochRunner` that starts from theta and moments.

        Parameters
        ----------
        network : Network
        optimizer : Optimizer
        penalties : PenaltySum
            In their slots.
        theta : ndarray of shape (n_parameters,)
        moments : dict of ndarray of shape (n_parameters,)
        batch_size : int
        """


class EpochRunner(Protocol):
    """Mini-batch training that has begun, one epoch per call.

    Attributes
    ----------
    theta : ndarray of shape (n_parameters,)
        Parameters; read only.
    moments : dict of ndarray
        Of the optimizer; read only.
    """

    theta: np.ndarray
    moments: dict

    def run(self, order, rates, n_steps):
        """Train on every row once; return the mean data loss.

        Parameters
        ----------
        order : ndarray of intp or None
            Order of the rows; None trains on them as they lie.
        rates : ndarray of shape (n_batches,)
            Learning rate of each step.
        n_steps : int
            Steps taken so far.

        Returns
        -------
        float
            Mean over the batches, each taken just before its step.
        """

    def snapshot(self):
        """Remember parameters and moments."""

    def restore(self):
        """Return to what `snapshot` has remembered."""
