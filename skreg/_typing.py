"""Types of arguments of the public API, for editors and type checkers.

Names of choices (solvers, losses, activations) are `str`: they are checked when an
estimator is fitted, by the tables that also hold what they mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from skreg._penalty import Penalty

Array: TypeAlias = NDArray[Any]
# Frames of pandas, polars and pyarrow are array-like for type checkers.
Matrix: TypeAlias = ArrayLike | sparse.spmatrix | sparse.sparray
PenaltyLike: TypeAlias = str | Penalty | Sequence[str | Penalty | None] | None
Labels: TypeAlias = Sequence[Any] | Array  # printed as str(label)
ClassWeight: TypeAlias = (
    str | Mapping[Any, float] | Sequence[Mapping[Any, float]] | None
)
RandomState: TypeAlias = int | np.random.RandomState | None
Scoring: TypeAlias = str | Callable[..., Any] | None
