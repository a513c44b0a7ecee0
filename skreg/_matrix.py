"""Matrices as engines read them."""

import numpy as np
from scipy import sparse


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


def take_inputs(X, inputs):
    """Return columns of X as an engine reads them; None stands for all."""
    if inputs is None:
        return X
    if sparse.issparse(X):
        return engine_matrix(X[:, inputs], X.dtype)
    return X.take(inputs, axis=1)
