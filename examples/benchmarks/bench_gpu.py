"""
What does a grid of networks cost on a GPU?
===========================================

Times the torch engine, which trains many networks of one architecture at once, against

* a loop over PyTorch fits on the same device, one step of one network at a time,
* `skreg.RegMLPClassifier` on all cores of the processor, one fit per core.

Run it on a machine with a GPU (two minutes)::

    python examples/benchmarks/bench_gpu.py
    python examples/benchmarks/bench_gpu.py --precision exact
    python examples/benchmarks/bench_gpu.py --device torch:cpu --quick

The first table has microseconds per step and network, for grids of 1, 10, 100 and 1000
networks: folds times strengths of an L1 penalty, trained by Adam with the prox in its
metric. "steps" are the steps alone; "epochs" all that an epoch takes, with its orders
of rows and penalties. The second part is a whole search on data like MNIST: 20
strengths, 5 folds and 30 epochs, the upload, the scores of all networks on their
held-out rows, and the fit on all rows with the chosen strength.
"""

import argparse
import time
import warnings
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from sklearn.exceptions import ConvergenceWarning

from skreg import RegMLPClassifier
from skreg._engines._device import torch_device
from skreg._engines._torch import TorchRows
from skreg._network import Network
from skreg._optimizers import Optimizer
from skreg._solvers._stopping import Monitor
from skreg._solvers._together import Member, Order, solve_together
from skreg.losses import CLASSIFICATION_LOSSES
from skreg.penalties import L1

ARCHITECTURES = [(784, 256, 128, 10), (50, 100, 3)]
BATCH_SIZE = 200
GRIDS = [(1, 1), (5, 2), (5, 20), (5, 200)]  # folds, strengths


class Term(NamedTuple):
    penalty: L1
    lam: float
    mode: str
    where: slice
    shape: tuple


class Settings(NamedTuple):
    batch_size: int = BATCH_SIZE
    max_iter: int = 30
    learning_rate: str = "constant"
    learning_rate_init: float = 1e-3
    power_t: float = 0.5
    shuffle: bool = True
    horizon: int | None = None


def terms_of(network, lam):
    return [
        Term(L1(), float(lam), "proximal", s, shape)
        for s, shape in zip(network.slices, network.shapes)
    ]


def blobs(n, units, seed=0):
    """Classes around random centers, of which a linear model tells most."""
    rng = np.random.RandomState(seed)
    y = rng.randint(units[-1], size=n)
    centers = rng.standard_normal((units[-1], units[0])) * 4 / np.sqrt(units[0])
    X = centers[y] + rng.standard_normal((n, units[0]))
    return X.astype(np.float32), y


def rows_of(X, y, n_classes, options):
    return TorchRows(
        X,
        y[:, None],
        None,
        CLASSIFICATION_LOSSES["multiclass"],
        n_classes,
        np.float32,
        device=options.torch_device,
        precision=options.precision,
    )


def synchronize(options):
    if options.torch_device.type == "cuda":
        torch.cuda.synchronize()


def best_time(run, options, seconds):
    """Least time of calls that go on for so long, in seconds."""
    run()
    times = []
    while sum(times) < seconds or len(times) < 2:
        synchronize(options)
        start = time.perf_counter()
        run()
        synchronize(options)
        times.append(time.perf_counter() - start)
    return min(times)


def time_grid(units, n_folds, n_strengths, n_rows, options):
    """(steps, epochs) in microseconds per step and network."""
    X, y = blobs(n_rows, units)
    data = rows_of(X, y, units[-1], options)
    network = Network(units, "relu")
    theta = network.initial_theta(np.random.RandomState(0), np.float32)
    fold = np.arange(n_rows) % n_folds
    orders = [
        np.flatnonzero(fold != k) if n_folds > 1 else np.arange(n_rows)
        for k in range(n_folds)
    ]
    strengths = np.logspace(-5, -2, n_strengths)
    networks = data.networks(
        network,
        Optimizer("adam"),
        [terms_of(network, lam) for _ in orders for lam in strengths],
        [data.stream_of(order) for order in orders],
        [n_strengths * k for k in range(n_folds + 1)],
        np.broadcast_to(theta, (n_folds * n_strengths, len(theta))),
        BATCH_SIZE,
    )
    n_steps = max(networks.n_steps)
    rng = np.random.RandomState(0)

    def epoch():
        for order in orders:
            rng.shuffle(order)
        networks.penalty_values()
        rates = [np.full(n, 1e-3) for n in networks.n_steps]
        networks.run(orders, rates, np.zeros(n_folds, int))
        networks.is_finite()

    epochs = best_time(epoch, options, options.seconds)
    steps = best_time(networks.run_steps, options, options.seconds)
    per_step = 1e6 / (n_steps * len(networks))
    return steps * per_step, epochs * per_step


def time_torch(units, n_rows, options):
    """Microseconds per step of a PyTorch loop with Adam."""
    layers = []
    for n_in, n_out in pairwise(units):
        layers += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1]).to(options.torch_device)
    optimizer = torch.optim.Adam(model.parameters())
    X, y = (
        torch.as_tensor(a, device=options.torch_device) for a in blobs(n_rows, units)
    )

    def steps():
        order = torch.randperm(n_rows, device=options.torch_device)
        for batch in order[: 50 * BATCH_SIZE].split(BATCH_SIZE):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(X[batch]), y[batch]).backward()
            optimizer.step()

    n_steps = -(-min(n_rows, 50 * BATCH_SIZE) // BATCH_SIZE)
    return 1e6 * best_time(steps, options, options.seconds) / n_steps


def time_cores(units, n_rows, options):
    """Microseconds per step and network of fits on all cores, one fit per core."""
    X, y = blobs(n_rows, units)
    n_cores = cpu_count(only_physical_cores=True)
    fit = RegMLPClassifier(
        units[1:-1], penalty="l1", max_iter=2, batch_size=BATCH_SIZE, random_state=0
    ).fit
    with Parallel(n_cores, prefer="threads") as parallel:
        seconds = best_time(
            lambda: parallel(delayed(fit)(X, y) for _ in range(n_cores)), options, 0
        )
    return 1e6 * seconds / (2 * -(-n_rows // BATCH_SIZE) * n_cores)


def tables(options):
    for units in ARCHITECTURES:
        n_rows = options.n_rows if units[0] > 100 else options.n_rows // 3
        name = "-".join(map(str, units))
        print(f"\n{name}, batches of {BATCH_SIZE}: microseconds per step and network")
        print(f"{'networks':>10} {'steps':>9} {'epochs':>9}")
        for n_folds, n_strengths in options.grids:
            steps, epochs = time_grid(units, n_folds, n_strengths, n_rows, options)
            print(f"{n_folds * n_strengths:10} {steps:9.2f} {epochs:9.2f}", flush=True)
        print(f"PyTorch, in a loop: {time_torch(units, n_rows, options):.0f}")
        print(
            f"skreg on all cores: {time_cores(units, n_rows, options):.1f}", flush=True
        )


def search(options):
    """Time to the chosen strength and its network."""
    units, n_folds = ARCHITECTURES[0], 5
    X, y = blobs(options.n_rows, units)
    network = Network(units, "relu")
    strengths = np.logspace(-5, -2.5, options.n_strengths)
    settings = Settings(max_iter=options.n_epochs)
    synchronize(options)
    start = time.perf_counter()
    data = rows_of(X, y, units[-1], options)
    rng = np.random.RandomState(0)
    theta = network.initial_theta(rng, np.float32)
    fold = np.random.RandomState(1).permutation(len(X)) % n_folds

    def members(rows, lams):
        order = Order(rows, rng)
        return [
            Member(order, theta, terms_of(network, lam), Monitor(0.0, np.inf))
            for lam in lams
        ]

    grid = []
    for k in range(n_folds):
        grid += members(np.flatnonzero(fold != k), strengths)
    results = solve_together(settings, Optimizer("adam"), data, network, grid)
    accuracy = np.empty((n_folds, len(strengths)))
    for k in range(n_folds):
        rows = np.flatnonzero(fold == k)
        of_fold = results[k * len(strengths) : (k + 1) * len(strengths)]
        raw = data.raw(network, np.array([r.theta for r in of_fold]), rows=rows)
        accuracy[k] = (raw.argmax(axis=2) == y[rows]).mean(axis=1)
    best = strengths[accuracy.mean(axis=0).argmax()]
    solve_together(settings, Optimizer("adam"), data, network, members(None, [best]))
    seconds = time.perf_counter() - start
    print(
        f"\nSearch of {len(strengths)} strengths x {n_folds} folds x "
        f"{options.n_epochs} epochs on {len(X)} x {units[0]}: {seconds:.1f} s "
        f"(lambda = {best:.2g}, accuracy {accuracy.mean(axis=0).max():.4f})"
    )


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=("exact", "tf32"), default="tf32")
    parser.add_argument("--quick", action="store_true", help="small, to try it out")
    options = parser.parse_args()
    options.torch_device = torch_device(options.device)
    options.n_rows, options.grids = 60_000, GRIDS
    options.n_strengths, options.n_epochs, options.seconds = 20, 30, 1.0
    if options.quick:
        options.n_rows, options.grids = 600, GRIDS[:2]
        options.n_strengths, options.n_epochs, options.seconds = 2, 1, 0.0
    is_cuda = options.torch_device.type == "cuda"
    card = torch.cuda.get_device_name(options.torch_device) if is_cuda else "processor"
    print(f"torch {torch.__version__}, {card}, {options.precision}")
    tables(options)
    search(options)


if __name__ == "__main__":
    main()
