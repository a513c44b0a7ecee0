"""Mini-batch training on a cluster: an epoch per task, all workers in step.

Each worker takes from each of its shards the share of a batch that is the shard's share
of the rows, so that shards may differ in whatever way, and

    g = n / (|B| sum(s)) sum_k sum_{i in B_k} s_i grad l_i

is summed over the workers. All make the same update from the same g: theta is the same
everywhere, exact zeros included, and does not travel within an epoch. After each epoch
the client has it, so that the death of a worker costs that epoch.
"""

import hashlib
import secrets
import time
from traceback import clear_frames
from weakref import WeakKeyDictionary

import distributed
import numpy as np
from distributed.client import CancelledError
from distributed.comm import get_address_host

from skreg._threads import single_blas_thread
from skreg.dask import _sockets
from skreg.dask._cluster import ClusterError, Watch
from skreg.dask._sockets import PeerLost, Sum

# Newer versions of Dask have an error for clients that are closed.
_Closed = getattr(distributed.client, "ClosedClientError", CancelledError)
_MOST_TRIES = 10  # of an epoch, each with the workers that are there
_MOST_MEMORY = 0.8  # share of a worker's, at which Dask pauses it
_POLL, _FETCH = 1.0, 10.0  # seconds between looks at who is alive; for one result
# Only one epoch at a time: two that wait for each other's workers would never end.
_locks: WeakKeyDictionary = (
    WeakKeyDictionary()
)  # client: lock, which refreshes itself as long as it lives


# On the workers ----------------------------------------------------------------------


def open_listener(token, dask_worker):
    """Open the socket of rank 0 on the interface of a worker; return its address."""
    return _sockets.listen(token, get_address_host(dask_worker.address))


def run_epoch(group, shards, numbers, settings, state, order, rates, n_steps):
    """Train for an epoch, in step with the other workers.

    Parameters
    ----------
    group : (token, rank, size, address)
        See `Sum`.
    shards : list of Shard
    numbers : list of int
        Of the shards, among all.
    settings : dict
        network, optimizer, penalties, batch_size; n_rows and weight_sum of all shards.
    state : ndarray of shape (1 + n_moments, n_parameters)
        theta and the moments.
    order : ndarray of int or None
        Seeds the order of the rows of each shard; None leaves them as they lie.
    rates : ndarray of shape (n_batches,)
    n_steps : int
        Steps taken so far.

    Returns
    -------
    losses : dict of int to float
        Mean data loss of each shard.
    digest : str
        Of theta.
    state : ndarray or None
        From rank 0 only.
    """
    settings, rank = dict(settings), group[1]
    n_rows, weight_sum = settings.pop("n_rows"), settings.pop("weight_sum")
    network, batch_size = settings["network"], settings["batch_size"]
    n_batches = len(rates)
    with single_blas_thread(), Sum(*group) as add_up:
        update = shards[0].data.epochs(
            theta=state[0].copy(),
            moments=dict(zip(settings.pop("moments"), state[1:])),
            **settings,
        )
        total, part = np.empty(len(update.theta)), np.empty_like(update.theta)
        parts = [
            (shard.data.batch_gradient(network, batch_size), _permuted(shard, k, order))
            for shard, k in zip(shards, numbers)
        ]
        counts = [shard.data.n_rows for shard in shards]
        losses = np.zeros(len(shards))
        for t, rate in enumerate(rates):
            batch = _share(n_rows, t + 1, n_batches) - _share(n_rows, t, n_batches)
            scale = n_rows / weight_sum / batch
            total[:] = 0.0
            for k, (gradient, rows) in enumerate(parts):
                start, stop = (_share(counts[k], i, n_batches) for i in (t, t + 1))
                if start < stop:
                    losses[k] += gradient(rows, start, stop, update.theta, part, scale)
                    total += part
            add_up(total)
            update.grad[:] = total
            update.step(rate, n_steps + t + 1)
    means = [shard.data.mean(loss) for shard, loss in zip(shards, losses)]
    digest = hashlib.sha256(update.theta).hexdigest()
    new = np.stack([update.theta, *update.moments.values()]) if rank == 0 else None
    return dict(zip(numbers, means)), digest, new


def _share(n, t, n_batches):
    """Rows of n in the first t of all batches."""
    return t * n // n_batches


def _permuted(shard, number, order):
    """Order of a shard's rows in an epoch; None as they lie."""
    if order is None:
        return None
    rng = np.random.default_rng([*order.tolist(), number])
    return rng.permutation(shard.data.n_rows)


# At the client -----------------------------------------------------------------------


class ClusterEpochs:
    """Mini-batch training on a cluster; see `skreg._engines.EpochRunner`.

    Attributes
    ----------
    digests : list of str
        Of theta on each worker, after the last epoch.
    """

    def __init__(self, term, network, optimizer, penalties, theta, moments, batch_size):
        self._term = term
        self._settings = {
            "network": network,
            "optimizer": optimizer,
            "penalties": penalties,
            "batch_size": batch_size,
            "moments": tuple(moments),
            "n_rows": term.n_rows,
            "weight_sum": term.weight_sum,
        }
        self.theta, self.moments = theta, moments
        self.digests = []
        self.snapshot()

    def run(self, order, rates, n_steps):
        """Train on every row once; return the mean data loss."""
        state = np.stack([self.theta, *self.moments.values()])
        with self._term.cluster.ending():
            results = self._results(self._settings, state, order, rates, n_steps)
        losses, self.digests, states = zip(*results)
        (state,) = (state for state in states if state is not None)
        self.theta, moments = state[0], state[1:]
        self.moments = dict(zip(self.moments, moments))
        all_losses = {k: loss for part in losses for k, loss in part.items()}
        return self._term.mean([all_losses[k] for k in range(len(all_losses))])

    def _results(self, *epoch):
        """Results of an epoch, which begins anew each time that a worker is lost."""
        term, cluster = self._term, self._term.cluster
        for n in range(_MOST_TRIES):
            cluster.check()
            try:
                with _lock(cluster.client), cluster.client.as_current():
                    return _run_once(cluster, term.shards, term.n_bytes, epoch)
            except (PeerLost, OSError, CancelledError, _Closed) as error:
                last = str(error)
                clear_frames(error.__traceback__)  # which would keep futures
                time.sleep(0.1 * n)  # until the scheduler has noticed
        raise ClusterError(
            f"Workers of the cluster were lost in {_MOST_TRIES} tries of one epoch. "
            f"In the last: {last}"
        )

    def snapshot(self):
        """Remember parameters and moments."""
        self._saved = self.theta, self.moments  # which no epoch changes in place

    def restore(self):
        """Return to what `snapshot` has remembered."""
        self.theta, self.moments = self._saved


def _lock(client):
    """Lock on the cluster, which a client that has died leaves."""
    if client not in _locks:
        with client.as_current():
            _locks[client] = distributed.Lock("skreg-epoch")
    return _locks[client]


def _run_once(cluster, shards, n_bytes, epoch):
    """Results of one epoch on all workers that hold shards."""
    client, token = cluster.client, secrets.token_bytes(32)
    cluster.wait(shards)  # those that were lost are computed again
    groups = _groups(client.who_has(shards), shards)
    _check_memory(cluster, groups, n_bytes)
    workers = list(groups)
    listening = client.run(open_listener, token, workers=workers[:1])
    address = listening[workers[0]]
    settings, state, *rest = epoch
    state = cluster.send(state)
    calls = []
    try:
        for rank, (worker, numbers) in enumerate(groups.items()):
            group = token, rank, len(groups), address
            held = [shards[k] for k in numbers]
            calls.append(
                client.submit(
                    run_epoch,
                    group,
                    held,
                    numbers,
                    settings,
                    state,
                    *rest,
                    key=f"skreg-epoch-{secrets.token_hex(16)}",
                    workers=[worker],
                    pure=False,
                )
            )
        return _results(cluster, calls, set(workers))
    except BaseException:
        client.cancel(calls, force=True)
        alive = [worker for worker in client.nthreads() if worker in groups]
        client.run(_sockets.close, token, workers=alive, on_error="ignore")
        raise


def _groups(where, shards):
    """Numbers of the shards that each worker takes, by its address."""
    groups = {}
    for k, shard in enumerate(shards):
        holders = where[shard.key]
        if not holders:
            raise PeerLost("A worker was lost before the epoch began.")
        worker = min(holders, key=lambda w: (len(groups.get(w, ())), w))
        groups.setdefault(worker, []).append(k)
    return dict(sorted(groups.items()))


def _check_memory(cluster, groups, n_bytes):
    """Raise ClusterError where a worker's shards do not fit into its memory."""
    memory = cluster.memory()
    for worker, numbers in groups.items():
        needed, limit = sum(n_bytes[k] for k in numbers), memory.get(worker, np.inf)
        if needed > _MOST_MEMORY * limit:
            raise ClusterError(
                "The mini-batch solvers need all blocks of a worker in its memory at "
                f"once, but {worker} holds {needed / 1e6:.0f} MB and may use "
                f"{limit / 1e6:.0f} MB in all. Use more workers, or workers with more "
                "memory, float32, or solver='lbfgs', which reads block after block."
            )


def _results(cluster, calls, workers):
    """Results of calls on workers; PeerLost once one of these is gone.

    A task that is bound to a dead worker would wait forever, also for its result.
    """
    results, pending, watch = {}, set(calls), Watch(cluster)
    while pending:
        try:
            done = distributed.wait(
                pending, timeout=_POLL, return_when="FIRST_COMPLETED"
            ).done
            for call in done:
                results[call] = call.result(timeout=_FETCH)  # raises what it raised
                pending.discard(call)
        except TimeoutError:
            watch.look()
            if not workers <= set(cluster.client.nthreads()):
                raise PeerLost("A worker was lost.") from None
    return [results[call] for call in calls]
