"""Penalties as plain data, for engines that are not the compiled core."""

from dataclasses import dataclass

import numpy as np

from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    SparseGroupLasso,
)

# Where a penalty acts in an update. The last two are those of MCP and SCAD.
UNPENALIZED, COUPLED, DECOUPLED, PROXIMAL, COUPLED_CONCAVE, PROXIMAL_CONCAVE = range(6)
_SLOTS = {"coupled": COUPLED, "decoupled": DECOUPLED, "proximal": PROXIMAL}
_CONCAVE_SLOTS = {"coupled": COUPLED_CONCAVE, "proximal": PROXIMAL_CONCAVE}


@dataclass(frozen=True)
class Elementwise:
    """l1 |w| + l2 / 2 w^2; in a concave slot the slope l1 falls to 0 on the ramp.

    Attributes
    ----------
    slot : int
        One of the slots above.
    l1, l2 : float
    start, stop : float
        The ramp of MCP and SCAD.
    """

    slot: int = UNPENALIZED
    l1: float = 0.0
    l2: float = 0.0
    start: float = 0.0
    stop: float = 1.0

    @property
    def strengths(self):
        """(l1, l2, start, stop)."""
        return self.l1, self.l2, self.start, self.stop


@dataclass(frozen=True, eq=False)
class Groups:
    """sum_g kappa_g ||w_g|| over groups of lines of a matrix.

    Attributes
    ----------
    slot : int
    block : int
        Which block of theta: 0..L-1 are weights, L..2L-1 intercepts.
    shape : tuple
        (rows, cols) of the matrix.
    axis : {0, 1}
        Lines are rows or columns.
    index : ndarray of shape (n_lines,) or None
        Group of each line; None where each line is a group.
    kappa : ndarray of shape (n_lines,)
        Strength of the group of each line.
    l1 : float
        Soft threshold that belongs to the decoupled shrink; 0 in other slots.
    """

    slot: int
    block: int
    shape: tuple
    axis: int
    index: np.ndarray | None
    kappa: np.ndarray
    l1: float

    @property
    def key(self):
        """What two of them share that can be computed at once."""
        index = None if self.index is None else self.index.tobytes()
        return self.slot, self.block, self.shape, self.axis, index


@dataclass(frozen=True)
class Form:
    """All penalties of one network.

    Attributes
    ----------
    elementwise : list of Elementwise
        One per block of theta.
    groups : list of Groups
    """

    elementwise: list
    groups: list


def penalty_form(terms, slices):
    """Return the `Form` of penalty terms.

    Parameters
    ----------
    terms : iterable of Term
        With attributes penalty, lam, mode, where (slice of theta) and shape.
    slices : sequence of slice
        All blocks of theta, in order.

    Returns
    -------
    Form

    Raises
    ------
    ValueError
        For a penalty without a form: a class of a user's own.
    """
    elementwise, groups = [Elementwise()] * len(slices), []
    starts = [s.start for s in slices]
    for term in terms:
        block = starts.index(term.where.start)
        if getattr(term.penalty, "factors", None) is not None:
            raise ValueError(
                f"penalty={term.penalty!r} has factors, which this engine does not "
                "know. Use device='cpu'."
            )
        form = _elementwise(term)
        if isinstance(term.penalty, GroupLasso):
            form, group = _with_groups(term, form, block)
            groups += group
        elementwise[block] = form
    return Form(elementwise, groups)


def _elementwise(term):
    """By exact type: a subclass may redefine what an engine would bypass."""
    penalty, lam, slot = term.penalty, term.lam, _SLOTS[term.mode]
    kind = type(penalty)
    if kind is L1:
        return Elementwise(slot, l1=lam)
    if kind is L2:
        return Elementwise(slot, l2=lam)
    if kind is ElasticNet:
        r = penalty.l1_ratio
        return Elementwise(slot, l1=lam * r, l2=lam * (1.0 - r))
    if kind is GroupLasso:
        return Elementwise(slot)
    if kind is SparseGroupLasso:
        return Elementwise(slot, l1=lam * penalty.l1_ratio)
    if kind in (MCP, SCAD):
        start, stop = penalty.ramp(lam)
        return Elementwise(_CONCAVE_SLOTS[term.mode], lam, 0.0, start, stop)
    raise ValueError(
        f"penalty={penalty!r} is a class of your own, which runs in Python on the "
        "processor. Use device='cpu', solver='lbfgs', or a penalty of skreg.penalties."
    )


def _with_groups(term, form, block):
    """(elementwise part, list of groups) of a group penalty."""
    is_sparse = isinstance(term.penalty, SparseGroupLasso)
    share = 1.0 - term.penalty.l1_ratio if is_sparse else 1.0
    partition = term.penalty.partition(term.shape)
    kappa = term.lam * share * partition.factor
    if kappa.size == np.prod(term.shape) and np.ptp(kappa) == 0:  # an L1
        return Elementwise(form.slot, l1=form.l1 + kappa[0]), []
    index = partition.index
    is_alone = len(kappa) == len(index)
    shrinks = form.slot == DECOUPLED  # both shrinks belong together
    group = Groups(
        form.slot,
        block,
        term.shape,
        partition.axis,
        None if is_alone else index,
        kappa[index],
        form.l1 if shrinks else 0.0,
    )
    return Elementwise() if shrinks else form, [group]
