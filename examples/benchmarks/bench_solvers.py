"""
How long until the objective is within a given gap?
===================================================

Times ``solver="lbfgs"`` of skreg on full batches, on one BLAS thread:

* without hidden layers against scikit-learn's ``Lasso`` (coordinate descent) and
  ``LogisticRegression`` (saga for L1, lbfgs for L2), and against skreg's proximal Adam
  on mini-batches;
* with hidden layers and L2 against scikit-learn's ``MLPClassifier`` and
  ``MLPRegressor`` with ``solver="lbfgs"``, which minimize the same objective from the
  same weights (ours as those of standardized data, and from the mean target).

Run it on a quiet machine (half an hour; ``--quick`` only tries it out)::

    python examples/benchmarks/bench_solvers.py
    python examples/benchmarks/bench_solvers.py --part networks --starts 8

A cell is the CPU time of a whole fit, input checks included, with the loosest setting
that reaches the gap: `tol` for the convex problems, `max_iter` for Adam and for
networks. The setting is searched first; then all contenders take turns, and the fastest
of their runs counts. The gap is relative: J - J* over J*, J* being the best value that
any run found. For networks, which may end in different valleys, it is relative to the
higher one of the two final values, so that both contenders can reach it; each row is
one start. Which valley a start ends in, and how fast, depends on rounding; the last
table has the geometric mean and the least over the starts of a network. "x" is how many
times as long the contender takes as skreg's lbfgs: below 1, we lose.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import geometric_mean

import numpy as np
import sklearn
from scipy.special import log_softmax
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale
from sklearn.utils.fixes import parse_version
from threadpoolctl import threadpool_limits

from skreg import RegMLPClassifier, RegMLPRegressor

GAPS = [1e-3, 1e-6, 1e-8]
NETWORK_GAPS = [1e-1, 1e-2, 1e-3, 1e-4]
TOLERANCES = [10 ** (-k / 4) for k in range(57)]
ITERATIONS = sorted({round(1.1**k) for k in range(97)})  # 1 to 9412
EPOCHS = [2**k for k in range(14)]


@dataclass
class Problem:
    """Data, penalty and objective; hidden layers have tanh units."""

    name: str
    X: np.ndarray
    y: np.ndarray
    penalty: str
    reg_lambda: float
    hidden: tuple = ()
    seed: int = 0

    @property
    def is_classification(self):
        return self.y.dtype.kind == "i"

    def objective(self, coefs, intercepts):
        A = self.X
        for k, (W, b) in enumerate(zip(coefs, intercepts)):
            A = (np.tanh(A) if k > 0 else A) @ W + b
        sizes = [np.abs(W) if self.penalty == "l1" else W**2 / 2 for W in coefs]
        penalty = self.reg_lambda * sum(size.sum() for size in sizes)
        if not self.is_classification:
            return np.mean((self.y - A[:, 0]) ** 2) / 2 + penalty
        if A.shape[1] == 1:
            A = np.c_[np.zeros_like(A), A]
        return -log_softmax(A, axis=1)[np.arange(len(A)), self.y].mean() + penalty


@dataclass
class Contender:
    """A model for a problem; settings are ordered from fast to accurate."""

    name: str
    problem: Problem
    settings: list
    make: Callable
    reached: dict = field(default_factory=dict)  # objective by index of the setting
    seconds: dict = field(default_factory=dict)

    def run(self, index):
        """Fit; return the time, and store the objective."""
        model = self.make(self.settings[index])
        start = time.process_time()
        model.fit(self.problem.X, self.problem.y)
        elapsed = time.process_time() - start
        self.reached[index] = self.problem.objective(*weights(model))
        self.seconds[index] = elapsed
        return elapsed

    def finish(self, limit):
        """Run with ever more accurate settings, until one takes longer than `limit`."""
        index = 0
        while index < len(self.settings):
            elapsed = self.run(index)
            if elapsed > limit:
                break
            index = index + max(1, len(self.settings) // 12)
        return min(self.reached.values())

    def loosest(self, target):
        """Return the index of the loosest setting that reaches the target, or None."""
        good = [i for i, value in self.reached.items() if value <= target]
        if not good:
            return None
        high = min(good)
        low = max((i for i in self.reached if i < high), default=-1)
        while high - low > 1:
            middle = (low + high) // 2
            self.run(middle)
            if self.reached[middle] <= target:
                high = middle
            else:
                low = middle
        return high


def weights(model):
    if hasattr(model, "coefs_"):
        return model.coefs_, model.intercepts_
    return [np.atleast_2d(model.coef_).T], [np.atleast_1d(model.intercept_)]


def skreg_lbfgs(problem, by="tol"):
    classes = problem.is_classification
    estimator = RegMLPClassifier if classes else RegMLPRegressor

    def make(setting):
        limits = {"tol": 0.0, "max_iter": 100_000, "max_fun": 10**6}
        return estimator(
            problem.hidden,
            activation="tanh",
            penalty=problem.penalty,
            reg_lambda=problem.reg_lambda,
            solver="lbfgs",
            random_state=problem.seed,
            **limits | {by: setting},
        )

    settings = TOLERANCES if by == "tol" else ITERATIONS
    return Contender("skreg lbfgs", problem, settings, make)


def skreg_adam(problem):
    classes = problem.is_classification
    estimator = RegMLPClassifier if classes else RegMLPRegressor

    def make(epochs):
        return estimator(
            problem.hidden,
            penalty=problem.penalty,
            reg_lambda=problem.reg_lambda,
            decay_mode="proximal",
            solver="adam",
            learning_rate="cosine",
            learning_rate_init=0.05,
            batch_size=100,
            max_iter=epochs,
            tol=0.0,
            n_iter_no_change=np.inf,
            random_state=problem.seed,
        )

    return Contender("skreg adam", problem, EPOCHS, make)


def specialist(problem):
    lam, n = problem.reg_lambda, len(problem.X)
    if not problem.is_classification:
        return Contender(
            "Lasso",
            problem,
            TOLERANCES,
            lambda tol: Lasso(alpha=lam, tol=tol, max_iter=10**6),
        )
    l1_ratio = float(problem.penalty == "l1")
    solver = "saga" if l1_ratio else "lbfgs"
    old = parse_version(sklearn.__version__) < parse_version("1.8")
    penalty = {"penalty": "elasticnet" if l1_ratio else "l2"} if old else {}
    if l1_ratio or not old:
        penalty["l1_ratio"] = l1_ratio

    def make(tol):
        return LogisticRegression(
            C=1 / (lam * n),
            solver=solver,
            tol=tol,
            max_iter=10**6,
            random_state=0,
            **penalty,
        )

    return Contender(solver, problem, TOLERANCES, make)


def sklearn_network(problem):
    classes = problem.is_classification
    estimator = MLPClassifier if classes else MLPRegressor

    def make(max_iter):
        return estimator(
            hidden_layer_sizes=problem.hidden,
            activation="tanh",
            alpha=problem.reg_lambda * len(problem.X),
            solver="lbfgs",
            tol=0.0,
            max_iter=max_iter,
            max_fun=10**6,
            random_state=problem.seed,
        )

    return Contender("sklearn lbfgs", problem, ITERATIONS, make)


# Problems


def correlated(n, p, rho, seed=0):
    """Inputs of which neighbors have correlation rho, and a sparse linear score."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p))
    for j in range(1, p):
        X[:, j] = rho * X[:, j - 1] + np.sqrt(1 - rho**2) * X[:, j]
    w = np.zeros(p)
    w[:: max(1, p // 20)] = rng.choice([-1.0, 1.0], len(w[:: max(1, p // 20)]))
    return X, X @ w, rng


def regression(n, p, rho, fraction):
    """Lasso with lambda as a fraction of lambda_max."""
    X, f, rng = correlated(n, p, rho)
    y = f + rng.standard_normal(n)
    lam = fraction * np.abs(X.T @ (y - y.mean())).max() / n
    return Problem(f"Lasso {n} x {p}, rho {rho}", X, y, "l1", lam)


def classification(n, p, rho, penalty, fraction):
    X, f, rng = correlated(n, p, rho)
    y = (f / f.std() * 2 + rng.logistic(size=n) > 0).astype(int)
    lam = fraction * np.abs(X.T @ (y - y.mean())).max() / n
    return Problem(f"logistic {penalty} {n} x {p}, rho {rho}", X, y, penalty, lam)


def linear_problems(quick):
    X, y = load_breast_cancer(return_X_y=True)
    digits, label = load_digits(return_X_y=True)
    digits = digits / 16
    yield regression(1000, 100, 0.5, 0.1)
    yield regression(500, 500 if quick else 1000, 0.5, 0.1)
    yield Problem("logistic l1 breast cancer", scale(X), y, "l1", 0.01)
    if not quick:
        yield regression(500, 800, 0.9, 0.03)
        yield regression(5000, 300, 0.5, 0.01)
        yield regression(5000, 1000, 0.5, 0.05)
    yield classification(2000, 100, 0.5, "l1", 0.1)
    yield classification(1000, 300 if quick else 1000, 0.5, "l1", 0.1)
    yield classification(2000, 100, 0.5, "l2", 0.1)
    n = 500 if quick else len(digits)
    yield Problem("multinomial l1 digits", digits[:n], label[:n], "l1", 3e-3)
    yield Problem("multinomial l2 digits", digits[:n], label[:n], "l2", 3e-3)


def network_problems(quick, n_starts):
    diabetes, target = load_diabetes(return_X_y=True)
    cancer, malignant = load_breast_cancer(return_X_y=True)
    digits, label = load_digits(return_X_y=True)
    wide, f, rng = correlated(5000, 50, 0.5)
    y = np.tanh(f) + 0.3 * rng.standard_normal(5000)
    data = {
        "diabetes (20,)": (scale(diabetes), scale(target), 1e-2, (20,)),
        "cancer (20,)": (scale(cancer), malignant, 1e-3, (20,)),
        "cancer (16, 8)": (scale(cancer), malignant, 1e-3, (16, 8)),
        "digits (32,)": (digits / 16, label, 1e-3, (32,)),
        "digits (100, 50)": (digits / 16, label, 1e-3, (100, 50)),
        "5000 x 50 (50,)": (wide, y, 1e-3, (50,)),
    }
    for name, (X, y, lam, hidden) in data.items():
        if quick and len(X) * sum(hidden) > 1e5:
            continue
        for seed in range(n_starts):
            yield Problem(f"{name}, start {seed}", X, y, "l2", lam, hidden, seed)


# Measuring and printing


def best_times(contenders, indices, repeats):
    """Return the fastest time of each; None where the setting is None."""
    times = [[] for _ in contenders]
    for _ in range(repeats):
        for k, (contender, index) in enumerate(zip(contenders, indices)):
            if index is not None:
                times[k].append(contender.run(index))
    return [min(t) if t else None for t in times]


def print_row(first, cells):
    print(f"{first:<28}" + "".join(f"{cell:>26}" for cell in cells), flush=True)


def cells_of(contenders, target, repeats):
    """Milliseconds and the ratio to the first contender."""
    indices = [contender.loosest(target) for contender in contenders]
    times = best_times(contenders, indices, repeats)
    ratios = [t / times[0] if t and times[0] else None for t in times]
    cells = ["-" if t is None else f"{1e3 * t:,.1f}" for t in times]
    cells = [
        f"{cell} ({ratio:.2f}x)" if k and ratio else cell
        for k, (cell, ratio) in enumerate(zip(cells, ratios))
    ]
    return cells, ratios


def compare_linear(quick, repeats, limit):
    print("\nGLMs: milliseconds to a relative gap of the objective")
    print_row("", ["skreg lbfgs", "specialist", "skreg adam"])
    ratios = {gap: [] for gap in GAPS}
    for problem in linear_problems(quick):
        contenders = [skreg_lbfgs(problem), specialist(problem), skreg_adam(problem)]
        limits = [limit, limit, limit / 4]
        best = min(c.finish(seconds) for c, seconds in zip(contenders, limits))
        print(f"{problem.name}, lambda {problem.reg_lambda:.2g}: {contenders[1].name}")
        for gap in GAPS:
            cells, ratio = cells_of(contenders, best + gap * abs(best), repeats)
            print_row(f"    gap {gap:.0e}", cells)
            if ratio[1]:
                ratios[gap].append(ratio[1])
    for gap, values in ratios.items():
        if values:
            print(
                f"gap {gap:.0e}: specialist / skreg lbfgs, geometric mean "
                f"{geometric_mean(values):.2f}, least {min(values):.2f}"
            )


def compare_networks(quick, n_starts, repeats, limit):
    print("\nNetworks with L2: milliseconds to a relative gap of the objective")
    print_row("skreg / scikit-learn", [f"gap {gap:.0e}" for gap in NETWORK_GAPS])
    ratios = {}  # of each network and gap, one per start
    for problem in network_problems(quick, n_starts):
        contenders = [skreg_lbfgs(problem, "max_iter"), sklearn_network(problem)]
        level = max(contender.finish(limit) for contender in contenders)
        row = []
        for gap in NETWORK_GAPS:
            cells, ratio = cells_of(contenders, level * (1 + gap), repeats)
            row.append(" / ".join(cells))
            if ratio[1]:
                network = problem.name.split(", start")[0]
                ratios.setdefault(network, {}).setdefault(gap, []).append(ratio[1])
        print_row(problem.name, row)
        final = ", ".join(f"{min(c.reached.values()):.6f}" for c in contenders)
        print(f"    final objectives: {final}")
    print_row("scikit-learn / skreg: mean", ["(least) of the starts"])
    for network, by_gap in ratios.items():
        cells = [f"{geometric_mean(r):.2f} ({min(r):.2f})" for r in by_gap.values()]
        print_row(network, cells)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="to try it out: small, few"
    )
    parser.add_argument("--repeats", type=int, default=5, help="number of rounds")
    parser.add_argument("--starts", type=int, default=3, help="of each network")
    parser.add_argument(
        "--part", choices=["linear", "networks", "both"], default="both"
    )
    return parser.parse_args()


def main():
    args = parse_arguments()
    warnings.simplefilter("ignore", ConvergenceWarning)
    limit = 5.0
    if args.quick:
        args.repeats, args.starts, limit = 1, 1, 0.1
    with threadpool_limits(1):
        if args.part != "networks":
            compare_linear(args.quick, args.repeats, limit)
        if args.part != "linear":
            compare_networks(args.quick, args.starts, args.repeats, limit)


if __name__ == "__main__":
    main()
