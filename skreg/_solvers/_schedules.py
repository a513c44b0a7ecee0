"""Learning-rate schedules, as arrays of rates for one epoch."""

from math import pi

import numpy as np

SCHEDULES = ("constant", "invscaling", "adaptive", "cosine")


def epoch_rates(name, initial, n_steps, *, samples_seen, power_t, factor, progress):
    """Learning rate of each step of one epoch.

    Parameters
    ----------
    name : {"constant", "invscaling", "adaptive", "cosine"}
        constant and adaptive: ``initial * factor``. invscaling:
        ``initial / (samples_seen + 1) ** power_t`` over a whole epoch, as in
        scikit-learn. cosine: ``initial * (1 + cos(pi * progress)) / 2``, decaying step
        by step to 0 (Loshchilov & Hutter, 2017, equation 5, without restarts).
    initial : float
        `learning_rate_init`.
    n_steps : int
        Steps in the epoch.
    samples_seen : int
        Samples before this epoch.
    power_t : float
        Exponent of invscaling.
    factor : float
        Product of the reductions that "adaptive" has made so far.
    progress : tuple of float
        Share of the training horizon, in [0, 1], at the start and the end of the epoch.

    Returns
    -------
    ndarray of shape (n_steps,)
    """
    initial = float(initial)  # of any precision; the core reads double
    if name == "invscaling":
        # A negative power vanishes for huge exponents, a positive one overflows.
        rate = initial * float(samples_seen + 1) ** -float(power_t)
        return np.full(n_steps, rate)
    if name == "cosine":
        start, end = (min(p, 1.0) for p in progress)
        position = start + (end - start) * np.arange(n_steps) / n_steps
        return 0.5 * initial * (1.0 + np.cos(pi * position))
    return np.full(n_steps, initial * factor)
