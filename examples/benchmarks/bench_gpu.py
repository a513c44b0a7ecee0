"""
What does a grid of networks cost on a GPU?
===========================================

Times the torch engine, which trains many networks of one architecture at once, against

* a loop over PyTorch fits on the same device, one step of one network at a time,
* `skreg.RegMLPClassifier` on all cores of the processor, one fit per core.

Run it on a machine with a GPU (a few minutes)::

    python examples/benchmarks/bench_gpu.py
    python examples/benchmarks/bench_gpu.py --precision tf32
    python examples/benchmarks/bench_gpu.py --device torch:cpu --quick

The first part checks that fits on the device are those of the compiled core. The
tables have microseconds per step and network, for grids of 1, 10, 100 and 1000
networks: folds times strengths of an L1 penalty, trained by Adam with the prox in its
metric. "steps" are the steps alone; "epochs" all that an epoch takes, with its orders
of rows and penalties. The last part is a whole search on data of the size of MNIST: 20
strengths, 5 folds and 30 epochs, the upload, the scores of all networks on the rows
held out and those trained on, and the fits on all rows.

`--precision` is of the tables and of the search; ``bench_precision.py`` tells how often
it changes what a search chooses.
"""

import argparse
import time
import warnings
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np
import torch
from joblib import Parallel, cpu_count, delayed
from sklearn.exceptions import ConvergenceWarning

from skreg import RegMLPClassifier, RegMLPClassifierCV
from skreg._engines._device import PRECISIONS, torch_device
from skreg._engines._torch import TorchRows
from skreg._network import Network
from skreg._optimizers import Optimizer
from skreg.losses import CLASSIFICATION_LOSSES
from skreg.penalties import L1, MCP

ARCHITECTURES = [(784, 256, 128, 10), (50, 100, 3)]
BATCH_SIZE = 200
GRIDS = [(1, 1), (5, 2), (5, 20), (5, 200)]  # folds, strengths


class Term(NamedTuple):
    penalty: L1
    lam: float
    mode: str
    where: slice
    shape: tuple


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
    """Time to the chosen strength and its network, by the public search."""
    units = ARCHITECTURES[0]
    X, y = blobs(options.n_rows, units)
    model = RegMLPClassifierCV(
        units[1:-1],
        penalty="l1",
        reg_lambdas=np.logspace(-5, -2.5, options.n_strengths),
        cv=5,
        start="cold",
        max_iter=options.n_epochs,
        tol=0.0,
        batch_size=BATCH_SIZE,
        device=options.device,
        precision=options.precision,
        random_state=0,
    )
    start = time.perf_counter()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    print(
        f"\nRegMLPClassifierCV, {options.n_strengths} strengths x 5 folds x "
        f"{options.n_epochs} epochs on {len(X)} x {units[0]}, and as many fits on all "
        f"rows, all included: {seconds:.1f} s (reg_lambda = {model.reg_lambda_:.2g}, "
        f"accuracy {model.best_score_:.4f})"
    )


def equality(options):
    """Largest difference from the compiled core, in exact products."""
    X, y = blobs(600, (50, 3))
    print("\nLargest difference from the compiled core after 5 epochs, float32")
    for penalty, solver in product(
        ("l1", "l2", "group_lasso", MCP()), ("sgd", "rmsprop", "adam")
    ):
        fits = [
            RegMLPClassifier(
                (100,),
                penalty=penalty,
                reg_lambda=0.01,
                solver=solver,
                batch_size=50,
                max_iter=5,
                device=device,
                random_state=0,
            ).fit(X, y)
            for device in ("cpu", options.device)
        ]
        pairs = list(zip(*(fit.coefs_ for fit in fits)))
        difference = max(np.abs(a - b).max() for a, b in pairs)
        n_zeros = sum(int((a == 0).sum()) for a, _ in pairs)
        n_other = sum(int(((a == 0) != (b == 0)).sum()) for a, b in pairs)
        print(
            f"{penalty!s:>12} {solver:>8} {difference:9.1e}, zeros elsewhere: "
            f"{n_other} of {n_zeros}"
        )


def main():
    warnings.simplefilter("ignore", ConvergenceWarning)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", choices=PRECISIONS, default="exact")
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
    equality(options)
    tables(options)
    search(options)


if __name__ == "__main__":
    main()
