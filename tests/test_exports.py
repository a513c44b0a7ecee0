"""Networks leave as ONNX, scikit-learn, torch and skops files, and predict the same."""

import importlib
import inspect
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skreg
from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPRegressor,
    RegMLPRegressorCV,
    convert_lambda,
)
from skreg._export import coefs_of_all_inputs, to_sklearn, to_torch, used_inputs
from skreg.penalties import MCP, SparseGroupLasso

ACTIVATIONS = ["identity", "logistic", "tanh", "relu", "leaky_relu", "gelu", "silu"]
DTYPES = [np.float32, np.float64]
UNUSED = 2  # a column of zeros, whose weights the L1 penalty removes

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning"  # weights are all that matters
)


def inputs(dtype=np.float64):
    X = np.random.default_rng(0).normal(size=(80, 5))
    X[:, UNUSED] = 0
    return X.astype(dtype)


def targets():
    """Name of each kind of target, its values and the parameters it needs."""
    X = inputs()
    rng = np.random.default_rng(1)
    three = (X @ rng.normal(size=(5, 3))).argmax(axis=1)
    return {
        "binary": (np.array(["no", "yes"])[(three > 0).astype(int)], {}),
        "multiclass": (three + 4, {}),
        "multilabel": (np.c_[three > 0, three > 1, X[:, 0] > 0].astype(int), {}),
        "real": (X[:, 0] + np.sin(X[:, 1]), {"loss": "squared_error"}),
        "two outputs": (X[:, :2] @ rng.normal(size=(2, 2)), {"loss": "squared_error"}),
        "poisson": (rng.poisson(np.exp(0.5 * X[:, 0])) * 1.0, {"loss": "poisson"}),
        "gamma": (rng.gamma(2, np.exp(0.5 * X[:, 0])), {"loss": "gamma"}),
    }


TARGETS = targets()


def settings(target, activation):
    """Parameters of a network whose first matrix gets rows of zeros."""
    return TARGETS[target][1] | {
        "hidden_layer_sizes": (8, 6),
        "activation": activation,
        "penalty": "l1",
        "learning_rate_init": 0.02,
        "batch_size": 20,
        "max_iter": 30,
        "random_state": 0,
    }


def network(target, activation="tanh", **params):
    y, of_task = TARGETS[target]
    cls = RegMLPRegressor if "loss" in of_task else RegMLPClassifier
    params = settings(target, activation) | {"reg_lambda": 0.003} | params
    return cls(**params), y


def fitted(target, activation="tanh", dtype=np.float64, **params):
    model, y = network(target, activation, **params)
    return model.fit(inputs(dtype), y)


def search(target, activation="tanh", **params):
    """A cross-validation class with a network on each of two folds."""
    y, of_task = TARGETS[target]
    cls = RegMLPRegressorCV if "loss" in of_task else RegMLPClassifierCV
    of_search = {"reg_lambdas": [0.003, 0.01], "cv": 2, "selection": "1se"}
    return cls(**settings(target, activation) | of_search | params), y


def probabilities_or_values(model, X):
    return model.predict_proba(X) if is_classifier(model) else model.predict(X)


def relative_error(got, expected):
    """Largest error, in units of the largest value, from which sums may cancel."""
    difference = np.abs(got.reshape(expected.shape) - expected)
    return np.max(difference) / max(1, np.max(np.abs(expected)))


def test_used_inputs_are_the_rows_of_the_first_matrix():
    model = fitted("real")
    assert used_inputs(model) is None
    small = model.compact()
    used = used_inputs(small)
    assert UNUSED not in used
    assert np.array_equal(used, np.flatnonzero(small.selected_features_))
    assert len(used) == len(small.coefs_[0])
    full = coefs_of_all_inputs(small)
    assert np.array_equal(full[0][used], small.coefs_[0])
    assert not full[0][UNUSED].any()


# ONNX --------------------------------------------------------------------------------


@pytest.fixture
def run_onnx():
    """Function (model, X, options) -> outputs of the model's ONNX form on X."""
    skl2onnx = pytest.importorskip("skl2onnx")
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skreg.onnx").register()

    def run(model, X, last=None, **options):
        options = {id(model if last is None else last): options} if options else None
        onnx_model = skl2onnx.to_onnx(model, X[:1], options=options)
        session = runtime.InferenceSession(
            onnx_model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, {"X": X})

    return run


def assert_onnx_predicts_the_same(run_onnx, pipeline, X):
    """Of a pipeline fitted on X, in the precision of X."""
    options = {"zipmap": False} if is_classifier(pipeline) else {}
    *labels, values = run_onnx(pipeline, X, pipeline[-1], **options)
    expected = probabilities_or_values(pipeline, X)
    assert values.dtype == X.dtype
    bound = 1e-6 if X.dtype == np.float32 else 1e-12
    assert relative_error(values, expected) <= bound
    if labels:
        assert np.array_equal(labels[0], pipeline.predict(X))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_onnx_predicts_the_same(run_onnx, target, activation, dtype):
    X = inputs(dtype)
    model, y = network(target, activation)
    full = make_pipeline(StandardScaler(), model).fit(X, y)
    small = make_pipeline(full[0], model.compact())
    assert used_inputs(small[-1]) is not None
    for pipeline in (full, small):
        assert_onnx_predicts_the_same(run_onnx, pipeline, X)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
def test_onnx_gives_raw_scores(run_onnx, target):
    X, model = inputs(), fitted(target)
    _, raw = run_onnx(model, X, zipmap=False, raw_scores=True)
    expected = model.decision_function(X)
    if target == "binary":
        expected = np.c_[-expected, expected]
    assert relative_error(raw, expected) <= 1e-12


def test_onnx_gives_probabilities_as_dictionaries_of_classes(run_onnx):
    # Of float32 only: ONNX's ZipMap knows no other type.
    X, model = inputs(np.float32), fitted("binary", dtype=np.float32)
    _, rows = run_onnx(model, X)
    proba = model.predict_proba(X)
    assert [list(row) for row in rows] == [["no", "yes"]] * len(X)
    assert np.allclose([row["yes"] for row in rows], proba[:, 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("labels", [["b", "a", "é"], [7, -1, 3], [True, False, True]])
def test_onnx_returns_the_labels_of_the_classes(run_onnx, labels):
    X = inputs()
    y = np.array(labels)[TARGETS["multiclass"][0] - 4]
    model = network("multiclass")[0].fit(X, y)
    got, _ = run_onnx(model, X, zipmap=False)
    assert np.array_equal(got, model.predict(X))


def test_onnx_of_a_linear_model_and_of_a_constant_network(run_onnx):
    X = inputs()
    for params in ({"hidden_layer_sizes": ()}, {"reg_lambda": 100.0}):
        model = fitted("real", **params)
        for m in (model, model.compact()):
            assert relative_error(run_onnx(m, X)[0], m.predict(X)) <= 1e-12


def test_onnx_of_a_refit_on_the_support(run_onnx):
    X, y = inputs(), TARGETS["multiclass"][0]
    model = fitted("multiclass").refit_on_support(X, y)
    assert used_inputs(model) is not None
    _, proba = run_onnx(model, X, zipmap=False)
    assert relative_error(proba, model.predict_proba(X)) <= 1e-12


@pytest.mark.parametrize("cls", [RegMLPClassifierCV, RegMLPRegressorCV])
def test_onnx_of_a_choice_of_lambda(run_onnx, cls):
    X, y = inputs(), TARGETS["binary" if cls is RegMLPClassifierCV else "real"][0]
    search = cls(
        (4,), penalty="l1", solver="lbfgs", reg_lambdas=3, cv=2, random_state=0
    ).fit(X, y)
    options = {"zipmap": False} if is_classifier(search) else {}
    values = run_onnx(search, X, **options)[-1]
    assert relative_error(values, probabilities_or_values(search, X)) <= 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_onnx_of_the_mean_of_the_folds(run_onnx, target, activation, dtype):
    X = inputs(dtype)
    model, y = search(target, activation, refit="folds")
    full = make_pipeline(StandardScaler(), model).fit(X, y)
    small = make_pipeline(full[0], model.compact())
    for pipeline in (full, small):
        assert_onnx_predicts_the_same(run_onnx, pipeline, X)
    assert len(small[-1].estimators_) == 2
    assert any(used_inputs(network) is not None for network in small[-1].estimators_)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", ["multiclass", "real"])
def test_onnx_of_a_stack_of_unlike_networks(run_onnx, target, dtype):
    X, params = inputs(dtype), {"refit": "stack", "cv": 3, "max_iter": 10}
    grid = [{"activation": ["silu"]}, {"hidden_layer_sizes": [()]}]
    model, y = search(target, param_grid=grid, **params)
    pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    assert (model.folds_.sharpness > 1) == (target == "multiclass")
    assert {network.hidden_layer_sizes for network in model.estimators_} == {(), (8, 6)}
    assert_onnx_predicts_the_same(run_onnx, pipeline, X)


@pytest.mark.parametrize("target", ["binary", "multiclass", "multilabel"])
def test_onnx_gives_raw_scores_of_a_mean(run_onnx, target):
    X, (model, y) = inputs(), search(target, refit="folds")
    model.fit(X, y)
    # Far from the data as well, where probabilities are 0 and 1.
    for rows in (X, 1e3 * X):
        _, raw = run_onnx(model, rows, zipmap=False, raw_scores=True)
        expected = model.decision_function(rows)
        if target == "binary":
            expected = np.c_[-expected, expected]
        assert relative_error(raw, expected) <= 1e-12


def test_onnx_of_a_grid_search(run_onnx):
    X = inputs()
    model, y = network("real")
    search = GridSearchCV(model, {"reg_lambda": [0.01, 0.1]}, cv=2).fit(X, y)
    assert relative_error(run_onnx(search, X)[0], search.predict(X)) <= 1e-12


def test_gelu_of_onnx_is_exact_in_the_tails(run_onnx):
    # Weights that hand each input to a unit, and sum nothing.
    from scipy.special import ndtr

    z = np.linspace(-12, 12, 241)[:, None]
    model = RegMLPRegressor((1,), activation="gelu", max_iter=1).fit(z, z.ravel())
    model.coefs_ = [np.ones((1, 1)), np.ones((1, 1))]
    model.intercepts_ = [np.zeros(1), np.zeros(1)]
    got = run_onnx(model, z)[0]
    assert np.max(np.abs(got - z * ndtr(z))) <= 4e-15


# scikit-learn ------------------------------------------------------------------------

SKLEARN_TARGETS = [name for name in TARGETS if name != "gamma"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS[:4])
@pytest.mark.parametrize("target", SKLEARN_TARGETS)
def test_networks_of_sklearn_predict_the_same(target, activation, dtype):
    if target == "poisson" and "loss" not in MLPRegressor().get_params():
        pytest.skip("scikit-learn below 1.7 has no other loss")
    X, model = inputs(dtype), fitted(target, activation, dtype)
    bound = 1e-6 if dtype == np.float32 else 1e-14
    for m in (model, model.compact()):
        mlp = to_sklearn(m)
        expected = probabilities_or_values(m, X)
        values = probabilities_or_values(mlp, X)
        assert values.dtype == expected.dtype
        assert relative_error(values, expected) <= bound
        assert is_classifier(m) == is_classifier(mlp)
        if is_classifier(m):
            assert np.array_equal(mlp.predict(X), m.predict(X))
            assert mlp.score(X, TARGETS[target][0]) == m.score(X, TARGETS[target][0])


def test_networks_of_sklearn_go_on_training():
    X, model = inputs(), fitted("real", learning_rate_init=0.002, max_iter=20)
    y = TARGETS["real"][0]
    mlp = to_sklearn(model)
    before, coefs = model.score(X, y), model.coefs_[0].copy()
    mlp.set_params(warm_start=True, max_iter=50).fit(X, y)
    assert mlp.score(X, y) > before
    assert not np.array_equal(mlp.coefs_[0], coefs)
    assert np.array_equal(model.coefs_[0], coefs)  # a copy was trained


def test_networks_of_sklearn_know_the_attributes_of_training():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(inputs(), columns=list("abcde"))
    model, y = network("binary")
    mlp = to_sklearn(model.fit(X, y))
    assert mlp.loss_curve_ == model.loss_curve_
    assert (mlp.n_iter_, mlp.t_) == (model.n_iter_, model.t_)
    assert list(mlp.feature_names_in_) == list("abcde")
    assert np.array_equal(mlp.predict(X), model.predict(X))


def test_penalized_networks_of_sklearn_have_the_same_gradient():
    # lbfgs of scikit-learn stays where ours has ended, with alpha for the same λ.
    X = inputs()
    model = fitted("real", penalty="l2", solver="lbfgs", max_iter=5000, tol=1e-8)
    alpha = convert_lambda(
        model.reg_lambda, "skreg", "sklearn_mlp_lbfgs", n_samples=len(X)
    )
    mlp = to_sklearn(model).set_params(
        solver="lbfgs", alpha=alpha, warm_start=True, tol=1e-6
    )
    mlp.fit(X, TARGETS["real"][0])
    assert np.allclose(mlp.predict(X), model.predict(X), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "params, message",
    [
        ({"activation": "gelu"}, "activation='gelu'.*'tanh'"),
        ({"loss": "gamma"}, "loss='gamma'.*'poisson'"),
    ],
)
def test_what_sklearn_does_not_have_is_refused(params, message):
    model = network("real")[0].set_params(**params)
    with pytest.raises(ValueError, match=message):
        to_sklearn(model.fit(inputs(), TARGETS["gamma"][0]))


CHOICES = {
    "auto": {"param_grid": "auto"},
    "few": {"max_features": 2},
    "activation": {"param_grid": {"activation": ["tanh"]}},
    "set_params": {},
}


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("target", ["binary", "real"])
def test_exports_are_of_what_was_chosen_and_fitted(run_onnx, target, choice):
    """Not of the parameters that the search has, or has been given since."""
    torch = pytest.importorskip("torch")
    X, y = inputs(), TARGETS[target][0]
    cls = RegMLPClassifierCV if target == "binary" else RegMLPRegressorCV
    model = cls((4,), reg_lambdas=[0.01, 0.1], cv=2, random_state=0, **CHOICES[choice])
    model.fit(X, y)
    if choice == "set_params":
        model.set_params(activation="tanh", hidden_layer_sizes=(9,), penalty="l1")
        if target == "real":
            model.set_params(loss="poisson")
    expected = probabilities_or_values(model, X)
    options = {"zipmap": False} if is_classifier(model) else {}
    assert relative_error(run_onnx(model, X, **options)[-1], expected) <= 1e-12
    if model.fitted_.network.activation in ACTIVATIONS[:4]:
        mlp = to_sklearn(model)
        assert relative_error(probabilities_or_values(mlp, X), expected) <= 1e-12
    raw = to_torch(model)(torch.from_numpy(X)).detach().numpy()
    assert relative_error(raw, model.fitted_.raw(X)) <= 1e-12
    network = model.best_estimator_
    assert network.activation == model.fitted_.network.activation
    network.set_params(solver="adam").partial_fit(X, y)  # has the units of its weights


def test_without_hidden_layers_any_activation_is_known_to_sklearn():
    model = fitted("real", activation="silu", hidden_layer_sizes=())
    error = relative_error(to_sklearn(model).predict(inputs()), model.predict(inputs()))
    assert error <= 1e-14


# torch -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("target", TARGETS)
def test_modules_of_torch_predict_the_same(target, activation, dtype):
    torch = pytest.importorskip("torch")
    X, model = inputs(dtype), fitted(target, activation, dtype)
    bound = 1e-6 if dtype == np.float32 else 1e-13
    for m in (model, model.compact()):
        module = to_torch(m)
        with torch.no_grad():
            raw = module(torch.from_numpy(X))
        if is_classifier(m):
            expected = m.decision_function(X)
        else:
            raw = raw.exp() if m.out_activation_ == "exp" else raw
            expected = m.predict(X)
        assert raw.shape == (len(X), m.n_outputs_)
        assert raw.numpy().dtype == dtype
        assert relative_error(raw.numpy(), expected) <= bound


def test_modules_of_torch_own_their_weights_and_have_the_usual_names():
    torch = pytest.importorskip("torch")
    model = fitted("real")
    first = model.coefs_[0].copy()
    module = to_torch(model)
    names = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]
    assert list(module.state_dict()) == names
    with torch.no_grad():
        module[0].weight.zero_()
    assert np.array_equal(model.coefs_[0], first)


# skops -------------------------------------------------------------------------------


def skops_models():
    yield fitted("binary")
    yield fitted("multilabel", solver="sgd", learning_rate="adaptive")
    groups = SparseGroupLasso(groups=[0, 0, 1, 1, 1])
    yield fitted("real", solver="rmsprop", penalty=groups, hidden_layer_sizes=())
    yield fitted("poisson", solver="lbfgs", penalty=[MCP(saturation=1.0), "l2", None])
    yield fitted("gamma", early_stopping=True).compact()
    search = RegMLPRegressorCV((3,), penalty="l1", solver="lbfgs", reg_lambdas=3, cv=2)
    yield search.fit(inputs(), TARGETS["real"][0])


def test_skops_files_need_no_trust_but_in_the_published_types():
    io = pytest.importorskip("skops.io")
    X = inputs()
    for model in skops_models():
        data = io.dumps(model)
        assert set(io.get_untrusted_types(data=data)) <= set(skreg.TRUSTED_TYPES)
        loaded = io.loads(data, trusted=skreg.TRUSTED_TYPES)
        assert np.array_equal(loaded.predict(X), model.predict(X))


def test_trusted_types_are_classes_of_skreg():
    for name in skreg.TRUSTED_TYPES:
        module, _, attribute = name.rpartition(".")
        assert module.split(".")[0] == "skreg"
        assert inspect.isclass(getattr(importlib.import_module(module), attribute))


def test_files_name_public_classes():
    public = [getattr(skreg, name) for name in skreg.__all__]
    classes = [thing for thing in public if inspect.isclass(thing)]
    assert {cls.__module__ for cls in classes} == {"skreg"}
    assert b"skreg._mlp" not in pickle.dumps(RegMLPRegressor())


# mlflow ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # those of mlflow are not ours
@pytest.mark.parametrize("serialization", ["cloudpickle", "skops"])
def test_models_are_logged_by_mlflow(tmp_path, monkeypatch, serialization):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    X, model = inputs(), fitted("binary").compact()
    # Named, as mlflow would load the model in another process to see what it imports.
    options = {"serialization_format": serialization, "pip_requirements": ["skreg"]}
    if serialization == "skops":
        options["skops_trusted_types"] = list(skreg.TRUSTED_TYPES)
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(model, name="network", **options)
    loaded = mlflow.sklearn.load_model(info.model_uri)
    assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(
        mlflow.pyfunc.load_model(info.model_uri).predict(X), model.predict(X)
    )


AUTOLOG = """
import sys

import mlflow
import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skreg import RegMLPRegressor

mlflow.set_tracking_uri(sys.argv[1])
mlflow.sklearn.autolog(log_models=False)
X = np.random.default_rng(0).normal(size=(40, 3))
network = RegMLPRegressor((3,), max_iter=2, reg_lambda=0.5)
pipeline = make_pipeline(StandardScaler(), network)
search = GridSearchCV(network, {"reg_lambda": [0.25]}, cv=2)
models = {"regmlpregressor__reg_lambda": pipeline, "best_reg_lambda": search}
for name, model in models.items():
    with mlflow.start_run() as run:
        score = model.fit(X, X[:, 0]).score(X, X[:, 0])
    logged = mlflow.get_run(run.info.run_id).data
    assert logged.metrics["training_score"] == score
    print(logged.params[name])
"""


@pytest.mark.slow
def test_pipelines_and_searches_are_logged_by_mlflow_on_its_own(tmp_path):
    pytest.importorskip("mlflow")
    # In a process of its own: autolog replaces methods of scikit-learn for good.
    switches = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AUTOLOG, (tmp_path / "runs").as_uri()],
        env={**os.environ, **switches},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0.5", "0.25"]


# shap --------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")  # those of shap are not ours
@pytest.mark.parametrize("network", [RegMLPClassifier, RegMLPRegressor])
def test_linear_models_are_explained_by_shap(network):
    shap = pytest.importorskip("shap")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    y = X @ [1, 2, 0, -1] + 1
    y = (y > 1).astype(int) if network is RegMLPClassifier else y
    model = network((), solver="lbfgs", penalty="l1", reg_lambda=0.01).fit(X, y)
    explainer = shap.LinearExplainer(model, X)
    total = np.squeeze(explainer.shap_values(X)).sum(axis=-1) + explainer.expected_value
    raw = getattr(model, "decision_function", model.predict)(X)
    assert np.allclose(total, raw, rtol=0, atol=1e-10)
