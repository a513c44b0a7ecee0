"""Which values count as numbers: those of Python and NumPy, and no lookalikes."""

import math

import numpy as np
from numpy.random.bit_generator import ISeedSequence


def is_boolean(value):
    """Whether a value is True or False, of Python or NumPy."""
    return isinstance(value, bool | np.bool_)


def is_integer(value):
    """Whether a value is an integer of Python or NumPy, and no boolean."""
    return isinstance(value, int | np.integer) and not is_boolean(value)


def as_float(value):
    """Return a number as a float, so that checks and solvers see the same.

    Parameters
    ----------
    value : object

    Returns
    -------
    float
        NaN for anything but an integer or a float of Python or NumPy: booleans,
        strings, arrays, fractions, decimals, missing values. Infinite for what is too
        large for a float. NaN and infinity fail a check like ``low <= x < inf``.
    """
    if not is_integer(value) and not isinstance(value, float | np.floating):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def plain(value):
    """A number of Python in place of one of NumPy, whose arithmetic may overflow."""
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if isinstance(value, np.floating) else value


def as_strength(lam):
    """One entry of a grid of lambda: a float, or a tuple with one per layer."""
    return float(lam) if np.ndim(lam) == 0 else tuple(map(float, lam))


def strength_text(lam, digits=3):
    """The same as a text, with this many significant digits."""
    if np.ndim(lam) == 0:
        return f"{lam:.{digits}g}"
    return f"({','.join(f'{value:.{digits}g}' for value in lam)})"


class _NoEntropy(ISeedSequence):
    """Seeds a generator that is seeded anew at once."""

    def generate_state(self, n_words, dtype=np.uint32):
        """Return words that nobody uses."""
        return np.ones(n_words, dtype)


def seeded(seed):
    """Return ``RandomState(seed)`` for an int, in a third of the time.

    NumPy first asks the system for entropy and spreads it over the state, which takes a
    tenth of a small fit, and then replaces it.
    """
    rng = np.random.RandomState(np.random.MT19937(_NoEntropy()))
    rng.seed(seed)
    return rng
