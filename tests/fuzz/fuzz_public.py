"""Random use and misuse of the public interface, reproducible by seed.

    python tests/fuzz/fuzz_public.py --seconds 120 --seed 0    # as in CI
    python tests/fuzz/fuzz_public.py --only 12345              # one case again

A case is drawn from one integer: data, an estimator with random parameters, some of
them junk, and calls on it. What is judged of each call, and printed with its case:

- kind: only ValueError, TypeError and AttributeError may end it;
- name: the message names a junk parameter, or what is wrong with the data;
- hang: it ends within seconds, or in a crash of the process;
- state: a failed call leaves the estimator, a finished one the data as they were;
- finite: weights, curves and predictions of a fit that returned are finite;
- same: the same seed gives the same weights, bit by bit, and compact() the same
  predictions.
"""

import argparse
import faulthandler
import pickle
import signal
import sys
import time
import warnings
from collections import Counter
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import is_classifier

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    convert_lambda,
    penalties,
    reg_mlp_path,
)

SECONDS_PER_CALL = 30
ALLOWED = (ValueError, TypeError, AttributeError)
JUNK = [
    *(None, "", "junk", b"adam", 1j, object(), type, len, Exception("adam")),
    *(np.nan, np.inf, -np.inf, -1, 0, 1, 0.5, 2, 1.5, True, 5e-324, 1e308),
    *(10**9, 10**20, 10**400, -(10**400), Fraction(1, 2), Decimal("0.5")),
    *(np.float16(0.5), np.float32(0.5), np.longdouble("0.5"), np.int8(1)),
    *(np.uint64(2**63), np.bool_(True), np.str_("l1"), np.datetime64("2020-01-01")),
    *(pd.NA, pd.NaT, np.ma.masked, np.array(0.5), np.array([]), np.array([0.5, 1.0])),
    *([], {}, (), set(), range(3), [None], [[1]], ["a", 1], {"a": 1}, {0: pd.NA}),
    *(pd.Series([0.1, 0.2]), [np.nan], [-1.0], [0.1] * 7, penalties.L1, ("l1",) * 9),
]
# What messages about data, and not about parameters, speak of.
DATA_WORDS = [
    "X",
    "y",
    "weight",
    "rows",
    "sample",
    "class",
    "label",
    "features",
    "data",
    "non-finite",
    "convert",
]
# A junk value that is allowed here would only take long.
ENDLESS = {"max_iter", "max_fun", "n_iter_no_change", "hidden_layer_sizes"}
GOOD = {
    "hidden_layer_sizes": [(), 3, (2, 2), [4], np.array([2]), (9, 1)],
    "activation": [
        "identity",
        "logistic",
        "tanh",
        "relu",
        "leaky_relu",
        "gelu",
        "silu",
    ],
    "penalty": [None, "l1", "l2", "elasticnet", "group_lasso", "sparse_group_lasso"],
    "reg_lambda": [0, 1e-6, 1e-3, 0.1, 1.0, 1e10, 1e300],
    "l1_ratio": [0, 0.3, 1.0],
    "decay_mode": ["auto", "coupled", "decoupled", "proximal"],
    "penalize_intercepts": [True, False],
    "solver": ["adam", "sgd", "rmsprop", "lbfgs", "lbfgs"],
    "learning_rate": ["constant", "invscaling", "adaptive", "cosine"],
    "learning_rate_init": [1e-5, 1e-3, 0.1, 1.0, 1e3, 1e300],
    "power_t": [0, 0.5, 5.0, 1e300],
    "momentum": [0.0, 0.5, 0.99],
    "nesterovs_momentum": [True, False],
    "batch_size": ["auto", 1, 7, 1000],
    "tol": [0, 1e-4, 1.0, 1e300],
    "early_stopping": [True, False, False],
    "validation_fraction": [0.01, 0.2, 0.5, 0.99],
    "n_iter_no_change": [1, 2, np.inf],
    "ema": [0.0, 0.0, 0.5, 0.99],
    "scoring": [None, None, "loss", "accuracy", "r2"],
    "shuffle": [True, False],
    "class_weight": [None, "balanced", {0: 1.0, 1: 2.0}, {7: 1}],
    "loss": [
        "squared_error",
        "absolute_error",
        "huber",
        "quantile",
        "poisson",
        "gamma",
    ],
}
PENALTIES = [
    penalties.L1,
    penalties.L2,
    penalties.ElasticNet,
    penalties.GroupLasso,
    penalties.SparseGroupLasso,
    penalties.MCP,
    penalties.SCAD,
]


class Hang(BaseException):
    """A call that takes too long."""


def pick(rng, values):
    return values[rng.integers(len(values))]


# Data --------------------------------------------------------------------------------


def random_X(rng, n, p):
    """A matrix of some size, scale and container, seldom one that no fit can take."""
    X = rng.normal(size=(n, p)) * pick(
        rng, [1, 1, 1, 0, 1e-310, 1e-10, 1e10, 1e150, 1e300]
    )
    if rng.random() < 0.2:
        X = (X > 0).astype(float)
    if rng.random() < 0.15:
        X[rng.integers(n), rng.integers(p)] = pick(rng, [np.nan, np.inf, 1.7e308, 0.0])
        bad = [X, X, X.astype(str).astype(object) + "a", X[:0], X[:, 0], X[:, :, None]]
        return pick(rng, [*bad, X + 1j, None])
    containers = [
        np.asarray,
        np.asfortranarray,
        lambda X: X.astype(np.float32) if np.abs(X).max() < 1e30 else X,
        lambda X: X[::-1].copy()[::-1],
        pd.DataFrame,
        sparse.csr_array,
        sparse.csc_matrix,
        sparse.coo_array,
        lambda X: X.tolist(),
    ]
    return pick(rng, containers)(X)


def random_y(rng, n, classifier):
    if not classifier:
        y = rng.normal(size=(n, int(rng.integers(1, 3)))) * pick(
            rng, [1, 1, 1e-6, 1e6, 1e100]
        )
        return np.abs(y) if rng.random() < 0.3 else y[:, 0]
    y = np.arange(n) % int(rng.integers(1, 4))
    rng.shuffle(y)
    kinds = [y, y, y > 0, np.array(["a", "b", "c"])[y], y.astype(float), y * 10**6 - 5]
    return pick(
        rng, [*kinds, rng.integers(0, 2, (n, 2)), sparse.csr_array(np.eye(n)[:, :2])]
    )


def random_weight(rng, n):
    weights = [
        rng.integers(0, 3, n),
        rng.random(n) * pick(rng, [1e-320, 1e-50, 1.0, 1e50, 1e307]),
        np.zeros(n),
        np.ones(n + 1),
        -np.ones(n),
        2.0,
    ]
    return None if rng.random() < 0.6 else pick(rng, weights)


def random_penalty(rng):
    cls = pick(rng, PENALTIES)
    params = {}
    for name in cls._get_param_names():
        if rng.random() < 0.25:
            params[name] = pick(rng, JUNK)
    return cls(**params)


# Cases -------------------------------------------------------------------------------


class Case:
    """All that is drawn from one seed."""

    def __init__(self, seed, report):
        self.seed, self.report = seed, report
        self.rng = np.random.default_rng(seed)
        self.junk = {}  # values that may be wrong
        self.asked = set()  # names of good values that need not fit each other
        self.has_data = False

    def call(self, what, function):
        """Return (result, None), or (None, error), of what must end well or named."""
        signal.alarm(SECONDS_PER_CALL)
        try:
            return function(), None
        except ALLOWED as error:
            text = str(error)
            names = [*self.junk, *self.asked, *(DATA_WORDS if self.has_data else ())]
            if not any(name in text for name in names):
                self.find("name", f"{what}: {type(error).__name__}: {text[:200]}")
            return None, error
        except Hang:
            self.find("hang", what)
            return None, Hang()
        except Exception as error:
            self.find("kind", f"{what}: {type(error).__name__}: {str(error)[:200]}")
            return None, error
        finally:
            signal.alarm(0)

    def find(self, kind, text):
        line = " ".join(f"{text} | junk {self.junk!r}".split())
        self.report(self.seed, kind, line[:500])

    def parameters(self, cls):
        rng = self.rng
        params = {"max_iter": int(rng.integers(1, 6)), "random_state": int(self.seed)}
        names = cls._get_param_names()
        for name in names:
            if name in GOOD and rng.random() < 0.3:
                params[name] = pick(rng, GOOD[name])
        self.asked = {*params, "decay_mode"} - {"max_iter", "random_state"}
        if rng.random() < 0.2:
            params["penalty"] = random_penalty(rng)
            self.junk |= {**vars(params["penalty"]), "penalty": params["penalty"]}
        for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.4 else 0):
            name = pick(rng, names)
            value = pick(rng, JUNK)
            if name not in ENDLESS or not isinstance(value, int | np.integer):
                params[name] = self.junk[name] = value
        return params

    def run(self):
        rng = self.rng
        kinds = [self.network] * 6 + [self.search] * 2 + [self.path, self.conversion]
        pick(rng, [*kinds, self.penalty, self.penalty])()

    def data(self, classifier):
        n, p = int(self.rng.integers(1, 40)), int(self.rng.integers(1, 6))
        self.has_data = True
        X, y = random_X(self.rng, n, p), random_y(self.rng, n, classifier)
        return X, y, random_weight(self.rng, n)

    def network(self):
        cls = pick(self.rng, [RegMLPClassifier, RegMLPRegressor])
        X, y, weight = self.data(cls is RegMLPClassifier)
        model = cls(**self.parameters(cls))
        before = pickle.dumps((X, y, weight))
        _, error = self.call("fit", lambda: model.fit(X, y, weight))
        if pickle.dumps((X, y, weight)) != before:
            self.find("state", "fit changed its data")
        if error is not None:
            if hasattr(model, "coefs_"):
                self.find("state", "a failed fit left weights")
            return
        self.check_fitted(model, X)
        if not isinstance(model.random_state, int):
            return
        again = cls(**model.get_params(deep=False)).fit(X, y, weight)
        arrays = zip(model.coefs_ + model.intercepts_, again.coefs_ + again.intercepts_)
        if not all(np.array_equal(a, b) for a, b in arrays):
            self.find("same", "the same seed gave other weights")
        if hasattr(model, "partial_fit") and self.rng.random() < 0.3:
            self.call("partial_fit", lambda: model.partial_fit(X, y, weight))
        predicted, error = self.call("predict", lambda: model.predict(X))
        self.call("a bad fit", lambda: model.fit(X, y, -1.0))
        if error is None and model.predict(X).tobytes() != predicted.tobytes():
            self.find("state", "a failed fit changed the predictions")

    def check_fitted(self, model, X):
        curves = [model.loss_curve_, model.data_loss_curve_, model.penalty_curve_]
        # On the way, an objective may have been too large for a float, but never NaN.
        # Early stopping keeps an earlier network than the last one, and says so.
        ends = [] if model.early_stopping else [curve[-1] for curve in curves]
        before = np.concatenate([curve[:-1] for curve in curves])
        for values in (*model.coefs_, *model.intercepts_, ends):
            if not np.isfinite(values).all() or np.isnan(before).any():
                self.find("finite", "weights or curves of a fit that returned")
                return
        methods = ["predict_proba"] if is_classifier(model) else ["predict"]
        small, error = self.call("compact", model.compact)
        for method in methods:
            result, error = self.call(method, lambda m=method: getattr(model, m)(X))
            if error is not None and "beyond float" in str(error):
                return  # the rows of a validation set may be that large
            if error is not None or not np.isfinite(result).all():
                self.find("finite", f"{method} of a fit that returned: {error}")
                return
            with np.errstate(all="ignore"):
                other = getattr(small, method)(X)
            size = np.abs(result).max(initial=1.0)
            if not np.allclose(other, result, rtol=1e-4, atol=1e-4 * size):
                self.find("same", f"compact() has other results of {method}")

    def search(self):
        rng = self.rng
        cls = pick(rng, [RegMLPClassifierCV, RegMLPRegressorCV])
        X, y, weight = self.data(cls is RegMLPClassifierCV)
        params = self.parameters(cls)
        params.setdefault("cv", 2)
        params.setdefault(
            "reg_lambdas", pick(rng, [2, [0.1], (0.0, 1.0), [1e-300, 1e300]])
        )
        if isinstance(params["reg_lambdas"], int) and params["reg_lambdas"] > 100:
            params["reg_lambdas"] = 2
        model = cls(**params)
        self.junk.update(dict.fromkeys(("reg_lambdas", "cv")) if self.junk else {})
        _, error = self.call("search", lambda: model.fit(X, y, weight))
        if error is None and hasattr(model, "coefs_"):
            self.check_fitted(model, X)

    def path(self):
        rng = self.rng
        cls = pick(rng, [RegMLPClassifier, RegMLPRegressor])
        X, y, weight = self.data(cls is RegMLPClassifier)
        model = cls(**self.parameters(cls))
        options = {"reg_lambdas": 3}
        for name in ("reg_lambdas", "eps", "max_features", "max_units"):
            value = pick(rng, JUNK)
            if rng.random() < 0.15:
                options[name] = self.junk[name] = value
        self.call(
            "path",
            lambda: reg_mlp_path(model, X, y, sample_weight=weight, **options),
        )

    def conversion(self):
        rng = self.rng
        names = [
            "skreg",
            "torch",
            "keras_mse",
            "sklearn_logistic",
            "sklearn_huber",
            "timescale",
        ]
        options = [
            "n_samples",
            "batch_size",
            "n_outputs",
            "y_scale",
            "learning_rate",
            "penalty",
        ]
        given = {name: pick(rng, JUNK) for name in options if rng.random() < 0.5}
        self.junk = dict.fromkeys([*options, "value", "source", "target"])
        value, source, target = (
            pick(rng, JUNK),
            *(pick(rng, [*names, *JUNK]) for _ in "12"),
        )
        result, error = self.call(
            f"convert_lambda({value!r}, {source!r}, {target!r}, **{given!r})",
            lambda: convert_lambda(value, source, target, **given),
        )
        if error is None and np.isnan(result).any():
            self.find("finite", "convert_lambda gave NaN")

    def penalty(self):
        rng = self.rng
        penalty = random_penalty(rng)
        shape = (int(rng.integers(1, 5)), int(rng.integers(1, 4)))
        self.junk = dict(vars(penalty))
        if self.call("validate", lambda: penalty.validate(shape))[1] is not None:
            return
        W = rng.normal(size=shape) * pick(rng, [1, 0, 1e-310, 1e150, 1e300])
        lam = pick(rng, [0.0, 1e-300, 0.1, 1e10])
        step = pick(rng, [0.0, 0.1, 1e300, rng.random(shape), np.zeros(shape)])
        calls = {"value": (W, lam), "gradient": (W, lam), "prox": (W, step, lam)}
        calls |= {"lambda_max": (W,), "shrink": (W, 0.1, lam)}
        for method, arguments in calls.items():
            if method == "shrink" and not penalty.has_shrink:
                continue
            function = getattr(penalty, method)
            result, error = self.call(method, lambda f=function, a=arguments: f(*a))
            if error is None and np.isnan(result).any():
                self.find(
                    "finite", f"{penalty!r}.{method} is NaN at {W.max():.0e}, {lam}"
                )


def on_alarm(*_):
    raise Hang


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case alone")
    options = parser.parse_args()
    faulthandler.enable()
    signal.signal(signal.SIGALRM, on_alarm)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    found = Counter()

    def report(seed, kind, text):
        found[kind] += 1
        print(f"{kind:7} case {seed}: {text}", flush=True)

    first = 10**6 * options.seed if options.only is None else options.only
    end = time.monotonic() + options.seconds
    n_cases = 0
    while not n_cases or (options.only is None and time.monotonic() < end):
        # A hang in compiled code does not see the alarm: print where, and give up.
        faulthandler.dump_traceback_later(4 * SECONDS_PER_CALL, exit=True)
        Case(first + n_cases, report).run()
        faulthandler.cancel_dump_traceback_later()
        n_cases += 1
    print(f"{n_cases} cases from {first}, findings: {dict(found) or 'none'}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
