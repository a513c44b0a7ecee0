"""Bad input ends in an error that names the parameter or the data."""

import inspect
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import utils
from sklearn.exceptions import NotFittedError

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
)
from skreg._numbers import seeded
from skreg._rows import check_target_range, moderate, read_weights
from skreg._validation import (
    _CONSTRAINTS,
    check_hidden_layer_sizes,
    check_network_size,
    check_parameter_names,
    check_parameters,
    check_random_state,
    check_reg_lambdas,
    unknown_parameter_hint,
)
from skreg.penalties import L1, L2, MCP, SCAD, ElasticNet, GroupLasso, Penalty

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, P = 30, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, P))
LABELS = (X[:, 0] > 0).astype(int)
TARGETS = X[:, 0] + 1.0
NAN, INF = float("nan"), float("inf")

ESTIMATORS = {RegMLPClassifier: LABELS, RegMLPRegressor: TARGETS}
SEARCHES = {RegMLPClassifier: RegMLPClassifierCV, RegMLPRegressor: RegMLPRegressorCV}
BOTH = pytest.mark.parametrize("estimator", ESTIMATORS)
STREAMS = pytest.mark.parametrize("method", ["fit", "partial_fit"])


def call(method, model, X, y, **options):
    """Call fit or partial_fit, the latter of classifiers with all classes of y."""
    if method == "partial_fit" and isinstance(model, RegMLPClassifier):
        options["classes"] = LABELS
    return getattr(model, method)(X, y, **options)


def fails_naming(*parts, error=ValueError):
    """Context in which an error is expected whose message has all parts in order."""
    return pytest.raises(error, match="(?s)" + ".*".join(map(re.escape, parts)))


# Parameters one by one ---------------------------------------------------------------

NOT_BOOL = ["yes", None, 2]
NOT_RATIO = [-0.1, 1.1, NAN, "0.5", None, True]
NOT_BELOW_1 = [-0.1, 1.0, NAN, "0.9", None]
NOT_POSITIVE = [0.0, -1.0, NAN, INF, "0.1", None, True]
NOT_NONNEGATIVE = [-1e-9, NAN, INF, "0.1", None]
NOT_COUNT = [0, -1, 1.5, NAN, "10", None, True]

BAD_VALUES = {
    "hidden_layer_sizes": [0, -1, 2.5, None, "10", True, (5, 0), (5, 2.0), [(3, 3)]],
    "activation": ["sigmoid", "ReLU", None, 1, np.tanh],
    "penalty": ["L1", "lasso", 1.0, L1, [1, 2], ("l1", "lasso")],
    "reg_lambda": [-1e-9, NAN, INF, "0.1", None, True, [0.1, -0.1], [0.1, NAN]],
    "l1_ratio": NOT_RATIO,
    "decay_mode": ["weight", None, ["coupled", "coupled"]],
    "penalize_intercepts": NOT_BOOL,
    "solver": ["newton", "Adam", None, 1],
    "learning_rate_init": NOT_POSITIVE,
    "learning_rate": ["linear", None, 0.1],
    "power_t": NOT_NONNEGATIVE,
    "momentum": NOT_BELOW_1,
    "nesterovs_momentum": NOT_BOOL,
    "beta_1": NOT_BELOW_1,
    "beta_2": NOT_BELOW_1,
    "rho": NOT_BELOW_1,
    "epsilon": NOT_POSITIVE,
    "batch_size": [*NOT_COUNT, "full"],
    "max_iter": NOT_COUNT,
    "max_fun": NOT_COUNT,
    "tol": NOT_NONNEGATIVE,
    "shuffle": NOT_BOOL,
    "random_state": ["zero", 1.5, -1, True],
    "early_stopping": NOT_BOOL,
    "validation_fraction": [0.0, 1.0, -0.1, NAN, 5, "0.1", None],
    "n_iter_no_change": [0, -1, 1.5, NAN, -INF, "10", None],
    "ema": NOT_BELOW_1,
    "scoring": [1, ["loss"], True],
    "warm_start": NOT_BOOL,
    "verbose": [-1, 0.5, "yes", None],
    "n_jobs": [0, True, 1.0, "2", NAN, 1025, -1025, 2**80],
    "precision": [None, True, "float32", "TF32", 10],
    "device": [None, 0, True, b"cpu", "gpu", "torch:", "cuda:x", ""],
}
BAD_CLASSIFIER_VALUES = {
    "class_weight": [
        "uniform",
        2.0,
        {0: -0.1, 1: 1.0},
        {0: -1.0, 1: 0.1},
        {0: NAN, 1: 1.0},
        {0: INF, 1: 1.0},
    ],
}
BAD_REGRESSOR_VALUES = {
    "loss": ["mse", "log_loss", None, np.square],
    "quantile": NOT_RATIO,
}


def cases(table):
    return [
        pytest.param(name, value, id=f"{name}={value!r}".replace("\n", " "))
        for name, values in table.items()
        for value in values
    ]


def test_tables_cover_every_parameter():
    known = set(BAD_VALUES)
    assert set(RegMLPClassifier().get_params()) == known | set(BAD_CLASSIFIER_VALUES)
    assert set(RegMLPRegressor().get_params()) == known | set(BAD_REGRESSOR_VALUES)


@BOTH
@pytest.mark.parametrize(("name", "value"), cases(BAD_VALUES))
def test_bad_value_names_the_parameter(estimator, name, value):
    model = estimator(early_stopping=name in ("scoring", "validation_fraction"))
    with pytest.raises(ValueError, match=rf"\b{name}\b") as error:
        model.set_params(**{name: value}).fit(X, ESTIMATORS[estimator])
    assert_shows_value(error, name, value)


@pytest.mark.parametrize(("name", "value"), cases(BAD_CLASSIFIER_VALUES))
def test_bad_value_names_the_parameter_of_the_classifier(name, value):
    with pytest.raises(ValueError, match=rf"\b{name}\b"):
        RegMLPClassifier(**{name: value}).fit(X, LABELS)


@pytest.mark.parametrize(("name", "value"), cases(BAD_REGRESSOR_VALUES))
def test_bad_value_names_the_parameter_of_the_regressor(name, value):
    with pytest.raises(ValueError, match=rf"\b{name}\b") as error:
        RegMLPRegressor(**{name: value}).fit(X, TARGETS)
    assert_shows_value(error, name, value)


def assert_shows_value(error, name, value):
    shown = value[-1] if name == "penalty" and isinstance(value, tuple) else value
    shown = shown[0] if name == "penalty" and isinstance(value, list) else shown
    assert repr(shown) in str(error.value)


# Values that look like numbers, flags or names to some function, each of its own kind.
ODD_VALUES = [
    *(Fraction(1, 2), Decimal("0.5"), 1j, 10**20, 10**400, -(10**400)),
    *(
        np.float16(0.5),
        np.float32(0.5),
        np.longdouble("0.5"),
        np.longdouble("1") - 1e-19,
    ),
    *(np.int8(1), np.uint64(2**63), np.bool_(True), np.str_("adam"), 5e-324, 1e308),
    *(pd.NA, pd.NaT, NAN, -INF, np.ma.masked, np.datetime64("2020-01-01")),
    *(np.array(0.5), np.array(1), np.array([0.5, 1.0]), np.array([]), pd.Series([0.5])),
    *([], {}, set(), (), range(2), [[1]], [None], [pd.NA], ["a"], {"a": 1}, {0: "a"}),
    *({0: pd.NA}, {0: 10**400}, b"adam", object(), type, len, Exception("adam")),
]


def is_fine_or_named(estimator, name, value, **params):
    """Fit with one parameter changed; True if it fits, False if the error names it."""
    if name == "hidden_layer_sizes":
        check = check_hidden_layer_sizes
    elif name in ("penalty", "reg_lambda"):
        check = None
    else:
        check = check_random_state if name == "random_state" else check_parameters
    model = estimator(3, max_iter=2, **params).set_params(**{name: value})
    try:
        if check is not None:
            check(model)
    except (ValueError, TypeError) as error:
        assert name in str(error)
        return False
    try:
        model.fit(X, ESTIMATORS[estimator])
    except (ValueError, TypeError) as error:
        # What is not a bad value alone is named otherwise: a diverging fit, ...
        assert name in str(error) or "non-finite" in str(error)
        return False
    return True


@BOTH
@pytest.mark.parametrize(
    "value", ODD_VALUES, ids=lambda value: repr(value).partition(" at ")[0][:30]
)
@pytest.mark.filterwarnings("ignore")
def test_odd_values_work_or_are_named(estimator, value):
    for name in estimator().get_params():
        if name == "max_iter" and isinstance(value, int | np.integer):
            continue  # allowed, and as long as asked for
        is_fine_or_named(estimator, name, value)


@BOTH
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("solver", ["sgd", "adam", "rmsprop", "lbfgs"])
@pytest.mark.filterwarnings("ignore")
def test_floats_of_any_precision_are_floats(estimator, kind, solver):
    for name, (_, allowed) in _CONSTRAINTS.items():
        is_refused = (name, solver) == ("ema", "lbfgs")
        is_float = allowed.startswith("a float") and hasattr(estimator(), name)
        if is_float and not is_refused:
            params = {"solver": solver, "learning_rate": "invscaling"}
            assert is_fine_or_named(estimator, name, kind(0.5), **params)


@BOTH
@pytest.mark.parametrize("name", ["learning_rate_init", "tol", "reg_lambda"])
def test_integers_that_are_too_large_for_a_float_are_named(estimator, name):
    with fails_naming(name, "must be a", "Got 1000"):
        estimator(**{name: 10**400}).fit(X, ESTIMATORS[estimator])


@pytest.mark.parametrize("power_t", [200, 1e300, 10**20, np.float16(200)])
def test_huge_exponents_of_invscaling_end_the_steps(power_t):
    model = RegMLPRegressor(3, solver="sgd", learning_rate="invscaling", max_iter=3)
    model.set_params(power_t=power_t, momentum=0.0, random_state=0).fit(X, TARGETS)
    once = RegMLPRegressor(3, solver="sgd", max_iter=1, momentum=0.0, random_state=0)
    once.fit(X, TARGETS)  # the first epoch is at the full rate
    assert_array_equal(model.coefs_[0], once.coefs_[0])


@BOTH
@pytest.mark.parametrize("sizes", [10**20, (10**6, 10**6), [50_000, 50_000], 2**31])
def test_networks_that_fit_into_no_memory_are_refused(estimator, sizes):
    with fails_naming(f"hidden_layer_sizes={sizes!r}", "2147483647 parameters"):
        estimator(sizes).fit(X, ESTIMATORS[estimator])


def test_all_units_count_in_the_size_of_a_network():
    model = RegMLPRegressor(100_000)
    assert check_hidden_layer_sizes(model) == (100_000,)
    check_network_size(model, (20_000, 100_000, 1))
    with fails_naming("=100000", "2147483647 parameters", "[100000, 100000, 1]"):
        check_network_size(model, (100_000, 100_000, 1))


@pytest.mark.parametrize(
    "bad", [10**12, 1, 0, True, NAN, [], [0.1, NAN], [-1.0], [[1], 1]]
)
def test_grids_that_cannot_be_are_named(bad):
    with fails_naming("'reg_lambdas'", "int in [2, 10000]", repr(bad)):
        check_reg_lambdas(bad)


def test_grids():
    assert check_reg_lambdas(np.int8(5)) == 5
    some = [0.2, 0, 0.2]
    for grid in (some, tuple(some), np.array(some), pd.Series(some), pl.Series(some)):
        assert_array_equal(check_reg_lambdas(grid), [0, 0.2])
    assert_array_equal(check_reg_lambdas(range(3)), [0, 1, 2])


@BOTH
@pytest.mark.parametrize("name", ["alpha", "lambda", "lambda_", "C", "weight_decay"])
def test_strengths_of_other_libraries_are_pointed_to_ours(estimator, name):
    with fails_naming(name, estimator.__name__, "'reg_lambda'", "convert_lambda"):
        check_parameter_names(estimator(), [name])
    with fails_naming(name, estimator.__name__ + "CV", "'reg_lambdas'", "convert"):
        check_parameter_names(SEARCHES[estimator](), [name])
    with fails_naming(estimator.__name__, name, "'reg_lambda'", error=TypeError):
        estimator(**{name: 0.1})


@BOTH
def test_a_search_says_how_it_calls_the_strength(estimator):
    with fails_naming("'reg_lambda'", estimator.__name__ + "CV", "'reg_lambdas'"):
        check_parameter_names(SEARCHES[estimator](), ["reg_lambda"])
    with fails_naming(
        estimator.__name__ + "CV", "'reg_lambda'", "'reg_lambdas'", error=TypeError
    ):
        SEARCHES[estimator]((5,), reg_lambda=0.1)
    check_parameter_names(estimator(), ["reg_lambda", "penalty", "nonsense"])
    assert unknown_parameter_hint("gamma", ["reg_lambda"]) == ""


@BOTH
def test_signatures_and_other_unknown_names_are_those_of_python(estimator):
    for kind in (estimator, SEARCHES[estimator]):
        assert next(iter(inspect.signature(kind).parameters)) == "hidden_layer_sizes"
        with fails_naming(kind.__name__, "nonsense", error=TypeError):
            kind(nonsense=1)


@BOTH
@pytest.mark.parametrize(
    "name", ["max_iter", "tol", "learning_rate_init", "batch_size"]
)
def test_message_says_what_is_allowed(estimator, name):
    with fails_naming(f"'{name}' parameter of {estimator.__name__} must be", "Got -1"):
        estimator(**{name: -1}).fit(X, ESTIMATORS[estimator])


@BOTH
@pytest.mark.parametrize(
    "name", ["activation", "solver", "learning_rate", "decay_mode"]
)
def test_message_lists_the_options(estimator, name):
    default = getattr(estimator(), name)
    with fails_naming(name, "one of", repr(default), "Got 'nope'"):
        estimator(**{name: "nope"}).fit(X, ESTIMATORS[estimator])


@BOTH
@pytest.mark.parametrize("early_stopping", [False, True])
def test_unknown_scoring_is_named(estimator, early_stopping):
    model = estimator(early_stopping=early_stopping, scoring="nope")
    with fails_naming("scoring", "nope"):
        model.fit(X, ESTIMATORS[estimator])


def fail(*_):
    raise ZeroDivisionError("division")


@pytest.mark.parametrize(
    ("estimator", "scoring", "message"),
    [
        (RegMLPRegressor, "accuracy", "scoring='accuracy' failed with ValueError"),
        (RegMLPRegressor, "f1", "scoring='f1' failed"),
        (RegMLPRegressor, "roc_auc", "scoring='roc_auc' failed with AttributeError"),
        (RegMLPRegressor, "neg_log_loss", "scoring='neg_log_loss' failed"),
        (RegMLPClassifier, "neg_mean_gamma_deviance", "neg_mean_gamma_deviance' fail"),
        (RegMLPRegressor, fail, "fail.*failed with ZeroDivisionError: division"),
        (RegMLPClassifier, lambda *_: None, "must return a number. Got None"),
        (RegMLPClassifier, lambda *_: "0.5", "must return a number. Got '0.5'"),
        (RegMLPRegressor, lambda *_: [0.5], r"must return a number. Got \[0.5\]"),
        (RegMLPRegressor, lambda *_: 1j, "must return a number. Got 1j"),
    ],
)
def test_scorers_that_do_not_fit_the_task_are_named(estimator, scoring, message):
    model = estimator(4, early_stopping=True, scoring=scoring, max_iter=2)
    with pytest.raises(ValueError, match=message):
        model.fit(X, ESTIMATORS[estimator])


@BOTH
@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
def test_weights_are_not_set_before_a_fit(estimator, name):
    with pytest.raises(NotFittedError, match=f"{name} of .* once fit has been called"):
        setattr(estimator(4), name, [X])


@BOTH
def test_unknown_parameter_is_refused(estimator):
    with pytest.raises(TypeError, match="alpha"):
        estimator(alpha=1.0)
    with pytest.raises(ValueError, match="Invalid parameter 'alpha'"):
        estimator().set_params(alpha=1.0)


@BOTH
def test_only_the_first_parameter_is_positional(estimator):
    with pytest.raises(TypeError, match="positional"):
        estimator((5,), "relu")


# One value per layer -----------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("lam", [[], [0.1], [0.1, 0.1, 0.1], np.full(3, 0.1)])
def test_number_of_lambdas_is_that_of_layers(estimator, lam):
    with fails_naming("reg_lambda", "one value per layer (here 2)", repr(lam)):
        estimator(4, reg_lambda=lam).fit(X, ESTIMATORS[estimator])


@BOTH
@pytest.mark.parametrize("penalty", [[], ["l1"], ("l1", None, "l2"), [L1()] * 3])
def test_number_of_penalties_is_that_of_layers(estimator, penalty):
    with fails_naming("penalty", "one per layer (here 2)", repr(penalty)):
        estimator(4, penalty=penalty).fit(X, ESTIMATORS[estimator])


@pytest.mark.parametrize(
    ("penalty", "name"),
    [
        (ElasticNet(l1_ratio=2.0), "l1_ratio"),
        (MCP(gamma=0.0), "gamma"),
        (SCAD(a=2.0), "a"),
        (GroupLasso(by="rows"), "by"),
        (GroupLasso(groups=[0, 1]), "groups"),
    ],
)
def test_parameters_of_penalties_are_checked_in_fit(penalty, name):
    with fails_naming(f"'{name}' parameter of {type(penalty).__name__} must"):
        RegMLPRegressor((), penalty=penalty).fit(X, TARGETS)


# Combinations without meaning --------------------------------------------------------


class OnlyProx(Penalty):
    """Smallest penalty: value and a prox with one step for all weights."""

    def value(self, W, lam=1.0):
        return lam * float(np.abs(W).sum())

    def prox(self, W, step, lam=1.0):
        return L1().prox(W, step, lam)


@pytest.mark.parametrize(
    ("params", "parts"),
    [
        (
            {"penalty": MCP(), "decay_mode": "decoupled"},
            ["decay_mode='decoupled'", "penalty=MCP()", "'proximal', 'coupled'"],
        ),
        (
            {"penalty": SCAD(), "decay_mode": "decoupled", "solver": "sgd"},
            ["decay_mode='decoupled'", "penalty=SCAD()", "'proximal', 'coupled'"],
        ),
        (
            {"penalty": OnlyProx(), "decay_mode": "coupled", "solver": "sgd"},
            ["decay_mode='coupled'", "penalty=OnlyProx()", "gradient", "'proximal'"],
        ),
        (
            {"penalty": OnlyProx(), "decay_mode": "decoupled", "solver": "sgd"},
            ["decay_mode='decoupled'", "penalty=OnlyProx()", "'proximal'"],
        ),
        (
            {"penalty": OnlyProx(), "solver": "adam"},
            ["penalty=OnlyProx()", "solver='adam'", "diagonal metric", "'sgd'"],
        ),
        (
            {"penalty": OnlyProx(), "solver": "rmsprop"},
            ["penalty=OnlyProx()", "solver='rmsprop'", "diagonal metric", "'sgd'"],
        ),
        (
            {"decay_mode": "decoupled", "solver": "lbfgs"},
            ["decay_mode='decoupled'", "solver='lbfgs'", "'auto'", "'adam'"],
        ),
        (
            {"penalty": None, "decay_mode": "decoupled", "solver": "lbfgs"},
            ["decay_mode='decoupled'", "solver='lbfgs'", "'auto'", "'adam'"],
        ),
        (
            {"penalty": "l1", "decay_mode": "coupled", "solver": "lbfgs"},
            ["decay_mode='coupled'", "solver='lbfgs'", "kink", "'proximal'"],
        ),
    ],
)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_combination_names_both_sides_and_alternatives(estimator, params, parts):
    with fails_naming(*parts):
        estimator(4, **params).fit(X, ESTIMATORS[estimator])


@pytest.mark.parametrize("loss", ["absolute_error", "quantile"])
def test_kinked_loss_needs_a_stochastic_solver(loss):
    with fails_naming(f"loss='{loss}'", "solver='lbfgs'", "'adam'", "'huber'"):
        RegMLPRegressor(loss=loss, solver="lbfgs").fit(X, TARGETS)


def test_a_meaningless_combination_in_one_layer_is_found():
    with fails_naming("decay_mode='decoupled'", "penalty=MCP()"):
        RegMLPRegressor(4, penalty=["l2", MCP()], decay_mode="decoupled").fit(
            X, TARGETS
        )


# Data --------------------------------------------------------------------------------


@BOTH
@STREAMS
@pytest.mark.parametrize(
    ("bad_X", "message"),
    [
        (X[:, 0], "Expected 2D array"),
        (X[None], "Found array with dim 3"),
        (X[:0], "0 sample"),
        (X[:, :0], "0 feature"),
        (np.full((N, P), NAN), "Input X contains NaN"),
        (np.full((N, P), INF), "Input X contains infinity"),
        (np.full((N, P), 1j), "Complex data not supported"),
        (np.full((N, P), "a"), "could not convert string to float"),
        (np.full((N, P), 10**400), "X or y has a number that is beyond the range"),
        (sparse.csr_array(np.full((N, P), NAN)), "Input X contains NaN"),
    ],
)
def test_bad_X(estimator, method, bad_X, message):
    y = ESTIMATORS[estimator][: len(bad_X) if bad_X.ndim == 1 else bad_X.shape[0]]
    with pytest.raises((ValueError, TypeError), match=message):
        call(method, estimator(4), bad_X, y)


def malformed(format, name, place, value, dtype=np.float64):
    """A sparse matrix with one index that points outside of it."""
    matrix = sparse.random(N, P, 0.5, format, random_state=0).astype(dtype)
    getattr(matrix, name)[place] = value
    return matrix


MALFORMED = pytest.mark.parametrize(
    ("format", "name", "place", "value", "message"),
    [
        ("csr", "indices", 3, 10**7, r"CSR matrix: indices must be in \[0, 3\)"),
        ("csr", "indices", 0, P, r"CSR matrix: indices must be in \[0, 3\)"),
        ("csr", "indices", -1, -1, r"CSR matrix: indices must be in \[0, 3\)"),
        ("csr", "indptr", 0, 1, "CSR matrix: indptr must start with 0"),
        ("csr", "indptr", 5, 10**6, "CSR matrix: indptr must not decrease"),
        ("csr", "indptr", -1, 10**6, "CSR matrix: indptr ends beyond the 45 entries"),
        ("csc", "indices", 3, 10**7, r"CSC matrix: indices must be in \[0, 30\)"),
        ("csc", "indptr", 2, -5, "CSC matrix: indptr must not decrease"),
        ("bsr", "indices", 0, 10**7, "BSR matrix: indices must be in"),
        ("bsr", "indptr", -1, 10**6, "BSR matrix: indptr ends beyond"),
        ("coo", "row", 2, 10**7, r"COO matrix: row must be in \[0, 30\)"),
        ("coo", "col", 2, -(2**30), r"COO matrix: col must be in \[0, 3\)"),
    ],
)


@MALFORMED
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict", "X_val", "search"])
def test_malformed_sparse_matrices_are_refused(
    format, name, place, value, message, dtype, method
):
    bad = malformed(format, name, place, value, dtype)
    model = RegMLPRegressor(4, max_iter=2, early_stopping=method == "X_val")
    calls = {
        "fit": lambda: model.fit(bad, TARGETS),
        "partial_fit": lambda: model.partial_fit(bad, TARGETS),
        "predict": lambda: model.fit(X, TARGETS).predict(bad),
        "X_val": lambda: model.fit(X, TARGETS, X_val=bad, y_val=TARGETS),
        "search": lambda: RegMLPRegressorCV(4, max_iter=2).fit(bad, TARGETS),
    }
    with pytest.raises(ValueError, match=message) as error:
        calls[method]()
    assert (method == "X_val") == ("X_val" in str(error.value))


def test_indices_of_64_bits_are_not_cut_to_32():
    bad = sparse.random(N, P, 0.5, "csr", random_state=0)
    bad.indices, bad.indptr = (a.astype(np.int64) for a in (bad.indices, bad.indptr))
    bad.indices[3] = 2**32 + 1
    with pytest.raises(ValueError, match=r"indices must be in \[0, 3\)"):
        RegMLPRegressor(4).fit(bad, TARGETS)
    bad.indices = bad.indices.astype(float)
    with pytest.raises(ValueError, match="indices must be of an integer dtype"):
        RegMLPRegressor(4).fit(bad, TARGETS)


def test_malformed_sparse_labels_are_refused():
    y = sparse.csc_array(np.c_[LABELS, 1 - LABELS])
    RegMLPClassifier(4, max_iter=2).fit(X, y)
    y.indices[0] = 10**7
    with pytest.raises(ValueError, match="y is no valid CSC matrix: indices"):
        RegMLPClassifier(4).fit(X, y)


@pytest.mark.parametrize("format", ["csr", "csc", "bsr", "coo", "lil", "dok", "dia"])
def test_sound_sparse_matrices_pass(format):
    sound = sparse.random(N, P, 0.5, "csr", random_state=0)
    model = RegMLPRegressor(4, max_iter=2, random_state=0)
    expected = model.fit(sound, TARGETS).predict(sound)
    converted = sound.asformat(format)
    assert_allclose(model.fit(converted, TARGETS).predict(converted), expected)


@BOTH
@STREAMS
def test_bad_y(estimator, method):
    y = ESTIMATORS[estimator]
    with fails_naming("inconsistent numbers of samples", "[30, 29]"):
        call(method, estimator(4), X, y[:-1])
    with fails_naming("y", "contains NaN"):
        call(method, estimator(4), X, np.where(y == y[0], NAN, y))
    with fails_naming("y", "contains infinity"):
        call(method, estimator(4), X, np.where(y == y[0], INF, y))
    with pytest.raises(ValueError, match="y to be passed"):
        call(method, estimator(4), X, None)
    with pytest.raises(ValueError, match="Found array with dim 3"):
        call(method, estimator(4), X, np.ones((N, 2, 2)))


@STREAMS
def test_classifier_refuses_continuous_y(method):
    with fails_naming("Unknown label type: continuous"):
        call(method, RegMLPClassifier(), X, TARGETS)


@STREAMS
def test_classifier_refuses_several_multiclass_outputs(method):
    y = np.column_stack([np.arange(N) % 3, np.arange(N) % 4])
    with pytest.raises(ValueError, match=r"(?i)multi-?output"):
        call(method, RegMLPClassifier(), X, y)


@pytest.mark.skipif(sklearn.__version__ < "1.7", reason="warns from 1.7 on")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_many_classes_warn_that_y_may_be_continuous():
    X = np.random.RandomState(0).normal(size=(60, 3))
    with pytest.warns(UserWarning, match="number of unique classes"):
        RegMLPClassifier((), max_iter=2).fit(X, np.arange(60) % 40)


def test_classifier_refuses_one_class():
    with fails_naming("class", "'a'"):
        RegMLPClassifier().fit(X, np.full(N, "a"))
    with fails_naming("class"):
        RegMLPClassifier().partial_fit(X, np.zeros(N), classes=[0])


def test_regressor_refuses_text():
    with fails_naming("could not convert string to float"):
        RegMLPRegressor().fit(X, np.full(N, "a"))


@STREAMS
@pytest.mark.parametrize(
    ("loss", "lowest", "allowed"),
    [
        ("poisson", -0.5, "y must be >= 0"),
        ("gamma", 0.0, "y must be > 0"),
        ("gamma", -0.5, "y must be > 0"),
    ],
)
def test_target_out_of_the_range_of_the_loss(method, loss, lowest, allowed):
    y = np.abs(TARGETS)
    y[3] = lowest
    with fails_naming(f"loss='{loss}'", allowed, f"{lowest:g}"):
        call(method, RegMLPRegressor(loss=loss), X, y)


@BOTH
@STREAMS
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.ones(N - 1), "sample_weight.*29.*30"),
        (np.ones((N, 1)), "sample_weight must be 1D"),
        (-np.ones(N), "Negative values.*sample_weight"),
        (np.where(np.arange(N) == 4, -1e-9, 1.0), "Negative values.*sample_weight"),
        (np.full(N, NAN), "sample_weight contains NaN"),
        (np.full(N, INF), "sample_weight contains infinity"),
        (np.zeros(N), "sample_weight.*0"),
        (0.0, "sample_weight.*0"),
        (-1.0, "Negative values.*sample_weight"),
        (np.full(N, "a"), "sample_weight must be.*could not convert"),
        (object(), "sample_weight must be"),
        ({"a": 1}, "sample_weight must be"),
        ([[1, [2]]], "sample_weight must be"),
        (1j, "sample_weight must be"),
        (10**400, "sample_weight must be"),
    ],
)
def test_bad_sample_weight(estimator, method, weight, message):
    y = ESTIMATORS[estimator]
    with pytest.raises(ValueError, match=message):
        call(method, estimator(4), X, y, sample_weight=weight)


@BOTH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [5e-324, 1e-320, 1e-50, 1e50, 1e308])
def test_only_ratios_of_weights_matter_in_any_unit(estimator, solver, dtype, size):
    y = ESTIMATORS[estimator]
    model = estimator(3, solver=solver, max_iter=3, random_state=0)
    plain = model.fit(X.astype(dtype), y).coefs_
    weighted = model.fit(X.astype(dtype), y, np.full(N, size))
    assert np.isfinite(weighted.loss_)
    for W, expected in zip(weighted.coefs_, plain):
        assert_allclose(W, expected, rtol=1e-4, atol=1e-6)


def test_weights_in_a_usual_range_keep_their_values():
    weights = np.array([1e-19, 3.0, 0.0])
    assert read_weights(weights, 3) is moderate(weights)
    assert_array_equal(moderate(np.array([0, 1e-320, 5e-321])), [0, 1, 0.5])


def test_targets_beyond_single_precision_are_named():
    with fails_naming("y_val", "1e+100", "float32", "3.4e+38"):
        check_target_range(np.array([0.0, -1e100]), np.float32, "y_val")
    check_target_range(np.array([1e100]), np.float64)


def test_class_weights_that_leave_no_weight():
    with fails_naming("weights", "0"):
        RegMLPClassifier(class_weight={0: 0.0, 1: 0.0}).fit(X, LABELS)


# Validation data ---------------------------------------------------------------------


@BOTH
def test_validation_set_needs_early_stopping(estimator):
    y = ESTIMATORS[estimator]
    with fails_naming("X_val", "y_val", "early_stopping=True"):
        estimator().fit(X, y, X_val=X, y_val=y)


@BOTH
def test_validation_set_is_complete(estimator):
    model, y = estimator(early_stopping=True), ESTIMATORS[estimator]
    with fails_naming("X_val is given, but y_val is not"):
        model.fit(X, y, X_val=X)
    with fails_naming("y_val is given, but X_val is not"):
        model.fit(X, y, y_val=y)
    with fails_naming("sample_weight_val", "without X_val and y_val"):
        model.fit(X, y, sample_weight_val=np.ones(N))


@BOTH
@pytest.mark.parametrize("scoring", [None, "loss"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X_val": X[:, :2]}, "X_?(val)? has 2 features"),
        ({"X_val": X[:5]}, "inconsistent numbers of samples"),
        ({"X_val": X[:, 0]}, "Expected 2D array"),
        ({"X_val": np.full((N, P), NAN)}, "NaN"),
        ({"sample_weight_val": np.ones(N - 1)}, "sample_weight_val.*29.*30"),
        ({"sample_weight_val": -np.ones(N)}, "sample_weight_val"),
        ({"sample_weight_val": np.zeros(N)}, "sample_weight_val"),
        ({"sample_weight_val": np.full(N, NAN)}, "sample_weight_val contains NaN"),
    ],
)
def test_bad_validation_data(estimator, scoring, change, message):
    y = ESTIMATORS[estimator]
    model = estimator(4, early_stopping=True, scoring=scoring)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, **({"X_val": X, "y_val": y} | change))


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
@pytest.mark.parametrize(
    "y_val", [LABELS + 1, np.full(N, "a"), np.eye(3, dtype=int)[LABELS], TARGETS]
)
def test_validation_labels_are_those_of_the_training_data(scoring, y_val):
    model = RegMLPClassifier(4, early_stopping=True, scoring=scoring)
    with fails_naming("y_val"):
        model.fit(X, LABELS, X_val=X, y_val=y_val)


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
@pytest.mark.parametrize(
    "y_val",
    [np.full(N, NAN), np.full(N, INF), np.ones((N, 2)), np.ones((N, 2, 2))],
    ids=["nan", "inf", "two outputs", "3-d"],
)
def test_validation_targets_are_checked_like_targets(scoring, y_val):
    model = RegMLPRegressor(4, early_stopping=True, scoring=scoring)
    with fails_naming("y_val"):
        model.fit(X, TARGETS, X_val=X, y_val=y_val)


def test_validation_targets_are_in_the_range_of_the_loss():
    model = RegMLPRegressor(4, early_stopping=True, loss="gamma")
    with fails_naming("y_val", "loss='gamma'"):
        model.fit(X, np.abs(TARGETS), X_val=X, y_val=np.zeros(N))


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
def test_classifier_takes_a_column_of_validation_labels(binary, scoring):
    X, y = binary
    model = RegMLPClassifier(4, early_stopping=True, max_iter=3, random_state=0)
    model.set_params(scoring=scoring)
    flat = model.fit(X, y, X_val=X, y_val=y).validation_scores_
    column = model.fit(X, y, X_val=X, y_val=y[:, None]).validation_scores_
    assert column == flat


@pytest.mark.parametrize("scoring", [None, "loss", "accuracy"])
def test_classifier_takes_sparse_validation_labels(multilabel, scoring):
    X, y = multilabel
    model = RegMLPClassifier(4, early_stopping=True, max_iter=3, random_state=0)
    model.set_params(scoring=scoring)
    dense = model.fit(X, y, X_val=X, y_val=y).validation_scores_
    compact = sparse.csr_array(y)
    assert model.fit(X, compact, X_val=X, y_val=compact).validation_scores_ == dense


@BOTH
def test_validation_set_too_small_names_the_fraction(estimator):
    y = ESTIMATORS[estimator]
    with fails_naming("validation_fraction"):
        estimator(early_stopping=True, validation_fraction=0.01).fit(X, y)


@BOTH
def test_training_set_too_small_names_the_fraction(estimator):
    y = ESTIMATORS[estimator]
    with fails_naming("validation_fraction"):
        estimator(early_stopping=True, validation_fraction=0.99).fit(X, y)


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_class_too_rare_for_a_stratified_split_is_named(fraction):
    y = np.arange(N) == 0
    model = RegMLPClassifier(early_stopping=True, validation_fraction=fraction)
    with fails_naming("class", "1"):
        model.fit(X, y)


# partial_fit -------------------------------------------------------------------------


@BOTH
def test_partial_fit_says_which_solvers_have_it(estimator):
    model = estimator(solver="lbfgs")
    assert not hasattr(model, "partial_fit")
    with fails_naming("partial_fit", error=AttributeError) as error:
        model.partial_fit(X, ESTIMATORS[estimator])
    assert "solver='lbfgs'" in str(error.value.__cause__)


@BOTH
def test_partial_fit_has_no_early_stopping(estimator):
    model = estimator(early_stopping=True)
    with fails_naming("partial_fit", error=AttributeError) as error:
        model.partial_fit(X, ESTIMATORS[estimator])
    assert "early_stopping=True" in str(error.value.__cause__)


def test_partial_fit_refuses_balanced_class_weights():
    model = RegMLPClassifier(class_weight="balanced")
    with fails_naming("class_weight='balanced'", "partial_fit", "dict"):
        model.partial_fit(X, LABELS, classes=[0, 1])


def test_partial_fit_needs_classes_once():
    with fails_naming("classes must be passed on the first call to partial_fit"):
        RegMLPClassifier().partial_fit(X, LABELS)


def test_partial_fit_refuses_new_classes():
    model = RegMLPClassifier(4).partial_fit(X, LABELS, classes=[0, 1])
    with fails_naming("classes", "[0, 1, 2]"):
        model.partial_fit(X, LABELS, classes=[0, 1, 2])
    with fails_naming("y", "classes", "[0 1]"):
        model.partial_fit(X, LABELS + 1)
    with fails_naming("y", "classes", "[0 1]"):
        RegMLPClassifier(4).partial_fit(X, LABELS + 1, classes=[0, 1])


def test_partial_fit_refuses_another_kind_of_target():
    two, three = np.eye(2, dtype=int)[LABELS], np.eye(3, dtype=int)[LABELS]
    model = RegMLPClassifier(4).partial_fit(X, LABELS, classes=[0, 1])
    with fails_naming("y is of another kind"):
        model.partial_fit(X, two)
    model = RegMLPClassifier(4).partial_fit(X, three, classes=[0, 1, 2])
    with fails_naming("y has 2 labels, but 3"):
        model.partial_fit(X, two)


def test_partial_fit_refuses_another_number_of_outputs():
    model = RegMLPRegressor(4).partial_fit(X, TARGETS)
    with fails_naming("y", "output"):
        model.partial_fit(X, np.column_stack([TARGETS, TARGETS]))


# Changes after the first fit ---------------------------------------------------------


def fitted(estimator, X=X, **params):
    return estimator(4, max_iter=2, **params).fit(X, ESTIMATORS[estimator])


PREDICTING = {
    RegMLPClassifier: [
        "predict",
        "predict_proba",
        "predict_log_proba",
        "decision_function",
    ],
    RegMLPRegressor: ["predict"],
}
PREDICTIONS = [(e, method) for e, methods in PREDICTING.items() for method in methods]


@pytest.mark.parametrize(("estimator", "method"), PREDICTIONS)
def test_predicting_needs_a_fit(estimator, method):
    with pytest.raises(NotFittedError, match=estimator.__name__):
        getattr(estimator(), method)(X)


@BOTH
def test_importances_need_a_fit(estimator):
    with pytest.raises(NotFittedError, match=estimator.__name__):
        _ = estimator().feature_importances_


@pytest.mark.parametrize(("estimator", "method"), PREDICTIONS)
def test_predicting_checks_X(estimator, method):
    predict = getattr(fitted(estimator), method)
    with fails_naming("X has 2 features", "expecting 3 features"):
        predict(X[:, :2])
    with fails_naming("Expected 2D array"):
        predict(X[0])
    with fails_naming("X contains NaN"):
        predict(np.full((2, P), NAN))
    with fails_naming("X has a number that is beyond the range of floats"):
        predict([[10**400] * P])


@BOTH
def test_number_of_features_stays(estimator):
    y = ESTIMATORS[estimator]
    with fails_naming("X has 2 features", "expecting 3 features"):
        fitted(estimator).partial_fit(X[:, :2], y)
    with fails_naming("X has 2 features", "expecting 3 features"):
        fitted(estimator, warm_start=True).fit(X[:, :2], y)


@BOTH
def test_a_cold_fit_takes_another_number_of_features(estimator):
    model = fitted(estimator).fit(X[:, :2], ESTIMATORS[estimator])
    assert model.n_features_in_ == 2


@BOTH
def test_names_of_features_stay(estimator):
    y = ESTIMATORS[estimator]
    first = pd.DataFrame(X, columns=list("abc"))
    other = pd.DataFrame(X, columns=list("abd"))
    with fails_naming("feature names", "d"):
        fitted(estimator, first).predict(other)
    with fails_naming("feature names", "d"):
        fitted(estimator, first).partial_fit(other, y)
    with fails_naming("feature names", "d"):
        fitted(estimator, first, warm_start=True).fit(other, y)
    with fails_naming("feature names", "d"):
        model = estimator(4, early_stopping=True)
        model.fit(first, y, X_val=other, y_val=y)


@BOTH
@pytest.mark.parametrize("sizes", [5, (), (4, 4)])
def test_warm_start_needs_the_same_layers(estimator, sizes):
    model = fitted(estimator, warm_start=True).set_params(hidden_layer_sizes=sizes)
    with fails_naming("hidden_layer_sizes", repr(sizes)):
        model.fit(X, ESTIMATORS[estimator])


def test_warm_start_needs_the_same_outputs():
    model = fitted(RegMLPRegressor, warm_start=True)
    with fails_naming("y", "output"):
        model.fit(X, np.column_stack([TARGETS, TARGETS]))


@pytest.mark.parametrize("y", [LABELS + 1, LABELS * 0, np.arange(N) % 3])
def test_warm_start_needs_the_same_classes(y):
    model = fitted(RegMLPClassifier, warm_start=True)
    with fails_naming("warm_start", "`y`", "classes", "[0 1]"):
        model.fit(X, y)


@pytest.mark.parametrize("penalty", [L1(), L2()])
def test_good_input_gives_no_error(penalty):
    model = RegMLPRegressor((np.int64(3),), penalty=penalty, reg_lambda=np.float32(0.1))
    model.set_params(max_iter=np.int32(2), n_iter_no_change=np.inf, verbose=0)
    assert model.fit(X, TARGETS).n_iter_ == 2


@pytest.mark.parametrize("random_state", [None, np.random], ids=["None", "module"])
def test_global_generator_gives_only_a_seed(random_state):
    """A fit that held it would rewind what others draw meanwhile."""
    everybodys = utils.check_random_state(None)
    previous = everybodys.get_state()
    try:
        everybodys.seed(0)
        own = check_random_state(RegMLPClassifier(random_state=random_state))
        drawn = everybodys.normal()
    finally:
        everybodys.set_state(previous)
    assert own is not everybodys
    twin = np.random.RandomState(0)
    seed = twin.randint(2**32, dtype=np.uint32)
    assert own.normal() == np.random.RandomState(seed).normal()
    assert drawn == twin.normal()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("container", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e39), ("float64", 1e308)])
def test_a_prediction_beyond_floats_names_the_row(dtype, size, container):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(30, 3)).astype(dtype), rng.integers(3, size=30)
    classifier = RegMLPClassifier((4,), max_iter=2, random_state=0).fit(X, y)
    regressor = RegMLPRegressor((4,), max_iter=2, random_state=0).fit(X, y)
    classifier.coefs_[0][:] = regressor.coefs_[0][:] = 10
    large = X.astype(float)
    large[7] = size
    for predict in (
        classifier.predict,
        classifier.predict_proba,
        classifier.decision_function,
        regressor.predict,
    ):
        with pytest.raises(
            ValueError, match=f"row 7 of X .* beyond {dtype},.* Scale X"
        ):
            predict(container(large))


NUMBERS_IN_FEW_BITS = [
    {"hidden_layer_sizes": (np.int8(100), np.int8(100)), "max_iter": np.int8(3)},
    {"batch_size": np.int8(100)},
    {"max_iter": np.uint8(200), "learning_rate": "cosine"},
    {"max_iter": np.int8(2), "n_iter_no_change": np.int8(1), "tol": np.float16(0.5)},
    {"learning_rate_init": np.float16(0.25), "epsilon": np.float16(2**-14)},
    {"solver": "sgd", "momentum": np.float16(0.75), "learning_rate": "invscaling"},
    {"solver": "sgd", "power_t": np.float16(0.75), "learning_rate": "invscaling"},
    {"early_stopping": True, "validation_fraction": np.float16(0.25)},
    {"solver": "lbfgs", "max_fun": np.int8(100), "max_iter": np.int8(100)},
    {"ema": np.float16(0.5), "beta_1": np.float16(0.5), "beta_2": np.float16(0.75)},
    {"random_state": np.int8(5), "reg_lambda": np.float16(0.5)},
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", NUMBERS_IN_FEW_BITS, ids=str)
def test_numbers_in_few_bits_do_not_overflow(parameters):
    def plain(value):
        return value.item() if isinstance(value, np.generic) else value

    X = np.random.default_rng(0).normal(size=(300, 3))
    y, shared = X[:, 0], {"max_iter": 3, "random_state": 5}
    parameters = {**shared, **parameters}
    model = RegMLPRegressor(**parameters).fit(X, y)
    expected = RegMLPRegressor(**{k: plain(v) for k, v in parameters.items()}).fit(X, y)
    assert_array_equal(model.predict(X), expected.predict(X))


def test_a_seed_in_few_bits_is_one_of_a_search():
    X = np.random.default_rng(0).normal(size=(30, 3))
    options = {"reg_lambdas": [0.1], "cv": 2, "max_iter": 300}
    model = RegMLPRegressorCV((2,), random_state=np.int8(5), **options).fit(X, X[:, 0])
    expected = RegMLPRegressorCV((2,), random_state=5, **options).fit(X, X[:, 0])
    assert_array_equal(model.predict(X), expected.predict(X))


@pytest.mark.parametrize("seed", [0, 1, np.int64(7), 2**32 - 1])
def test_generators_of_seeds_are_those_of_numpy(seed):
    rng, expected = seeded(seed), np.random.RandomState(seed)
    for _ in range(2):
        assert_array_equal(rng.normal(size=700), expected.normal(size=700))
        assert_array_equal(rng.permutation(50), expected.permutation(50))
