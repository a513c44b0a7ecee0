"""
How much memory does training on a memory-mapped array add?
===========================================================

Writes a float32 array of 2 GB to a temporary file, maps it, and fits
`RegMLPClassifier` to it. Printed is the growth of the process's own memory while
fitting (Linux: RssAnon, which leaves out the mapped file), at its peak::

    python examples/benchmarks/bench_memory.py
    python examples/benchmarks/bench_memory.py --gigabytes 8 --folder /some/big/disk
"""

import argparse
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skreg import RegMLPClassifier

N_FEATURES, ROWS_AT_ONCE, INTERVAL = 500, 50_000, 0.02

SETTINGS = {
    "adam": {},
    "adam, early stopping": {"early_stopping": True},
    "adam, group lasso": {"penalty": "group_lasso"},
    "lbfgs": {"solver": "lbfgs", "max_iter": 2},
}


def megabytes():
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024


def peak_growth(run):
    """Return by how many megabytes the process grows while `run` does."""
    start, samples, done = megabytes(), [], threading.Event()

    def watch():
        while not done.wait(INTERVAL):
            samples.append(megabytes())

    thread = threading.Thread(target=watch)
    thread.start()
    run()
    done.set()
    thread.join()
    return max(samples, default=start) - start


def write(path, n_rows):
    shape = n_rows, N_FEATURES
    X = np.memmap(path, dtype=np.float32, mode="w+", shape=shape)
    rng = np.random.default_rng(0)
    for start in range(0, n_rows, ROWS_AT_ONCE):
        rows = X[start : start + ROWS_AT_ONCE]
        rows[:] = rng.standard_normal(rows.shape, dtype=np.float32)
    X.flush()
    return np.memmap(path, dtype=np.float32, mode="r", shape=shape)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--folder", default=None)
    parser.add_argument("--quick", action="store_true", help="to try it out: 50 MB")
    args = parser.parse_args()
    if args.quick:
        args.gigabytes = 0.05
    warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is meant
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        n_rows = int(args.gigabytes * 1e9 / (4 * N_FEATURES))
        X = write(Path(folder) / "X.dat", n_rows)
        y = np.asarray(X[:, 0] > 0)
        print(f"X: {n_rows} x {N_FEATURES}, {X.nbytes / 2**20:,.0f} MB")
        for name, settings in SETTINGS.items():
            params = dict(batch_size=1000, max_iter=1, random_state=0) | settings
            model = RegMLPClassifier((50,), **params)
            print(f"{name:24}{peak_growth(lambda m=model: m.fit(X, y)):6.0f} MB more")


if __name__ == "__main__":
    main()
