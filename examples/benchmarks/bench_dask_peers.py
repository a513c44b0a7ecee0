"""
Fits on a cluster: skreg, Dask-ML and LightGBM
==============================================

On a cluster of this machine, of two workers of one thread: the time to a held-out
log-loss, with the least budget of a list that reaches it (median of five fits, one
contender after the other), and what becomes of a fit whose worker is killed in the
middle, three times each. Linear models (skreg without
hidden layer, Dask-ML's LogisticRegression) are held to a loss that linear models reach,
the others (skreg with 32 hidden units, LightGBM) to one that these do not. Peers that
are not installed are passed over::

    pip install dask-ml lightgbm
    python examples/benchmarks/bench_dask_peers.py
    python examples/benchmarks/bench_dask_peers.py --quick
"""

import argparse
import logging
import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import dask
import dask.array as da
import distributed
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.metrics import log_loss

from skreg.dask import DaskRegMLPClassifier

N_INPUTS, N_BLOCKS = 50, 8
LINEAR, NONLINEAR = 0.44, 0.2  # log-loss that is to be reached


def make_data(n_rows):
    """X and y as Dask arrays: the sign of a product and a linear term."""
    rng = da.random.default_rng(0)
    X = rng.standard_normal((n_rows, N_INPUTS), chunks=(n_rows // N_BLOCKS, N_INPUTS))
    X = X.astype(np.float32)
    return X, (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)


def network(hidden, client):
    def fit(X, y, budget):
        params = {"reg_lambda": 1e-5, "solver": "lbfgs", "random_state": 0}
        params |= {"activation": "tanh", "max_iter": budget, "client": client}
        return DaskRegMLPClassifier(hidden, **params).fit(X, y)

    return fit


def logistic(client):
    from dask_ml.linear_model import LogisticRegression

    def fit(X, y, budget):
        solver = {"solver": "lbfgs", "C": 1e5 / len(X), "max_iter": budget}
        return LogisticRegression(**solver).fit(X, y)

    return fit


def boosting(client):
    from lightgbm import DaskLGBMClassifier

    def fit(X, y, budget):
        params = {"n_estimators": budget, "verbose": -1, "client": client}
        return DaskLGBMClassifier(**params).fit(X, y)

    return fit


BUDGETS = (3, 6, 12, 25, 50, 100, 200)  # iterations, or trees
CONTENDERS = {
    "skreg, linear": (partial(network, ()), LINEAR),
    "Dask-ML, LogisticRegression": (logistic, LINEAR),
    "skreg, 32 units": (partial(network, (32,)), NONLINEAR),
    "LightGBM": (boosting, NONLINEAR),
}


def seconds_of(fit, *args):
    begin = time.perf_counter()
    model = fit(*args)
    return time.perf_counter() - begin, model


def kill_a_worker(client):
    os.kill(min(client.run(os.getpid).values()), signal.SIGKILL)


def with_a_death(client, fit, after, limit):
    """What becomes of a fit one of whose workers is killed after some seconds."""
    timer = threading.Timer(after, kill_a_worker, [client])
    pool = ThreadPoolExecutor(1)
    timer.start()
    try:
        seconds, _ = pool.submit(seconds_of, fit).result(limit)
        return f"ends after {seconds:.1f} s" + " (no kill)" * (seconds < after)
    except TimeoutError:
        return f"no answer in {limit} s"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:80]}"
    finally:
        timer.cancel()
        pool.shutdown(wait=False)


def two_workers():
    logs = {"silence_logs": logging.CRITICAL, "dashboard_address": ":0"}
    return LocalCluster(n_workers=2, threads_per_worker=1, **logs)


def data_on(client, n_rows):
    """Training and held-out rows, in the memory of the workers."""
    X, y = dask.persist(*make_data(n_rows))
    distributed.wait([X, y])
    n_test = X.chunks[0][-1]
    return (X[:-n_test], y[:-n_test]), (X[-n_test:], y[-n_test:].compute())


def times(n_rows, budgets, n_times):
    """Print seconds to the log-loss; return the budget of each contender."""
    fits = {}
    with two_workers() as cluster, Client(cluster) as client:
        rows, (X_test, y_test) = data_on(client, n_rows)
        for name, (contender, target) in CONTENDERS.items():
            try:
                fit = contender(client)
            except ImportError as error:
                print(f"{name}: not installed ({error.name})")
                continue
            for budget in budgets:
                P = np.asarray(fit(*rows, budget).predict_proba(X_test))
                if log_loss(y_test, P) <= target:
                    break
            print(f"{name}: log-loss {log_loss(y_test, P):.3f} with budget {budget}")
            fits[name] = partial(fit, *rows, budget)
        for _ in range(n_times):
            for name, fit in fits.items():
                print(f"{name}: {seconds_of(fit)[0]:.2f} s", flush=True)
    return {name: fit.args[-1] for name, fit in fits.items()}


def deaths(name, n_rows, budget, n_tries, limit):
    """Print what becomes of fits whose worker dies, each on a cluster of its own."""
    contender, _ = CONTENDERS[name]
    for _ in range(n_tries):
        with two_workers() as cluster, Client(cluster) as client:
            rows, _ = data_on(client, n_rows)
            fit = partial(contender(client), *rows, budget)
            fit()  # imports of the workers
            seconds, _ = seconds_of(fit)
            end = with_a_death(client, fit, seconds / 2, limit)
        print(f"{name}: {seconds:.1f} s; with a death after half: {end}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--quick", action="store_true", help="few rows, one try")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    n_rows, budgets, n_times, n_tries, limit = options.rows, BUDGETS, 5, 3, 60
    if options.quick:
        n_rows, budgets, n_times, n_tries, limit = 20_000, BUDGETS[:1], 1, 1, 30
    for name, budget in times(n_rows, budgets, n_times).items():
        deaths(name, n_rows, budget, n_tries, limit)


if __name__ == "__main__":
    main()
