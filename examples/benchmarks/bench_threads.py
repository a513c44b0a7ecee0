"""
How much do more threads bring to one fit?
==========================================

Times one training step of the compiled core, Adam with decoupled L2 decay in float32,
on 1, 2, 4, ... threads, next to the same step in PyTorch (eager mode, fused AdamW) at
its best number of threads, skipped where torch is missing; then predictions for
400,000 rows, next to scikit-learn's ``MLPClassifier``.

Run it on a quiet machine (less than three minutes on 16 cores)::

    python examples/benchmarks/bench_threads.py
    python examples/benchmarks/bench_threads.py --threads 1 2

Microseconds per step, and milliseconds per prediction of all rows: the fastest of the
rounds, in which all take turns. Small steps stay on one thread whatever is asked for.
Each row also says whether the weights had the same bits for all numbers of threads.
"""

import argparse
import time
from functools import partial
from itertools import pairwise

import numpy as np
from joblib import cpu_count
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skreg import _core
from skreg._engines._compiled import _compile, block_rows
from skreg._engines._rules import PenaltySum, Term
from skreg._network import Network
from skreg._optimizers import METHODS
from skreg.losses import CLASSIFICATION_LOSSES
from skreg.penalties import L2

try:
    import torch
except ImportError:
    torch = None

STEPS = [  # units, batch
    ((20, 100, 2), 200),
    ((784, 256, 128, 10), 200),
    ((100, 512, 512, 10), 256),
    ((784, 1024, 1024, 10), 1024),
]
HIDDEN_OF_PREDICTIONS = [(100,), (512, 512)]
N_PREDICTED = 400_000
SECONDS_PER_CELL = 0.25


class CoreSteps:
    """Training in the compiled core on random data, two batches of them."""

    def __init__(self, units, batch):
        rng = np.random.default_rng(0)
        dtype = np.dtype(np.float32)
        network = Network(units, "relu")
        self.batch, self.n_rows = batch, 2 * batch
        X = rng.standard_normal((self.n_rows, units[0])).astype(dtype)
        y = rng.integers(units[-1], size=(self.n_rows, 1)).astype(dtype)
        loss = CLASSIFICATION_LOSSES["multiclass"]
        self.data = _core.Data(X, dtype, y)
        self.net, self.scratch = _compile(network, batch, dtype, loss, 1)
        decay = [
            Term(L2(), 1e-4, "decoupled", network.slices[k], network.shapes[k])
            for k in range(network.n_layers)
        ]
        hyper = (0.0, 0.9, 0.999, 1e-8)
        penalties = PenaltySum(decay, network.slices)
        self.rule = penalties.rule(METHODS["adam"].code, hyper)
        self.theta = network.initial_theta(np.random.RandomState(0), dtype)
        self.X, self.y = X, y

    def run(self, n_steps, n_threads):
        """Return the weights after so many steps."""
        theta = self.theta.copy()
        grad, first, second = (np.zeros_like(theta) for _ in range(3))
        order = np.arange(self.n_rows)
        for t in range(0, n_steps, 2):
            _core.train(
                self.net,
                self.data,
                order,
                0,
                self.n_rows,
                self.batch,
                1.0,
                self.rule,
                np.full(2, 1e-3),
                t,
                theta,
                grad,
                first,
                second,
                self.scratch,
                n_threads=n_threads,
            )
        return theta


def torch_steps(problem, units, n_threads, n_steps):
    torch.set_num_threads(n_threads)
    torch.manual_seed(0)
    layers = []
    for n_in, n_out in pairwise(units):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-4, fused=True)
    X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y[:, 0]).long()
    loss = torch.nn.CrossEntropyLoss()
    for k in range(n_steps):
        batch = slice(k % 2 * problem.batch, (k % 2 + 1) * problem.batch)
        optimizer.zero_grad()
        loss(model(X[batch]), y[batch]).backward()
        optimizer.step()


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def fastest(runs, repeats):
    """Return the least time of each run, all taking turns."""
    times = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    return {name: min(ts) for name, ts in times.items()}


def steps_per_cell(run):
    """Return an even number of steps that take about SECONDS_PER_CELL."""
    run(2)
    n_steps, elapsed = 2, seconds(partial(run, 2))
    while elapsed < SECONDS_PER_CELL / 8:
        n_steps *= 4
        elapsed = seconds(partial(run, n_steps))
    return max(2, 2 * round(n_steps * SECONDS_PER_CELL / elapsed / 2))


def print_row(first, cells):
    print(f"{first:<30}" + "".join(f"{cell:>12}" for cell in cells), flush=True)


def compare_steps(counts, repeats, cases=STEPS):
    header = [f"{n} threads" for n in counts] + ["torch", "(threads)", "same bits"]
    print_row("microseconds per step", header)
    for units, batch in cases:
        problem = CoreSteps(units, batch)
        steps = {n: partial(problem.run, n_threads=n) for n in counts}
        if torch is not None:
            for n in counts:
                steps["torch", n] = partial(torch_steps, problem, units, n)
        n_steps = {name: steps_per_cell(run) for name, run in steps.items()}
        runs = {name: partial(run, n_steps[name]) for name, run in steps.items()}
        times = {k: 1e6 * t / n_steps[k] for k, t in fastest(runs, repeats).items()}
        weights = [problem.run(4, n) for n in counts]
        same = all(np.array_equal(weights[0], w) for w in weights)
        of_torch = {k[1]: t for k, t in times.items() if isinstance(k, tuple)}
        best = min(of_torch, key=of_torch.get, default=None)
        cells = [f"{times[n]:,.0f}" for n in counts]
        cells += ["-", "-"] if best is None else [f"{of_torch[best]:,.0f}", str(best)]
        print_row(f"{'-'.join(map(str, units))}, batch {batch}", [*cells, str(same)])


def compare_predictions(counts, repeats, n_rows=N_PREDICTED):
    print_row("milliseconds per prediction", [f"{n} threads" for n in counts])
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, 100)).astype(np.float32)
    for hidden in HIDDEN_OF_PREDICTIONS:
        network = Network((100, *hidden, 1), "relu")
        theta = network.initial_theta(np.random.RandomState(0), np.float32)
        peer = MLPClassifier(hidden).partial_fit(
            X[:200], X[:200, 0] > 0, classes=[False, True]
        )
        data = _core.Data(X, theta.dtype)
        net, scratch = _compile(network, block_rows(network, len(X)), theta.dtype)
        out = np.empty((len(X), 1), np.float32)
        runs = {}
        for n in counts:
            runs["skreg", n] = partial(
                _core.raw_predictions, net, data, theta, out, scratch, n_threads=n
            )

            def predict(n=n, peer=peer):
                with threadpool_limits(n):
                    peer.predict(X)

            runs["scikit-learn", n] = predict
        times = fastest(runs, repeats)
        for name in ("skreg", "scikit-learn"):
            cells = [f"{1e3 * times[name, n]:,.0f}" for n in counts]
            print_row(f"{hidden}, {name}", cells)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    powers = [n for n in (1, 2, 4, 8, 16) if n <= cpu_count()]
    parser.add_argument("--threads", type=int, nargs="+", default=powers)
    parser.add_argument("--repeats", type=int, default=3, help="number of rounds")
    parser.add_argument(
        "--quick", action="store_true", help="to try it out: small cases"
    )
    args = parser.parse_args()
    print(f"{cpu_count()} cores")
    if args.quick:
        compare_steps(args.threads, 1, STEPS[:2])
        compare_predictions(args.threads, 1, N_PREDICTED // 20)
        return
    compare_steps(args.threads, args.repeats)
    compare_predictions(args.threads, args.repeats)


if __name__ == "__main__":
    main()
