"""The update of many networks: an optimizer, and the penalties of each as tensors."""

from dataclasses import dataclass

import numpy as np
import torch

from skreg._engines._rules import form_of
from skreg._forms import (
    COUPLED_CONCAVE,
    DECOUPLED,
    PROXIMAL_CONCAVE,
    UNPENALIZED,
    Form,
)
from skreg._optimizers import METHODS


@dataclass
class Part:
    """A block of parameters of the networks that have its penalty in one slot.

    Attributes
    ----------
    begin, end : int
        Of the block.
    slot : int
    members : slice or Tensor
        Which networks.
    strengths : Tensor of shape (n_members, n_lines, 4)
        l1, l2, start and stop of each: one line for all rows, or one for each.
    """

    begin: int
    end: int
    slot: int
    members: slice | torch.Tensor
    strengths: torch.Tensor

    def lines(self, matrix):
        """The block of theta or the like, of shape (n_members, n_lines, entries)."""
        block = matrix[self.members, self.begin : self.end]
        return block.unflatten(1, (self.strengths.shape[1], -1))


@dataclass
class GroupPart:
    """A block of parameters of the networks that have the same groups there.

    Attributes
    ----------
    begin, end : int
    shape : tuple
    axis : {0, 1}
    slot : int
    members : slice or Tensor
    numbers : Tensor of shape (n_members,), int64
        The members one by one.
    index : Tensor of shape (n_lines,) or None
        Group of each line; None where each line is a group.
    n_groups : int
    kappa : Tensor of shape (n_members, n_lines)
        Strength of the group of each line.
    l1 : Tensor of shape (n_members, n_lines)
        Soft threshold that belongs to the decoupled shrink; 0 in other slots.
    """

    begin: int
    end: int
    shape: tuple
    axis: int
    slot: int
    members: slice | torch.Tensor
    numbers: torch.Tensor
    index: torch.Tensor | None
    n_groups: int
    kappa: torch.Tensor
    l1: torch.Tensor


def penalties_of_blocks(terms, slices):
    """Return (slot, `Form`) of each block of theta.

    Parameters
    ----------
    terms : iterable of Term
    slices : sequence of slice
        All blocks of theta, in order.

    Raises
    ------
    ValueError
        For a penalty without a form: a class of a user's own.
    """
    starts = [s.start for s in slices]
    blocks = [(UNPENALIZED, Form())] * len(slices)
    for term in terms:
        form = form_of(term)
        if form is None:
            raise ValueError(
                f"penalty={term.penalty!r} is a class of your own, which runs in "
                "Python on the processor. Use device='cpu', solver='lbfgs', or a "
                "penalty of skreg.penalties."
            )
        blocks[starts.index(term.where.start)] = form.slot(term.mode), form
    return blocks


class BatchedRule:
    """The update of K networks: one optimizer, and the penalties of each.

    Parameters
    ----------
    optimizer : Optimizer
    penalties : list of list of (slot, Form)
        Of each network, those of each block.
    layout : Layout
    data : TorchRows
    """

    def __init__(self, optimizer, penalties, layout, data):
        self.optimizer, self.method = optimizer, optimizer.method
        self.is_adaptive = optimizer.is_adaptive
        beta_1, beta_2 = optimizer.beta_1, optimizer.beta_2
        #: momentum, beta_1, beta_2, 1 - beta_1, 1 - beta_2, epsilon
        self.hyper = (
            optimizer.momentum,
            beta_1,
            beta_2,
            1.0 - beta_1,
            1.0 - beta_2,
            optimizer.epsilon,
        )
        self._data, self._layout, self._n_networks = data, layout, len(penalties)
        self.spans = layout.spans()
        blocks = range(len(self.spans))
        of_blocks = [[of_one[block] for of_one in penalties] for block in blocks]
        #: (slot, strengths of its lines) by block and network
        self.elementwise = [[_elementwise(*one) for one in of] for of in of_blocks]
        self.parts = [part for block in blocks for part in self._parts(block)]
        self.groups = [
            part
            for block in blocks
            for part in self._group_parts(block, of_blocks[block])
        ]
        self.cache = {}  # of the operations

    def _tensor(self, values, dtype=None):
        dtype = self._data.torch_dtype if dtype is None else dtype
        return torch.tensor(np.asarray(values), dtype=dtype, device=self._data.device)

    def _members(self, members):
        if len(members) == self._n_networks:
            return slice(None)
        return self._tensor(members, torch.int64)

    def _parts(self, block):
        """Parts of a block: one per slot and number of lines."""
        alike = {}
        for k, (slot, lines) in enumerate(self.elementwise[block]):
            alike.setdefault((slot, len(lines)), []).append(k)
        for (slot, _), members in alike.items():
            yield Part(
                *self.spans[block],
                slot,
                self._members(members),
                self._tensor([self.elementwise[block][k][1] for k in members]),
            )

    def _group_parts(self, block, penalties):
        """Group parts of a block: one per slot and partition."""
        alike = {}
        for k, (slot, form) in enumerate(penalties):
            if form.groups is not None:
                axis, index = form.groups.axis, form.groups.index
                is_alone = len(form.groups.kappa) == len(index)
                key = slot, axis, None if is_alone else index.tobytes()
                alike.setdefault(key, []).append((k, form))
        for (slot, axis, labels), members in alike.items():
            numbers, forms = zip(*members)
            index = forms[0].groups.index
            l1 = [form.l1 if slot == DECOUPLED else 0.0 for form in forms]
            yield GroupPart(
                *self.spans[block],
                self._layout.matrices[block],
                axis,
                slot,
                self._members(numbers),
                self._tensor(numbers, torch.int64),
                None if labels is None else self._tensor(index, torch.int64),
                len(forms[0].groups.kappa),
                self._tensor([f.groups.kappa[f.groups.index] for f in forms]),
                self._tensor([np.broadcast_to(np.ravel(v), len(index)) for v in l1]),
            )

    def scalars(self, rates, n_steps, takes_part):
        """What each step of each network needs, for `Tables.scalars`.

        Parameters
        ----------
        rates : ndarray of shape (n_steps, K)
            Learning rates.
        n_steps : ndarray of shape (K,)
            Steps that each network has taken before.
        takes_part : ndarray of bool, shape (n_steps, K)

        Returns
        -------
        ndarray of shape (n_steps, K, 5)
        """
        t = n_steps + np.arange(1, len(rates) + 1)[:, None]
        move, metric_scale = rates, np.ones_like(rates)
        if METHODS[self.method].is_corrected:
            move = rates / (1.0 - self.optimizer.beta_1**t)
            metric_scale = 1.0 / np.sqrt(1.0 - self.optimizer.beta_2**t)
        tau = self.optimizer.prox_step(rates)
        return np.stack([rates, move, tau, metric_scale, takes_part], axis=2)

    def penalty_values(self, theta):
        """Sum of the penalties of each network, of shape (K,), float64."""
        value = theta.new_zeros(self._n_networks, dtype=torch.float64)
        for part in self.parts:
            if part.slot != UNPENALIZED:
                value[part.members] += _elementwise_value(part, theta)
        for group in self.groups:
            value[group.members] += _groups_value(group, theta)
        return value.cpu().numpy()


def _elementwise(slot, form):
    """What acts weight by weight: slot, and strengths of shape (n_lines, 4)."""
    if form.groups is not None and slot == DECOUPLED:  # both shrinks belong together
        return UNPENALIZED, Form().rows()
    return slot, form.rows()


def _elementwise_value(part, theta):
    """Sums of the element-wise penalties of a part, of shape (n_members,), float64."""
    w = part.lines(theta)
    l1, l2, start, stop = part.strengths.double().unbind(2)
    if part.slot in (COUPLED_CONCAVE, PROXIMAL_CONCAVE):
        w, start, stop = w.abs().double(), start[:, :, None], stop[:, :, None]
        width = stop - start
        left = (stop - torch.clamp(w, start, stop)) / width
        bend = (w.minimum(start) + 0.5 * width * (1 - left * left)).sum(2)
        return (l1 * bend).sum(1)
    norm = torch.linalg.vector_norm
    sums = norm(w, 1, 2, dtype=torch.float64)
    squares = norm(w, 2, 2, dtype=torch.float64) ** 2
    zero = torch.zeros_like(l1)  # weights may be infinite
    of_lines = torch.where(l1 > 0, l1 * sums, zero) + torch.where(
        l2 > 0, 0.5 * l2 * squares, zero
    )
    return of_lines.sum(1)


def _groups_value(group, theta):
    """Sums of group penalties of a part, of shape (n_members,), float64."""
    W = theta[group.members, group.begin : group.end].unflatten(1, group.shape)
    squares = (W * W).sum(2 - group.axis, dtype=torch.float64)
    kappa = group.kappa.double()
    if group.index is not None:
        sums = squares.new_zeros(len(squares), group.n_groups)
        squares = sums.index_add_(1, group.index, squares)
        of_group = torch.zeros_like(squares)
        of_group[:, group.index] = kappa
        kappa = of_group
    l1 = group.l1.double()
    sums = W.abs().sum(2 - group.axis, dtype=torch.float64)
    l1_value = torch.where(l1 > 0, l1 * sums, torch.zeros_like(l1)).sum(1)
    return (kappa * squares.sqrt()).sum(1) + l1_value
