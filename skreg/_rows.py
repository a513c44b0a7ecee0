"""Rows of data: from what a user passes to what an engine reads, in one place."""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.utils import check_array, check_consistent_length, indexable
from sklearn.utils.validation import validate_data

from skreg._arrays import as_numpy
from skreg._matrix import checked_sparse, engine_matrix, take_inputs, take_rows

_CHECKS = {"accept_sparse": "csr", "order": "C"}

# How tables call single precision: NumPy and pandas, polars, pyarrow, pandas of it.
_SINGLE = {"float32", "Float32", "float", "float[pyarrow]"}


@dataclass(frozen=True)
class Header:
    """What a fitted estimator remembers of the columns of X.

    Parameters
    ----------
    n_features : int
    names : ndarray of str or None
        Names of the columns, where all are strings.
    """

    n_features: int
    names: np.ndarray | None = None

    @classmethod
    def of(cls, estimator):
        """What scikit-learn's validation has written on an estimator."""
        names = getattr(estimator, "feature_names_in_", None)
        return cls(estimator.n_features_in_, names)

    def write(self, estimator):
        """Write it on an estimator, where scikit-learn's validation reads it."""
        estimator.n_features_in_ = self.n_features
        if self.names is not None:
            estimator.feature_names_in_ = self.names
        elif hasattr(estimator, "feature_names_in_"):
            del estimator.feature_names_in_


def _readable(X):
    """Return X as scikit-learn's validation takes it, and the dtypes to ask it for.

    It knows no names in a RecordBatch of pyarrow, and makes float64 of tables of
    float32 that hold no NumPy arrays.

    Raises
    ------
    TypeError
        For a promise of data; says how to get them.
    ValueError
        For a sparse matrix with indices outside of it.
    """
    kind = f"{type(X).__module__.partition('.')[0]}.{type(X).__name__}"
    if kind == "pyarrow.RecordBatch":
        X = sys.modules["pyarrow"].Table.from_batches([X])
    if not hasattr(X, "shape"):
        # polars.LazyFrame and the like; pyarrow.RecordBatchReader
        for method in ("collect", "read_all"):
            if hasattr(X, method):
                raise TypeError(
                    f"X is a {kind}, which holds no data yet. Pass X.{method}()."
                )
    types = getattr(X, "dtypes", getattr(getattr(X, "schema", None), "types", ()))
    if np.iterable(types) and {str(t) for t in types} <= _SINGLE and len(types):
        return X, np.float32
    return checked_sparse(as_numpy(X)), (np.float64, np.float32)


def _twin(estimator):
    """The same parameters and attributes; `copy` would make plain arrays of a fit."""
    twin = object.__new__(type(estimator))
    vars(twin).update(vars(estimator))
    return twin


@contextmanager
def _within_floats(name):
    """Integers of Python have no bounds, which NumPy says by an OverflowError."""
    try:
        yield
    except OverflowError as error:
        message = f"{name} has a number that is beyond the range of floats: {error}."
        raise ValueError(message) from error


def read_X_y(estimator, X, y, header=None):
    """Validate training data.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Its class and parameters name it in messages; it is not changed.
    X : {array-like, sparse matrix} of shape (n, p)
        float32 and float64 are kept, and C-ordered arrays are not copied.
    y : array-like of shape (n,) or (n, k)
    header : Header or None
        Columns that X must have, for a fit that continues another.

    Returns
    -------
    X : C-ordered ndarray or CSR, as an engine reads it
    y : ndarray
    header : Header
        Of X.
    """
    # scikit-learn's validation writes the header of X on what it is given.
    reader = _twin(estimator) if header is None else estimator
    numeric = {} if is_classifier(estimator) else {"y_numeric": True}
    X, dtype = _readable(X)
    with _within_floats("X or y"):
        X, y = validate_data(
            reader,
            X,
            checked_sparse(as_numpy(y, "y"), "y"),
            reset=header is None,
            multi_output=True,
            dtype=dtype,
            **numeric,
            **_CHECKS,
        )
    return engine_matrix(X, X.dtype), y, Header.of(reader)


def read_X(estimator, X, dtype=None):
    """Validate X against the columns of a fitted estimator.

    Returns
    -------
    C-ordered ndarray or CSR
        Of at most the precision `dtype`.
    """
    X, own = _readable(X)
    with _within_floats("X"):
        X = validate_data(estimator, X, reset=False, dtype=own, **_CHECKS)
    return engine_matrix(X, X.dtype if dtype is None else dtype)


def read_weights(sample_weight, n_rows, name="sample_weight"):
    """Return weights of shape (n,) as float64, or None.

    Raises
    ------
    ValueError
        If they are of the wrong length, negative, not finite, or all zero.
    """
    if sample_weight is None:
        return None
    weights = check_weights(sample_weight, n_rows, name)
    if not (weights > 0).any():
        raise ValueError(
            "Sample weights must contain at least one non-zero number: all entries of "
            f"{name} are 0."
        )
    return moderate(weights)


def check_weights(sample_weight, n_rows, name="sample_weight"):
    """Return weights of shape (n,) as float64, which may all be 0.

    Raises
    ------
    ValueError
        If they are no numbers, of the wrong length, negative or not finite.
    """
    sample_weight = as_numpy(sample_weight, name)
    if isinstance(sample_weight, Real):
        sample_weight = np.full(n_rows, sample_weight)
    try:
        weights = check_array(
            sample_weight,
            ensure_2d=False,
            dtype=np.float64,
            input_name=name,
            ensure_min_samples=0,
        )
    except (ValueError, TypeError, OverflowError) as error:
        if name in str(error):
            raise
        raise ValueError(
            f"{name} must be None or a finite number >= 0 for each row: {error}"
        ) from error
    if weights.ndim != 1:
        raise ValueError(f"{name} must be 1D: one weight per row of X.")
    if weights.shape[0] != n_rows:
        raise ValueError(
            f"{name} has {weights.shape[0]} entries, but X has {n_rows} rows: "
            f"{name}.shape == {weights.shape}, expected {(n_rows,)}!"
        )
    if (weights < 0).any():
        raise ValueError(f"Negative values in data passed to {name!r}.")
    return weights


def moderate(weights):
    """Return weights whose sums, and their inverses, are finite in single precision.

    Only ratios of weights matter; those in a usual range are returned unchanged.
    """
    unit = unit_of_weights(weights.max())
    return weights if unit == 1 else weights / unit


def unit_of_weights(largest):
    """What weights with this maximum are divided by: 1 in a usual range."""
    return 1.0 if 1e-20 < largest < 1e20 or largest == 0 else largest


def check_target_range(targets, dtype, name="y"):
    """Raise a ValueError where targets are infinite in the precision of the network."""
    largest = np.abs(targets).max()
    if largest > np.finfo(dtype).max:
        raise ValueError(
            f"{name} has values up to {largest:.2g}, but X is {np.dtype(dtype)} and "
            f"so is the network: at most {np.finfo(dtype).max:.2g} fits. Scale "
            f"{name}, or pass X as float64."
        )


def range_of(targets, sample_weight):
    """Least and largest target of each output, of rows that have weight."""
    targets = np.asarray(targets, np.float64)
    if sample_weight is not None:
        targets = targets[sample_weight > 0]
    low = targets.min(axis=0, initial=np.inf)
    return low, targets.max(axis=0, initial=-np.inf)


@dataclass(frozen=True, eq=False)
class Rows:
    """Encoded rows.

    Parameters
    ----------
    X : C-ordered ndarray of shape (n, p), or CSR
        All columns of the user's X, float32 or float64.
    targets : ndarray of shape (n, n_targets)
        y as the loss reads it.
    sample_weight : ndarray of shape (n,) or None
        The user's weights, by which scores are weighted.
    weights : ndarray of shape (n,) or None
        Weights in the data term: class weights times sample weights.
    y : ndarray
        Checked targets in the user's terms, for scorers.
    """

    X: np.ndarray | sparse.csr_matrix
    targets: np.ndarray
    sample_weight: np.ndarray | None
    weights: np.ndarray | None
    y: np.ndarray

    @classmethod
    def of(cls, task, X, y, sample_weight, name="y"):
        """Encode checked data by a task; `name` is that of y in messages."""
        targets = task.targets(y, name)
        check_target_range(targets, X.dtype, name)
        return cls(X, targets, sample_weight, None, y).weighted(task)

    def take(self, rows):
        """The rows of these indices, copied."""
        per_row = (self.targets, self.sample_weight, self.weights, self.y)
        X = take_rows(self.X, rows)
        return Rows(X, *(None if a is None else a[rows] for a in per_row))

    def raw(self, fitted):
        """Raw predictions of a fitted network, of shape (n, n_outputs)."""
        return fitted.raw(self.X)

    def weighted(self, task):
        """The rows with the class weights of a task."""
        weights = task.weights(self.targets, self.sample_weight)
        if weights is self.weights is None:
            return self
        return replace(self, weights=None if weights is None else moderate(weights))

    def balanced(self, task):
        """The rows, and the task, with the class weights of just these rows."""
        task = task.balanced(self.targets, self.sample_weight)
        return self.weighted(task), task

    def encoded(self, task):
        """What a data term takes after X: targets, weights, loss, number of outputs."""
        return self.targets, self.weights, task.loss, task.n_outputs

    def target_range(self):
        """Least and largest target of each output, of rows that have weight."""
        return range_of(self.targets, self.sample_weight)

    def columns(self, inputs):
        """X of these inputs alone; None stands for all."""
        return take_inputs(self.X, inputs)


@dataclass(frozen=True, eq=False)
class Source:
    """Checked data before a task is known, for a cross-validation.

    Parameters
    ----------
    header : Header
        Of X.
    y : ndarray
    sample_weight : ndarray of shape (n,) or None
    given : list
        X and y for splitters and scorers, as the user gave them.
    encode : callable
        Maps a task to rows.
    """

    header: Header
    y: np.ndarray
    sample_weight: np.ndarray | None
    given: list
    encode: Callable

    @classmethod
    def of(cls, estimator, X, y, sample_weight):
        """Read arrays in memory."""
        user = X, y
        X, y, header = read_X_y(estimator, X, y)
        given = indexable(as_numpy(user[0]), as_numpy(user[1], "y"))
        if sparse.issparse(y):  # labels, which splitters and scorers count by rows
            y = given[1] = y.toarray()
        weights = read_weights(sample_weight, X.shape[0])
        return cls(header, y, weights, given, lambda task: Rows.of(task, X, y, weights))


def read_validation(estimator, task, header, X_val, y_val, sample_weight_val):
    """Encode a validation set given by the user; None if there is none.

    Raises
    ------
    ValueError
        Names the argument at fault.
    """
    if X_val is None and y_val is None:
        if sample_weight_val is not None:
            raise ValueError("sample_weight_val is given without X_val and y_val.")
        return None
    if X_val is None or y_val is None:
        given, missing = ("X_val", "y_val") if y_val is None else ("y_val", "X_val")
        raise ValueError(f"{given} is given, but {missing} is not.")
    if not estimator.early_stopping:
        raise ValueError(
            "X_val and y_val are only used with early_stopping=True. Got "
            "early_stopping=False."
        )
    twin = _twin(estimator)
    header.write(twin)
    try:
        X = read_X(twin, X_val)
    except (ValueError, TypeError) as error:
        raise type(error)(f"X_val: {error}") from error
    y_val = as_numpy(y_val, "y_val")
    check_consistent_length(X, checked_sparse(y_val, "y_val"))
    weights = read_weights(sample_weight_val, X.shape[0], "sample_weight_val")
    return Rows.of(task, X, y_val, weights, "y_val")
