"""Shuffling by the compiled core against NumPy, bit by bit."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal, assert_equal

from skreg._core import MersenneTwister
from skreg._solvers._shuffling import shuffler

SIZES = [0, 1, 2, 3, 4, 5, 623, 624, 625, 4096, 4097, 70_000]


def generator(n_drawn=0):
    rng = np.random.RandomState(0)
    rng.normal(size=3)  # an odd number: one more is in store
    rng.randint(2**32, size=n_drawn, dtype=np.uint32)
    return rng


@pytest.mark.parametrize("n_drawn", [0, 1, 400, 623, 624, 625])
def test_permutations_are_those_of_numpy(n_drawn):
    rng = generator(n_drawn)
    stream = MersenneTwister(**rng.get_state(legacy=False)["state"])
    for size in SIZES:
        order, expected = np.arange(size), np.arange(size)
        for _ in range(3):
            stream.shuffle(order)
            rng.shuffle(expected)
            assert_array_equal(order, expected)
        assert_equal(stream.state, rng.get_state(legacy=False)["state"])


@pytest.mark.parametrize("n_indices", [100, 1_000_000])
def test_generator_ends_as_if_it_had_shuffled(n_indices):
    rng, twin = generator(), generator()
    with shuffler(rng, n_indices) as shuffle:
        for size in SIZES:
            order, expected = np.arange(size), np.arange(size)
            shuffle(order)
            twin.shuffle(expected)
            assert_array_equal(order, expected)
    assert_equal(rng.get_state(legacy=False), twin.get_state(legacy=False))


def test_generator_keeps_its_place_after_an_error():
    rng, twin = generator(), generator()
    with pytest.raises(KeyboardInterrupt), shuffler(rng, 1_000_000) as shuffle:
        shuffle(np.arange(1000))
        raise KeyboardInterrupt
    twin.shuffle(np.arange(1000))
    assert rng.normal() == twin.normal()
    assert rng.randint(1000) == twin.randint(1000)


def test_other_bit_generators_shuffle_themselves():
    rng, twin = (np.random.RandomState(np.random.PCG64(0)) for _ in range(2))
    order, expected = np.arange(5000), np.arange(5000)
    with shuffler(rng, 1_000_000) as shuffle:
        shuffle(order)
    twin.shuffle(expected)
    assert_array_equal(order, expected)


@pytest.mark.parametrize("size, pos", [(623, 0), (625, 0), (624, -1), (624, 625)])
def test_state_of_another_generator_is_refused(size, pos):
    with pytest.raises(ValueError, match="MT19937"):
        MersenneTwister(np.zeros(size, np.uint32), pos)
