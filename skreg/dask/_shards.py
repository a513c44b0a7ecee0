"""What happens on the workers: blocks of a collection become rows of an engine.

Nothing here knows Dask. Functions run as tasks, and their values stay on the worker or
travel to another one by pickle.
"""

import threading
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.utils.multiclass import check_classification_targets

from skreg._engines import _moments
from skreg._engines._compiled import CompiledRows, mean_target, predict_raw
from skreg._matrix import engine_matrix, take_rows
from skreg._rows import (
    Header,
    Rows,
    check_target_range,
    check_weights,
    range_of,
    read_X_y,
)
from skreg._threads import single_blas_thread
from skreg._training import validation_score


@dataclass(frozen=True, eq=False)
class Block:
    """Checked rows of one block, in the user's terms.

    Parameters
    ----------
    number : int
        Of the block, from 0.
    X : C-ordered ndarray of shape (n, p), or CSR
    y : ndarray of shape (n,) or (n, k)
    sample_weight : ndarray of shape (n,) or None
    header : Header or None
        None for a block without rows.
    """

    number: int
    X: np.ndarray | sparse.csr_matrix
    y: np.ndarray
    sample_weight: np.ndarray | None
    header: Header | None

    def __sizeof__(self):
        return n_bytes(self.X) + self.y.nbytes


@dataclass(frozen=True)
class Facts:
    """What the whole must know of a block before targets can be encoded.

    Parameters
    ----------
    n_rows : int
    header : Header or None
        None for a block without rows, of which the rest says nothing.
    dtype : dtype
        Of X.
    shape : tuple
        Shape of y but for the rows.
    labels : ndarray or None
        Class labels in the block; None for regression and multilabel.
    counts : ndarray or None
        Sum of the weights of each label.
    largest_weight : float
    """

    n_rows: int
    header: Header | None
    dtype: np.dtype
    shape: tuple
    labels: np.ndarray | None
    counts: np.ndarray | None
    largest_weight: float


def n_bytes(X):
    """Memory of a dense or CSR matrix."""
    if sparse.issparse(X):
        return X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    return X.nbytes


def read_block(estimator, number, X, y, sample_weight, names):
    """Check one block of training or validation data.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Names itself in messages; its parameters are not read.
    number : int
    X, y, sample_weight : blocks of the collections; `sample_weight` may be None
    names : tuple of str
        How the user calls them.

    Returns
    -------
    Block

    Raises
    ------
    ValueError
        Names the block and what is wrong with it.
    """
    try:
        y = np.asarray(y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        n_rows = X.shape[0]
        if len(y) != n_rows:
            raise ValueError(
                f"{names[0]} has {n_rows} rows, but {names[1]} has {len(y)}."
            )
        if sample_weight is not None:
            sample_weight = np.asarray(sample_weight)
            sample_weight = check_weights(sample_weight, n_rows, names[2])
        if n_rows == 0:
            return Block(number, np.empty(X.shape), y, sample_weight, None)
        X, y, header = read_X_y(estimator, X, y)
        if is_classifier(estimator):
            check_classification_targets(y)
    except ValueError as error:
        raise ValueError(
            f"Block {number} of {names[0]} and {names[1]}: {error}"
        ) from error
    return Block(number, X, y, sample_weight, header)


def targets(block):
    """Targets and sample weights of a block, in the user's terms."""
    return block.y, block.sample_weight


def target_range(block):
    """`skreg._rows.range_of` of a block."""
    return range_of(block.y, block.sample_weight)


def take(block_and_rows):
    """The block of some of the rows of a block."""
    block, rows = block_and_rows
    s = block.sample_weight
    return replace(
        block,
        X=take_rows(block.X, rows),
        y=block.y[rows],
        sample_weight=None if s is None else s[rows],
        header=block.header if len(rows) else None,
    )


def raw(block, fitted):
    """Raw predictions of a fitted network for a block."""
    if block.header is None:
        return np.empty((0, fitted.task.n_outputs), fitted.dtype)
    with single_blas_thread():
        return fitted.raw(engine_matrix(block.X, fitted.dtype))


def facts(block):
    """Return the `Facts` of a block."""
    y, s = block.y, block.sample_weight
    labels = counts = None
    if y.ndim == 1 and block.header is not None:
        labels, places = np.unique(y, return_inverse=True)
        counts = np.bincount(places, s, len(labels))
    largest = 1.0 if s is None else s.max(initial=0.0)
    shape = y.shape[1:]
    return Facts(len(y), block.header, block.X.dtype, shape, labels, counts, largest)


def _aligned(rows):
    """The rows in aligned memory: of arrays that have travelled not all are.

    NumPy's sums over such arrays are slower, and have other bits.
    """
    arrays = {
        f.name: np.require(getattr(rows, f.name), requirements="A")
        for f in fields(rows)
        if isinstance(getattr(rows, f.name), np.ndarray)
    }
    if sparse.issparse(rows.X):
        for name in ("data", "indices", "indptr"):
            part = np.require(getattr(rows.X, name), requirements="A")
            setattr(rows.X, name, part)
    return replace(rows, **arrays)


class Shard:
    """Encoded rows of one block, and what an engine makes of them.

    Parameters
    ----------
    rows : Rows
    task : Task
    inputs : ndarray of intp or None
        Columns of X that the network reads.
    dtype : dtype
        Of theta.
    """

    def __init__(self, rows, task, inputs, dtype):
        self.rows, self.task, self.inputs, self.dtype = (
            _aligned(rows),
            task,
            inputs,
            dtype,
        )
        self.lock = threading.Lock()  # a task may run twice, after a fault

    def __getstate__(self):
        return self.rows, self.task, self.inputs, self.dtype

    def __setstate__(self, state):
        self.__init__(*state)

    def __sizeof__(self):
        return n_bytes(self.rows.X) + self.rows.targets.nbytes

    @cached_property
    def data(self):
        """The rows on the compiled engine."""
        X = self.rows.columns(self.inputs)
        return CompiledRows(X, *self.rows.encoded(self.task), self.dtype)

    @property
    def mean_target(self):
        """Weighted mean of the targets, or shares of the classes."""
        return mean_target(*self.rows.encoded(self.task))


def encode(block, task, inputs, dtype, weight_unit, name):
    """Return the `Shard` of a block; see there.

    Parameters
    ----------
    block : Block
    task, inputs, dtype
    weight_unit : float
        By which the weights are divided.
    name : str
        Of the targets, in messages.
    """
    s = block.sample_weight
    s = None if s is None else s / weight_unit
    try:
        targets = block.y
        if block.header is not None:
            targets = task.targets(block.y, name)
            check_target_range(targets, block.X.dtype, name)
    except ValueError as error:
        raise ValueError(f"Block {block.number} of {name}: {error}") from error
    weights = None if block.header is None else task.weights(targets, s)
    rows = Rows(block.X, targets, s, weights, block.y)
    return Shard(rows, task, inputs, dtype)


# What tasks ask a shard --------------------------------------------------------------


def each(shards, function, *args):
    """Results of a function of one shard, for several."""
    return [function(shard, *args) for shard in shards]


def size(shard):
    """Number of rows, sum of their weights in the engine's precision, and memory."""
    n_rows, s = len(shard.rows.targets), shard.rows.weights
    has_weight = n_rows > 0 and (s is None or s.any())
    weight_sum = shard.data.weight_sum if has_weight else 0.0
    return n_rows, weight_sum, shard.__sizeof__()


def fact(shard, name):
    """An attribute of the shard or of its data term."""
    return getattr(shard if hasattr(type(shard), name) else shard.data, name)


def value(shard, network, theta):
    """Data term over the shard."""
    theta = np.require(theta, requirements="A")
    with shard.lock, single_blas_thread():
        return shard.data.value(network, theta)


def value_grad(shard, network, theta):
    """Data term over the shard, and its gradient."""
    theta = np.require(theta, requirements="A")
    with shard.lock, single_blas_thread():
        return shard.data.value_grad(network, theta)


def losses_of_outputs(shard, network, theta):
    """Data term of each output over the shard; see `DataTerm`."""
    rows = shard.rows
    with single_blas_thread():
        X = engine_matrix(rows.columns(shard.inputs), theta.dtype)
        raw = predict_raw(network, theta, X)
    loss, s = shard.task.loss, rows.weights
    return _moments.losses_of_outputs(loss, rows.targets, raw, s)


def losses_of_constants(shard, null_prediction):
    """The same at two constants; see `DataTerm`."""
    loss, rows = shard.task.loss, shard.rows
    args = loss, rows.targets, null_prediction, rows.weights
    return _moments.losses_of_constants(*args)


def mean_score(shard, estimator, network, theta, dtype):
    """Sum of the sample weights, and the score of parameters on the shard's rows."""
    s = shard.rows.sample_weight
    total = float(len(shard.rows.targets) if s is None else s.sum())
    if total == 0:
        return 0.0, 0.0
    with single_blas_thread():
        score = validation_score(
            shard.rows, estimator, shard.task, network, shard.inputs, dtype
        )
        return total, score(theta)


def squares(shard, network, theta, dtype):
    """What R^2 needs of a shard.

    Returns
    -------
    weight : float
        Sum of the sample weights.
    mean, spread, residual : ndarray of shape (n_outputs,)
        Weighted mean of the targets, sum of their squares about it, and sum of the
        squares of what predictions miss.
    """
    rows = shard.rows
    y = rows.targets
    s = np.ones(len(y)) if rows.sample_weight is None else rows.sample_weight
    weight = float(s.sum())
    if weight == 0:
        return weight, *np.zeros((3, shard.task.n_outputs))
    with single_blas_thread():
        X = engine_matrix(rows.columns(shard.inputs), dtype)
        predicted = shard.task.loss.predict(predict_raw(network, theta, X))
    mean = s @ y / weight
    return weight, mean, s @ (y - mean) ** 2, s @ (y - predicted) ** 2
