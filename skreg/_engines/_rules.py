"""Penalties on blocks of parameters, and as the compiled core knows them."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from skreg import _core
from skreg._core import Rule
from skreg._forms import DECOUPLED, UNPENALIZED
from skreg._optimizers import METHODS
from skreg.penalties import Penalty

_UNPENALIZED = (UNPENALIZED, 0.0, 0.0, 0.0, 0.0)


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

    Attributes
    ----------
    terms : list of Term
    slices : list of slice
        All blocks of theta, in order.
    metric : ndarray of shape (n_parameters,) or None
        The diagonal M of the metric of `prox`, constant where a penalty cannot take
        another; None is 1.
    others : list of Term
        Those that the core does not know.
    """

    def __init__(self, terms, slices, metric=None):
        self.terms, self.slices, self.metric = terms, slices, metric
        *self._known, self.others = _known_to_core(terms, slices)
        self._nothing = self._second = np.zeros(slices[-1].stop)
        step = ()  # of plain gradient descent
        if metric is not None:
            # RMSProp whose statistics stay what they are: a step in a given metric.
            step = METHODS["rmsprop"].code, (0.0, 0.0, 1.0, 0.0)
            self._second = metric * metric
        self._rule = self.rule(*step)

    def __reduce__(self):
        """Pickle without what the core has made of it."""
        return PenaltySum, (self.terms, self.slices, self.metric)

    def rule(self, code=0, hyper=(0.0, 0.0, 0.0, 0.0)):
        """Return the update of an optimizer with all penalties that the core knows.

        Parameters
        ----------
        code : int, default=0
            Of the optimizer's method; 0 is plain gradient descent.
        hyper : sequence of 4 floats
            See `skreg._core.Rule`.

        Returns
        -------
        Rule
        """
        return Rule(code, hyper, *self._known)

    def in_metric(self, metric):
        """The same penalties with a prox in another metric."""
        return PenaltySum(self.terms, self.slices, metric)

    def value(self, theta):
        """Value at theta."""
        value = self._rule.penalty_value(theta)
        if not self.others:
            return value
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging fit is seen
            return value + sum(term.value(theta) for term in self.others)

    def prox(self, theta, step):
        """Minimizer z of sum M (z - theta)^2 / (2 step) + sum at z, all terms proximal.

        Parameters
        ----------
        theta : ndarray of shape (n_parameters,)
        step : float
        """
        out, nothing = theta.copy(), self._nothing  # no gradient, no moments
        _core.step(self._rule, out, nothing.copy(), nothing, self._second, step, 1)
        for term in self.others:
            steps = step
            if self.metric is not None:
                steps = step / term.of(self.metric)
                steps = steps if term.penalty.has_metric_prox else float(steps[0, 0])
            out[term.where] = term.penalty.prox(term.of(theta), steps, term.lam).ravel()
        return out


def _known_to_core(terms, slices):
    """Segments and groups of a `skreg._core.Rule`, and the terms that do not fit."""
    elementwise, groups, others = {}, [], []
    for term in terms:
        form = form_of(term)
        if form is None or _is_beyond_core(form, term):
            others.append(term)
            continue
        slot = form.slot(term.mode)
        if form.groups is not None:
            block = _group_block(form, slot)
            groups.append((term.where.start, *term.shape, *block))
            if slot == DECOUPLED:  # both shrinks belong together
                continue
        elementwise[term.where.start] = _runs(form, slot, term)
    segments = []
    for s in slices:
        unpenalized = [(s.start, s.stop, *_UNPENALIZED)]
        for start, stop, *known in elementwise.get(s.start, unpenalized):
            if segments and segments[-1][2:] == known:
                segments[-1][1] = stop
            else:
                segments.append([start, stop, *known])
    return segments, groups, others


def form_of(term):
    """The `Form` of the penalty of a term, or None; groups of one weight are an L1."""
    form = term.penalty.form(term.lam, term.shape)
    if form is None or form.groups is None:
        return form
    groups = form.groups
    if groups.kappa.size < np.prod(term.shape):
        return form
    kappa = groups.kappa[groups.index]  # of each row, which is a column or a number
    if np.ptp(kappa) > 0 and groups.axis == 1:
        return form
    l1 = form.l1 + (kappa[0] if np.ptp(kappa) == 0 else kappa[:, np.newaxis])
    return replace(form, l1=l1, groups=None)


def _is_beyond_core(form, term):
    """Whether the core lacks something: MCP and SCAD have no decoupled shrink there,
    and the shrink of sparse groups knows one l1 for all rows."""
    if term.mode == "decoupled":
        return form.ramp is not None or (form.groups and np.ndim(form.l1) > 0)
    return False


def _runs(form, slot, term):
    """(start, stop, slot, l1, l2, ramp start, ramp stop) of the block or its rows."""
    rows = form.rows().tolist()
    width = (term.where.stop - term.where.start) // len(rows)
    runs, first = [], term.where.start
    for row in rows:
        known = (slot, *row) if len(rows) == 1 or any(row[:2]) else _UNPENALIZED
        runs.append((first, first + width, *known))
        first += width
    return runs


def _group_block(form, slot):
    """What `Rule` reads of a block of groups after its place and shape."""
    index, kappa = form.groups.index, form.groups.kappa
    bounds, lines = [], []  # each line is a group
    if len(kappa) < len(index):
        lines = np.argsort(index, kind="stable").tolist()
        bounds = [0, *np.cumsum(np.bincount(index)).tolist()]
    l1 = float(form.l1) if np.ndim(form.l1) == 0 else 0.0  # by the elementwise part
    by_columns = form.groups.axis == 1
    return by_columns, slot, l1, bounds, lines, kappa[index].tolist()
