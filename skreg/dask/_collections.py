"""Dask collections as lists of blocks with equal rows."""

from typing import Any, TypeAlias

import dask
import dask.array as da
import numpy as np

# Dask arrays, DataFrames and Series. The estimators inherit from local ones, which take
# arrays in memory: for type checkers anything narrower would break that promise.
Collection: TypeAlias = Any


def is_frame(X):
    """Whether a collection is a DataFrame or a Series."""
    return dask.is_dask_collection(X) and hasattr(X, "npartitions") and not is_array(X)


def is_array(X):
    """Whether a collection is a Dask array."""
    return isinstance(X, da.Array)


def check_collection(X, name, n_dims):
    """Return a collection with all its columns in each block.

    Raises
    ------
    TypeError, ValueError
        For what is not a Dask array or DataFrame, or has other dimensions.
    """
    if not (is_array(X) or is_frame(X)):
        raise TypeError(
            f"{name} must be a Dask array or DataFrame, got {type(X).__name__}. For "
            "data in memory use RegMLPClassifier or RegMLPRegressor, or make it a "
            "collection, for instance by dask.array.from_array."
        )
    if X.ndim not in n_dims:
        expected = " or ".join(f"{n}D" for n in n_dims)
        raise ValueError(f"{name} must be {expected}, got {X.ndim}D.")
    if is_array(X) and X.ndim == 2 and X.numblocks[1] > 1:
        return X.rechunk({1: -1})
    return X


def row_chunks(X):
    """Number of rows of each block, NaN where unknown."""
    return X.chunks[0] if is_array(X) else (np.nan,) * X.npartitions


def aligned_blocks(X, y, sample_weight=None, names=("X", "y", "sample_weight")):
    """Cut collections into blocks of the same rows.

    Parameters
    ----------
    X : dask array of shape (n, p), or DataFrame
    y : dask array of shape (n,) or (n, k), Series or DataFrame
    sample_weight : dask array of shape (n,), Series or None
    names : tuple of str
        What the user calls them.

    Returns
    -------
    list of (Delayed, Delayed, Delayed or None)
        In the order of the rows.

    Raises
    ------
    TypeError, ValueError
        Names the argument and what does not fit.
    """
    X = check_collection(X, names[0], (2,))
    parts = [_blocks(X)]
    for values, name, n_dims in (
        (y, names[1], (1, 2)),
        (sample_weight, names[2], (1,)),
    ):
        if values is None:
            parts.append([None] * len(parts[0]))
            continue
        values = check_collection(values, name, n_dims)
        parts.append(_blocks(_like_rows(values, X, name, names[0])))
    return list(zip(*parts))


def _like_rows(values, X, name, name_of_X):
    """`values` in blocks of as many rows as those of X, as far as these are known."""
    rows, needed = row_chunks(values), row_chunks(X)
    if not np.isnan(rows + needed).any():
        if sum(rows) != sum(needed):
            raise ValueError(
                f"{name_of_X} has {sum(needed)} rows, but {name} has {sum(rows)}."
            )
        return values if rows == needed else values.rechunk({0: needed})
    if len(rows) != len(needed):
        raise ValueError(
            f"{name_of_X} has {len(needed)} blocks, but {name} has {len(rows)}, and "
            "not all of their sizes are known. Give both the same partitions, or make "
            "the sizes known, for instance by compute_chunk_sizes or "
            "to_dask_array(lengths=True)."
        )
    return values


def _blocks(X):
    """Blocks of a collection; those of a frame are the partitions that it tells of.

    Dask's optimizer may read several files as one partition, of more files the fewer
    columns are asked for: y would no longer have the partitions of X.
    """
    blocks = np.ravel(X.to_delayed()).tolist()
    if is_frame(X) and len(blocks) != X.npartitions:
        return X.to_delayed(optimize_graph=False)
    return blocks
