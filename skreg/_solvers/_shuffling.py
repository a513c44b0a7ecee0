"""The order of the samples, epoch by epoch."""

from contextlib import contextmanager

from skreg._core import MersenneTwister

# Handing a random state over and back costs as much as NumPy takes to shuffle so many.
_FEWEST_INDICES = 10_000


@contextmanager
def shuffler(rng, n_indices):
    """Yield what shuffles as ``rng.shuffle`` does, in the core where that pays.

    Permutations, and the state of `rng` afterwards, are those of NumPy; in between
    nothing else may draw from it.

    Parameters
    ----------
    rng : RandomState
    n_indices : int
        How many indices will be shuffled in all.

    Yields
    ------
    callable
        Shuffles a contiguous ndarray of intp in place.
    """
    state = rng.get_state(legacy=False) if n_indices > _FEWEST_INDICES else {}
    if state.get("bit_generator") != "MT19937":
        yield rng.shuffle
        return
    stream = MersenneTwister(**state["state"])
    try:
        yield stream.shuffle
    finally:
        rng.set_state({**state, "state": stream.state})
