"""Rows on a cluster of which a client takes folds."""

from dataclasses import dataclass, replace

import numpy as np

from skreg._rows import Source, range_of
from skreg._training import data_term
from skreg.dask import _shards, _term
from skreg.dask._term import ClusterRows, Columns


@dataclass(frozen=True, eq=False, kw_only=True)
class FoldRows(ClusterRows):
    """Rows of which X lies on a cluster, and the rest also at the client.

    Parameters
    ----------
    y, targets, sample_weight, weights : ndarray, weights or None
        As of `skreg._rows.Rows`.
    sizes : tuple of int
        Rows of each block.
    places : ndarray of intp
        Place among these rows of each row of the blocks, one block after the other.
    """

    y: np.ndarray
    targets: np.ndarray
    sample_weight: np.ndarray | None
    weights: np.ndarray | None
    sizes: tuple
    places: np.ndarray

    def take(self, rows):
        """The rows of these indices, copied where they lie."""
        rows = np.asarray(rows)
        in_blocks = np.argsort(self.places)[rows]
        places = np.argsort(in_blocks, kind="stable")
        ends = np.cumsum(self.sizes)
        parts = np.split(in_blocks[places], np.searchsorted(in_blocks[places], ends))
        parts = [part - end + n for part, end, n in zip(parts, ends, self.sizes)]
        pairs = [[block, part] for block, part in zip(self.blocks, parts) if len(part)]
        per_row = {
            name: None if values is None else values[rows]
            for name, values in (
                ("y", self.y),
                ("targets", self.targets),
                ("sample_weight", self.sample_weight),
                ("weights", self.weights),
            )
        }
        return replace(
            self,
            blocks=self.cluster.start("fold", _shards.take, pairs),
            X=Columns((len(rows), self.X.shape[1]), self.X.dtype),
            sizes=tuple(len(part) for _, part in pairs),
            places=places,
            **per_row,
        )

    def target_range(self):
        """Least and largest target of each output, of rows that have weight."""
        return range_of(self.targets, self.sample_weight)

    def weighted(self, task):
        """The rows with the class weights of a task."""
        return replace(self, weights=task.weights(self.targets, self.sample_weight))

    def balanced(self, task):
        """The rows, and the task, with the class weights of just these rows."""
        task = task.balanced(self.targets, self.sample_weight)
        return self.weighted(task), task

    def raw(self, fitted):
        """Raw predictions of a fitted network, of shape (n, n_outputs)."""
        parts = self.cluster.map("predict", _shards.raw, self.blocks, fitted)
        in_blocks = np.concatenate(parts)
        out = np.empty_like(in_blocks)
        out[self.places] = in_blocks
        return out


@data_term.register
def _(rows: FoldRows, estimator, task, X, dtype, train=None):
    rows = rows if train is None else rows.take(train)
    return _term.cluster_term(rows, task, X, dtype)


def source(rows, header):
    """Checked rows on a cluster as a `Source`, of which folds can be taken.

    Parameters
    ----------
    rows : ClusterRows
    header : Header
    """
    parts = rows.cluster.map("targets", _shards.targets, rows.blocks)
    filled = [(y, s) for y, s in parts if len(y)]
    y = np.concatenate([y for y, _ in filled])
    s = None
    if filled[0][1] is not None:
        s = np.concatenate([s for _, s in filled]) / rows.weight_unit

    def encode(task):
        return FoldRows(
            **vars(rows),
            y=y,
            targets=task.targets(y, rows.name),
            sample_weight=s,
            weights=None,
            sizes=tuple(len(part) for part, _ in parts),
            places=np.arange(len(y)),
        ).weighted(task)

    nothing = np.broadcast_to(0.0, (len(y), 1))  # in place of X, for splitters
    return Source(header, y, s, [nothing, y], encode)
