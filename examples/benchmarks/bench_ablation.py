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
from dataclasses import replace
from statistics import geometric_mean

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

import skreg._solvers._deterministic as deterministic
from skreg import RegMLPClassifier, RegMLPRegressor, reg_mlp_path
from skreg._coordinates import Standardized
from skreg._paths._branches import Branches
from skreg._paths._walk import Walk
from skreg._solvers._lbfgs import _Run
from skreg._solvers._stopping import Stopping

GAPS = [1e-1, 1e-2, 1e-3, 1e-4]


def setting(owner, name, **change):
    """A change of some fields of settings that a class holds."""
    return owner, name, replace(getattr(owner, name), **change), str(change)


# What is changed, to what, its name, and what it means.
SOLVER = [
    (*setting(_Run, "settings", sufficient=0.1), "steps bring 10 % of the prediction"),
    (*setting(_Run, "settings", sufficient=0.0), "any decrease is enough"),
    (*setting(_Run, "settings", trials=2), "two trials of a line search"),
    (*setting(_Run, "settings", trials=30), "30 trials of a line search"),
    (*setting(_Run, "settings", least_cosine=1e-3), "pairs need a cosine of 0.001"),
    (*setting(_Run, "settings", probe=1e-3), "first step from a longer difference"),
    (*setting(_Run, "settings", strict=1e-3), "optimality from a longer step"),
    (*setting(_Run, "settings", least_move=0.0), "no least step"),
    (Stopping, "_is_exhausted", lambda *_: False, "exhaustion", "no end by precision"),
    (deterministic, "_n_pairs", lambda *_: 10, "_n_pairs", "a memory of 10 pairs"),
    (deterministic, "_n_pairs", lambda *_: 50, "_n_pairs", "a memory of 50 pairs"),
    (Standardized, "cross", lambda *a: a[-1], "cross", "no stop at 0"),
]
PATH = [
    (*setting(Walk, "ends", flat=0.0), "fits do not end where J is flat"),
    (*setting(Walk, "ends", flat=1e-3), "or earlier"),
    (*setting(Walk, "ends", plateau=0.0), "first fits may end on a plateau"),
    (Walk, "branches", None, "branches", "the first way along lambda"),
    (*setting(Walk, "branches", same_branch=-np.inf), "no way back"),
    (*setting(Walk, "branches", same_branch=np.inf), "the way back starts everywhere"),
    (*setting(Walk, "branches", few_units=0), "bridges from one start each"),
    (Branches, "_bridge", lambda self: None, "_bridge", "no bridges"),
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
    for owner, name, value, change, meaning in changes:
        with changed(owner, name, value):
            ratio, end = compare(before, run(cases, n_starts))
        row = f"{change}: {meaning}"
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
