"""Matrices as engines read them."""

import numpy as np
from scipy import sparse


def checked_sparse(X, name="X"):
    """Return X; if it is sparse, after a check that its indices are inside of it.

    SciPy's conversions and selections of rows and columns trust the indices, so that
    those of a file which nobody has checked may read and write anywhere in memory.

    Parameters
    ----------
    X : object
    name : str
        In messages.

    Raises
    ------
    ValueError
        Says which index array is at fault.
    """
    if not sparse.issparse(X) or X.ndim != 2:
        return X
    if X.format not in ("csr", "csc", "bsr", "coo"):  # made of indices inside of them
        X = X.tocsr()
    shape = X.shape
    if X.format == "coo":
        for places, n, axis in zip((X.row, X.col), shape, ("row", "col")):
            _check_places(places, n, axis, X, name)
        return X
    if X.format == "bsr":
        shape = tuple(n // size for n, size in zip(shape, X.blocksize))
    n_pointers, n_places = shape[::-1] if X.format == "csc" else shape
    n_stored = min(len(X.indices), len(X.data))
    faults = {
        f"indptr must have {n_pointers + 1} entries": len(X.indptr) != n_pointers + 1,
        "indptr must start with 0": X.indptr[:1].any(),
        "indptr must not decrease": (X.indptr[1:] < X.indptr[:-1]).any(),
        f"indptr ends beyond the {n_stored} entries of data and indices": (
            X.indptr[-1:] > n_stored
        ).any(),
    }
    for fault, is_there in faults.items():
        if is_there:
            raise _malformed(name, X, fault)
    _check_places(X.indices[: X.indptr[-1]], n_places, "indices", X, name)
    return X


def _check_places(places, n, axis, X, name):
    if places.dtype.kind not in "iu":
        raise _malformed(name, X, f"{axis} must be of an integer dtype")
    if places.size and not (places.min() >= 0 and places.max() < n):
        raise _malformed(name, X, f"{axis} must be in [0, {n})")


def _malformed(name, X, fault):
    return ValueError(f"{name} is no valid {X.format.upper()} matrix: {fault}.")


def engine_matrix(X, dtype):
    """Return X as engines read it: C-ordered, or CSR with int32 and int64 indices.

    X of more precision than `dtype` is converted; nothing else copies the values.
    """
    if X.dtype.itemsize > np.dtype(dtype).itemsize:
        X = X.astype(dtype)
    if not sparse.issparse(X):
        return np.ascontiguousarray(X)
    X = X.tocsr()
    out = sparse.csr_matrix(X.shape, dtype=X.dtype)
    out.data = np.ascontiguousarray(X.data)
    # A cast would turn indices of 64 bits that are too large into others.
    if X.indices.itemsize > 4 and X.indices.size > 0:
        if X.indices.min() < 0 or X.indices.max() >= X.shape[1]:
            raise ValueError(
                f"X is no valid CSR matrix: indices must be in [0, {X.shape[1]})."
            )
    out.indices = X.indices.astype(np.int32, copy=False)
    out.indptr = X.indptr.astype(np.int64, copy=False)
    return out


def take_rows(X, rows):
    """Return rows of X, copied, as an engine reads them."""
    X = X[rows]
    return engine_matrix(X, X.dtype) if sparse.issparse(X) else X


def take_inputs(X, inputs):
    """Return columns of X as an engine reads them; None stands for all."""
    if inputs is None:
        return X
    if sparse.issparse(X):
        return engine_matrix(X[:, inputs], X.dtype)
    return X.take(inputs, axis=1)
