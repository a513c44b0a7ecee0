"""What the estimators do: data in, training, stopping, fitted attributes."""

import copy
import re
from functools import partial
from itertools import pairwise

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from joblib import Parallel, delayed
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, log_softmax, softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, log_loss, r2_score
from sklearn.preprocessing import scale
from sklearn.utils import compute_sample_weight
from threadpoolctl import threadpool_info, threadpool_limits

from skreg import RegMLPClassifier, RegMLPRegressor
from skreg._engines import _compiled
from skreg._network import ACTIVATIONS
from skreg._solvers._schedules import SCHEDULES
from skreg._split import split_rows
from skreg.losses import REGRESSION_LOSSES
from skreg.penalties import L1, MCP, GroupLasso

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

STOCHASTIC = ["sgd", "rmsprop", "adam"]
SOLVERS = [*STOCHASTIC, "lbfgs"]
NEVER_STOP = {"tol": 0.0, "n_iter_no_change": np.inf}
TO_THE_END = {
    "learning_rate_init": 0.02,
    "learning_rate": "cosine",
    "max_iter": 1000,
} | NEVER_STOP

classifier = partial(RegMLPClassifier, 8, max_iter=20, random_state=0)
regressor = partial(RegMLPRegressor, 8, max_iter=20, random_state=0)


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def assert_same_network(model, other, rtol=0.0, atol=0.0):
    assert len(parameters(model)) == len(parameters(other))
    for a, b in zip(parameters(model), parameters(other)):
        assert a.dtype == b.dtype
        if rtol or atol:
            assert_allclose(a, b, rtol=rtol, atol=atol)
        else:
            assert_array_equal(a, b)


def raw_output(model, X):
    """Network of relu units, written out."""
    a = np.asarray(X)
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1]):
        a = np.maximum(a @ W + b, 0)
    return a @ model.coefs_[-1] + model.intercepts_[-1]


def data_loss(model, X, y, sample_weight=None):
    """Weighted mean loss, written out for the losses of the tests below."""
    f = raw_output(model, X)
    if isinstance(model, RegMLPRegressor):
        losses = ((y.reshape(len(f), -1) - f) ** 2).sum(axis=1) / 2
    elif model.out_activation_ == "softmax":
        rows = np.searchsorted(model.classes_, y)
        losses = -log_softmax(f, axis=1)[np.arange(len(f)), rows]
    else:
        t = y if y.ndim == 2 else (y == model.classes_[1])[:, None]
        losses = (np.logaddexp(0, f) - t * f).sum(axis=1)
    return np.average(losses, weights=sample_weight)


def l2_penalty(model):
    return model.reg_lambda / 2 * sum((W**2).sum() for W in model.coefs_)


def fitted_state(model):
    """Hash of everything that is not a parameter."""
    parameters = model.get_params(deep=False)
    return joblib.hash({k: v for k, v in vars(model).items() if k not in parameters})


def weights_for(y, seed=0):
    return np.random.default_rng(seed).uniform(0.5, 2.0, len(y))


# Targets -----------------------------------------------------------------------------


def test_two_classes_with_names(binary):
    X, y = binary
    model = classifier(max_iter=200, learning_rate_init=0.01).fit(X, y)
    assert_array_equal(model.classes_, ["no", "yes"])
    assert (model.n_outputs_, model.out_activation_) == (1, "logistic")
    assert model.predict(X).dtype == y.dtype
    assert model.score(X, y) > 0.9
    assert_array_equal(model.decision_function(X) > 0, model.predict(X) == "yes")
    assert_allclose(model.predict_proba(X)[:, 1], expit(raw_output(model, X)[:, 0]))


def test_several_classes(multiclass):
    X, y = multiclass
    model = classifier(max_iter=200, learning_rate_init=0.01).fit(X, y)
    assert_array_equal(model.classes_, [2, 5, 7])
    assert (model.n_outputs_, model.out_activation_) == (3, "softmax")
    assert model.score(X, y) > 0.9
    raw = model.decision_function(X)
    assert_allclose(raw, raw_output(model, X))
    assert_array_equal(model.classes_[raw.argmax(axis=1)], model.predict(X))
    assert_allclose(model.predict_proba(X), softmax(raw, axis=1))


def test_several_labels(multilabel):
    X, y = multilabel
    model = classifier(max_iter=200, learning_rate_init=0.01).fit(X, y)
    assert (model.n_outputs_, model.out_activation_) == (3, "logistic")
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    assert predicted.dtype.kind == "i"
    assert set(np.unique(predicted)) == {0, 1}
    assert (predicted == y).mean() > 0.8
    assert_allclose(model.predict_proba(X), expit(raw_output(model, X)))
    assert_array_equal(model.predict_proba(X) > 0.5, predicted == 1)


def test_labels_as_sparse_matrix_or_lists(multilabel):
    X, y = multilabel
    model = classifier().fit(X, y)
    assert_same_network(classifier().fit(X, sparse.csr_array(y)), model)
    assert_same_network(classifier().fit(X, sparse.csr_matrix(y)), model)
    assert_same_network(classifier().fit(X, y.tolist()), model)


def test_several_targets(multioutput):
    X, y = multioutput
    model = regressor(max_iter=300, learning_rate_init=0.01).fit(X, y)
    assert (model.n_outputs_, model.out_activation_) == (3, "identity")
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.9
    assert_allclose(model.predict(X), raw_output(model, X))


def test_one_target_is_a_vector(regression):
    X, y = regression
    model = regressor().fit(X, y)
    assert model.predict(X).shape == y.shape
    with pytest.warns(UserWarning, match="column-vector"):
        column = regressor().fit(X, y[:, None])
    assert_same_network(column, model)
    assert column.predict(X).shape == y.shape


@pytest.mark.parametrize(
    "labels",
    [[False, True], [-1, 1], [0.0, 2.0], ["b", "a"], np.array([7, 3], np.int8)],
    ids=str,
)
def test_predictions_have_the_type_of_the_labels(binary, labels):
    X, y = binary
    y = np.asarray(labels)[(y == "yes").astype(int)]
    model = classifier().fit(X, y)
    assert_array_equal(model.classes_, np.sort(labels))
    assert model.classes_.dtype == model.predict(X).dtype == y.dtype


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_probabilities_are_consistent(kind, request):
    X, y = request.getfixturevalue(kind)
    model = classifier().fit(X, y)
    proba = model.predict_proba(X)
    assert_allclose(model.predict_log_proba(X), np.log(proba))
    assert ((proba >= 0) & (proba <= 1)).all()
    if kind != "multilabel":
        assert_allclose(proba.sum(axis=1), 1)
        assert_array_equal(model.classes_[proba.argmax(axis=1)], model.predict(X))


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_probabilities_that_underflow_give_no_warning(kind, request):
    X, y = request.getfixturevalue(kind)
    model = classifier().fit(X, y)
    log_proba = model.predict_log_proba(1e6 * X)
    assert np.isneginf(log_proba).any()
    assert not np.isnan(log_proba).any()


# Containers and precision ------------------------------------------------------------


def read_only(X):
    X = X.copy()
    X.setflags(write=False)
    return X


def strided(X):
    wide = np.full((2 * len(X), 3 * X.shape[1]), np.nan)
    wide[::2, ::3] = X
    return wide[::2, ::3]


def reversed_rows(X):
    return X[::-1].copy()[::-1]


def memory_map(X, path):
    joblib.dump(X, path / "X.joblib")
    return joblib.load(path / "X.joblib", mmap_mode="r")


DENSE = {
    "F-ordered": np.asfortranarray,
    "strided": strided,
    "negative stride": reversed_rows,
    "read-only": read_only,
    "list": np.ndarray.tolist,
    "big-endian": lambda X: X.astype(">f8"),
    "object": lambda X: X.astype(object),
    "pandas": pd.DataFrame,
    "polars": lambda X: pl.DataFrame(X, schema=[f"x{j}" for j in range(X.shape[1])]),
}
SPARSE = {
    "csr_matrix": sparse.csr_matrix,
    "csr_array": sparse.csr_array,
    "csc_matrix": sparse.csc_matrix,
    "csc_array": sparse.csc_array,
    "coo_array": sparse.coo_array,
    "64-bit indices": lambda X: with_index_type(sparse.csr_array(X), np.int64),
    "unsorted": lambda X: sparse.csr_array(sparse.csr_array(X)[:, ::-1][:, ::-1]),
}


def with_index_type(X, dtype):
    X.indices, X.indptr = X.indices.astype(dtype), X.indptr.astype(dtype)
    return X


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("container", DENSE)
def test_every_dense_container_gives_the_same_network(regression, container, solver):
    X, y = regression
    model = regressor(solver=solver).fit(X, y)
    held = DENSE[container](X)
    other = regressor(solver=solver).fit(held, y)
    assert_same_network(other, model)
    assert_array_equal(other.predict(held), model.predict(X))


def test_memory_maps(regression, tmp_path):
    X, y = regression
    mapped = memory_map(X, tmp_path)
    assert isinstance(mapped, np.memmap)
    model = regressor().fit(mapped, y)
    assert_same_network(model, regressor().fit(X, y))
    assert model.predict(mapped).shape == y.shape


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("container", SPARSE)
def test_sparse_equals_dense(regression, container, solver):
    X, y = regression
    X = np.where(np.abs(X) < 0.7, 0.0, X)
    held = SPARSE[container](X)
    fit = regressor(solver=solver, batch_size=16, max_iter=10).fit
    dense, compact = copy.copy(fit(X, y)), fit(held, y)
    assert_same_network(compact, dense, rtol=1e-10, atol=1e-10)
    assert_allclose(compact.predict(held), dense.predict(X), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_float32_equals_dense_float32(binary, early_stopping):
    X, y = binary
    X = np.where(np.abs(X) < 0.7, 0.0, X).astype(np.float32)
    model = classifier(early_stopping=early_stopping, validation_fraction=0.3)
    dense = clone(model).fit(X, y)
    compact = model.fit(sparse.csr_array(X), y)
    assert compact.coefs_[0].dtype == np.float32
    assert_same_network(compact, dense, rtol=1e-4, atol=1e-5)


def test_empty_rows_and_columns_of_sparse_input(regression):
    X, y = regression
    X[:, 1] = X[3] = 0.0
    model = regressor(batch_size=7).fit(X, y)
    compact = regressor(batch_size=7).fit(sparse.csr_array(X), y)
    assert_same_network(compact, model, rtol=1e-10, atol=1e-10)


def test_names_of_data_frames(binary):
    X, y = binary
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = classifier().fit(frame, pd.Series(y))
    assert_array_equal(model.feature_names_in_, list("abcd"))
    assert not hasattr(classifier().fit(X, y), "feature_names_in_")


def arrow_table(frame):
    return pytest.importorskip("pyarrow").Table.from_pandas(frame)


TABLES = {
    "pandas": lambda frame: frame,
    "nullable pandas": lambda frame: frame.convert_dtypes(),
    "pandas of pyarrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda frame: pl.DataFrame({c: frame[c].to_numpy() for c in frame}),
    "pyarrow": arrow_table,
    "pyarrow.RecordBatch": lambda frame: arrow_table(frame).to_batches()[0],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("table", TABLES)
def test_tables_keep_their_precision_and_names(regression, table, dtype):
    X, y = regression
    X = X.astype(dtype)
    names = [f"x{j}" for j in range(X.shape[1])]
    if "pyarrow" in table:
        pytest.importorskip("pyarrow")
    held = TABLES[table](pd.DataFrame(X, columns=names))
    model = regressor().fit(held, y)
    assert_array_equal(model.feature_names_in_, names)
    assert model.coefs_[0].dtype == dtype
    assert_same_network(model, regressor().fit(X, y))
    assert model.predict(held).dtype == dtype
    assert_array_equal(
        model.predict(held), model.predict(pd.DataFrame(X, columns=names))
    )
    stopped = regressor(early_stopping=True)
    assert stopped.fit(held, y, X_val=held, y_val=y).coefs_[0].dtype == dtype


def test_tables_of_several_precisions_become_float64(regression):
    X, y = regression
    mixed = pl.DataFrame({"a": X[:, 0].astype(np.float32), "b": np.arange(len(y))})
    assert regressor().fit(mixed, y).coefs_[0].dtype == np.float64


def test_data_that_are_still_to_be_read_are_refused_with_a_hint(regression):
    X, y = regression
    frame = pl.DataFrame(X, schema=[f"x{j}" for j in range(X.shape[1])])
    with pytest.raises(TypeError, match=r"polars.LazyFrame.* Pass X.collect\(\)"):
        regressor().fit(frame.lazy(), y)
    model = regressor().fit(frame, y)
    with pytest.raises(TypeError, match=r"polars.LazyFrame.* Pass X.collect\(\)"):
        model.predict(frame.lazy())
    pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"RecordBatchReader.* Pass X.read_all\(\)"):
        model.predict(frame.to_arrow().to_reader())


def test_fit_leaves_its_arguments_alone(binary):
    X, y = binary
    weight = weights_for(y)
    before = joblib.hash((X, y, weight))
    model = classifier(early_stopping=True, validation_fraction=0.3, batch_size=8)
    model.fit(X, y, weight)
    assert joblib.hash((X, y, weight)) == before


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_precision_of_X_is_that_of_the_network(multiclass, solver, dtype):
    X, y = multiclass
    X = X.astype(dtype)
    model = classifier(solver=solver).fit(X, y)
    assert {array.dtype for array in parameters(model)} == {np.dtype(dtype)}
    for method in ("predict_proba", "predict_log_proba", "decision_function"):
        assert getattr(model, method)(X).dtype == dtype
    assert regressor(solver=solver).fit(X, y).predict(X).dtype == dtype


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8, bool, np.float16])
def test_other_precisions_become_float64(dtype):
    X = (np.arange(24).reshape(12, 2) % 5).astype(dtype)
    model = regressor().fit(X, np.arange(12.0))
    assert model.coefs_[0].dtype == np.float64
    assert_same_network(model, regressor().fit(X.astype(np.float64), np.arange(12.0)))


def test_float32_and_float64_agree(regression):
    X, y = regression
    single = regressor(learning_rate_init=0.01).fit(X.astype(np.float32), y)
    double = regressor(learning_rate_init=0.01).fit(X, y)
    for a, b in zip(parameters(single), parameters(double)):
        assert_allclose(a, b, rtol=1e-3, atol=1e-4)


# Weights -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_multiply_sample_weights(kind, solver, weighted, request):
    X, y = request.getfixturevalue(kind)
    weight = weights_for(y) if weighted else None
    class_weight = dict(zip(np.unique(y).tolist(), [1.0, 3.0, 0.5]))
    manual = np.array([class_weight[label] for label in y.tolist()])
    manual = manual if weight is None else manual * weight
    by_class = classifier(class_weight=class_weight, solver=solver).fit(X, y, weight)
    by_sample = classifier(solver=solver).fit(X, y, manual)
    assert_same_network(by_class, by_sample)
    assert_array_equal(by_class.loss_curve_, by_sample.loss_curve_)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_balanced_class_weights(kind, solver, request):
    X, y = request.getfixturevalue(kind)
    X, y = X[10:], y[10:]
    manual = compute_sample_weight("balanced", y)
    model = classifier(class_weight="balanced", solver=solver, max_iter=10).fit(X, y)
    expected = classifier(solver=solver, max_iter=10).fit(X, y, manual)
    assert_same_network(model, expected, rtol=1e-8, atol=1e-8)


def test_balanced_class_weights_count_by_sample_weight(multiclass):
    X, y = multiclass
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    repeated = np.repeat(np.arange(len(y)), weight)
    model = classifier(class_weight="balanced", max_iter=100)
    weighted = clone(model).fit(X, y, weight)
    model.fit(X[repeated], y[repeated])
    assert_same_network(weighted, model, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("solver", SOLVERS)
def test_weight_means_repetition(regression, solver):
    X, y = regression
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    repeated = np.repeat(np.arange(len(y)), weight)
    model = regressor(solver=solver, batch_size=len(repeated))
    model.fit(X[repeated], y[repeated])
    weighted = regressor(solver=solver, batch_size=len(y)).fit(X, y, weight)
    assert_same_network(weighted, model, rtol=1e-8, atol=1e-8)
    assert_allclose(weighted.loss_curve_, model.loss_curve_, rtol=1e-8)


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_scale_of_weights_means_nothing(regression, solver):
    X, y = regression
    weight = weights_for(y)
    model = regressor(solver=solver, batch_size=16).fit(X, y, weight)
    scaled = regressor(solver=solver, batch_size=16).fit(X, y, 1024 * weight)
    assert_same_network(scaled, model)
    plain = regressor(solver=solver, batch_size=16).fit(X, y)
    constant = regressor(solver=solver, batch_size=16).fit(X, y, np.full(len(y), 3.0))
    assert_same_network(constant, plain, rtol=1e-9, atol=1e-12)


# Early stopping ----------------------------------------------------------------------


def stopped(estimator, **params):
    return estimator(
        **{
            "early_stopping": True,
            "validation_fraction": 0.3,
            "learning_rate_init": 0.02,
            "n_iter_no_change": 5,
            "max_iter": 60,
        }
        | params
    )


def random_stream_after_initialization(model):
    """What `random_state` yields once the initial weights are drawn."""
    rng = np.random.RandomState(model.random_state)
    for W in model.coefs_:
        rng.uniform(size=W.shape)
        rng.uniform(size=W.shape[1])
    return rng


def held_out_rows(model, X, y, sample_weight=None):
    """Rows of the validation set, drawn anew."""
    return split_rows(
        len(y),
        sample_weight,
        model.validation_fraction,
        y if y.dtype.kind == "U" else None,  # two classes
        random_stream_after_initialization(model),
    )[1]


def negative_loss(estimator, X, y, sample_weight=None):
    return -data_loss(estimator, X, y, sample_weight)


SCORINGS = {
    None: lambda model, X, y, s: accuracy_score(y, model.predict(X), sample_weight=s),
    "loss": negative_loss,
    "neg_log_loss": lambda model, X, y, s: (
        -log_loss(y, model.predict_proba(X), sample_weight=s)
    ),
    negative_loss: negative_loss,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_best_network_is_kept(kind, scoring, given, weighted, request):
    X, y = request.getfixturevalue(kind)
    weight = weights_for(y) if weighted else None
    model = stopped(classifier, scoring=scoring)
    if given:
        held_out = np.arange(0, len(y), 3)
        weight_val = None if weight is None else weight[held_out]
        train = np.setdiff1d(np.arange(len(y)), held_out)
        model.fit(
            X[train],
            y[train],
            None if weight is None else weight[train],
            X_val=X[held_out],
            y_val=y[held_out],
            sample_weight_val=weight_val,
        )
    else:
        model.fit(X, y, weight)
        held_out = held_out_rows(model, X, y, weight)
        weight_val = None if weight is None else weight[held_out]
    score = SCORINGS[scoring](model, X[held_out], y[held_out], weight_val)
    assert_allclose(model.best_validation_score_, score, rtol=1e-10)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == model.n_iter_ == len(model.loss_curve_)
    assert model.best_loss_ is None


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scoring", [None, "loss", "neg_mean_absolute_error"])
def test_best_network_of_a_regressor_is_kept(multioutput, scoring, solver):
    X, y = multioutput
    weight = weights_for(y)
    model = stopped(regressor, scoring=scoring, solver=solver).fit(X, y, weight)
    rows = held_out_rows(model, X, y, weight)
    y_val, w, predicted = y[rows], weight[rows], model.predict(X[rows])
    expected = {
        None: r2_score(y_val, predicted, sample_weight=w),
        "loss": -data_loss(model, X[rows], y_val, w),
        "neg_mean_absolute_error": -np.average(
            np.abs(y_val - predicted).mean(axis=1), weights=w
        ),
    }
    assert_allclose(model.best_validation_score_, expected[scoring], rtol=1e-10)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == len(model.loss_curve_)


def test_class_weights_enter_the_validation_loss_and_no_other_score(binary):
    X, y = binary
    class_weight = {"no": 1.0, "yes": 5.0}
    model = stopped(classifier, class_weight=class_weight, scoring="loss").fit(X, y)
    rows = held_out_rows(model, X, y)
    manual = np.where(y[rows] == "yes", 5.0, 1.0)
    expected = -data_loss(model, X[rows], y[rows], manual)
    assert_allclose(model.best_validation_score_, expected)
    model = stopped(classifier, class_weight=class_weight).fit(X, y)
    expected = model.score(X[rows], y[rows])
    assert_allclose(model.best_validation_score_, expected)


@pytest.mark.parametrize("class_weight", [{"no": 1.0, "yes": 5.0}, "balanced"], ids=str)
def test_class_weights_enter_the_loss_of_a_given_validation_set(binary, class_weight):
    X, y = binary
    model = stopped(classifier, class_weight=class_weight, scoring="loss")
    model.fit(X[20:], y[20:], X_val=X[:20], y_val=y[:20])
    ratio = 5.0 if class_weight != "balanced" else 1 / np.mean(y[20:] == "yes") - 1
    manual = np.where(y[:20] == "yes", ratio, 1.0)
    expected = -data_loss(model, X[:20], y[:20], manual)
    assert_allclose(model.best_validation_score_, expected)


def test_training_never_sees_the_validation_rows(regression):
    X, y = regression
    model = stopped(regressor, n_iter_no_change=np.inf, max_iter=5).fit(X, y)
    rows = held_out_rows(model, X, y)
    train = np.setdiff1d(np.arange(len(y)), rows)
    assert model.t_ == 5 * len(train)
    changed = y.copy()
    changed[rows] += 10
    again = stopped(regressor, n_iter_no_change=np.inf, max_iter=5).fit(X, changed)
    assert_array_equal(again.loss_curve_, model.loss_curve_)


def test_a_given_validation_set_leaves_all_rows_to_training(binary):
    X, y = binary
    model = stopped(classifier).fit(X, y, X_val=X[:9], y_val=y[:9])
    assert model.t_ == model.n_iter_ * len(y)
    weighted = stopped(classifier).fit(
        X, y, X_val=X[:9], y_val=y[:9], sample_weight_val=np.ones(9)
    )
    assert_same_network(weighted, model)


def test_stops_after_epochs_without_improvement(binary):
    X, y = binary
    model = stopped(classifier, n_iter_no_change=3, tol=1.0).fit(X, y)
    assert model.n_iter_ == 5  # the first improves on -inf, then 3 + 1 do not
    with pytest.warns(ConvergenceWarning, match="max_iter=5"):
        stopped(classifier, max_iter=5, n_iter_no_change=10).fit(X, y)


def test_scorer_sees_data_frames_as_arrays_without_warning(binary):
    X, y = binary
    frame = pd.DataFrame(X, columns=list("abcd"))
    named = stopped(classifier, scoring="accuracy").fit(frame, y)
    assert_same_network(named, stopped(classifier, scoring="accuracy").fit(X, y))
    given = stopped(classifier, scoring="accuracy")
    given.fit(frame, y, X_val=frame[:9], y_val=y[:9])
    assert_array_equal(given.feature_names_in_, list("abcd"))


def test_validation_data_may_be_sparse_while_training_data_is_dense(binary):
    X, y = binary
    dense = stopped(classifier).fit(X, y, X_val=X[:9], y_val=y[:9])
    mixed = stopped(classifier).fit(X, y, X_val=sparse.csc_array(X[:9]), y_val=y[:9])
    assert_same_network(mixed, dense)


# Curves ------------------------------------------------------------------------------


def initial_network(model, X, y):
    return clone(model).set_params(learning_rate_init=1e-300, max_iter=1).fit(X, y)


def stream_epoch(model, X, y, sample_weight=None):
    options = {}
    if isinstance(model, RegMLPClassifier):
        options["classes"] = np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])
    return model.partial_fit(X, y, sample_weight, **options)


TASKS = {
    "binary": classifier,
    "multiclass": classifier,
    "multilabel": classifier,
    "regression": regressor,
    "multioutput": regressor,
}


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("kind", TASKS)
def test_full_batch_curve_is_the_objective_before_each_epoch(kind, solver, request):
    X, y = request.getfixturevalue(kind)
    weight = weights_for(y)
    model = TASKS[kind](
        solver=solver, reg_lambda=0.1, batch_size=len(y), max_iter=6, **NEVER_STOP
    )
    stream, networks = clone(model), [initial_network(model, X, y)]
    for _ in range(6):
        stream_epoch(stream, X, y, weight)
        networks.append(copy.deepcopy(stream))
    model.fit(X, y, weight)
    losses = [data_loss(network, X, y, weight) for network in networks[:-1]]
    assert_allclose(model.data_loss_curve_, losses, rtol=1e-12)
    penalties = [l2_penalty(network) for network in networks[:-1]]
    assert_allclose(model.penalty_curve_, penalties, rtol=1e-12)
    assert_same_network(networks[-1], model)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_curves_are_consistent(regression, solver, early_stopping):
    X, y = regression
    model = regressor(solver=solver, batch_size=16, penalty="l1", reg_lambda=0.01)
    model.set_params(early_stopping=early_stopping, validation_fraction=0.3).fit(X, y)
    total = np.add(model.data_loss_curve_, model.penalty_curve_)
    assert_allclose(model.loss_curve_, total, rtol=1e-14)
    assert model.loss_ == model.loss_curve_[-1]
    assert all(isinstance(value, float) for value in model.loss_curve_)
    if solver != "lbfgs":
        assert len(model.loss_curve_) == model.n_iter_
    if early_stopping and solver != "lbfgs":
        assert model.best_loss_ is None
        assert len(model.validation_scores_) == model.n_iter_
    if not early_stopping:
        assert model.best_loss_ == min(model.loss_curve_)
        assert model.validation_scores_ is model.best_validation_score_ is None


def test_mean_batch_loss_is_the_objective_when_weights_stand_still(regression):
    X, y = regression
    weight = weights_for(y)
    model = regressor(batch_size=7, learning_rate_init=1e-300, reg_lambda=0.1)
    model.fit(X, y, weight)
    objective = data_loss(model, X, y, weight) + l2_penalty(model)
    assert_allclose(model.loss_curve_, objective, rtol=1e-12)


@pytest.mark.parametrize("loss", ["poisson", "gamma", "huber"])
def test_training_and_validation_loss_have_the_same_zero(regression, loss):
    X, y = regression
    y = np.exp(y)
    model = regressor(loss=loss, scoring="loss", early_stopping=True)
    model.set_params(penalty=None, learning_rate_init=1e-300, max_iter=1)
    model.fit(X, y, X_val=X, y_val=y)
    assert_allclose(-model.best_validation_score_, model.data_loss_curve_[0])


# Streams and warm starts -------------------------------------------------------------


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("kind", ["multiclass", "multioutput"])
@pytest.mark.parametrize(
    "batches", [{"batch_size": 60}, {"batch_size": 7, "shuffle": False}], ids=str
)
def test_stream_of_epochs_equals_one_fit(kind, solver, schedule, batches, request):
    X, y = request.getfixturevalue(kind)
    model = TASKS[kind](solver=solver, learning_rate=schedule, **batches)
    model.set_params(tol=1.0, n_iter_no_change=2, max_iter=8)
    if schedule != "adaptive":  # which needs to cease improving, to lower its rate
        model.set_params(**NEVER_STOP)
    stream = clone(model)
    for _ in range(8):
        stream_epoch(stream, X, y)
    model.fit(X, y)
    assert model.n_iter_ == 8
    assert_same_network(stream, model)
    for name in ("loss_curve_", "data_loss_curve_", "penalty_curve_", "t_", "loss_"):
        assert getattr(stream, name) == getattr(model, name)


def test_shuffles_of_a_stream_come_from_one_random_stream(regression):
    X, y = regression
    model = regressor(batch_size=7)
    for _ in range(3):
        model.partial_fit(X, y)
    rng = random_stream_after_initialization(model)
    manual = regressor(batch_size=7, shuffle=False)
    for _ in range(3):
        order = np.arange(len(y))
        rng.shuffle(order)
        manual.partial_fit(X[order], y[order])
    assert_same_network(model, manual)


def test_stream_continues_a_fit(regression):
    X, y = regression
    params = {"batch_size": 7, "shuffle": False} | NEVER_STOP
    model = regressor(max_iter=8, **params).fit(X, y)
    stream = regressor(max_iter=5, **params).fit(X, y)
    for _ in range(3):
        stream.partial_fit(X, y)
    assert_same_network(stream, model)
    assert stream.loss_curve_ == model.loss_curve_


def test_stream_continues_an_early_stopped_fit(regression):
    X, y = regression
    model = stopped(regressor).fit(X, y)
    n_epochs = len(model.loss_curve_)
    model.set_params(early_stopping=False).partial_fit(X, y)
    assert len(model.loss_curve_) == n_epochs + 1
    assert model.best_loss_ == model.loss_


def test_stream_over_parts_of_the_data(binary):
    X, y = binary
    order = np.argsort(y)  # parts with one class only
    model = classifier(learning_rate_init=0.02)
    for _ in range(30):
        for rows in np.array_split(order, 4):
            model.partial_fit(X[rows], y[rows], classes=["no", "yes"])
    assert model.t_ == 30 * len(y)
    assert len(model.loss_curve_) == 120
    assert model.score(X, y) > 0.9


def test_stream_gives_no_convergence_warning(recwarn, regression):
    regressor(max_iter=1).partial_fit(*regression)
    assert not recwarn.list


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
def test_partial_fit_is_there_for_streams_only(solver, early_stopping):
    model = RegMLPRegressor(solver=solver, early_stopping=early_stopping)
    assert hasattr(model, "partial_fit") is (solver != "lbfgs" and not early_stopping)


@pytest.mark.parametrize(
    "params",
    [
        {"solver": "sgd"},
        {"solver": "sgd", "nesterovs_momentum": False},
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "rmsprop"},
        {"solver": "adam"},
        {"solver": "adam", "penalty": "l1", "reg_lambda": 0.01},
        {"solver": "adam", "penalty": "group_lasso", "reg_lambda": 0.01},
    ],
    ids=str,
)
def test_warm_start_keeps_the_state_of_the_optimizer(regression, params):
    X, y = regression
    params = {"shuffle": False, "batch_size": 16} | params | NEVER_STOP
    model = regressor(max_iter=10, **params).fit(X, y)
    warm = regressor(max_iter=5, warm_start=True, **params).fit(X, y).fit(X, y)
    assert_same_network(warm, model)
    assert warm.loss_curve_ == model.loss_curve_
    assert warm.t_ == model.t_
    assert warm.n_iter_ == 5


@pytest.mark.parametrize("solver", SOLVERS)
def test_warm_start_begins_at_the_fitted_network(regression, solver):
    X, y = regression
    model = regressor(solver=solver, batch_size=len(y), warm_start=True, tol=1e-12)
    first = model.fit(X, y).loss_curve_
    objective = data_loss(model, X, y) + l2_penalty(model)
    second = model.fit(X, y).loss_curve_
    assert second[: len(first)] == first
    assert second[len(first)] <= objective * (1 + 1e-12)
    assert min(second) < objective


@pytest.mark.parametrize("second", SOLVERS)
@pytest.mark.parametrize("first", SOLVERS)
def test_warm_start_may_change_the_solver(regression, first, second):
    X, y = regression
    model = regressor(solver=first, warm_start=True).fit(X, y)
    objective = data_loss(model, X, y) + l2_penalty(model)
    model.set_params(solver=second, learning_rate_init=1e-4).fit(X, y)
    assert data_loss(model, X, y) + l2_penalty(model) < objective


def test_warm_start_takes_another_precision_or_container(regression):
    X, y = regression
    model = regressor(warm_start=True).fit(X, y)
    model.fit(X.astype(np.float32), y)
    model.fit(sparse.csr_array(X), y)
    assert model.coefs_[0].dtype == np.float64


def test_cold_fit_forgets_everything(binary, multiclass):
    used = classifier().fit(*binary).fit(*multiclass)
    fresh = classifier().fit(*multiclass)
    assert joblib.hash(vars(used)) == joblib.hash(vars(fresh))


# Interrupts and failures -------------------------------------------------------------


class InterruptAtCall:
    """Wrapper that raises KeyboardInterrupt in its n-th call."""

    def __init__(self, function, n):
        self.function, self.n, self.calls = function, n, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.n:
            raise KeyboardInterrupt
        return self.function(*args, **kwargs)


@pytest.fixture
def interrupt_batch(monkeypatch):
    """Function that interrupts the n-th mini-batch from now on."""

    def interrupt(n):
        train = InterruptAtCall(_compiled.train, n)
        monkeypatch.setattr(_compiled, "_FLOPS_PER_CALL", 1)
        monkeypatch.setattr(_compiled, "train", train)

    yield interrupt


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_interrupt_keeps_the_last_complete_epoch(regression, solver, interrupt_batch):
    X, y = regression
    params = {"solver": solver, "batch_size": 20} | NEVER_STOP  # 3 batches
    complete = regressor(max_iter=2, **params).fit(X, y)
    interrupt_batch(8)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = regressor(**params).fit(X, y)
    assert_same_network(model, complete)
    assert model.n_iter_ == 2
    assert model.t_ == 2 * len(y)
    assert model.loss_curve_ == complete.loss_curve_


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_interrupt_with_early_stopping_keeps_the_best_network(binary, solver):
    X, y = binary
    params = {"solver": solver, "scoring": negative_loss, "n_iter_no_change": np.inf}
    complete = stopped(classifier, max_iter=4, **params).fit(X, y)
    params["scoring"] = InterruptAtCall(negative_loss, 5)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = stopped(classifier, **params).fit(X, y)
    assert_same_network(model, complete)
    assert model.best_validation_score_ == complete.best_validation_score_


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_interrupted_histories_have_one_length(binary, solver):
    X, y = binary
    scoring = InterruptAtCall(negative_loss, 5)
    model = stopped(classifier, solver=solver, scoring=scoring)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, y)
    assert len(model.validation_scores_) == len(model.loss_curve_) == 4
    assert model.n_iter_ == 4


@pytest.mark.parametrize("warm_start", [False, True])
def test_interrupt_in_the_first_epoch_leaves_no_trace(
    regression, interrupt_batch, warm_start
):
    X, y = regression
    model = regressor(batch_size=20, warm_start=warm_start)
    interrupt_batch(2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert vars(model) == model.get_params(deep=False)
    model.fit(X, y)
    before = fitted_state(model)
    interrupt_batch(2)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, y)
    assert fitted_state(model) == before


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_interrupt_in_the_first_score_leaves_no_trace(binary, solver):
    scoring = InterruptAtCall(negative_loss, 1)
    model = stopped(classifier, solver=solver, scoring=scoring)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*binary)
    assert vars(model) == model.get_params(deep=False)


def test_stream_goes_on_after_an_interrupt_as_if_there_was_none(
    regression, interrupt_batch
):
    X, y = regression
    model = regressor(batch_size=20)
    for _ in range(4):
        model.partial_fit(X, y)
    stream = regressor(batch_size=20)
    for epoch in range(4):
        if epoch == 2:
            interrupt_batch(2)
            with pytest.raises(KeyboardInterrupt):
                stream.partial_fit(X, y)
        stream.partial_fit(X, y)
    assert_same_network(stream, model)


@pytest.mark.parametrize("solver", STOCHASTIC)
def test_stream_continues_an_interrupted_fit(regression, solver, interrupt_batch):
    X, y = regression
    params = {"solver": solver, "batch_size": 20, "shuffle": False} | NEVER_STOP
    complete = regressor(max_iter=3, **params).fit(X, y)
    interrupt_batch(8)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = regressor(**params).fit(X, y)
    assert_same_network(model.partial_fit(X, y), complete)


FAILURES = {
    "parameter": {"tol": -1},
    "reg_lambda": {"reg_lambda": [1.0]},
    "penalty": {"penalty": "nope"},
    "combination": {"penalty": MCP(), "decay_mode": "decoupled"},
    "divergence": {"solver": "sgd", "learning_rate_init": 1e200},
    "scorer": {
        "early_stopping": True,
        "validation_fraction": 0.3,
        "scoring": lambda estimator, X, y: 1 / 0,
    },
}


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("failure", FAILURES)
def test_failed_fit_keeps_the_fitted_network(regression, failure, warm_start):
    X, y = regression
    model = regressor(warm_start=warm_start).fit(X, y)
    before, predicted = fitted_state(model), model.predict(X)
    model.set_params(**FAILURES[failure])
    with pytest.raises((ValueError, ZeroDivisionError)):
        model.fit(X, y)
    assert fitted_state(model) == before
    assert_array_equal(model.predict(X), predicted)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("warm_start", [False, True])
def test_bad_data_keeps_the_fitted_network(binary, method, warm_start):
    X, y = binary
    model = classifier(warm_start=warm_start).fit(X, y)
    before = fitted_state(model)
    bad_calls = [
        (np.full_like(X, np.nan), y),
        (X, y[:-1]),
        (X, np.full(len(y), "other")),
        (X, y, -np.ones(len(y))),
    ]
    for args in bad_calls:
        with pytest.raises(ValueError):
            getattr(model, method)(*args)
        assert fitted_state(model) == before
    model.partial_fit(X, y)
    assert_same_network(model, classifier().fit(X, y).partial_fit(X, y))


def test_divergence_raises_the_message_of_scikit_learn(regression):
    X, y = regression
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        regressor(solver="sgd", learning_rate_init=1e200).fit(X, y)


def test_a_loss_that_is_nan_is_divergence_though_the_weights_are_not():
    """A prox makes weights 0 that are NaN; the loss of their epoch tells of it."""
    X = np.array([[-9, -1], [23, -12], [23, 9], [1, -3], [6, 7], [-2, -25]])
    X = 1e299 * np.vstack([X, [[-8, 19], [-3, 17], [8, 8]]])
    y = np.array([-10, 9, -1, 1, -5, 2, -18, 7, 3])
    model = RegMLPRegressor(
        penalty="group_lasso",
        penalize_intercepts=True,
        batch_size=1,
        max_iter=2,
        random_state=24297,
    )
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.fit(X, y, [2, 1, 2, 2, 1, 2, 2, 1, 0])


def test_divergence_after_the_best_validation_score_is_told():
    """Also where the weights are finite, but not their loss."""
    y = np.arange(30) % 3
    model = RegMLPClassifier(
        activation="tanh", early_stopping=True, learning_rate_init=1e300, random_state=0
    )
    with pytest.warns(ConvergenceWarning, match="diverged.*best validation score"):
        model.fit(np.zeros((30, 2)), y)
    assert np.isfinite(model.predict_proba(np.zeros((3, 2)))).all()


@pytest.mark.parametrize("solver", [s for s in SOLVERS if s != "lbfgs"])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_overflow_raises_the_message_of_scikit_learn(regression, solver, loss):
    X, y = regression
    model = regressor(solver=solver, loss=loss, learning_rate_init=1.0)
    with pytest.raises(ValueError, match=r"non-finite.*large values"):
        model.fit(1e200 * X, np.abs(y))
    assert vars(model) == model.get_params(deep=False)


def test_divergence_with_early_stopping_keeps_the_best_network(regression):
    X, y = regression
    model = stopped(regressor, solver="sgd", learning_rate_init=1e3, momentum=0.0)
    model.set_params(hidden_layer_sizes=(), max_iter=1000, n_iter_no_change=np.inf)
    with pytest.warns(ConvergenceWarning, match="diverged.*learning_rate_init"):
        model.fit(X, y)
    assert all(np.isfinite(array).all() for array in parameters(model))
    assert model.best_validation_score_ == np.nanmax(model.validation_scores_)
    assert len(model.validation_scores_) == model.n_iter_


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_lbfgs_does_not_overflow(regression, loss):
    X, y = regression
    model = regressor(solver="lbfgs", loss=loss, max_iter=1000)
    assert model.fit(1e200 * X, np.abs(y)).score(1e200 * X, np.abs(y)) > 0.5


@pytest.mark.parametrize("params", [{"tol": 1e9}, {"max_fun": 1}], ids=str)
def test_lbfgs_may_end_where_it_starts(regression, params):
    """On standardized data at scikit-learn's weights, but at the mean target."""
    X, y = (scale(values) for values in regression)
    y += 3
    start = initial_network(regressor(penalty=None), X, y)
    model = regressor(solver="lbfgs", penalty=None, **params)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    for W, expected in zip(model.coefs_, start.coefs_):
        assert_allclose(W, expected, rtol=1e-12)
    assert_allclose(model.intercepts_[0], start.intercepts_[0], rtol=1e-12)
    assert_allclose(model.intercepts_[-1], 3, rtol=1e-12)
    assert_allclose(model.loss_, data_loss(model, X, y))
    assert model.best_loss_ == model.loss_


# Reproducibility ---------------------------------------------------------------------


def wide_fit(seed, solver="adam"):
    """Fit large enough for a threaded BLAS to split its products."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 200))
    model = RegMLPRegressor(100, solver=solver, max_iter=3, random_state=seed)
    model.set_params(early_stopping=True, scoring="r2")
    return joblib.hash(parameters(model.fit(X, X[:, 0] * X[:, 1])))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("limit", [1, 2])
def test_network_is_independent_of_thread_limits(limit, solver):
    expected = wide_fit(0, solver)
    with threadpool_limits(limit):
        assert wide_fit(0, solver) == expected


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_network_is_independent_of_jobs(backend):
    expected = [wide_fit(seed) for seed in range(4)]
    assert len(set(expected)) == 4
    for n_jobs in (1, 2):
        jobs = Parallel(n_jobs, backend=backend)
        assert jobs(delayed(wide_fit)(seed) for seed in range(4)) == expected


def test_thread_limits_are_restored():
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        wide_fit(0)
        Parallel(2, backend="threading")(delayed(wide_fit)(seed) for seed in range(4))
        with pytest.raises(ValueError):
            RegMLPRegressor(tol=-1).fit([[0.0]], [0.0])
        assert threadpool_info() == before


@pytest.mark.parametrize("solver", SOLVERS)
def test_seed_decides(regression, solver):
    X, y = regression
    fits = [regressor(solver=solver, random_state=seed).fit(X, y) for seed in (1, 1, 2)]
    assert_same_network(fits[0], fits[1])
    assert fits[0].coefs_[0][0, 0] != fits[2].coefs_[0][0, 0]


@pytest.fixture
def poison_memory(monkeypatch):
    """Function after which new, unwritten memory holds signaling NaNs."""

    def poisoned(allocate):
        def allocate_poisoned(*args, **kwargs):
            array = allocate(*args, **kwargs)
            if array.dtype == np.float64:
                array.view(np.uint64)[...] = 0x7FF0_0000_0000_0001
            return array

        return allocate_poisoned

    yield lambda: [
        monkeypatch.setattr(np, name, poisoned(getattr(np, name)))
        for name in ("empty", "empty_like")
    ]


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", ["l2", "l1", "group_lasso", "sparse_group_lasso"])
def test_memory_is_written_before_it_is_read(
    regression, solver, penalty, poison_memory
):
    X, y = regression
    model = regressor(solver=solver, penalty=penalty, reg_lambda=0.01, batch_size=16)
    model.set_params(max_iter=50)
    expected = clone(model).fit(X, y)
    poison_memory()
    assert_same_network(model.fit(X, y), expected)
    assert_array_equal(model.predict(X), expected.predict(X))


def test_random_state_may_be_a_generator(regression):
    X, y = regression
    rng = np.random.RandomState(0)
    first = regressor(random_state=rng, batch_size=16).fit(X, y)
    assert_same_network(first, regressor(batch_size=16).fit(X, y))
    second = regressor(random_state=rng, batch_size=16).fit(X, y)
    assert second.coefs_[0][0, 0] != first.coefs_[0][0, 0]


def test_no_shuffle_takes_the_rows_as_they_lie(regression):
    X, y = regression
    model = regressor(shuffle=False, batch_size=16).fit(X, y)
    reverse = regressor(shuffle=False, batch_size=16).fit(X[::-1], y[::-1])
    assert model.loss_curve_ != reverse.loss_curve_


# Printing and warnings ---------------------------------------------------------------


def printed(capsys):
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("[RegMLP") for line in lines)
    return lines


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_verbose_prints_a_line_per_epoch(regression, capsys, solver):
    params = {"solver": solver, "max_iter": 12, "tol": 0.0}
    model = regressor(verbose=2, **params).fit(*regression)
    every = [
        f"[RegMLPRegressor] Iteration {i}, loss = {loss:.8f}"
        for i, loss in enumerate(model.loss_curve_, start=1)
    ]
    end = "[RegMLPRegressor] Ended after 12 epochs: max_iter."
    assert printed(capsys) == [*every, end]
    regressor(verbose=True, **params).fit(*regression)
    assert printed(capsys) == [*every[:10], end]


def test_lines_of_long_trainings_become_rare(regression, capsys):
    regressor(verbose=1, max_iter=345, tol=0.0, n_iter_no_change=np.inf).fit(
        *regression
    )
    lines = printed(capsys)[:-1]
    shown = [*range(1, 11), *range(20, 101, 10), 200, 300]
    assert [int(line.split()[2][:-1]) for line in lines] == shown


def test_verbose_prints_scores_and_why_training_ends(binary, capsys):
    model = stopped(classifier, verbose=1, tol=1.0).fit(*binary)
    lines = printed(capsys)
    assert f"validation score = {model.validation_scores_[0]:f}" in lines[0]
    assert "Validation score did not improve more than tol=1.000000" in lines[-2]
    end = f"[RegMLPClassifier] Ended after {model.n_iter_} epochs: converged."
    assert lines[-1] == end


def test_verbose_prints_lower_rates(regression, capsys):
    params = {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0}
    regressor(verbose=True, n_iter_no_change=2, **params).fit(*regression)
    assert "Setting learning rate to 0.0002." in capsys.readouterr().out


def test_silent_by_default(regression, capsys):
    regressor(max_iter=4).fit(*regression)
    out, err = capsys.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("solver", SOLVERS)
def test_warns_when_iterations_run_out(regression, solver):
    with pytest.warns(ConvergenceWarning, match=rf"solver='{solver}'.*max_iter=2"):
        regressor(solver=solver, max_iter=2, tol=1e-15).fit(*regression)


def test_warnings_point_at_the_caller(regression):
    with pytest.warns(ConvergenceWarning) as record:
        regressor(max_iter=1).fit(*regression)
    assert record[0].filename == __file__


def test_batch_larger_than_the_data_is_clipped(regression):
    X, y = regression
    with pytest.warns(UserWarning, match="batch_size=61.*60") as record:
        model = regressor(batch_size=61).fit(X, y)
    assert record[0].filename == __file__
    assert_same_network(model, regressor(batch_size=60).fit(X, y))


# Losses, activations and architectures -----------------------------------------------


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_activation_learns(multiclass, regression, activation, solver):
    rate = {"sgd": 0.1}.get(solver, 0.01)
    params = {"activation": activation, "solver": solver, "learning_rate_init": rate}
    X, y = multiclass
    assert classifier(max_iter=300, **params).fit(X, y).score(X, y) > 0.85
    X, y = regression
    assert regressor(max_iter=300, **params).fit(X, y).score(X, y) > 0.9


@pytest.mark.parametrize(
    "solver, loss",
    [
        (solver, name)
        for solver in SOLVERS
        for name, loss in REGRESSION_LOSSES.items()
        if solver != "lbfgs" or loss.is_smooth
    ],
)
def test_every_loss_learns(regression, loss, solver):
    X, y = regression
    y = np.exp(y / 2)
    model = regressor(loss=loss, solver=solver, learning_rate_init=0.01)
    model.set_params(max_iter=500, n_iter_no_change=np.inf).fit(X, y)
    assert model.score(X, y) > 0.8
    is_positive = loss in ("poisson", "gamma")
    assert model.out_activation_ == ("exp" if is_positive else "identity")
    assert (model.predict(X) > 0).all() or not is_positive


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
def test_quantile_loss_finds_the_quantile(quantile):
    y = np.random.default_rng(0).exponential(size=400)
    X = np.zeros((400, 1))
    model = RegMLPRegressor((), loss="quantile", quantile=quantile, random_state=0)
    model.set_params(learning_rate_init=0.02, learning_rate="cosine", max_iter=1000)
    assert np.mean(y < model.fit(X, y).predict(X)[0]) == pytest.approx(
        quantile, abs=0.02
    )


@pytest.mark.parametrize("sizes", [(), 3, (3,), [3, 2], np.array([3, 2]), (4, 3, 2)])
def test_hidden_layers(regression, sizes):
    X, y = regression
    model = RegMLPRegressor(sizes, max_iter=5).fit(X, y)
    units = [4, *np.atleast_1d(np.asarray(sizes, int)), 1]
    assert [W.shape for W in model.coefs_] == list(pairwise(units))
    assert [b.shape for b in model.intercepts_] == [(n,) for n in units[1:]]
    assert model.n_layers_ == len(units)
    assert_allclose(model.predict(X), raw_output(model, X)[:, 0])


# Regularization ----------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_penalty_and_lambda_per_layer(regression, solver):
    X, y = regression
    model = regressor(solver=solver, penalty=["l1", None], reg_lambda=[1e3, 0.0])
    model.fit(X, y)
    assert not model.coefs_[0].any()
    assert model.coefs_[1].all()
    assert model.decay_mode_ == ["proximal", "coupled"]
    model.set_params(penalty=[None, L1()], reg_lambda=[0.0, 1e3]).fit(X, y)
    assert model.coefs_[0].all()
    assert not model.coefs_[1].any()


@pytest.mark.filterwarnings("ignore:reg_lambda=.*one number")
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_penalties_of_layers_add_up(regression, solver):
    X, y = regression
    penalties, lam = ["l2", "l1", GroupLasso()], [0.1, 0.2, 0.3]
    model = RegMLPRegressor((5, 3), solver=solver, penalty=penalties, reg_lambda=lam)
    model.set_params(learning_rate_init=1e-300, max_iter=1).fit(X, y)
    W = model.coefs_
    rows = np.linalg.norm(W[2], axis=1).sum()  # weight 1: one entry per row
    expected = 0.05 * (W[0] ** 2).sum() + 0.2 * np.abs(W[1]).sum() + 0.3 * rows
    assert_allclose(model.penalty_curve_, expected)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", ["l2", "l1", "elasticnet", "group_lasso"])
def test_one_lambda_means_the_same_for_every_layer(regression, solver, penalty):
    X, y = regression
    params = {"solver": solver, "penalty": penalty}
    model = regressor(reg_lambda=0.01, **params).fit(X, y)
    listed = regressor(reg_lambda=[0.01, 0.01], **params)
    listed.set_params(penalty=[penalty, penalty]).fit(X, y)
    assert_same_network(listed, model)


@pytest.mark.parametrize(
    ("params", "mode"),
    [
        ({}, "coupled"),
        ({"penalty": None}, "coupled"),
        ({"penalty": "l1"}, "proximal"),
        ({"penalty": "elasticnet"}, "proximal"),
        ({"penalty": "elasticnet", "l1_ratio": 0.0}, "coupled"),
        ({"penalty": "group_lasso"}, "proximal"),
        ({"penalty": MCP()}, "proximal"),
        ({"decay_mode": "decoupled"}, "decoupled"),
        ({"decay_mode": "proximal"}, "proximal"),
    ],
    ids=str,
)
def test_resolved_decay_mode(regression, params, mode):
    assert regressor(**params).fit(*regression).decay_mode_ == mode


@pytest.mark.parametrize("solver", SOLVERS)
def test_huge_lambda_leaves_class_shares(multiclass, solver):
    X, y = multiclass
    X, y = X[:-15], y[:-15]
    model = classifier(solver=solver, penalty="l1", reg_lambda=1e3, **TO_THE_END)
    proba = model.fit(X, y).predict_proba(X)
    assert not any(W.any() for W in model.coefs_)
    shares = np.unique(y, return_counts=True)[1] / len(y)
    assert_allclose(proba, np.tile(shares, (len(y), 1)), atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gamma"])
def test_huge_lambda_leaves_the_mean(regression, solver, loss):
    X, y = regression
    y = np.exp(y)
    weight = weights_for(y)
    model = regressor(solver=solver, loss=loss, penalty="l1", reg_lambda=1e3)
    predicted = model.set_params(**TO_THE_END).fit(X, y, weight).predict(X)
    assert not any(W.any() for W in model.coefs_)
    assert_allclose(predicted, np.average(y, weights=weight), rtol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", ["l1", "l2", "group_lasso"])
def test_intercepts_are_penalized_on_request_only(regression, solver, penalty):
    X, y = regression
    model = regressor(solver=solver, penalty=penalty, reg_lambda=10.0, max_iter=400)
    model.set_params(learning_rate_init=0.02).fit(X, y + 3)
    assert abs(model.intercepts_[-1][0]) > 2
    model.set_params(penalize_intercepts=True).fit(X, y + 3)
    assert abs(model.intercepts_[-1][0]) < 0.5


def test_importances_are_norms_of_outgoing_weights(multioutput):
    X, y = multioutput
    X[:, 1] = 0.0
    model = regressor(penalty=["group_lasso", "l2"], reg_lambda=0.02, max_iter=300)
    importances = (
        model.set_params(learning_rate_init=0.01).fit(X, y).feature_importances_
    )
    assert importances.shape == (4,)
    assert_allclose(importances, np.sqrt((model.coefs_[0] ** 2).sum(axis=1)))
    assert_array_equal(importances == 0, [False, True, False, False])
    model.coefs_ = [1e300 * W for W in model.coefs_]  # whose squares overflow
    assert_allclose(model.feature_importances_, 1e300 * importances)


# Attributes --------------------------------------------------------------------------


def documented_attributes(estimator):
    section = re.search(
        r"^Attributes\n-+\n(.*?)^See Also", estimator.__doc__, re.DOTALL | re.MULTILINE
    )
    return re.findall(r"^(\w+) :", section[1], re.MULTILINE)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", TASKS)
def test_documented_attributes_are_there(kind, solver, early_stopping, request):
    X, y = request.getfixturevalue(kind)
    model = TASKS[kind](solver=solver, early_stopping=early_stopping)
    names = documented_attributes(type(model))
    assert {"coefs_", "loss_curve_", "feature_importances_", "t_"} <= set(names)
    X = pd.DataFrame(X).add_prefix("x")
    model.set_params(validation_fraction=0.3).fit(X, y)
    assert not [name for name in names if not hasattr(model, name)]
    public = {n for n in vars(model) if n.endswith("_") and not n.startswith("_")}
    assert public <= set(names)


def test_documented_attributes_are_those_of_each_task():
    both = documented_attributes(RegMLPRegressor)
    assert set(documented_attributes(RegMLPClassifier)) - set(both) == {"classes_"}
    assert "classes_" not in both


@pytest.mark.parametrize("solver", SOLVERS)
def test_attributes_have_the_documented_types(multiclass, solver):
    X, y = multiclass
    model = classifier(solver=solver).fit(X, y)
    assert [type(getattr(model, name)) for name in ("n_iter_", "t_", "n_layers_")] == [
        int,
        int,
        int,
    ]
    assert isinstance(model.loss_, float)
    assert isinstance(model.best_loss_, float)
    assert (model.optimality_ is None) is (solver != "lbfgs")
    assert isinstance(model.decay_mode_, str)
    assert model.n_features_in_ == X.shape[1]


def test_decoupled_decay_beyond_one_warns(regression):
    X, y = regression
    model = regressor(penalty="l2", decay_mode="decoupled", reg_lambda=3.0)
    model.set_params(solver="sgd", learning_rate_init=0.5, max_iter=1)
    with pytest.warns(UserWarning, match="decoupled decay sets the weights to 0"):
        model.partial_fit(X, y)
    assert all(np.isfinite(W).all() for W in model.coefs_)
