"""Cold starts on folds: each network is that of a single fit, in any company."""

import importlib
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.model_selection import KFold

from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
    stability_selection,
)
from skreg import _validation as validation
from skreg._cv._results import best_row, simplest
from skreg._paths._cold import solve_cold, trainings_of_folds
from skreg._rows import Rows, read_weights, read_X_y
from skreg._solvers._together import solve_together
from skreg._task import task_of

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, P = 70, 5
RNG = np.random.RandomState(0)
X = RNG.standard_normal((N, P))
SCORE = X @ RNG.standard_normal((P, 3))
LABELS = SCORE.argmax(axis=1)
WEIGHTS = RNG.randint(0, 3, N).astype(float)
FOLDS = [np.flatnonzero(np.arange(N) % 4 != k) for k in range(3)] + [np.arange(N)]
LAMBDAS = [1e-3, 0.03, 0.3]
SETTINGS = {"max_iter": 9, "batch_size": 16, "random_state": 0, "penalty": "l1"}
SETTINGS |= {"learning_rate_init": 0.01}


@pytest.fixture(params=["cpu", "torch:cpu", "at once"])
def device(request, monkeypatch):
    """Devices; "at once": as on a GPU, where the processor takes one after another."""
    if request.param == "cpu":
        return "cpu"
    pytest.importorskip("torch")
    if request.param == "at once":
        engine = importlib.import_module("skreg._engines._torch")
        monkeypatch.setattr(engine.TorchRows, "capacity", lambda *_: 10**6)
    return "torch:cpu"


def solve(estimator, y, lambdas=LAMBDAS, weights=None, X=X):
    validation.check_parameters(estimator)
    inputs, y, header = read_X_y(estimator, X, y)
    weights = read_weights(weights, N)
    task = task_of(estimator, y, weights)
    rows = Rows.of(task, inputs, y, weights)
    trainings = trainings_of_folds([estimator], task, rows, header, FOLDS)
    return trainings, solve_cold(trainings, lambdas)


def check(estimator, y, lambdas=LAMBDAS, weights=None, X=X, atol=1e-9):
    """Each network of each fold is the one of a fit on the compiled core."""
    trainings, solved = solve(estimator, y, lambdas, weights, X)
    assert [len(of_fold) for of_fold in solved] == [len(lambdas)] * len(FOLDS)
    for fold, training, of_fold in zip(FOLDS, trainings, solved):
        for lam, (result, monitor) in zip(lambdas, of_fold):
            model = clone(estimator).set_params(device="cpu", reg_lambda=lam)
            model.fit(X[fold], y[fold], None if weights is None else weights[fold])
            fitted = training.fitted(result, monitor)
            for W, expected in zip(fitted.coefs, model.coefs_):
                assert_allclose(W, expected, rtol=0, atol=atol)
                assert_array_equal(W == 0, expected == 0)
            assert fitted.n_iter == model.n_iter_
            assert_allclose(fitted.history.objective, model.loss_curve_, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"early_stopping": True, "n_iter_no_change": 2},
        {"tol": 0.05, "n_iter_no_change": 1},
        {"ema": 0.5, "penalty": "group_lasso"},
        {"solver": "lbfgs", "activation": "tanh", "max_iter": 5},
        {"batch_size": 60},  # larger than some folds, and a warning
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Got batch_size")
def test_regressors(params, device):
    estimator = RegMLPRegressor((4,), device=device, **{**SETTINGS, **params})
    check(estimator, SCORE[:, 0], weights=WEIGHTS)


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 2.0}])
def test_classifiers(class_weight, device):
    estimator = RegMLPClassifier(
        (), device=device, class_weight=class_weight, **SETTINGS
    )
    check(estimator, LABELS)


def test_strengths_layer_by_layer(device):
    estimator = RegMLPRegressor((4,), activation="tanh", device=device, **SETTINGS)
    table = [[1e-3, 0.3], [0.3, 1e-3], [0.0, 0.1]]
    check(estimator, SCORE[:, :2], lambdas=table)


def test_sparse_inputs(device):
    estimator = RegMLPRegressor((4,), device=device, **SETTINGS)
    check(estimator, SCORE[:, 0], X=sparse.csr_array(np.where(X > 0, X, 0)))


def test_one_copy_of_X_on_the_device():
    pytest.importorskip("torch")
    estimator = RegMLPRegressor((4,), device="torch:cpu", **SETTINGS)
    trainings, _ = solve(estimator, SCORE[:, 0])
    assert len({training.problem.data.X.data_ptr() for training in trainings}) == 1
    assert [t.problem.data.n_rows for t in trainings] == [len(f) for f in FOLDS]


SEARCHES = {
    "plain": {},
    "strengths extended": {"reg_lambdas": 3, "eps": 0.5},
    "scorer": {"scoring": "neg_log_loss"},
    "weights": {"class_weight": "balanced"},
    "folds kept": {"refit": "folds"},
    "points": {"param_grid": {"penalty": ["l1", "l2"], "hidden_layer_sizes": [(3,)]}},
    "early stopping": {"early_stopping": True},
}


@pytest.mark.parametrize("params", SEARCHES.values(), ids=SEARCHES)
def test_searches_with_cold_starts_are_the_same_on_a_device(params):
    pytest.importorskip("torch")
    options = {**SETTINGS, "reg_lambdas": LAMBDAS, "cv": 3, "start": "cold", **params}
    search = RegMLPClassifierCV((4,), **options).fit(X, LABELS)
    other = RegMLPClassifierCV((4,), device="torch:cpu", **options).fit(X, LABELS)
    assert_allclose(other.reg_lambdas_, search.reg_lambdas_)
    assert_allclose(other.scores_, search.scores_, atol=1e-9)
    assert_allclose(other.train_scores_, search.train_scores_, atol=1e-9)
    assert other.best_params_ == search.best_params_
    assert_allclose(other.predict_proba(X), search.predict_proba(X), atol=1e-9)


def test_all_folds_and_all_rows_train_at_once(monkeypatch):
    pytest.importorskip("torch")
    sizes = []

    def spy(settings, data, network, members):
        sizes.append(len(members))
        return solve_together(settings, data, network, members)

    monkeypatch.setattr("skreg._paths._cold.solve_together", spy)
    options = {**SETTINGS, "reg_lambdas": LAMBDAS, "cv": 4, "start": "cold"}
    options["device"] = "torch:cpu"
    search = RegMLPClassifierCV((4,), **options).fit(X, LABELS)
    assert sizes == [15]  # folds and all rows
    path = reg_mlp_path(
        RegMLPClassifier((4,), device="torch:cpu", **SETTINGS),
        *(X, LABELS),
        reg_lambdas=LAMBDAS,
        start="cold",
    )
    for one, alone in zip(search.path_.coefs, path.coefs, strict=True):
        for W, expected in zip(one, alone, strict=True):
            assert_array_equal(W, expected)
    RegMLPClassifierCV((4,), refit=False, **options).fit(X, LABELS)
    assert sizes[1:] == [3, 12]  # the path, and folds


@pytest.fixture
def tf32(monkeypatch):
    """torch:cpu rounds as CUDA does where it is asked for TF32."""
    torch = pytest.importorskip("torch")
    passes = importlib.import_module("skreg._engines._torch_passes")
    training = importlib.import_module("skreg._engines._torch_training")
    asked = []

    @contextmanager
    def computing(device, precision):
        asked.append(precision)
        yield
        asked.pop()

    def rounded(product):
        def multiply(a, b, out):
            if asked[-1:] == ["tf32"]:
                a, b = (
                    (x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF
                    for x in (a, b)
                )
                a, b = a.view(torch.float32), b.view(torch.float32)
            product(a, b, out)

        return multiply

    monkeypatch.setattr(training, "computing", computing)
    for name in ("_product", "_transposed_product"):
        monkeypatch.setattr(passes, name, rounded(getattr(passes, name)))
    monkeypatch.setattr(
        "skreg._engines._device.rounds",
        lambda device, precision, dtype: device != "cpu" and precision == "tf32",
    )
    return monkeypatch


@pytest.mark.parametrize(
    "refit, selection", [(True, "1se"), (False, "best"), ("folds", "1se")]
)
def test_what_decides_is_trained_exactly(tf32, refit, selection):
    """Scores close to those that decide are those of float32, and so are networks."""
    options = {**SETTINGS, "reg_lambdas": 8, "cv": 3, "start": "cold", "refit": refit}
    options |= {"device": "torch:cpu", "scoring": "loss", "selection": selection}
    search = RegMLPClassifierCV((4,), **options)
    x = X.astype(np.float32)
    found = clone(search).fit(x, LABELS)
    exact = clone(search).set_params(precision="exact").fit(x, LABELS)
    tf32.setattr("skreg._engines._device.rounds", lambda *_: False)
    rounded = clone(search).fit(x, LABELS)
    assert_array_equal(rounded.reg_lambdas_, exact.reg_lambdas_)
    assert (rounded.scores_ != exact.scores_).any(axis=0).all()
    mean, best = rounded.mean_scores_, rounded.mean_scores_.argmax()
    error = rounded.std_errors_[best]
    levels = [mean[best], mean[best] - error][: 1 + (selection == "1se")]
    is_close = np.any([abs(mean - level) <= 0.15 * error for level in levels], axis=0)
    is_close[rounded.reg_lambdas_ == rounded.reg_lambda_] = True
    assert 0 < is_close.sum() < len(mean)
    scores = np.where(is_close, exact.scores_, rounded.scores_)
    assert_array_equal(found.scores_, scores)
    assert found.reg_lambda_ == exact.reg_lambda_
    if refit is False:
        return
    assert_array_equal(found.decision_function(x), exact.decision_function(x))
    if refit is True:
        for one, of_exact, of_rounded, close in zip(
            found.path_, exact.path_, rounded.path_, is_close
        ):
            expected = of_exact if close else of_rounded
            assert_array_equal(one.coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize("params", [{"adaptive": 1.0}, {"max_features": 3}], ids=str)
def test_what_trains_alone_is_in_float32(tf32, params):
    if "max_features" in params:
        params = {**params, "param_grid": {"penalty": ["l1"]}}
    options = {**SETTINGS, "reg_lambdas": 4, "cv": 2, "start": "cold", **params}
    search = RegMLPClassifierCV((4,), device="torch:cpu", **options)
    x = X.astype(np.float32)
    found = clone(search).fit(x, LABELS)
    exact = search.set_params(precision="exact").fit(x, LABELS)
    assert_array_equal(found.scores_, exact.scores_)
    assert_array_equal(found.decision_function(x), exact.decision_function(x))


@pytest.mark.slow
def test_all_seeds_train_at_once_and_make_an_ensemble(monkeypatch):
    pytest.importorskip("torch")
    sizes = []

    def spy(settings, data, network, members):
        sizes.append(len(members))
        return solve_together(settings, data, network, members)

    monkeypatch.setattr("skreg._paths._cold.solve_together", spy)
    grid = {"random_state": [0, 1, 2], "penalty": ["l1", "l2"]}
    options = {**SETTINGS, "reg_lambdas": LAMBDAS, "cv": 4, "start": "cold"}
    options |= {"param_grid": grid, "refit": "stack"}
    search = RegMLPClassifierCV((4,), **options).fit(X, LABELS)
    other = RegMLPClassifierCV((4,), device="torch:cpu", **options).fit(X, LABELS)
    assert sizes == [36, 36]  # seeds, folds and strengths of each penalty
    for name in search.cv_results_:
        if "score" in name and "time" not in name:
            assert_allclose(
                other.cv_results_[name], search.cv_results_[name], atol=1e-9
            )
    seeds = {network.random_state for network in other.estimators_}
    assert len(seeds) > 1
    assert_allclose(other.predict_proba(X), search.predict_proba(X), atol=1e-6)


TABLE = [[0.3, 1e-3], [1e-3, 0.3], [0.03, 0.03], [1e-3, 0.03]]


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [(), (4,), (3, 3)])
@pytest.mark.parametrize("estimator", ["lbfgs", "adam"])
def test_searches_over_strengths_layer_by_layer(hidden, estimator, device):
    n_layers = len(hidden) + 1
    table = np.column_stack([TABLE, np.full(4, 0.01)])[:, :n_layers]
    options = {**SETTINGS, "solver": estimator, "device": device, "max_iter": 20}
    options["activation"] = "tanh"
    cv = KFold(3)
    search = RegMLPRegressorCV(
        hidden, reg_lambdas=table, start="cold", cv=cv, **options
    ).fit(X, SCORE[:, 0])
    scores = [
        [
            RegMLPRegressor(hidden, reg_lambda=lam, **{**options, "device": "cpu"})
            .fit(X[train], SCORE[train, 0])
            .score(X[test], SCORE[test, 0])
            for lam in table
        ]
        for train, test in cv.split(X)
    ]
    assert_allclose(search.scores_, scores, atol=1e-8)
    assert_array_equal(search.reg_lambdas_, table)
    best = int(np.mean(scores, axis=0).argmax())
    assert search.reg_lambda_ == tuple(table[best])
    assert search.cv_results_["params"][best]["reg_lambda"] == tuple(table[best])
    assert search.best_estimator_.reg_lambda == tuple(table[best])
    assert search.path_[best].reg_lambda == tuple(table[best])
    assert_array_equal(search.best_estimator_.coefs_[0], search.path_[best].coefs_[0])
    assert search.path_.to_frame()["reg_lambda"][best] == tuple(table[best])
    assert f"{table[best][0]:.3g}" in search.summary().splitlines()[1]
    assert "<td>(" in search.path_._repr_html_()
    assert search.summary()._repr_html_().count("<td>") == 12


def test_the_simplest_of_a_table_has_no_smaller_strength_in_any_layer():
    table = np.array([[0.1, 0.1], [5.0, 0.05], [0.2, 0.3], [0.2, 0.2], [0.4, 0.4]])
    mean, error = np.array([1.0, 0.95, 0.95, 0.99, 0.5]), np.full(5, 0.1)
    assert best_row(table, mean) == 0
    assert simplest(table, mean, error, 0) == 2
    assert best_row(table, np.ones(5)) == 1


@pytest.mark.parametrize(
    "params, message",
    [
        ({"start": "warm"}, "one column per layer need start='cold'"),
        ({"hidden_layer_sizes": ()}, r"one column per layer \(here 1\)"),
        ({"param_grid": "auto"}, "param_grid='auto' needs 'reg_lambdas' with an order"),
        ({"max_features": 2}, "max_features needs 'reg_lambdas' with an order"),
        ({"reg_lambdas": [[0.1, 0.2], [0.3]]}, "or a table of these"),
        ({"reg_lambdas": [[0.1, -0.2]]}, "or a table of these"),
        ({"reg_lambdas": [[0.1, 0.2], 0.3]}, "or a table of these"),
    ],
)
def test_tables_that_are_none(params, message):
    options = {"start": "cold", "reg_lambdas": TABLE, "hidden_layer_sizes": (4,)}
    with pytest.raises(ValueError, match=message):
        RegMLPRegressorCV(**{**options, **params}).fit(X, SCORE[:, 0])


def test_tables_are_not_for_orders_and_relu():
    network = RegMLPRegressor((4,), activation="tanh", **SETTINGS)
    y, options = SCORE[:, 0], {"reg_lambdas": TABLE, "start": "cold"}
    for start in ("warm", "cold"):
        with pytest.raises(ValueError, match="needs 'reg_lambdas' with an order"):
            reg_mlp_path(network, X, y, max_features=2, **options | {"start": start})
    with pytest.raises(ValueError, match="need start='cold'"):
        reg_mlp_path(network, X, y, reg_lambdas=TABLE)
    with pytest.raises(ValueError, match="stability_selection needs 'reg_lambdas'"):
        stability_selection(network, X, y, reg_lambdas=TABLE)
    network.set_params(activation="relu")
    with pytest.warns(UserWarning, match="one λ for all of them has the same minima"):
        path = reg_mlp_path(network, X, y, **options)
    assert repr(path).endswith("from (0.3,0.001) to (0.001,0.03)")


@pytest.mark.parametrize("hidden", [(), (4,)])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_paths_with_cold_starts_are_single_fits(hidden, solver, device):
    estimator = RegMLPRegressor(
        hidden, device=device, **{**SETTINGS, "solver": solver, "max_iter": 5}
    )
    path = reg_mlp_path(
        estimator, X, SCORE[:, 0], reg_lambdas=LAMBDAS, start="cold", eps=0.1
    )
    order = LAMBDAS if hidden else LAMBDAS[::-1]
    assert path.reg_lambdas.tolist() == order
    for lam, found in zip(order, path):
        model = clone(estimator).set_params(reg_lambda=lam, device="cpu")
        model.fit(X, SCORE[:, 0])
        assert_allclose(found.coefs_[0], model.coefs_[0], atol=1e-9)
        assert found.n_iter_ == model.n_iter_


def test_paths_with_cold_starts_stop_at_few_inputs():
    for hidden in ((), (4,)):
        estimator = RegMLPRegressor(hidden, **{**SETTINGS, "max_iter": 300})
        options = {"start": "cold", "reg_lambdas": [0.01, 0.3, 3.0, 10.0]}
        path = reg_mlp_path(estimator, X, SCORE[:, 0], max_features=3, **options)
        assert 0 < len(path) <= 4 and path.n_features[-1] <= 3
        if hidden:
            assert (path.n_features[:-1] > 3).all()
        else:
            assert (path.n_features <= 3).all()


@pytest.mark.parametrize(
    "params, message",
    [
        ({"start": "lukewarm"}, "'start' must be 'warm' or 'cold'. Got 'lukewarm'"),
        ({"start": "cold", "n_init": 2}, "n_init=2 needs start='warm'"),
    ],
)
def test_starts_of_paths_that_are_none(params, message):
    with pytest.raises(ValueError, match=message):
        reg_mlp_path(RegMLPRegressor(()), X, SCORE[:, 0], **params)
