"""
How long does one training step take?
=====================================

Times `skreg.RegMLPClassifier` with Adam against

* scikit-learn's ``MLPClassifier`` with Adam,
* PyTorch in eager mode with the fused AdamW (skipped where torch is missing),
* the bare matrix products of one step, by the same BLAS as ours: what no
  implementation on this BLAS can go below.

Run it on a quiet machine (a quarter of an hour; ``--quick`` only tries it out)::

    python examples/benchmarks/bench_training.py
    python examples/benchmarks/bench_training.py --threads 1 2 --dtype float32
    python examples/benchmarks/bench_training.py --penalties

A step is timed through whole fits: their time divided by their number of steps, with
as many epochs as fill half a second, so that shuffling, losses and stopping rules are
in it and what happens once per fit has little weight. A second table gives whole fits
of ten epochs, where input checks and initialization count. All contenders take turns
in one process; each cell is the fastest of its runs, and next to each ratio of two
such cells stands, in parentheses, the median of the ratios within one round.
"x torch" is how many times as long torch takes; "of GEMM" how many times as long we
take as the products alone. Trust the ratios of one table, not times across machines.

The matrix products are called from Python, and the last line says how much of each
product's time is the call. In the smallest networks that is about a third, so "of
GEMM" flatters us there; it means something in the lower half of the table.

With ``--penalties``, the question is instead what each penalty costs in each decay
mode: the time of a fit, divided by that of a fit without penalty just before it, on one
thread.
"""

import argparse
import os
import platform
import time
import warnings
from functools import partial
from importlib.metadata import version
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from joblib import cpu_count
from scipy.linalg.blas import get_blas_funcs
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skreg import RegMLPClassifier

try:
    import torch
except ImportError:
    torch = None

REG_LAMBDA = 1e-4
FIT_EPOCHS = 10
# Idle threads of a BLAS spin for a while before they sleep; without this pause the
# next contender, which has threads of its own, can lose half of its speed to them.
PAUSE = 0.2


class Shape(NamedTuple):
    n_samples: int
    n_inputs: int
    n_classes: int
    hidden: tuple[int, ...]
    batch_size: int

    @property
    def layer_sizes(self):
        n_outputs = 1 if self.n_classes == 2 else self.n_classes
        return [self.n_inputs, *self.hidden, n_outputs]

    @property
    def n_steps(self):
        """Steps per epoch; every shape below fills its last batch."""
        return self.n_samples // self.batch_size

    def __str__(self):
        sizes = "-".join(map(str, self.layer_sizes))
        return f"{self.n_samples:>5} x {sizes}, batch {self.batch_size}"


SHAPES = [
    Shape(3200, 10, 2, (16,), 32),
    Shape(6400, 20, 2, (32,), 32),
    Shape(10000, 20, 2, (100,), 200),
    Shape(2000, 64, 10, (100,), 200),
    Shape(6000, 784, 10, (256, 128), 200),
    Shape(5120, 100, 10, (512, 512), 256),
]
PENALTY_SHAPES = SHAPES[1:5]
PENALTIES = ["l1", "l2", "elasticnet", "group_lasso", "sparse_group_lasso"]


class Problem(NamedTuple):
    shape: Shape
    X: np.ndarray
    y: np.ndarray


def make_problem(shape, dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((shape.n_samples, shape.n_inputs))
    scores = X @ rng.standard_normal((shape.n_inputs, shape.n_classes))
    return Problem(shape, X.astype(dtype), scores.argmax(axis=1))


# The contenders: each trains on a problem for a number of epochs.


def fit_skreg(problem, epochs, *, penalty="l2", decay_mode="decoupled"):
    shape = problem.shape
    model = RegMLPClassifier(
        shape.hidden,
        solver="adam",
        batch_size=shape.batch_size,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=epochs,
        penalty=penalty,
        reg_lambda=REG_LAMBDA,
        decay_mode=decay_mode,
        random_state=0,
    )
    model.fit(problem.X, problem.y)


def fit_sklearn(problem, epochs):
    shape = problem.shape
    model = MLPClassifier(
        shape.hidden,
        solver="adam",
        batch_size=shape.batch_size,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=epochs,
        alpha=REG_LAMBDA * shape.batch_size,
        random_state=0,
    )
    model.fit(problem.X, problem.y)


def fit_torch(problem, epochs):
    torch.manual_seed(0)
    shape = problem.shape
    X = torch.from_numpy(problem.X)
    y = torch.from_numpy(problem.y)
    loss_function = torch.nn.CrossEntropyLoss()
    if shape.n_classes == 2:
        y = y.to(X.dtype).reshape(-1, 1)
        loss_function = torch.nn.BCEWithLogitsLoss()
    model = torch_network(shape.layer_sizes, X.dtype)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-3, weight_decay=REG_LAMBDA, fused=True
    )
    for _ in range(epochs):
        for batch in torch.randperm(shape.n_samples).split(shape.batch_size):
            optimizer.zero_grad()
            loss_function(model(X[batch]), y[batch]).backward()
            optimizer.step()


def torch_network(layer_sizes, dtype):
    layers = []
    for n_in, n_out in pairwise(layer_sizes):
        layers += [torch.nn.Linear(n_in, n_out, dtype=dtype), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def run_gemms(problem, epochs):
    products = list(step_products(problem.shape, problem.X.dtype))
    gemm = get_blas_funcs("gemm", dtype=problem.X.dtype)
    for _ in range(epochs * problem.shape.n_steps):
        for a, b, out, trans_a, trans_b in products:
            gemm(1.0, a, b, 0.0, out, trans_a, trans_b, True)


def step_products(shape, dtype):
    """Yield (a, b, out, trans_a, trans_b) for each matrix product of one step.

    Row-major arrays are column-major ones transposed, so Z = A W is handed over as
    Z' = W' A', and nothing is copied: BLAS writes into `out`.
    """
    sizes, rng = shape.layer_sizes, np.random.default_rng(0)

    def transposed(*array_shape):
        array = rng.standard_normal(array_shape) / np.sqrt(array_shape[0])
        return array.astype(dtype).T

    layers = list(pairwise(sizes))
    weights = [transposed(*layer) for layer in layers]
    gradients = [transposed(*layer) for layer in layers]
    activations = [transposed(shape.batch_size, size) for size in sizes]
    deltas = [transposed(shape.batch_size, size) for size in sizes]
    for k in range(len(layers)):
        yield weights[k], activations[k], activations[k + 1], False, False
    for k in reversed(range(len(layers))):
        yield deltas[k + 1], activations[k], gradients[k], False, True
        if k > 0:
            yield weights[k], deltas[k + 1], deltas[k], True, False


def contenders():
    fits = {"skreg": fit_skreg, "scikit-learn": fit_sklearn}
    if torch is not None:
        fits["torch"] = fit_torch
    return fits


# Measuring


def seconds(run):
    time.sleep(PAUSE)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def choose_epochs(fit, problem, target):
    """Return the number of epochs with which `fit` takes about `target` seconds."""
    fit(problem, 1)  # the first call is slower
    epochs, elapsed = 1, seconds(partial(fit, problem, 1))
    while elapsed < target / 4:
        epochs *= 2
        elapsed = seconds(partial(fit, problem, epochs))
    return max(1, round(epochs * target / elapsed))


def take_turns(runs, repeats):
    """Return the `repeats` times of each run, all runs taking turns."""
    times = {name: [] for name in runs}
    for _, (name, run) in product(range(repeats), runs.items()):
        times[name].append(seconds(run))
    return times


def step_times(fits, problem, repeats, target):
    """Return times per step, in microseconds, of each fit."""
    epochs = {name: choose_epochs(fit, problem, target) for name, fit in fits.items()}
    runs = {name: partial(fit, problem, epochs[name]) for name, fit in fits.items()}
    return {
        name: [1e6 * t / (epochs[name] * problem.shape.n_steps) for t in times]
        for name, times in take_turns(runs, repeats).items()
    }


def call_overhead():
    """Return the microseconds which one product costs when called from Python."""
    gemm = get_blas_funcs("gemm", dtype="float64")
    a, n_calls = np.ones((1, 1), order="F"), 20_000

    def call():
        for _ in range(n_calls):
            gemm(1.0, a, a, 0.0, a, False, False, True)

    return 1e6 * min(seconds(call) for _ in range(5)) / n_calls


def set_threads(n_threads):
    os.environ["OMP_NUM_THREADS"] = str(n_threads)  # the most that skreg uses
    if torch is not None:
        torch.set_num_threads(n_threads)
    return threadpool_limits(n_threads)


# Printing


def number(value):
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def ratio(times, base, unit="x"):
    """Return how `times` compare with `base`: of the minima (median over rounds)."""
    of_minima = min(times) / min(base)
    of_rounds = median(t / b for t, b in zip(times, base))
    digits = 0 if of_minima >= 20 else 1 if of_minima >= 5 else 2
    return f"{of_minima:.{digits}f}{unit} ({of_rounds:.{digits}f}{unit})"


def print_row(first, cells):
    print(f"{first:<34}" + "".join(f"{cell:>16}" for cell in cells), flush=True)


def print_library_row(first, times):
    """Print the minima, then the ratios of the others to skreg and skreg to GEMM."""
    others = [name for name in times if name not in ("skreg", "GEMM")]
    cells = [number(min(t)) for t in times.values()]
    cells += [ratio(times[name], times["skreg"]) for name in others]
    if "GEMM" in times:
        cells.append(ratio(times["skreg"], times["GEMM"], unit=""))
    print_row(first, cells)


def library_header(names):
    others = [name for name in names if name not in ("skreg", "GEMM")]
    return [
        *names,
        *(f"x {name}" for name in others),
        *(["of GEMM"] if "GEMM" in names else []),
    ]


def compare_steps(dtype, repeats, target):
    fits = contenders() | {"GEMM": run_gemms}
    print_row("microseconds per step", library_header(fits))
    for shape in SHAPES:
        problem = make_problem(shape, dtype)
        print_library_row(str(shape), step_times(fits, problem, repeats, target))


def compare_fits(dtype, repeats):
    fits = contenders()
    print_row(f"milliseconds per fit, {FIT_EPOCHS} epochs", library_header(fits))
    for shape in SHAPES:
        problem = make_problem(shape, dtype)
        runs = {name: partial(fit, problem, FIT_EPOCHS) for name, fit in fits.items()}
        times = take_turns(runs, repeats)
        in_ms = {name: [1e3 * t for t in ts] for name, ts in times.items()}
        print_library_row(str(shape), in_ms)


def penalty_cost(problem, penalty, mode, epochs, repeats):
    fits = {
        "none": partial(fit_skreg, penalty=None, decay_mode="auto"),
        "some": partial(fit_skreg, penalty=penalty, decay_mode=mode),
    }
    runs = {name: partial(fit, problem, epochs) for name, fit in fits.items()}
    times = take_turns(runs, repeats)
    return ratio(times["some"], times["none"], unit="")


def compare_penalties(dtype, repeats, target):
    modes = ["coupled", "decoupled", "proximal"]
    for shape in PENALTY_SHAPES:
        problem = make_problem(shape, dtype)
        epochs = choose_epochs(fit_skreg, problem, target)
        print_row(str(shape), modes)
        for penalty in PENALTIES:
            cells = [
                penalty_cost(problem, penalty, mode, epochs, repeats) for mode in modes
            ]
            print_row(f"  {penalty}", cells)


def describe_machine():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    cpu = models[0] if models else platform.processor() or platform.machine()
    packages = ["skreg", "scikit-learn", "numpy", "scipy"]
    packages += [] if torch is None else ["torch"]
    libraries = ", ".join(f"{name} {version(name)}" for name in packages)
    python = platform.python_version()
    return f"{cpu}, {cpu_count()} cores; Python {python}, {libraries}"


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="to try it out")
    parser.add_argument("--repeats", type=int, default=5, help="number of rounds")
    parser.add_argument(
        "--dtype", choices=["float32", "float64", "both"], default="both"
    )
    parser.add_argument(
        "--threads",
        type=int,
        nargs="+",
        default=[1, cpu_count()],
        help="numbers of threads, each for all contenders",
    )
    parser.add_argument(
        "--penalties", action="store_true", help="compare penalties, not libraries"
    )
    return parser.parse_args()


def main():
    args = parse_arguments()
    repeats, target = (1, 0.01) if args.quick else (args.repeats, 0.5)
    dtypes = ["float32", "float64"] if args.dtype == "both" else [args.dtype]
    if args.quick:
        args.threads, dtypes = [1], dtypes[:1]
    print(describe_machine())
    if torch is None:
        print("torch is not installed: its columns are left out")
    warnings.simplefilter("ignore", ConvergenceWarning)
    if args.penalties:
        for dtype in dtypes:
            print(f"\n{dtype}, 1 thread")
            with set_threads(1):
                compare_penalties(dtype, 2 * repeats, target / 3)
        return
    for n_threads, dtype in product(dict.fromkeys(args.threads), dtypes):
        print(f"\n{dtype}, {n_threads} thread{'s' * (n_threads > 1)}")
        with set_threads(n_threads):
            compare_steps(dtype, repeats, target)
            compare_fits(dtype, repeats)
    print(f"\nEach product in GEMM includes {call_overhead():.2f} us of Python call.")


if __name__ == "__main__":
    main()
