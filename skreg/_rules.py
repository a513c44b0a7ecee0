"""Penalties as the compiled core knows them."""

from typing import NamedTuple

import numpy as np

from skreg import _core
from skreg._core import Rule
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    Penalty,
    SparseGroupLasso,
)

# Codes of _core/update.hpp and _core/groups.hpp.
METHODS = {"sgd": 0, "momentum": 1, "nesterov": 2, "rmsprop": 3, "adam": 4}
_SLOTS = {"coupled": 1, "decoupled": 2, "proximal": 3}
_CONCAVE_SLOTS = {"coupled": 4, "proximal": 5}
_UNPENALIZED = (0, 0.0, 0.0, 0.0, 0.0)


class Term(NamedTuple):
    """A penalty on one block of the parameters, a weight matrix or a row of intercepts.

    Attributes
    ----------
    penalty : Penalty
    lam : float > 0
    mode : {"coupled", "decoupled", "proximal"}
        Slot of the update in which it acts.
    where : slice
        Place of the block in theta.
    shape : tuple
    """

    penalty: Penalty
    lam: float
    mode: str
    where: slice
    shape: tuple

    def of(self, theta):
        """The block of theta, as a matrix."""
        return theta[self.where].reshape(self.shape)

    def value(self, theta):
        """Value of the penalty at theta."""
        return float(self.penalty.value(self.of(theta), self.lam))


class PenaltySum:
    """Sum of penalties, in the compiled core as far as it knows them.

    Parameters
    ----------
    terms : list of Term
    slices : list of slice
        All blocks of theta, in order.
    """

    def __init__(self, terms, slices):
        self._rule, self._others = compile_rule(terms, slices)
        self._nothing = np.zeros(slices[-1].stop)

    def value(self, theta):
        """Value at theta."""
        value = self._rule.penalty_value(theta)
        return value + sum(term.value(theta) for term in self._others)

    def prox(self, theta, step):
        """Prox of step times the sum at theta, if all terms are proximal."""
        out, nothing = theta.copy(), self._nothing  # no gradient, no moments
        _core.step(self._rule, out, nothing, nothing, nothing, step, 1)
        for term in self._others:
            out[term.where] = term.penalty.prox(term.of(theta), step, term.lam).ravel()
        return out


def compile_rule(terms, slices, method="sgd", hyper=(0.0, 0.0, 0.0, 0.0)):
    """Hand terms to the compiled core, as far as it knows them.

    Parameters
    ----------
    terms : iterable of Term
    slices : list of slice
        All blocks of theta, in order.
    method : str
        Key of METHODS.
    hyper : sequence of 4 floats
        See `skreg._core.Rule`.

    Returns
    -------
    rule : Rule
        Update with all penalties that are known to the core.
    others : list of Term
        Those that are not.
    """
    elementwise, groups, others = {}, [], []
    for term in terms:
        known = _elementwise(term)
        if known is None:
            others.append(term)
            continue
        if type(term.penalty) in (GroupLasso, SparseGroupLasso):
            partition = term.penalty.partition(term.shape)
            kappa = term.lam * _group_share(term.penalty) * partition.factor
            of_one_weight = kappa.size == np.prod(term.shape)
            if of_one_weight and np.ptp(kappa) == 0:  # an L1
                slot, l1, *rest = known
                known = slot, l1 + kappa[0], *rest
            else:
                block = _group_block(partition, kappa, known)
                groups.append((term.where.start, *term.shape, *block))
                if term.mode == "decoupled":  # both shrinks belong together
                    continue
        elementwise[term.where.start] = known
    segments = []
    for s in slices:
        known = elementwise.get(s.start, _UNPENALIZED)
        if segments and tuple(segments[-1][2:]) == known:
            segments[-1][1] = s.stop
        else:
            segments.append([s.start, s.stop, *known])
    return Rule(METHODS[method], hyper, segments, groups), others


def _elementwise(term):
    """(slot, l1, l2, start, stop) of the elementwise part of a penalty.

    None for a penalty that the core does not know. By exact type: a subclass may
    redefine what the core would bypass.
    """
    penalty, lam = term.penalty, term.lam
    kind, slot = type(penalty), _SLOTS[term.mode]
    if kind is L1:
        return slot, lam, 0.0, 0.0, 0.0
    if kind is L2:
        return slot, 0.0, lam, 0.0, 0.0
    if kind is ElasticNet:
        return slot, lam * penalty.l1_ratio, lam * (1.0 - penalty.l1_ratio), 0.0, 0.0
    if kind is GroupLasso:
        return slot, 0.0, 0.0, 0.0, 0.0
    if kind is SparseGroupLasso:
        return slot, lam * penalty.l1_ratio, 0.0, 0.0, 0.0
    if kind in (MCP, SCAD):
        return _CONCAVE_SLOTS[term.mode], lam, 0.0, *penalty.ramp(lam)
    return None


def _group_share(penalty):
    return 1.0 - penalty.l1_ratio if isinstance(penalty, SparseGroupLasso) else 1.0


def _group_block(partition, kappa, known):
    """What `Rule` reads of a block of groups after its place and shape."""
    slot, l1, *_ = known
    index, by_columns = partition.index, partition.axis == 1
    bounds, lines = [], []  # each line is a group
    if len(kappa) < len(index):
        lines = np.argsort(index, kind="stable").tolist()
        bounds = [0, *np.cumsum(np.bincount(index)).tolist()]
    return by_columns, slot, l1, bounds, lines, kappa[index].tolist()
