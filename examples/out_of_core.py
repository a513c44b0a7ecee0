"""
Data larger than memory: Parquet files and a cluster of this machine
====================================================================

Rows lie in Parquet files. Workers with little memory read them, keep on disk what does
not fit, and train one network together: ``solver="lbfgs"`` needs one block at a time in
each of them (the mini-batch solvers need all). Needs ``skreg[dask]``. More than the two
workers may hold::

    python examples/out_of_core.py --rows 6000000

Python and the libraries take some 300 MB of each worker. Dask writes blocks to disk
from 70 % of the limit on, pauses a worker at 80 % and kills it at 95 %: leave room for
a few blocks between these, by small files or partitions.
"""

import argparse
import tempfile
import time
from pathlib import Path

import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.distributed import Client, LocalCluster

from skreg.dask import DaskRegMLPClassifier

N_INPUTS, ROWS_PER_FILE = 40, 50_000  # 8 MB


def write_files(folder, n_rows):
    """Files of rows of two classes, of which five inputs tell."""
    for k in range(max(1, n_rows // ROWS_PER_FILE)):
        rng = np.random.default_rng(k)
        X = rng.standard_normal((ROWS_PER_FILE, N_INPUTS), dtype=np.float32)
        noise = rng.standard_normal(ROWS_PER_FILE)
        frame = pd.DataFrame(X, columns=[f"x{j}" for j in range(N_INPUTS)])
        frame["y"] = (X[:, 0] * X[:, 1] + X[:, 2:5].sum(axis=1) + noise > 0).astype(int)
        frame.to_parquet(folder / f"part{k:04d}.parquet")


def bytes_on_disk(client):
    """What the workers have written to disk, for want of memory."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return sum(worker["metrics"]["spilled_bytes"]["disk"] for worker in workers)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--memory", default="600MB", help="limit of each worker")
    parser.add_argument("--iterations", type=int, default=10)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, memory_limit=options.memory
        ) as cluster,
        Client(cluster) as client,
    ):
        print("Dashboard:", client.dashboard_link)
        write_files(Path(folder), options.rows)
        n_bytes = 4 * N_INPUTS * options.rows
        print(f"{options.rows} rows, {n_bytes / 1e6:.0f} MB; {options.memory} a worker")
        frame = dd.read_parquet(folder)
        X, y = frame.drop(columns="y"), frame["y"]

        model = DaskRegMLPClassifier(
            (20,),
            penalty="group_lasso",
            reg_lambda=0.01,
            activation="tanh",
            solver="lbfgs",
            max_iter=options.iterations,
            random_state=0,
            verbose=1,
        )
        begin = time.perf_counter()
        model.fit(X, y)
        print(f"{model.n_iter_} iterations in {time.perf_counter() - begin:.0f} s")
        print(f"workers keep {bytes_on_disk(client) / 1e6:.0f} MB on disk")
        print("inputs in use:", model.feature_names_in_[model.selected_features_])
        print(f"accuracy: {model.score(X, y):.3f}")


if __name__ == "__main__":
    main()
