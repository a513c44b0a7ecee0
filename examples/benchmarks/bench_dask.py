"""
What does a cluster cost, and what the death of a worker?
=========================================================

On a cluster of this machine, with workers of one thread: the time of one evaluation of
the objective and its gradient, and how much of it is not arithmetic (what the busiest
worker computes is timed there, in the same call); then a fit of some iterations, or
epochs, in quiet and with a worker killed on the way::

    python examples/benchmarks/bench_dask.py
    python examples/benchmarks/bench_dask.py --quick
"""

import argparse
import os
import signal
import threading
import time
import warnings

import dask
import dask.array as da
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning

from skreg._network import Network
from skreg.dask import DaskRegMLPClassifier, _shards, _term
from skreg.dask._cluster import Cluster

N_INPUTS, N_BLOCKS = 50, 8
SETTINGS = {"hidden_layer_sizes": (32,), "penalty": "l1", "random_state": 0}
SOLVERS = {
    "lbfgs": {"solver": "lbfgs", "max_iter": 10},
    "adam": {"max_iter": 5, "batch_size": 1000, "tol": 0.0},
}


def make_block(seed, n_rows):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n_rows, N_INPUTS), dtype=np.float32)


def make_data(n_rows):
    """X and y as Dask arrays, whose blocks are made on the workers."""
    n = n_rows // N_BLOCKS
    make = dask.delayed(make_block)
    X = da.concatenate(
        [
            da.from_delayed(make(k, n), (n, N_INPUTS), np.float32)
            for k in range(N_BLOCKS)
        ]
    )
    return X, (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)


def timed_gradient(shard, network, theta):
    begin = time.perf_counter()
    _shards.value_grad(shard, network, theta)
    return os.getpid(), time.perf_counter() - begin


def overhead(client, X, y, repeats):
    """Print seconds of an evaluation, and the share that is not arithmetic."""
    estimator = DaskRegMLPClassifier(**SETTINGS)._local()
    rows, _, facts = _term.read(estimator, Cluster(client), X, y, None)
    task = _term.known_task(estimator, facts)
    term = _term.data_term(rows, estimator, task, rows.X, np.float64)
    network = Network((N_INPUTS, 32, 1), "relu")
    theta = network.initial_theta(np.random.RandomState(0), np.float64)
    term.value_grad(network, theta)
    walls, shares = [], []
    for _ in range(repeats):
        begin = time.perf_counter()
        parts = term._map("gradient", timed_gradient, network, theta)
        wall = time.perf_counter() - begin
        busy = {}
        for worker, seconds in parts:
            busy[worker] = busy.get(worker, 0.0) + seconds
        walls.append(wall)
        shares.append(wall / max(busy.values()) - 1)
    print(
        f"one evaluation: {np.median(walls):.3f} s, of which "
        f"{100 * np.median(shares):.1f} % come on top of the arithmetic"
    )


def kill_a_worker(client):
    os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)


def fit(client, X, y, params, kill_after=None):
    """Seconds of a fit, and its objective."""
    model = DaskRegMLPClassifier(**SETTINGS, **params, client=client)
    timer = threading.Timer(kill_after or 0.0, kill_a_worker, [client])
    begin = time.perf_counter()
    if kill_after is not None:
        timer.start()
    model.fit(X, y)
    timer.cancel()  # if the fit was faster
    return time.perf_counter() - begin, model.loss_


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="few rows")
    options = parser.parse_args()
    n_rows = 40_000 if options.quick else options.rows
    warnings.simplefilter("ignore", ConvergenceWarning)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1) as cluster,
        Client(cluster) as client,
    ):
        X, y = make_data(n_rows)
        print(f"{n_rows} x {N_INPUTS} rows, {N_BLOCKS} blocks, 2 workers")
        overhead(client, X, y, 3 if options.quick else 9)
        for name, params in SOLVERS.items():
            quiet, objective = fit(client, X, y, params)
            killed, other = fit(client, X, y, params, kill_after=quiet / 3)
            print(
                f"{name}: {quiet:.1f} s in quiet, {killed:.1f} s with a worker killed "
                f"on the way; objectives {objective:.8g} and {other:.8g}"
            )


if __name__ == "__main__":
    main()
