"""Choosing candidates and lambda: grids of parameters, folds kept, races."""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    RepeatedKFold,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
)
from skreg._cv import _search_base, _support
from skreg.penalties import MCP, ElasticNet

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TANH = {"solver": "lbfgs", "activation": "tanh", "tol": 1e-3, "random_state": 0}
EXACT = {"solver": "lbfgs", "tol": 1e-8, "max_iter": 5000, "random_state": 0}
LAMBDAS = [0.003, 0.03, 0.3]


def search(estimator=RegMLPRegressorCV, hidden=(3,), **params):
    return estimator(hidden, **{**TANH, "cv": 3, "reg_lambdas": LAMBDAS, **params})


# Splits ------------------------------------------------------------------------------


@pytest.mark.parametrize("cv", [LeaveOneOut(), 60, [(np.arange(1, 60), [0])]], ids=str)
@pytest.mark.parametrize("scoring", [None, "r2"])
def test_r2_of_single_rows_is_refused_before_any_fit(
    regression, monkeypatch, cv, scoring
):
    X, y = regression
    monkeypatch.setattr(_search_base, "choose", None)
    with pytest.raises(ValueError, match=r"single rows.*R2.*scoring='loss'.*cv='loo'"):
        search(cv=cv, scoring=scoring).fit(X[:60], y[:60])


def test_rows_of_weight_0_are_none_for_r2(regression):
    X, y = regression
    weights, folds = np.ones(60), [([*range(2, 60)], [0, 1]), ([*range(58)], [58, 59])]
    weights[0] = 0
    with pytest.raises(ValueError, match="single rows"):
        search(cv=folds).fit(X[:60], y[:60], weights)


def test_the_loss_of_single_rows_is_a_score(regression):
    X, y = regression
    model = search(hidden=(), cv=LeaveOneOut(), scoring="loss").fit(X[:8], y[:8])
    assert model.scores_.shape == (8, 3)


# Grids of parameters -----------------------------------------------------------------


@pytest.mark.parametrize("start", ["warm", "cold"])
def test_convex_problems_give_the_results_of_grid_search(binary, start):
    X, y = binary
    grid = [
        {"penalty": ["l1", "elasticnet"], "l1_ratio": [0.3, 0.9]},
        {"class_weight": ["balanced"]},
    ]
    model = RegMLPClassifierCV(
        (), param_grid=grid, reg_lambdas=LAMBDAS, cv=3, start=start, **EXACT
    )
    theirs = GridSearchCV(
        RegMLPClassifier((), **EXACT),
        [{**part, "reg_lambda": LAMBDAS[::-1]} for part in grid],
        cv=3,
        scoring="neg_log_loss",
        return_train_score=True,
    ).fit(X, y)
    model.set_params(scoring="neg_log_loss").fit(X, y)
    mine, expected = model.cv_results_, theirs.cv_results_
    assert set(mine) == set(expected) | {"n_features", "n_units"}
    order = [mine["params"].index(params) for params in expected["params"]]
    for name, values in expected.items():
        if name.startswith("param_"):
            assert_array_equal(mine[name][order].mask, values.mask)
        elif "score" in name and "time" not in name and "std" not in name:
            assert_allclose(mine[name][order], values, rtol=1e-5, atol=1e-7)
    assert model.best_params_ == theirs.best_params_
    assert mine["params"][model.best_index_] == theirs.best_params_
    assert_allclose(model.best_score_, theirs.best_score_, rtol=1e-6)
    assert_allclose(
        model.predict_proba(X), theirs.predict_proba(X), rtol=1e-4, atol=1e-6
    )
    assert type(model.best_estimator_) is RegMLPClassifier
    expected = theirs.best_estimator_.get_params()
    expected |= {"scoring": "neg_log_loss", "precision": "tf32"}
    assert model.best_estimator_.get_params() == expected


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_cold_starts_are_those_of_grid_search(regression, solver):
    X, y = regression
    params = {**TANH, "solver": solver, "max_iter": 20, "activation": "relu"}
    model = search(start="cold", **params).fit(X, y)
    theirs = GridSearchCV(
        RegMLPRegressor((3,), **params), {"reg_lambda": LAMBDAS}, cv=3
    ).fit(X, y)
    for k in range(3):
        name = f"split{k}_test_score"
        assert_array_equal(model.cv_results_[name], theirs.cv_results_[name])
    assert_array_equal(model.predict(X), theirs.predict(X))


def test_candidates_do_not_know_of_each_other(regression):
    X, y = regression
    grid = {"penalty": ["l2", MCP()], "hidden_layer_sizes": [(2,), ()]}
    y = y + np.random.default_rng(0).normal(size=len(y))
    together = search(param_grid=grid, reg_lambdas=4).fit(X, y)
    rows = iter(together.cv_results_["params"])
    first = 0
    for hidden in ((2,), ()):
        for penalty in grid["penalty"]:
            alone = search(hidden=hidden, penalty=penalty, reg_lambdas=4).fit(X, y)
            n = len(alone.reg_lambdas_)
            part = slice(first, first + n)
            first += n
            got = together.cv_results_["mean_test_score"][part]
            assert_array_equal(got, alone.mean_scores_)
            params = [next(rows) for _ in range(n)]
            assert all(p["hidden_layer_sizes"] == hidden for p in params)
            assert [p["reg_lambda"] for p in params] == alone.reg_lambdas_.tolist()
    assert first == len(together.cv_results_["params"])
    best = together.best_estimator_
    chosen = search(hidden=best.hidden_layer_sizes, penalty=best.penalty)
    chosen.set_params(reg_lambdas=4).fit(X, y)
    assert_array_equal(chosen.predict(X), together.predict(X))


def test_nested_parameters_and_no_penalty(regression):
    X, y = regression
    y = y + np.random.default_rng(0).normal(size=len(y))
    model = search(penalty=MCP(), param_grid={"penalty__gamma": [2.0, 5.0]}).fit(X, y)
    gammas = [p["penalty__gamma"] for p in model.cv_results_["params"]]
    assert gammas == [2.0] * 3 + [5.0] * 3
    assert model.best_estimator_.penalty.gamma == model.best_params_["penalty__gamma"]
    assert model.penalty.gamma == MCP().gamma
    free = search(param_grid={"penalty": [None, "l1"]}, reg_lambdas=3).fit(X, y)
    table = free.cv_results_
    assert table["params"][0] == {"penalty": None, "reg_lambda": 0.0}
    assert [p["penalty"] for p in table["params"][1:]].count("l1") >= 3


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"alpha": [1]}, "'alpha' .* 'reg_lambdas'"),
        ({"reg_lambda": [1]}, "'reg_lambda' .* 'reg_lambdas'"),
        ({"colour": [1]}, "Invalid parameter 'colour'"),
        ({"cv": [2]}, "Invalid parameter 'cv'"),
        ({"scoring": ["r2"]}, "'param_grid' .* without scoring"),
        ({"max_features": [2]}, "'param_grid' .* without max_features"),
        ({"penalty": "l1"}, "'param_grid' parameter of RegMLPRegressorCV"),
        ({"penalty": []}, "'param_grid' parameter"),
        ("best", "'param_grid' parameter"),
        (3, "'param_grid' parameter"),
        ("", "'param_grid' parameter .* no candidates"),
        ([], "'param_grid' parameter .* no candidates"),
        ({"activation": ["step"]}, "'activation' parameter"),
    ],
)
def test_wrong_grids_are_named(regression, grid, message):
    model = search(param_grid=grid)
    with pytest.raises(ValueError, match=message):
        model.fit(*blobs())
    assert vars(model) == model.get_params(deep=False)


def test_losses_are_only_compared_by_a_score(regression):
    X, y = regression
    model = search(param_grid={"loss": ["squared_error", "huber"]})
    assert model.fit(X, y).best_params_["loss"] in ("squared_error", "huber")
    with pytest.raises(ValueError, match=r"'scoring' parameter .* compare"):
        model.set_params(scoring="loss").fit(X, y)


@pytest.mark.parametrize(
    "estimator, params, grid",
    [
        (RegMLPRegressorCV, {"loss": "quantile", "solver": "adam"}, [0.05, 0.5]),
        (RegMLPClassifierCV, {}, [None, {0: 100, 1: 1}]),
    ],
    ids=["quantile", "class_weight"],
)
def test_losses_of_other_levels_or_weights_are_not_compared(estimator, params, grid):
    """The most lopsided one would win, as it is the least."""
    X, y = blobs()
    y = y if params else y > 0
    name = "quantile" if params else "class_weight"
    model = search(estimator, (), scoring="loss", **params)
    with pytest.raises(ValueError, match=r"'scoring' parameter .* compare .*weight'"):
        model.set_params(param_grid={name: grid}).fit(X, y)
    same = model.set_params(param_grid={name: grid[:1], "l1_ratio": [0.1, 0.9]})
    assert same.fit(X, y).best_params_[name] == grid[0]


def arrow(X, y):
    arrow = pytest.importorskip("pyarrow")
    return arrow.table({f"x{k}": x for k, x in enumerate(X.T)}), arrow.array(y)


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
def test_tables_of_arrow_are_split_for_scorers(scoring):
    X, y = blobs()
    model = search(scoring=scoring)
    known = clone(model).fit(X, y)
    found = model.fit(*arrow(X, y))
    assert_array_equal(found.scores_, known.scores_)
    assert found.score(*arrow(X, y)) == known.score(X, y)


def test_nested_parameters_that_are_set_later_are_not_those_of_the_fit():
    X, y = blobs()
    model = search(hidden=(), penalty=ElasticNet(0.5)).fit(X, y)
    model.set_params(penalty__l1_ratio=0.9)
    for network in (model.best_estimator_, model.path_.estimator):
        assert network.penalty.l1_ratio == 0.5


def test_scorers_see_the_network():
    """One that asks it for its score would call itself for ever."""
    X, y = blobs()
    model = search(scoring=lambda model, X, y: model.score(X, y)).fit(X, y)
    assert model.score(X, y) == model.best_estimator_.score(X, y)


# Edges of the grid -------------------------------------------------------------------


def test_a_grid_is_extended_where_its_best_end_is(regression):
    X, y = regression
    short = {"reg_lambdas": 5, "eps": 0.1, "penalty": "l1"}
    model = search(hidden=(), **short).fit(X, y)
    assert len(model.reg_lambdas_) > 5
    ratios = model.reg_lambdas_[:-1] / model.reg_lambdas_[1:]
    assert_allclose(ratios, 0.1 ** (-1 / 4), rtol=1e-9)
    assert_array_equal(model.path_.reg_lambdas, model.reg_lambdas_)
    fixed = search(hidden=(), reg_lambdas=model.reg_lambdas_, penalty="l1").fit(X, y)
    assert_allclose(fixed.mean_scores_, model.mean_scores_, rtol=1e-5)


def test_an_end_where_the_best_stays_is_reported(regression):
    X, y = regression
    X, y = X, X @ [1.0, 2.0, 0.5, 1.0]  # without noise no penalty is too small
    model = search(hidden=(), **EXACT | {"reg_lambdas": 5, "eps": 0.5})
    with pytest.warns(UserWarning, match="is the smallest of .* values"):
        model.fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(reg_lambdas=[0.1, 1.0]).fit(X, y)  # the user's own grid


@pytest.mark.parametrize("refit", [True, False, "folds"])
def test_a_chosen_constant_is_told(refit):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    options = {"reg_lambdas": [1.0, 2.0], "selection": "1se", "refit": refit}
    search = RegMLPRegressorCV((), penalty="l1", solver="lbfgs", **options)
    with pytest.warns(ConvergenceWarning, match="constant.*by a standard error"):
        search.fit(X, y)


@pytest.mark.parametrize(
    ("n_relevant", "params", "is_told"),
    [
        (20, {}, True),
        (20, {"adaptive": 1.0}, False),
        (20, {"penalty": "l1"}, False),
        (20, {"max_features": 5, "refit": False}, False),
        (20, {"reg_lambdas": [1e-3, 1e-2]}, False),  # as far as the user wants
        (2, {}, False),  # the path removes one input after the other
    ],
)
def test_a_group_lasso_that_keeps_all_inputs_or_none_is_told(
    n_relevant, params, is_told
):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 20))  # the relevant ones matter equally
    y = X[:, :n_relevant].sum(axis=1) + 0.5 * rng.normal(size=300)
    options = {"penalty": "group_lasso", "solver": "lbfgs", "random_state": 0}
    options |= {"reg_lambdas": 6, "tol": 1e-3, "cv": 2} | params
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = RegMLPRegressorCV((2,), **options).fit(X, y)
    told = [w for w in caught if "removes hardly any input" in str(w.message)]
    assert len(told) == is_told
    sizes = model.cv_results_["n_features"]
    if is_told:
        assert f"keep {sizes[sizes > 0].min():.0f} of 20 inputs" in str(told[0].message)


@pytest.mark.parametrize(
    "kind", [sparse.csr_matrix, sparse.csr_array, sparse.coo_array]
)
@pytest.mark.parametrize("scoring", [None, "loss", "f1_macro"])
def test_sparse_labels_are_those_of_an_array(kind, scoring):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    Y = (X[:, :3] + 0.3 * rng.normal(size=(60, 3)) > 0).astype(int)
    options = {"solver": "lbfgs", "reg_lambdas": 3, "cv": 3, "random_state": 0}
    search = RegMLPClassifierCV((3,), scoring=scoring, **options)
    proba, scores = search.fit(X, Y).predict_proba(X), search.scores_
    search.fit(X, kind(Y))
    assert_array_equal(search.predict_proba(X), proba)
    assert_array_equal(search.scores_, scores)


# Folds kept --------------------------------------------------------------------------


def loop(model, X, y, weight=None):
    """Networks of the folds at the choice, fitted one by one."""
    networks = []
    for train, _ in StratifiedKFold(3).split(X, y) if model.cv == 3 else model.cv:
        network = model._template().set_params(**model.best_params_)
        s = None if weight is None else weight[train]
        networks.append(network.fit(X[train], y[train], s))
    return networks


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression"])
def test_the_mean_of_the_folds_is_that_of_a_loop(kind, request):
    X, y = request.getfixturevalue(kind)
    weight = np.random.default_rng(0).uniform(1, 2, len(y))
    is_real = kind == "regression"
    folds = list(KFold(3, shuffle=True, random_state=1).split(X))
    model = search(
        RegMLPRegressorCV if is_real else RegMLPClassifierCV,
        refit="folds",
        reg_lambdas=[0.01],
        cv=folds,
    ).fit(X, y, weight)
    networks = loop(model, X, y, weight)
    method = "predict" if is_real else "predict_proba"
    each = [getattr(network, method)(X) for network in networks]
    assert_allclose(getattr(model, method)(X), np.mean(each, axis=0), rtol=1e-10)
    out_of_fold = np.empty_like(model.oof_predictions_)
    for (_, test), predicted in zip(folds, each):
        out_of_fold[test] = predicted[test]
    assert_allclose(model.oof_predictions_, out_of_fold, rtol=1e-10)
    for mine, other in zip(model.estimators_, networks):
        assert type(mine) is type(other)
        assert mine.reg_lambda == 0.01
        assert_array_equal(mine.coefs_[0], other.coefs_[0])
    assert_allclose(
        model.feature_importances_,
        np.mean([n.feature_importances_ for n in networks], axis=0),
    )


def test_out_of_fold_predictions_are_those_of_scikit_learn(multiclass):
    X, y = multiclass
    model = search(RegMLPClassifierCV, reg_lambdas=[0.01]).fit(X, y)
    expected = cross_val_predict(
        model.best_estimator_, X, y, cv=3, method="predict_proba"
    )
    assert_allclose(model.oof_predictions_, expected, rtol=1e-12)


def test_rows_held_out_twice_or_never(regression):
    X, y = regression
    model = search(cv=RepeatedKFold(n_splits=2, n_repeats=2, random_state=0))
    model.fit(X, y)
    splits = list(model.cv.split(X))
    total = np.zeros(len(y))
    for network, (_, test) in zip(model.estimators_, splits):
        total[test] += network.predict(X[test]) / 2
    assert_allclose(model.oof_predictions_, total)
    model.set_params(cv=splits[:1]).fit(X, y)
    assert_array_equal(np.flatnonzero(np.isnan(model.oof_predictions_)), splits[0][0])


@pytest.mark.parametrize("kind", ["multiclass", "multioutput"])
def test_a_stack_is_the_best_mean_out_of_fold(kind, request):
    X, y = request.getfixturevalue(kind)
    is_real = kind == "multioutput"
    estimator = RegMLPRegressorCV if is_real else RegMLPClassifierCV
    grid = {"hidden_layer_sizes": [(2,), ()]}
    # Lambdas that leave networks less sure than they could be.
    options = {"param_grid": grid, "refit": "stack", "reg_lambdas": [0.1, 0.3]}
    model = search(estimator, scoring="loss", **options).fit(X, y)
    weights = model.folds_.weights
    assert (weights > 0).all()
    assert_allclose(weights.sum(), 1)
    method = "predict" if is_real else "predict_proba"
    each = [getattr(network, method)(X) for network in model.estimators_]
    mean = np.tensordot(weights, each, 1)
    sharpness = model.folds_.sharpness
    if not is_real:
        assert sharpness > 1.01
        mean = softmax(sharpness * np.log(mean), axis=1)
    assert_allclose(getattr(model, method)(X), mean, rtol=1e-9)
    if is_real:
        assert sharpness == 1.0
        loss = np.sum((y - model.oof_predictions_) ** 2) / (2 * len(y))
    else:
        loss = log_loss(y, model.oof_predictions_)
    assert -loss >= model.best_score_ - 1e-9


def test_a_stack_needs_a_loss_of_means(regression):
    X, y = regression
    with pytest.raises(ValueError, match="'refit' parameter"):
        search(refit="stack", loss="huber").fit(X, y)
    assert search(refit="folds", loss="huber").fit(X, y).predict(X).shape == y.shape


@pytest.mark.parametrize("refit", ["folds", "stack"])
def test_a_mean_of_networks_is_an_estimator(binary, refit):
    X, y = binary
    model = search(RegMLPClassifierCV, refit=refit, penalty="group_lasso")
    model.set_params(reg_lambdas=[0.1, 0.2], param_grid={"activation": ["relu"]})
    model.fit(X, y)
    expected = model.predict_proba(X)
    assert_allclose(np.exp(model.predict_log_proba(X)), expected)
    odds = model.decision_function(X)
    assert_allclose(1 / (1 + np.exp(-odds)), expected[:, 1])
    assert_array_equal(model.predict(X), model.classes_[(odds > 0).astype(int)])
    small = model.compact()
    assert type(small) is RegMLPClassifierCV
    for other in (pickle.loads(pickle.dumps(model)), small):
        assert_allclose(other.predict_proba(X), expected, rtol=1e-10)
    assert all(
        n.selected_features_.all() or len(n.coefs_[0]) < 4 for n in small.estimators_
    )
    assert_array_equal(
        model.selected_features_,
        np.any([n.selected_features_ for n in model.estimators_], axis=0),
    )
    for name in ("coefs_", "best_estimator_", "loss_"):
        with pytest.raises(AttributeError, match="estimators_"):
            getattr(model, name)
    assert not hasattr(clone(model), "folds_")
    assert model.score(X, y) > 0.9


# Automatic ---------------------------------------------------------------------------


def auto(estimator=RegMLPRegressorCV, **params):
    return estimator(param_grid="auto", random_state=0, **params)


def blobs(n=130, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] + 0.5 * np.sin(3 * X[:, 1]) + 0.1 * rng.normal(size=n)


@pytest.mark.slow
@pytest.mark.parametrize("refit", [True, "stack"])
@pytest.mark.parametrize("kind", ["values", "classes"])
def test_auto_does_not_depend_on_units(kind, refit):
    X, y = blobs()
    factors, shift = np.array([1e-6, 1.0, 1e5]), np.array([0.0, 3.0, 1e5])
    if kind == "classes":
        y, estimator = (y > 0).astype(int), RegMLPClassifierCV
        model = auto(estimator, refit=refit, cv=3)
        one = model.fit(X, y).predict_proba(X)
        other = clone(model).fit(X * factors + shift, y)
        assert_allclose(other.predict_proba(X * factors + shift), one, atol=1e-5)
    else:
        model = auto(refit=refit, cv=3).fit(X, y)
        one = model.predict(X)
        other = clone(model).fit(X * factors + shift, 1e4 * y + 1e5)
        two = (other.predict(X * factors + shift) - 1e5) / 1e4
        assert_allclose(two, one, atol=1e-4)
    assert other.reg_lambda_ == pytest.approx(model.reg_lambda_)


def test_auto_races_and_is_reported(capsys):
    X, y = blobs()
    y = np.sin(4 * X[:, 0]) + 0.05 * y
    model = auto(refit="folds", cv=4, verbose=1).fit(X, y)
    race, table = model.race_, model.cv_results_
    assert race["n_rows"] == len(y)
    assert len(race["params"]) == 5 and race["dropped"][3:].all()
    assert not race["dropped"][race["difference"].argmin()]
    is_linear = np.array([p["hidden_layer_sizes"] == () for p in table["params"]])
    assert np.isfinite(table["split0_test_score"]).all()
    assert np.isnan(table["split1_test_score"][is_linear]).all()
    n = len(model.reg_lambdas_)
    assert (table["rank_test_score"][is_linear] == n + 1).all()
    assert np.isfinite(model.mean_scores_).all()
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("[CV] ") for line in lines)
    assert sum("fold 1 of 4: 10 lambdas" in line for line in lines) == 5
    assert sum("dropped" in line for line in lines) == race["dropped"].sum()


def test_auto_takes_what_networks_take(binary, multilabel, multioutput):
    X, y = binary
    weight = np.random.default_rng(0).uniform(1, 2, len(y))
    groups = np.arange(len(y)) // 3
    model = auto(RegMLPClassifierCV, class_weight="balanced", scoring="roc_auc")
    model.fit(sparse.csr_array(X).astype(np.float32), y, weight, groups=groups)
    assert model.best_estimator_.coefs_[0].dtype == np.float32
    assert model.score(X, y) > 0.9
    assert len(model.race_["params"]) == 3  # below 100 rows
    for estimator, (X, y) in (
        (RegMLPClassifierCV, multilabel),
        (RegMLPRegressorCV, multioutput),
    ):
        for refit in ("stack", True):
            model = auto(estimator, cv=2, refit=refit).fit(X, y)
            assert model.predict(X).shape == y.shape
            assert model.oof_predictions_.shape == y.shape
    X, y = blobs(60)
    kinked = auto(loss="absolute_error", cv=2, refit="folds").fit(X, 100 * y)
    assert kinked.score(X, 100 * y) > 0.5
    positive = auto(loss="poisson", cv=2, refit="folds").fit(X, np.exp(y))
    assert (positive.predict(X) > 0).all()


def test_auto_on_many_rows_races_on_some(monkeypatch):
    monkeypatch.setattr("skreg._cv._race.MOST_ROWS", 90)
    X, y = blobs(180)
    model = auto(cv=3, refit="stack").fit(X, y)
    assert model.race_["n_rows"] == 90
    assert len(model.race_["params"]) == 5
    counts = {}
    for params in model.cv_results_["params"]:
        key = params["hidden_layer_sizes"], params["penalty"]
        counts[key] = counts.get(key, 0) + 1
    assert all(3 <= count <= 5 for count in counts.values())
    assert len(counts) == 5 - model.race_["dropped"].sum()
    sizes = [n.t_ / n.n_iter_ for n in model.estimators_]
    assert min(sizes) == 120


@pytest.mark.parametrize("refit", [True, "stack"])
def test_auto_in_a_pipeline_with_any_number_of_jobs(refit):
    X, y = blobs(100)
    one = make_pipeline(StandardScaler(), auto(cv=2, refit=refit)).fit(X, y)
    two = make_pipeline(StandardScaler(), auto(cv=2, refit=refit, n_jobs=3)).fit(X, y)
    assert_array_equal(one.predict(X), two.predict(X))


# Few inputs --------------------------------------------------------------------------


def few_of_many(n=240, p=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = X[:, 3] + np.sin(2 * X[:, 7]) + 0.1 * rng.normal(size=n)
    return X, y


def test_batches_of_a_selection_are_of_equal_size(monkeypatch):
    """401 rows are 5 batches of at most 81; a batch of the last row alone is noise."""
    seen, prepare = [], _support.prepare
    monkeypatch.setattr(
        _support,
        "prepare",
        lambda network, task, rows, header: (
            seen.append((len(rows.y), network.batch_size))
            or prepare(network, task, rows, header)
        ),
    )
    X, y = few_of_many(n=602)
    search(max_features=2, param_grid={"penalty": ["l2"]}).fit(X, y)
    assert sorted(seen) == [(401, 81), (401, 81), (402, 81)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["values", "classes"])
def test_at_most_k_inputs(kind):
    X, y = few_of_many()
    if kind == "classes":
        y = np.where(y > 0, "yes", "no")
    estimator = RegMLPClassifierCV if kind == "classes" else RegMLPRegressorCV
    model = estimator((10,), max_features=2, cv=3, random_state=0).fit(X, y)
    assert_array_equal(np.flatnonzero(model.selected_features_), [3, 7])
    assert model.score(X, y) > 0.9
    for network in model.estimators_:
        assert network.selected_features_.sum() <= 2
    assert_array_equal(model.compact().predict(X), model.predict(X))
    # Units and the number of jobs do not matter.
    scaled = clone(model).set_params(n_jobs=2).fit(X * 1e6, y)
    assert_array_equal(scaled.selected_features_, model.selected_features_)
    assert_array_equal(scaled.predict(X * 1e6) == y, model.predict(X) == y)


def test_few_inputs_are_selected_inside_of_the_folds():
    """Of pure noise, some inputs fit all rows well; honest scores say nothing of it."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 200)), rng.normal(size=60)
    grid = {"penalty": ["l2"]}
    model = search(
        hidden=(),
        max_features=5,
        param_grid=grid,
        refit=True,
        **{"reg_lambdas": [0.01]},
    ).fit(X, y)
    assert model.best_score_ < 0.1
    assert model.selected_features_.sum() == 5
    within = search(hidden=(), reg_lambdas=[0.01]).fit(
        X[:, model.selected_features_], y
    )
    assert within.best_score_ > model.best_score_ + 0.2
    for network, (train, _) in zip(model.estimators_, KFold(3).split(X)):
        on = np.flatnonzero(network.selected_features_)
        alone = RegMLPRegressor((), **TANH | {"reg_lambda": 0.01})
        alone.fit(X[train][:, on], y[train])
        assert_allclose(network.predict(X), alone.predict(X[:, on]), rtol=1e-3)


def product_of_two(n=120, p=24, seed=0):
    """No input alone tells of y."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return X, X[:, 3] * X[:, 7] + 0.1 * rng.normal(size=n)


def test_auto_reads_few_of_many_inputs():
    X, y = product_of_two()
    X_test, y_test = product_of_two(seed=1)
    model = auto(cv=3).fit(sparse.csr_array(X), y)
    assert model.race_["params"][-2:] == ["l1-silu-few", "l1-silu-fewer"]
    assert model.race_["dropped"][-2:].tolist() == [True, False]
    assert model.best_params_["max_features"] == 5  # half the root of 120
    network = model.best_estimator_
    on = np.flatnonzero(network.selected_features_)
    assert {3, 7} <= set(on) and len(on) <= 5
    assert model.score(X_test, y_test) > 0.9
    assert_array_equal(network.predict(X_test), model.predict(X_test))
    assert model.path_[0].selected_features_.sum() <= 5
    sizes = [p.get("max_features") for p in model.cv_results_["params"]]
    column = model.cv_results_["param_max_features"]
    assert column.tolist() == sizes
    assert set(column.compressed()) <= {5, 10}
    for fold in model.estimators_:
        assert fold.selected_features_.sum() <= 5


def test_few_inputs_and_networks_of_folds_exclude_each_other(regression):
    with pytest.raises(ValueError, match=r"'refit' parameter .* max_features"):
        search(max_features=2, refit="folds").fit(*regression)
    for wrong in (0, 1.5, True):
        with pytest.raises(ValueError, match="'max_features' parameter"):
            search(max_features=wrong).fit(*regression)
    X, y = regression
    assert search(max_features=99, param_grid={"tol": [1e-3]}).fit(X, y)


# Intervals and tables ----------------------------------------------------------------


@pytest.mark.parametrize("refit", [True, "stack"])
def test_intervals_are_those_of_the_paper(regression, refit):
    X, y = regression
    folds = [
        (np.flatnonzero(f), np.flatnonzero(~f)) for f in np.arange(60) % 3 != np.c_[:3]
    ]
    model = search(cv=folds, refit=refit, reg_lambdas=[0.01, 0.1]).fit(X, y)
    by_fold = [
        np.average(
            [
                n.predict(X)
                for n, k in zip(model.estimators_, model.folds_.folds)
                if k == f
            ],
            axis=0,
            weights=model.folds_.weights[model.folds_.folds == f],
        )
        for f in range(3)
    ]
    n, alpha = len(y), 0.2
    lower, upper = model.predict_interval(X[:7], level=1 - alpha)
    for row in range(7):
        low, high = [], []
        for f, (_, test) in enumerate(folds):
            for i in test:
                r = abs(y[i] - by_fold[f][i])
                low.append(by_fold[f][row] - r)
                high.append(by_fold[f][row] + r)
        assert_allclose(upper[row], np.sort(high)[int(np.ceil(0.8 * (n + 1))) - 1])
        assert_allclose(lower[row], np.sort(low)[int(np.floor(alpha * (n + 1))) - 1])


def test_intervals_cover():
    X, y = blobs(300)
    y = y + np.random.default_rng(1).standard_t(4, size=len(y))
    model = search(reg_lambdas=[0.01], hidden=(5,)).fit(X[:150], y[:150])
    lower, upper = model.predict_interval(X[150:])
    assert 0.84 < np.mean((lower <= y[150:]) & (y[150:] <= upper)) < 0.96
    few = model.predict_interval(X[:2], level=0.999)
    assert np.isinf(few).all()
    Y = np.c_[y, -y]
    pair = search(reg_lambdas=[0.01]).fit(X, Y).predict_interval(X[:5])
    assert pair[0].shape == (5, 2) and (pair[0] < pair[1]).all()
    for level in (0, 1, "a"):
        with pytest.raises(ValueError, match="'level'"):
            model.predict_interval(X, level=level)
    assert not hasattr(RegMLPClassifierCV, "predict_interval")


def test_a_summary_has_the_best_and_the_simplest():
    X, y = blobs(100)
    model = search(hidden=(), penalty="l1", reg_lambdas=8).fit(X, y)
    best, simple = (line.split() for line in model.summary().splitlines()[1:])
    assert (best[0], simple[0]) == ("best", "1se")
    assert float(best[1]) == pytest.approx(model.reg_lambda_, rel=1e-2)
    one = clone(model).set_params(selection="1se").fit(X, y)
    assert float(simple[1]) == pytest.approx(one.reg_lambda_, rel=1e-2)
    assert one.summary() == model.summary()
    row = model.cv_results_["n_features"][model.best_index_]
    assert float(best[4]) == pytest.approx(row, rel=1e-3)


# Splits and scorers ------------------------------------------------------------------


@pytest.mark.parametrize(
    "cv",
    [1, 0, 100, 2.5, "five", [([0, 1], [99])], [([0, 1], [])], [([0],)], [3]],
    ids=repr,
)
def test_bad_splits_are_named(regression, cv):
    with pytest.raises(ValueError, match="'cv' parameter of RegMLPRegressorCV"):
        search(cv=cv).fit(*regression)


@pytest.mark.parametrize("scoring", ["roc_auc", "r2", "neg_log_loss"])
def test_scorers_that_do_not_fit_are_named(multilabel, regression, scoring):
    X, y = multilabel if scoring == "r2" else regression
    model = search(scoring=scoring)
    if scoring == "r2":
        model = search(RegMLPClassifierCV, scoring=lambda m, X, y: "good")
    with pytest.raises(ValueError, match="scoring="):
        model.fit(X, y)


def test_numbers_of_jobs_and_lambdas_out_of_range(regression):
    X, y = regression
    assert search(n_jobs=1000).fit(X, y).reg_lambda_ in LAMBDAS
    for lambdas in ([10**400], [np.inf], 10**9, [1.0, "a"]):
        with pytest.raises(ValueError, match="'reg_lambdas'"):
            search(reg_lambdas=lambdas).fit(X, y)


def test_routing_copies_no_iterator(regression):
    X, y = regression
    model = search(cv=KFold(3).split(X))
    with sklearn.config_context(enable_metadata_routing=True):
        routing = model.get_metadata_routing()
        model.fit(X, y)
    assert routing.consumes("fit", ["groups"]) == set()
    groups = search(cv=GroupKFold(3)).get_metadata_routing()
    assert groups.consumes("fit", ["groups"]) == {"groups"}


def test_epochs_of_the_portfolio_are_no_matter_of_a_warning():
    model = auto(cv=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(*blobs())
