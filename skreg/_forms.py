"""Penalties as plain data, for engines that do not call their Python methods."""

from dataclasses import dataclass

import numpy as np

# Slots of an update, with the codes of _core/update.hpp. The last two are those of
# penalties with a ramp.
UNPENALIZED, COUPLED, DECOUPLED, PROXIMAL, COUPLED_CONCAVE, PROXIMAL_CONCAVE = range(6)
_SLOTS = {"coupled": COUPLED, "decoupled": DECOUPLED, "proximal": PROXIMAL}
_CONCAVE_SLOTS = {"coupled": COUPLED_CONCAVE, "proximal": PROXIMAL_CONCAVE}


@dataclass(frozen=True)
class GroupForm:
    """Σ_g κ_g ‖w_g‖ over groups of whole rows or columns of a matrix.

    Attributes
    ----------
    axis : {0, 1}
        Whether a group is made of rows or of columns.
    index : ndarray of intp, shape (n_in,) or (n_out,)
        Group of each row (column), in 0, ..., n_groups - 1.
    kappa : ndarray of float64, shape (n_groups,)
        Strength of each group, which includes λ.
    """

    axis: int
    index: np.ndarray
    kappa: np.ndarray


@dataclass(frozen=True)
class Form:
    """A penalty on one matrix W at one λ, which all numbers include.

    Without a ramp it is Σ (l1 |w| + l2/2 w²) + Σ_g κ_g ‖w_g‖, and its prox is the soft
    threshold by step · l1, divided by 1 + step · l2, followed by that of the groups.
    With a ramp, (start, stop), there is neither l2 nor a group, and the derivative
    falls linearly from l1 at |w| = start to 0 at |w| = stop (MCP, SCAD).

    Attributes
    ----------
    l1, l2 : float or ndarray of shape (n_in, 1)
        An array where rows have factors.
    ramp : tuple of float, or of ndarrays of shape (n_in, 1); None
    groups : GroupForm or None
    """

    l1: float | np.ndarray = 0.0
    l2: float | np.ndarray = 0.0
    ramp: tuple | None = None
    groups: GroupForm | None = None

    def slot(self, mode):
        """Code of the slot in which it acts in a decay mode."""
        return (_SLOTS if self.ramp is None else _CONCAVE_SLOTS)[mode]

    def rows(self):
        """Array of l1, l2, start and stop of each row, (n_in, 4); (1, 4) for all rows.

        Without a ramp, and where l1 is 0, start and stop are 0 and 1.
        """
        numbers = self.l1, self.l2, *(self.ramp or (0.0, 1.0))
        rows = np.empty((max(getattr(n, "size", 1) for n in numbers), 4))
        for column, number in enumerate(numbers):
            rows[:, column : column + 1] = number
        if self.ramp is not None:
            rows[rows[:, 0] == 0, 2:] = 0.0, 1.0
        return rows
