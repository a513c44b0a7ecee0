"""Groups of rows or columns of a matrix, and their prox in a diagonal metric."""

from functools import lru_cache

import numpy as np


def ratio(a, b):
    """a / b in double precision, and 0 wherever b is 0."""
    out = np.zeros(np.broadcast_shapes(np.shape(a), np.shape(b)))
    return np.divide(a, b, out=out, where=np.not_equal(b, 0))


class Partition:
    """A matrix cut into groups of whole rows (axis 0) or columns (axis 1).

    index holds the group of each row (column), factor the weight c_g of each group.
    """

    def __init__(self, axis, index, factor):
        self.axis = axis
        self.index = index
        self.factor = factor

    def sum(self, A):
        lines = A.sum(axis=1 - self.axis, dtype=np.float64)
        return np.bincount(self.index, weights=lines)

    @np.errstate(over="ignore")
    def norm(self, A):
        """Norm of each group, of any size: squares neither overflow nor vanish."""
        A = np.asarray(A, dtype=np.float64)
        exponent = self.exponent(A)
        scaled = np.ldexp(A, -self.spread(exponent))  # exact: by powers of 2
        return np.ldexp(np.sqrt(self.sum(np.square(scaled))), exponent)

    def exponent(self, A):
        """Power of 2 that bounds the entries of each group."""
        largest = np.zeros(len(self.factor))
        np.fmax.at(largest, self.index, np.abs(A).max(axis=1 - self.axis))
        return np.frexp(largest)[1]

    def spread(self, per_group):
        """One number per group, in a shape that broadcasts with the matrix."""
        return np.expand_dims(per_group[self.index], 1 - self.axis)


@lru_cache(maxsize=128)
def partition(shape, axis, weighted, labels=None, factors=None):
    """Partition of a matrix by the labels of its rows (columns); None: each is a group.

    A group's weight includes the factor of its lines, given as a tuple. Each epoch asks
    for it, and for the same matrices. Its arrays are read only.
    """
    first = index = np.arange(shape[axis])
    if labels is not None:
        _, first, index = np.unique(
            np.asarray(labels), return_index=True, return_inverse=True
        )
    n_lines = np.bincount(index)
    factor = np.sqrt(n_lines * shape[1 - axis]) if weighted else n_lines**0.0
    if factors is not None:
        factor = factor * np.array(factors, dtype=np.float64)[first]
    for array in (index, factor):
        array.flags.writeable = False
    return Partition(axis, index, factor)


@np.errstate(over="ignore")  # infinite thresholds make zeros
def metric_group_prox(U, step, c, groups):
    """Minimize Σ (Z − U)² / (2t) + Σ_g c_g ‖Z_g‖ over Z for an array of steps t.

    A group is zero if ‖u/t‖ ≤ c. Otherwise z = u s / (s + tc), where s = ‖z‖ is the
    root of φ(s) = Σ u² / (s + tc)² = 1. Newton's method on the increasing and concave
    φ^(−1/2) − 1 rises monotonically from any lower bound of the root, and needs a
    single step if all t of a group are equal. Z is homogeneous in (U, c), so U and c
    are taken in units of the largest entry of each group.
    """
    exponent = groups.exponent(U)
    U = np.ldexp(np.asarray(U, dtype=np.float64), -groups.spread(exponent))
    c = np.ldexp(c, -exponent)
    t = np.broadcast_to(step, U.shape)
    t = np.maximum(t, 1e-100, dtype=np.float64)  # t = 0 leaves u as it is
    tc = t * groups.spread(c)
    dual_norm = groups.norm(U / t)
    is_zero = dual_norm <= c
    s = np.where(is_zero, 0.0, (dual_norm - c) / groups.norm(1 / t))
    for _ in range(15):
        denominator = groups.spread(s) + tc
        terms = np.square(ratio(U, denominator))
        phi, slope = groups.sum(terms), groups.sum(ratio(terms, denominator))
        newton = np.where(is_zero, 0.0, ratio(phi * (np.sqrt(phi) - 1), slope))
        s += newton
        if np.all(newton <= 1e-14 * s):
            break
    norm = groups.spread(s)
    return np.ldexp(U * ratio(norm, norm + tc), groups.spread(exponent))
