"""The engine on a cluster: each block of rows on the worker that holds it."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from uuid import uuid4

import dask
import numpy as np
from sklearn.base import is_classifier

from skreg._engines._moments import pooled_spread
from skreg._network import Network
from skreg._rows import unit_of_weights
from skreg._task import check_continued_labels, task_of
from skreg._training import MinusLoss, data_term, validation_score
from skreg.dask import _shards
from skreg.dask._cluster import Cluster
from skreg.dask._collections import aligned_blocks
from skreg.dask._epochs import ClusterEpochs

_MUCH = 0.3  # share of the memory that a worker has for blocks
_SEEDS = 64  # numbers whose order seeds an epoch: more orders than will ever be drawn


@dataclass(frozen=True)
class Columns:
    """X as `prepare` sees it: what is known without its values.

    Parameters
    ----------
    shape : tuple
    dtype : dtype
    inputs : ndarray of intp or None
        Columns of the user's X; None for all.
    """

    shape: tuple
    dtype: np.dtype
    inputs: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class ClusterRows:
    """Rows on a cluster; what `skreg._rows.Rows` is in memory.

    Parameters
    ----------
    cluster : Cluster
    blocks : list of Future
        Of `_shards.Block`.
    X : Columns
    weight_unit : float
        By which the weights are divided, so that their sums are finite.
    name : str
        Of the targets, in messages.
    """

    cluster: Cluster
    blocks: list
    X: Columns
    weight_unit: float
    name: str = "y"

    def columns(self, inputs):
        """X of these inputs alone; None stands for all."""
        if inputs is None:
            return self.X
        return Columns((self.X.shape[0], len(inputs)), self.X.dtype, inputs)

    def target_range(self):
        """Least and largest target of each output, of rows that have weight."""
        parts = self.cluster.map("range", _shards.target_range, self.blocks)
        low, high = zip(*parts)
        return np.min(low, axis=0), np.max(high, axis=0)

    def shards(self, task, X, dtype):
        """Futures of the encoded blocks."""
        encoded = (task, X.inputs, dtype, self.weight_unit, self.name)
        return self.cluster.start("rows", _shards.encode, self.blocks, *encoded)


def read(estimator, cluster, X, y, sample_weight, names=("X", "y", "sample_weight")):
    """Check collections, block by block on the workers.

    Returns
    -------
    rows : ClusterRows
    header : Header
    facts : list of Facts
        Of each block.

    Raises
    ------
    TypeError, ValueError
        Names the argument or the block at fault.
    """
    reader = type(estimator)()  # names itself in messages
    parts = aligned_blocks(X, y, sample_weight, names)
    task, run = dask.delayed(_shards.read_block), uuid4().hex
    blocks = cluster.compute(
        [
            task(reader, k, *part, names, dask_key_name=f"skreg-read-{run}-{k}")
            for k, part in enumerate(parts)
        ]
    )
    facts = cluster.map("check", _shards.facts, blocks)
    header = _common_header(facts, names)
    n_rows = sum(fact.n_rows for fact in facts)
    dtype = np.result_type(*(fact.dtype for fact in facts if fact.n_rows))
    largest = max(fact.largest_weight for fact in facts)
    if not largest > 0:
        raise ValueError(
            "Sample weights must contain at least one non-zero number: all entries of "
            f"{names[2]} are 0."
        )
    unit = unit_of_weights(largest)
    columns = Columns((n_rows, header.n_features), dtype)
    return ClusterRows(cluster, blocks, columns, unit, names[1]), header, facts


def _common_header(facts, names):
    """The header of all blocks that have rows."""
    known = [(k, fact) for k, fact in enumerate(facts) if fact.header is not None]
    if not known:
        raise ValueError(f"{names[0]} has no rows.")
    first, (header, shape) = known[0][0], (known[0][1].header, known[0][1].shape)
    for k, fact in known:
        if fact.header.n_features != header.n_features:
            raise ValueError(
                f"Block {k} of {names[0]} has {fact.header.n_features} columns, but "
                f"block {first} has {header.n_features}."
            )
        if not np.array_equal(fact.header.names, header.names):
            raise ValueError(
                f"Block {k} of {names[0]} has columns {fact.header.names}, but block "
                f"{first} has {header.names}."
            )
        if fact.shape != shape:
            raise ValueError(
                f"Block {k} of {names[1]} has rows of shape {fact.shape}, but block "
                f"{first} of shape {shape}."
            )
    return header


def known_task(estimator, facts, previous=None):
    """Task of an estimator and the targets of all blocks.

    Of class labels one row each stands for all, with the sum of their weights.
    """
    facts = [fact for fact in facts if fact.header is not None]
    known = None if previous is None else previous.task
    counts = None
    if not is_classifier(estimator):
        y = np.zeros((1, *facts[0].shape))
    elif facts[0].labels is None:
        check_weights_of_labels(estimator)
        y = np.eye(*facts[0].shape, dtype=int)
    else:
        labels = np.concatenate([fact.labels for fact in facts])
        y, places = np.unique(labels, return_inverse=True)
        counts = np.bincount(places, np.concatenate([fact.counts for fact in facts]))
    if known is not None:
        check_continued_labels(known, y)
    with warnings.catch_warnings():  # each label once looks like targets of regression
        warnings.filterwarnings("ignore", "The number of unique classes")
        return task_of(estimator, y, counts, known=known)


def check_weights_of_labels(estimator):
    """Raise ValueError for multilabel targets whose weights need all blocks at once."""
    if isinstance(estimator.class_weight, str):
        raise ValueError(
            f"class_weight={estimator.class_weight!r} is not supported for multilabel "
            "targets on a cluster: a block does not know the shares of the labels. "
            "Pass a list of dicts, or sample_weight."
        )


class ClusterTerm:
    """Data term over blocks on a cluster; see `skreg._engines.DataTerm`.

    A weighted mean over all rows is one over blocks, of their means, weighted with the
    sums of their weights. Sums are taken in the order of the blocks, so that results do
    not depend on the workers, nor on which of them holds what.

    Parameters
    ----------
    cluster : Cluster
    shards : list of Future
        Of `_shards.Shard`.
    loss : Loss
    dtype : dtype
        Of theta.

    Attributes
    ----------
    shards : list of Future
        Those that have rows of positive weight.
    n_bytes : list of int
        Memory of each.
    """

    def __init__(self, cluster, shards, loss, dtype):
        self.loss, self.dtype = loss, np.dtype(dtype)
        self.cluster = cluster
        sizes = cluster.map("size", _shards.size, shards)
        self.n_rows = sum(n_rows for n_rows, _, _ in sizes)
        # Shards without weight have no part in any sum.
        kept = [k for k, (_, total, _) in enumerate(sizes) if total > 0]
        self.shards = [shards[k] for k in kept]
        self.n_bytes = [sizes[k][2] for k in kept]
        self._sums = [sizes[k][1] for k in kept]
        self.weight_sum = float(sum(self._sums))

    @cached_property
    def _groups(self):
        """Numbers of the shards that each thread of a worker takes as one task.

        They only save tasks: sums do not depend on them. Where shards would fill much
        of the memory that a worker has for them, each is a task of its own, so that
        others can be on disk.
        """
        where = self.cluster.client.who_has(self.shards)
        threads, free = self.cluster.client.nthreads(), self.cluster.free()
        held = {}
        for k, shard in enumerate(self.shards):
            holder = min(where[shard.key], default=None)
            held.setdefault(holder, []).append(k)
        groups = []
        for holder, numbers in held.items():
            n_bytes = sum(self.n_bytes[k] for k in numbers)
            n_tasks = len(numbers)
            if n_bytes < _MUCH * free.get(holder, np.inf):
                n_tasks = min(threads.get(holder, 1), n_tasks)
            groups += [numbers[i::n_tasks] for i in range(n_tasks)]
        return groups

    def _map(self, name, function, *args):
        """Results of ``function(shard, *args)``, in the order of the shards."""
        groups = [[self.shards[k] for k in group] for group in self._groups]
        parts = self.cluster.map(name, _shards.each, groups, function, *args)
        results = {
            k: result
            for group, part in zip(self._groups, parts)
            for k, result in zip(group, part)
        }
        return [results[k] for k in range(len(results))]

    def mean(self, values):
        """Mean of one value per shard."""
        total = self._sums[0] * values[0]
        for weight, value in zip(self._sums[1:], values[1:]):
            total = total + weight * value
        return total / self.weight_sum

    def value(self, network, theta):
        """Data term at theta."""
        return self.mean(self._map("loss", _shards.value, network, theta))

    def value_grad(self, network, theta):
        """Data term and its gradient at theta."""
        parts = self._map("gradient", _shards.value_grad, network, theta)
        values, grads = zip(*parts)
        return self.mean(values), self.mean(grads)

    def losses_of_outputs(self, network, theta):
        """Data term of each output; see `DataTerm`."""
        parts = self._map("loss", _shards.losses_of_outputs, network, theta)
        return self.mean(parts)

    @cached_property
    def losses_of_constants(self):
        """Data terms of each output at two constants; see `DataTerm`."""
        parts = self._map("null", _shards.losses_of_constants, self.null_prediction)
        return self.mean(parts)

    @cached_property
    def input_mean(self):
        """Weighted mean of X, of shape (p,)."""
        return self.mean(self._map("mean", _shards.fact, "input_mean"))

    @cached_property
    def input_spread(self):
        """Weighted standard deviation of X, of shape (p,)."""
        means, spreads = (
            self._map(name, _shards.fact, f"input_{name}")
            for name in ("mean", "spread")
        )
        return pooled_spread(self._shares, means, spreads)

    @cached_property
    def target_spread(self):
        """Typical standard deviation of the targets; see `DataTerm`."""
        if self.loss.out_activation != "identity":
            return 1.0
        means = np.array(self._map("mean", _shards.fact, "mean_target"))
        spreads = np.array(self._map("spread", _shards.fact, "target_spread"))
        between = pooled_spread(self._shares, means, np.zeros_like(means))
        within = pooled_spread(
            self._shares, np.zeros_like(spreads)[:, None], spreads[:, None]
        )
        return float(np.hypot(within[0], np.sqrt(np.mean(between**2))))

    @property
    def _shares(self):
        return np.array(self._sums) / self.weight_sum

    @cached_property
    def null_prediction(self):
        """Raw prediction of the weighted mean of the targets."""
        means = self._map("mean", _shards.fact, "mean_target")
        return self.loss.link(self.mean(means))

    @cached_property
    def null_value(self):
        """Data term of the network that predicts `null_prediction` everywhere."""
        n_inputs, n_outputs = len(self.input_mean), len(self.null_prediction)
        network = Network((n_inputs, n_outputs), "identity")
        theta = np.zeros(network.n_parameters, self.dtype)
        theta[network.slices[-1]] = self.null_prediction
        return self.value(network, theta)

    @cached_property
    def largest_target(self):
        """Largest |y|."""
        return max(self._map("range", _shards.fact, "largest_target"))

    def row_order(self):
        """What is shuffled to seed the orders of the rows of all shards."""
        return np.arange(_SEEDS)

    def epochs(self, network, optimizer, penalties, theta, moments, batch_size):
        """Return a `ClusterEpochs` that starts from theta and moments."""
        return ClusterEpochs(
            self, network, optimizer, penalties, theta, moments, batch_size
        )


def cluster_term(rows, task, X, dtype):
    """Data term over `ClusterRows`, with X of the columns to be read."""
    shards = rows.shards(task, X, dtype)
    return ClusterTerm(rows.cluster, shards, task.loss, dtype)


@data_term.register
def _(rows: ClusterRows, estimator, task, X, dtype, train=None):
    return cluster_term(rows, task, X, dtype)


# Scores ------------------------------------------------------------------------------

# Names of scorers that are means over rows.
_MEANS = (
    "accuracy",
    "neg_log_loss",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_mean_gamma_deviance",
    "neg_mean_poisson_deviance",
    "neg_mean_squared_error",
    "neg_mean_squared_log_error",
)


def check_scoring(estimator):
    """Raise ValueError for scorers whose values on blocks do not make one on all."""
    scoring = estimator.scoring
    if isinstance(scoring, str) and scoring not in ("loss", *_MEANS):
        raise ValueError(
            f"scoring={scoring!r} is not supported on a cluster, where scores must be "
            f"means over rows: None, 'loss', {', '.join(map(repr, _MEANS))}, or a "
            "callable scorer of that kind."
        )


@validation_score.register
def _(rows: ClusterRows, estimator, task, network, inputs, dtype):
    X = rows.columns(inputs)
    if estimator.scoring == "loss":
        data = data_term(rows, estimator, task, X, np.float64)
        return MinusLoss(data, network)
    shards = rows.shards(task, X, dtype)
    cluster = rows.cluster
    if estimator.scoring is None and not is_classifier(estimator):
        return lambda theta: _r2(
            cluster.map("score", _shards.squares, shards, network, theta, dtype)
        )

    def score(theta):
        parts = cluster.map(
            "score", _shards.mean_score, shards, estimator, network, theta, dtype
        )
        weights, values = map(np.array, zip(*parts))
        return float(weights @ values / weights.sum())

    return score


def _r2(parts):
    """R^2, averaged over outputs, of what `_shards.squares` gives for each shard."""
    weights, means, spreads, residuals = map(np.array, zip(*parts))
    mean = weights @ means / weights.sum()
    total = spreads.sum(axis=0) + weights @ (means - mean) ** 2
    residual = residuals.sum(axis=0)
    if not np.isfinite(residual).all():
        return float("nan")
    # As scikit-learn: constant targets are hit or not.
    constant = np.where(residual == 0, 1.0, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(total == 0, constant, 1.0 - residual / total)
    return float(scores.mean())
