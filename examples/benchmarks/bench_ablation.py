"""
Which constants of the exact solver and of paths earn their place?
==================================================================

Each constant in turn is switched off or set to another value, and everything is fitted
again: the networks of ``bench_solvers.py`` on small data, from several starts, with L2
and L1, and paths of 12 lambda over the same networks::

    python examples/benchmarks/bench_ablation.py

For single fits, a row tells how many iterations are needed to within 10, 1, 0.1 and
0.01 % of the objective that both reach, relative to the solver as it is, in the
geometric mean over fits and gaps; for paths, all iterations of a path, and the
objective in the geometric mean over lambda. Above 1, the constant as it is is better.
Iterations do not depend on the load of the machine, but which valley a start ends in
depends on rounding, so that a ratio between 0.95 and 1.05 tells little.
"""

import argparse
import contextlib
import warnings
from statistics import geometric_mean

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

import skreg._coordinates as coordinates
import skreg._solvers._deterministic as deterministic
import skreg._solvers._lbfgs as lbfgs
import skreg._walk as walk
from skreg import RegMLPClassifier, RegMLPRegressor, reg_mlp_path

GAPS = [1e-1, 1e-2, 1e-3, 1e-4]

# What is changed, to what, and what that means.
SOLVER = [
    (lbfgs, "_SUFFICIENT", 0.1, "a step must bring 10 % of what is predicted"),
    (lbfgs, "_SUFFICIENT", 0.0, "any decrease is enough"),
    (lbfgs, "_TRIALS", 2, "two trials of a line search"),
    (lbfgs, "_TRIALS", 30, "30 trials of a line search"),
    (lbfgs, "_CURVATURE", 1e-3, "pairs need a cosine of 0.001"),
    (lbfgs, "_PROBE", 1e-3, "first step from a longer difference"),
    (lbfgs, "_LEAST_MOVE", 0.0, "no least step"),
    (lbfgs, "_PATIENCE", 5, "less patience at the limit of precision"),
    (deterministic, "_n_pairs", lambda *sizes: 10, "a memory of 10 pairs"),
    (deterministic, "_n_pairs", lambda *sizes: 50, "a memory of 50 pairs"),
    (
        coordinates.Standardized,
        "kink_cross",
        lambda self, u, candidate: candidate,
        "what passes 0 goes on",
    ),
]
PATH = [
    (walk, "_FLAT", 0.0, "fits do not end where J is flat"),
    (walk, "_FLAT_FIRST", 3e-4, "the first fit ends as early as others"),
    (walk, "_LOOSER", 1.0, "fits end at the tolerance of a single fit"),
    (walk, "_LAMBDA_SHARE", np.inf, "tolerances do not know lambda"),
    (walk, "_PLATEAU", 0.0, "first fits may end on a plateau"),
    (walk, "_SAME_BRANCH", -np.inf, "no way back"),
    (walk, "_SAME_BRANCH", np.inf, "the way back starts everywhere"),
    (walk, "_WORTH_IT", 0.0, "bridges stay for any gain"),
    (walk.Walk, "_bridge", lambda self, fits, stop: None, "no bridges"),
]


@contextlib.contextmanager
def changed(owner, name, value):
    """Set an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def networks(quick):
    """Name, estimator without a penalty's strength, X and y."""
    diabetes, target = load_diabetes(return_X_y=True)
    cancer, malignant = load_breast_cancer(return_X_y=True)
    digits, label = load_digits(return_X_y=True)
    data = [
        (RegMLPRegressor, (20,), scale(diabetes), scale(target)),
        (RegMLPClassifier, (20,), scale(cancer), malignant),
        (RegMLPClassifier, (16, 8), scale(cancer), malignant),
        (RegMLPClassifier, (32,), digits[::3] / 16, label[::3]),
    ]
    for network, hidden, X, y in data[: 1 if quick else None]:
        for penalty in ("l2", "l1"):
            yield (
                network(
                    hidden,
                    activation="tanh",
                    penalty=penalty,
                    reg_lambda=1e-3,
                    solver="lbfgs",
                    tol=1e-7,
                    max_iter=40 if quick else 400,
                    max_fun=10**6,
                ),
                X,
                y,
            )


def fits(cases, n_starts):
    """Objectives after each iteration, of each network from each start."""
    return [
        network.set_params(random_state=seed).fit(X, y).loss_curve_
        for network, X, y in cases
        for seed in range(n_starts)
    ]


def paths(cases, n_starts):
    """Iterations and objectives of paths."""
    grid = np.geomspace(1e-4, 1e-1, 12)
    found = [
        reg_mlp_path(
            network.set_params(random_state=seed, tol=1e-4), X, y, reg_lambdas=grid
        )
        for network, X, y in cases
        for seed in range(n_starts)
    ]
    return [(path.n_iter.sum(), path.objective) for path in found]


def iterations(curve, target):
    """Until the objective is as low as the target."""
    return 1 + next(k for k, value in enumerate(curve) if value <= target)


def compare_fits(before, after):
    """Ratio of iterations, and of the objectives reached."""
    ratios, ends = [], []
    for one, other in zip(before, after):
        end = max(min(one), min(other))
        for gap in GAPS:
            target = end * (1 + gap)
            ratios.append(iterations(other, target) / iterations(one, target))
        ends.append(min(other) / min(one))
    return geometric_mean(ratios), geometric_mean(ends)


def compare_paths(before, after):
    """Ratio of iterations, and of the objectives along the path."""
    ratios = [other[0] / one[0] for one, other in zip(before, after)]
    ends = [np.exp(np.mean(np.log(o[1] / b[1]))) for b, o in zip(before, after)]
    return geometric_mean(ratios), geometric_mean(ends)


def table(title, changes, cases, n_starts, run, compare):
    """Print a row for each change."""
    print(f"\n{title:<52}{'iterations':>12}{'objective':>12}")
    before = run(cases, n_starts)
    for owner, name, value, meaning in changes:
        with changed(owner, name, value):
            ratio, end = compare(before, run(cases, n_starts))
        row = f"{name}: {meaning}"
        print(f"{row:<60}{ratio:>8.2f}{end:>12.4f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[1])
    parser.add_argument(
        "--quick", action="store_true", help="to try it out: small, few"
    )
    parser.add_argument("--starts", type=int, default=4, help="of each network")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    cases, n_starts = list(networks(args.quick)), 1 if args.quick else args.starts
    table("single fits", SOLVER, cases, n_starts, fits, compare_fits)
    table("paths", PATH, cases, 1, paths, compare_paths)


if __name__ == "__main__":
    main()
