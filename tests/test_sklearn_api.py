"""scikit-learn's own checks, its tools around the estimators, and serialization."""

import pickle
from functools import partial

import cloudpickle
import joblib
import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import BaggingClassifier, StackingRegressor, VotingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE, SelectFromModel
from sklearn.inspection import permutation_importance
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    RandomizedSearchCV,
    cross_validate,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import check_estimator

from skreg import RegMLPClassifier, RegMLPRegressor
from skreg.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    SparseGroupLasso,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
SOLVERS = ["sgd", "rmsprop", "adam", "lbfgs"]

classifier = partial(RegMLPClassifier, 8, max_iter=20, random_state=0)
regressor = partial(RegMLPRegressor, 8, max_iter=20, random_state=0)


# check_estimator ---------------------------------------------------------------------

EARLY = {"early_stopping": True, "validation_fraction": 0.3}
# The checks that compare two fits to 1e-7 need few iterations, or a unique minimum: in
# between, a quasi-Newton method amplifies the rounding of sums in another order.
LBFGS = {"solver": "lbfgs", "max_iter": 12}
CONVEX = {"hidden_layer_sizes": (), "tol": 1e-10, "max_iter": 1000, "reg_lambda": 0.01}
CONFIGURATIONS = [
    *[{"solver": solver} for solver in ("sgd", "rmsprop", "adam")],
    *[{"penalty": name} for name in (None, "l1", "elasticnet")],
    *[{"penalty": name} for name in ("group_lasso", "sparse_group_lasso")],
    *[{"penalty": penalty} for penalty in (MCP(), GroupLasso(by="units"))],
    {"penalty": ["l1", "l2"], "reg_lambda": [1e-3, 1e-4], "activation": "tanh"},
    *[{"decay_mode": mode} for mode in ("coupled", "decoupled", "proximal")],
    *[LBFGS | {"penalty": name} for name in ("l2", "l1", "group_lasso")],
    # Trained to the end, a free network fits the noise of the check of class weights.
    LBFGS | {"penalty": None, "hidden_layer_sizes": (), "tol": 1e-2},
    *[LBFGS | CONVEX | {"penalty": name} for name in ("l2", "l1")],
    {"solver": "sgd", "penalty": "l1", "learning_rate": "adaptive"},
    {"learning_rate": "cosine", "penalize_intercepts": True},
    EARLY | {"scoring": "loss"},
    {"hidden_layer_sizes": (), "learning_rate_init": 0.1},
]
LOSSES = [{"loss": loss} for loss in ("absolute_error", "huber", "quantile")]
POSITIVE = [s | {"loss": loss} for s in ({}, LBFGS) for loss in ("poisson", "gamma")]

# For speed. The defaults are checked as they are, in tests of their own.
QUICK = {"hidden_layer_sizes": 20, "learning_rate_init": 0.01}

# scikit-learn skips these itself where an optional setting is missing.
OPTIONAL = {"check_array_api_input"}


# Early stopping draws rows as they lie, like scikit-learn's own networks: copies of a
# row may end on both sides, a weighted row is on one.
SPLIT = {
    f"check_sample_weight_equivalence_on_{kind}_data": "rows are drawn, not copies"
    for kind in ("dense", "sparse")
}


@pytest.fixture(autouse=True)
def checks_with_their_own_data(monkeypatch):
    """Before 1.7, checks of positive targets shift in place what all checks share."""
    monkeypatch.setattr(estimator_checks, "REGRESSION_DATASET", None, raising=False)


def outcomes(estimator, expected):
    """Names of the checks by status, and the errors of those that failed."""
    results = check_estimator(
        estimator, expected_failed_checks=expected, on_fail=None, on_skip=None
    )
    status = {"passed": set(), "failed": set(), "skipped": set(), "xfail": set()}
    for result in results:
        status[result["status"]].add(result["check_name"])
    errors = [
        (r["check_name"], r["exception"]) for r in results if r["status"] == "failed"
    ]
    return status, errors


def assert_passes_every_check(estimator):
    expected = SPLIT if estimator.early_stopping else {}
    status, errors = outcomes(estimator, expected)
    assert not errors
    assert status["xfail"] == set(expected)
    assert status["skipped"] <= OPTIONAL
    assert len(status["passed"]) > 40
    assert set(SPLIT) <= status["passed"] | status["xfail"]


@BOTH
@pytest.mark.parametrize(
    "params", [{}, LBFGS, EARLY | {"learning_rate_init": 0.01}], ids=str
)
def test_default_network_passes_every_check(estimator, params):
    assert_passes_every_check(estimator(**params))


@pytest.mark.parametrize("params", CONFIGURATIONS, ids=str)
def test_classifier_passes_every_check(params):
    assert_passes_every_check(RegMLPClassifier(**QUICK | params))


@pytest.mark.parametrize("params", CONFIGURATIONS + LOSSES + POSITIVE, ids=str)
def test_regressor_passes_every_check(params):
    assert_passes_every_check(RegMLPRegressor(**QUICK | params))


@pytest.mark.parametrize("loss", ["poisson", "gamma", "squared_error", "huber", []])
def test_losses_of_positive_targets_say_so_in_their_tags(loss):
    tags = RegMLPRegressor(loss=loss).__sklearn_tags__()
    assert tags.target_tags.positive_only == (loss in ("poisson", "gamma"))


# check_estimator in float32 ----------------------------------------------------------


def to_float32(X):
    """X in float32, where it holds real numbers."""
    if hasattr(X, "dtypes"):
        return X.astype(np.float32)
    X = X if sparse.issparse(X) else np.asarray(X)
    return X.astype(np.float32) if X.dtype.kind in "fiuO" else X


class SinglePrecision:
    """Casts X to float32, whatever a check passes."""

    def fit(self, X, y, sample_weight=None):
        super().fit(to_float32(X), y, sample_weight)
        assert {W.dtype for W in self.coefs_} == {np.dtype(np.float32)}
        return self

    def predict(self, X):
        return super().predict(to_float32(X))


class SingleClassifier(SinglePrecision, RegMLPClassifier):
    def predict_proba(self, X):
        return super().predict_proba(to_float32(X))

    def decision_function(self, X):
        return super().decision_function(to_float32(X))


class SingleRegressor(SinglePrecision, RegMLPRegressor):
    pass


SINGLE = pytest.mark.parametrize("estimator", [SingleClassifier, SingleRegressor])


@SINGLE
@pytest.mark.parametrize(
    "params",
    [LBFGS, LBFGS | {"penalty": "l1"}, LBFGS | CONVEX],
    ids=str,
)
def test_lbfgs_passes_every_check_in_float32(estimator, params):
    assert_passes_every_check(estimator(**QUICK | params))


@SINGLE
@pytest.mark.parametrize(
    "params",
    [
        {"solver": "sgd"},
        {"solver": "rmsprop"},
        {"solver": "adam"},
        {"solver": "adam", "penalty": "l1"},
        {"hidden_layer_sizes": (), "learning_rate_init": 0.1},
    ],
    ids=str,
)
def test_passes_every_check_in_float32_up_to_rounding(estimator, params, monkeypatch):
    # Weights and repeated rows are compared to 1e-7, but summed in another order.
    compare = estimator_checks.assert_allclose_dense_sparse

    def tolerant(x, y, rtol=1e-7, atol=1e-9, err_msg=""):
        if "`sample_weight`" in err_msg:
            rtol, atol = 1e-4, 1e-5
        compare(x, y, rtol, atol, err_msg)

    monkeypatch.setattr(estimator_checks, "assert_allclose_dense_sparse", tolerant)
    assert_passes_every_check(estimator(**QUICK | params))


@pytest.mark.parametrize("params", CONFIGURATIONS, ids=str)
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_float32_stays_float32_in_the_classifier(kind, params, request):
    X, y = request.getfixturevalue(kind)
    X = X.astype(np.float32)
    model = RegMLPClassifier(8, max_iter=3).set_params(**params).fit(X, y)
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {X.dtype}
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(model, method)(X).dtype == X.dtype
        assert getattr(model, method)(X.astype(np.float64)).dtype == X.dtype


@pytest.mark.parametrize("params", CONFIGURATIONS + LOSSES, ids=str)
def test_float32_stays_float32_in_the_regressor(multioutput, params):
    X, y = multioutput
    X = X.astype(np.float32)
    model = RegMLPRegressor(8, max_iter=3).set_params(**params).fit(X, y)
    assert {a.dtype for a in model.coefs_ + model.intercepts_} == {X.dtype}
    assert model.predict(X).dtype == model.predict(sparse.csr_array(X)).dtype == X.dtype


# Parameters --------------------------------------------------------------------------

OTHER_VALUES = {
    "hidden_layer_sizes": (7, 3),
    "activation": "gelu",
    "penalty": [ElasticNet(l1_ratio=0.3), None, "l1"],
    "reg_lambda": [0.1, 0.2, 0.3],
    "l1_ratio": 0.25,
    "decay_mode": "proximal",
    "penalize_intercepts": True,
    "solver": "sgd",
    "learning_rate_init": 0.02,
    "learning_rate": "cosine",
    "power_t": 0.75,
    "momentum": 0.5,
    "nesterovs_momentum": False,
    "beta_1": 0.8,
    "beta_2": 0.99,
    "rho": 0.95,
    "epsilon": 1e-6,
    "batch_size": 11,
    "max_iter": 17,
    "max_fun": 123,
    "tol": 1e-3,
    "shuffle": False,
    "random_state": 42,
    "early_stopping": True,
    "validation_fraction": 0.25,
    "n_iter_no_change": np.inf,
    "ema": 0.5,
    "scoring": "loss",
    "warm_start": True,
    "verbose": 1,
    "device": "torch:cpu",
    "precision": "tf32",
    "n_jobs": 2,
}
OTHER_VALUES_OF = {
    RegMLPClassifier: OTHER_VALUES | {"class_weight": "balanced"},
    RegMLPRegressor: OTHER_VALUES | {"loss": "quantile", "quantile": 0.75},
}


@BOTH
def test_clone_keeps_every_parameter(estimator):
    values = OTHER_VALUES_OF[estimator]
    default = estimator().get_params(deep=False)
    assert set(values) == set(default)
    assert not [name for name in values if values[name] == default[name]]
    model = clone(estimator(**values))
    shown = {name: repr(value) for name, value in model.get_params(deep=False).items()}
    assert shown == {name: repr(value) for name, value in values.items()}


@BOTH
def test_constructor_and_set_params_agree(estimator):
    values = OTHER_VALUES_OF[estimator]
    model = estimator().set_params(**values)
    assert model.get_params(deep=False) == estimator(**values).get_params(deep=False)
    for name, value in values.items():
        assert getattr(model, name) is value


@BOTH
def test_fit_keeps_parameters_and_given_objects(estimator, binary):
    pytest.importorskip("torch")
    X, y = binary
    y = (y == "yes").astype(int)
    values = OTHER_VALUES_OF[estimator] | {"max_iter": 2, "verbose": 0}
    before = joblib.hash(values)
    model = estimator(**values).fit(X, y)
    assert joblib.hash(values) == before
    for name, value in values.items():
        assert getattr(model, name) is value


@BOTH
def test_clone_is_unfitted(estimator, binary):
    X, y = binary
    model = clone(estimator(4, max_iter=2).fit(X, (y == "yes").astype(int)))
    assert vars(model) == model.get_params(deep=False)


@BOTH
def test_repr_shows_what_differs_from_the_default(estimator):
    name = estimator.__name__
    assert repr(estimator()) == f"{name}()"
    model = estimator((5,), penalty=GroupLasso(by="units"), reg_lambda=0.1)
    assert " ".join(repr(model).split()) == (
        f"{name}(hidden_layer_sizes=(5,), penalty=GroupLasso(by='units'), "
        "reg_lambda=0.1)"
    )


def test_parameters_of_a_penalty_are_parameters_of_the_estimator():
    penalty = ElasticNet(l1_ratio=0.3)
    model = RegMLPClassifier(penalty=penalty)
    assert model.get_params()["penalty__l1_ratio"] == 0.3
    copied = clone(model).set_params(penalty__l1_ratio=0.9)
    assert copied.penalty.l1_ratio == 0.9
    assert penalty.l1_ratio == 0.3
    with pytest.raises(ValueError, match="Invalid parameter 'gamma'"):
        model.set_params(penalty__gamma=1.0)


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("l1", L1()),
        ("l2", L2()),
        ("elasticnet", ElasticNet(l1_ratio=0.3)),
        ("group_lasso", GroupLasso()),
        ("sparse_group_lasso", SparseGroupLasso(l1_ratio=0.3)),
    ],
)
def test_name_and_object_of_a_penalty_are_the_same(regression, name, penalty):
    X, y = regression
    named = regressor(penalty=name, l1_ratio=0.3, reg_lambda=0.01).fit(X, y)
    model = regressor(penalty=penalty, reg_lambda=0.01).fit(X, y)
    assert_array_equal(model.predict(X), named.predict(X))
    assert model.loss_curve_ == named.loss_curve_


def test_grid_over_parameters_of_a_penalty(regression):
    X, y = regression
    grid = {"penalty__gamma": [1.5, 3.0], "reg_lambda": [0.01, 0.1]}
    search = GridSearchCV(regressor(penalty=MCP()), grid, cv=2).fit(X, y)
    gammas = [params["penalty__gamma"] for params in search.cv_results_["params"]]
    assert gammas == [1.5, 1.5, 3.0, 3.0]
    assert search.best_estimator_.penalty.gamma == search.best_params_["penalty__gamma"]


def test_grid_over_penalties(regression):
    X, y = regression
    penalties = [None, "l1", GroupLasso(), ["l1", "l2"], SCAD()]
    network = regressor(reg_lambda=0.1)
    search = GridSearchCV(network, {"penalty": penalties}, cv=2).fit(X, y)
    first = np.arange(len(y)) < (len(y) + 1) // 2
    by_hand = [
        [
            clone(network)
            .set_params(penalty=penalty)
            .fit(X[~rows], y[~rows])
            .score(X[rows], y[rows])
            for rows in (first, ~first)
        ]
        for penalty in penalties
    ]
    scores = search.cv_results_["mean_test_score"]
    assert_allclose(scores, np.mean(by_hand, axis=1), rtol=1e-12)
    assert len(np.unique(scores)) == len(penalties)


# Model selection ---------------------------------------------------------------------


def test_grid_over_lambda_in_a_pipeline():
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), RegMLPClassifier(penalty="l1"))
    grid = {"regmlpclassifier__reg_lambda": np.logspace(-4, -1, 4)}
    search = GridSearchCV(model, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.95
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.predict_proba(X).shape == (len(y), 2)


def test_search_gives_the_same_scores_in_threads(binary):
    X, y = binary
    grid = {"reg_lambda": [1e-4, 1e-2, 1.0]}
    expected = GridSearchCV(classifier(), grid, cv=3).fit(X, y).cv_results_
    with joblib.parallel_config("threading", n_jobs=2):
        search = GridSearchCV(classifier(), grid, cv=3).fit(X, y)
    scores = search.cv_results_["mean_test_score"]
    assert_array_equal(scores, expected["mean_test_score"])


def test_randomized_search(binary):
    X, y = binary
    space = {"reg_lambda": np.logspace(-5, 0, 20), "penalty": ["l1", "group_lasso"]}
    search = RandomizedSearchCV(classifier(), space, n_iter=4, cv=2, random_state=0)
    assert search.fit(X, y).score(X, y) > 0.5


def test_halving_search_over_epochs(binary):
    X, y = binary
    search = HalvingGridSearchCV(
        classifier(),
        {"reg_lambda": [1e-4, 1e-2, 1.0]},
        resource="max_iter",
        min_resources=4,
        max_resources=40,
        cv=2,
        random_state=0,
    ).fit(X, y)
    assert search.best_estimator_.max_iter == search.n_resources_[-1]


def test_cross_validate(regression):
    X, y = regression
    scores = cross_validate(
        regressor(max_iter=200, learning_rate_init=0.01),
        X,
        y,
        scoring=["r2", "neg_mean_absolute_error"],
        return_train_score=True,
        return_estimator=True,
    )
    assert scores["train_r2"].min() > 0.9
    assert len({W.coefs_[0][0, 0] for W in scores["estimator"]}) == 5


# Meta-estimators ---------------------------------------------------------------------


def with_noise_inputs(X):
    """X with as many inputs of pure noise behind it."""
    return np.hstack([X, np.random.default_rng(0).normal(size=X.shape)])


@pytest.mark.parametrize("penalty", ["l1", "group_lasso"])
def test_select_from_model_keeps_the_inputs_that_are_used(regression, penalty):
    X, y = regression
    X = with_noise_inputs(X)
    model = regressor(penalty=penalty, reg_lambda=0.02, learning_rate_init=0.01)
    model.set_params(max_iter=500)
    select = SelectFromModel(model, threshold=1e-12).fit(X, y)
    used = select.estimator_.feature_importances_ > 0
    assert_array_equal(select.get_support(), used)
    assert 0 < used.sum() < 8
    assert select.transform(X).shape == (len(y), used.sum())


def test_recursive_feature_elimination_drops_noise(regression):
    X, y = regression
    model = regressor(penalty="group_lasso", reg_lambda=0.01, max_iter=300)
    model.set_params(learning_rate_init=0.01)
    rfe = RFE(model, n_features_to_select=4).fit(with_noise_inputs(X), y)
    assert_array_equal(rfe.support_, [True] * 4 + [False] * 4)


def test_bagging(binary):
    X, y = binary
    bagging = BaggingClassifier(classifier(), n_estimators=3, random_state=0)
    assert bagging.fit(X, y).predict_proba(X).shape == (len(y), 2)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(kind, method, request):
    X, y = request.getfixturevalue(kind)
    model = CalibratedClassifierCV(classifier(), method=method, cv=2).fit(X, y)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_transformed_target(regression):
    X, y = regression
    y = np.exp(y)
    model = TransformedTargetRegressor(regressor(), func=np.log, inverse_func=np.exp)
    plain = regressor().fit(X, np.log(y))
    assert_allclose(model.fit(X, y).predict(X), np.exp(plain.predict(X)))


def test_ensembles_of_different_networks(binary, regression):
    X, y = binary
    members = [("wide", classifier()), ("linear", RegMLPClassifier((), max_iter=5))]
    voting = VotingClassifier(members, voting="soft").fit(X, y)
    assert set(voting.predict(X)) <= {"no", "yes"}
    X, y = regression
    stack = StackingRegressor([("a", regressor())], regressor(), cv=2).fit(X, y)
    assert stack.predict(X).shape == y.shape


def test_one_network_per_output(multioutput):
    X, y = multioutput
    model = MultiOutputRegressor(regressor()).fit(X, y)
    expected = regressor().fit(X, y[:, 1]).predict(X)
    assert_array_equal(model.predict(X)[:, 1], expected)


def test_permutation_importance_of_an_unused_input_is_zero(regression):
    X, y = regression
    X = with_noise_inputs(X)
    model = regressor(penalty="group_lasso", reg_lambda=0.05, max_iter=500)
    model.set_params(learning_rate_init=0.01).fit(X, y)
    unused = model.feature_importances_ == 0
    assert unused.any()
    importance = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    assert_allclose(importance.importances_mean[unused], 0, atol=1e-12)


# Metadata routing --------------------------------------------------------------------


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def test_pipeline_routes_and_transforms_validation_data(binary, routing):
    X, y = binary
    train, val = slice(20, None), slice(20)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    model = classifier(early_stopping=True).set_fit_request(
        sample_weight=True, X_val=True, y_val=True, sample_weight_val=True
    )
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    pipeline = Pipeline([("scale", scaler), ("net", model)], transform_input=["X_val"])
    pipeline.fit(
        X[train],
        y[train],
        sample_weight=weight[train],
        X_val=X[val],
        y_val=y[val],
        sample_weight_val=weight[val],
    )
    scaler = StandardScaler().fit(X[train])
    expected = classifier(early_stopping=True).fit(
        scaler.transform(X[train]),
        y[train],
        weight[train],
        X_val=scaler.transform(X[val]),
        y_val=y[val],
        sample_weight_val=weight[val],
    )
    assert pipeline["net"].validation_scores_ == expected.validation_scores_
    assert_array_equal(pipeline["net"].coefs_[0], expected.coefs_[0])


def test_search_routes_sample_weight(regression, routing):
    X, y = regression
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    model = regressor().set_fit_request(sample_weight=True)
    model.set_score_request(sample_weight=True)
    grid = {"reg_lambda": [1e-3, 0.1]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y, sample_weight=weight)
    best = regressor(**search.best_params_).fit(X, y, weight)
    assert_array_equal(search.best_estimator_.coefs_[0], best.coefs_[0])


@BOTH
def test_unrequested_metadata_is_refused(estimator, routing, binary):
    X, y = binary
    pipeline = make_pipeline(FunctionTransformer(), estimator())
    with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="X_val"):
        pipeline.fit(X, (y == "yes").astype(int), X_val=X)


def test_partial_fit_can_be_routed(routing):
    request = RegMLPClassifier().set_partial_fit_request(classes=True)
    assert request.get_metadata_routing().partial_fit.requests["classes"] is True


# Serialization -----------------------------------------------------------------------


def through_file(model, path):
    joblib.dump(model, path / "model.joblib")
    return joblib.load(path / "model.joblib")


ROUND_TRIPS = {
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "joblib": through_file,
    "cloudpickle": lambda model, path: pickle.loads(cloudpickle.dumps(model)),
}
FITTED = [
    *[{"solver": solver} for solver in SOLVERS],
    {"penalty": "group_lasso"},
    {"penalty": [MCP(), None]},
    {"early_stopping": True, "validation_fraction": 0.3, "scoring": "accuracy"},
]


@pytest.mark.parametrize("way", ROUND_TRIPS)
@pytest.mark.parametrize("params", FITTED, ids=str)
def test_round_trip_predicts_and_continues_the_same(binary, tmp_path, way, params):
    X, y = binary
    model = classifier(batch_size=16, warm_start=True).set_params(**params).fit(X, y)
    copied = ROUND_TRIPS[way](model, tmp_path)
    assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    assert joblib.hash(copied.__getstate__()) == joblib.hash(model.__getstate__())
    method = "partial_fit" if hasattr(model, "partial_fit") else "fit"
    for network in (model, copied):
        getattr(network, method)(X, y)
    assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    assert copied.loss_curve_ == model.loss_curve_


def test_round_trip_of_a_memory_map(regression, tmp_path):
    X, y = regression
    model = regressor(warm_start=True).fit(X, y)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert_array_equal(mapped.predict(X), model.predict(X))
    mapped.partial_fit(X, y)
    assert_array_equal(mapped.coefs_[0], model.partial_fit(X, y).coefs_[0])


@BOTH
def test_unfitted_estimators_can_be_pickled(estimator):
    model = estimator(**OTHER_VALUES_OF[estimator])
    assert repr(pickle.loads(pickle.dumps(model))) == repr(model)


def arrays_in(value):
    """Every array that a fitted estimator holds, at any depth."""
    if isinstance(value, np.ndarray):
        yield value
        return
    if isinstance(value, dict):
        parts = value.values()
    elif isinstance(value, list | tuple | set):
        parts = value
    else:
        parts = vars(value).values() if hasattr(value, "__dict__") else ()
    for part in parts:
        yield from arrays_in(part)


def fit_on(n, params):
    """Fit on n rows; the size of everything else does not depend on n."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    model = classifier(tol=0.0, n_iter_no_change=np.inf, max_iter=3, batch_size=50)
    return model.set_params(**params).fit(X, X[:, 0] > 0, np.ones(n))


@pytest.mark.parametrize("params", FITTED, ids=str)
def test_fitted_estimator_holds_no_data(params):
    model = fit_on(997, params)
    arrays = list(arrays_in(model))
    assert len(arrays) >= 4
    assert max(array.size for array in arrays) < 700  # 624 words of the random state
    small, large = (len(pickle.dumps(fit_on(n, params))) for n in (200, 2000))
    assert abs(large - small) < 100
