"""An average of the weights over epochs, which predicts in their place.

After the first epoch the average a is the weights w themselves, after each later one
a <- decay * a + (1 - decay) * w, as in ``torch.optim.swa_utils.AveragedModel`` with
``get_ema_multi_avg_fn(decay)``. Training does not see it. An average is hardly ever 0,
so the network has the zeros of the weights.
"""

import numpy as np


def average_of(average, theta, decay):
    """The average after one more epoch; None where decay is 0.

    Parameters
    ----------
    average : ndarray of shape (n_parameters,) or None
        Before it; None at the start. Not changed.
    theta : ndarray of shape (n_parameters,)
        Weights after the epoch.
    decay : float in [0, 1)
    """
    if decay == 0:
        return None
    return theta.copy() if average is None else decay * average + (1 - decay) * theta


def network_of(average, theta):
    """The weights that predict: the average, with the zeros of theta."""
    return theta if average is None else np.where(theta == 0, theta, average)
