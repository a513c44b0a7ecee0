"""`split_rows`: which rows early stopping holds out."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skreg import RegMLPClassifier, RegMLPRegressor
from skreg._split import split_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 30
LABELS = np.arange(N) % 3 == 0
SEEDS = pytest.mark.parametrize("seed", range(5))
STRATA = pytest.mark.parametrize("strata", [None, LABELS], ids=["plain", "stratified"])


def split(n_rows=N, weight=None, fraction=0.3, strata=None, seed=0):
    rng = np.random.RandomState(seed)
    return split_rows(n_rows, weight, fraction, strata, rng)


def assert_same_rows(rows, expected):
    for got, wanted in zip(rows, expected):
        assert_array_equal(got, wanted)


# The draw ----------------------------------------------------------------------------


@SEEDS
@STRATA
@pytest.mark.parametrize("weight", [None, 1, 3, 0.1], ids=str)
def test_rows_without_weights_or_equal_ones_are_those_of_train_test_split(
    weight, strata, seed
):
    weight = None if weight is None else np.full(N, weight)
    expected = train_test_split(
        np.arange(N), test_size=0.3, stratify=strata, random_state=seed
    )
    assert_same_rows(split(weight=weight, strata=strata, seed=seed), expected)


@SEEDS
@STRATA
def test_weights_do_not_change_the_draw(strata, seed):
    weight = np.random.default_rng(seed).uniform(0.1, 5, N)
    expected = split(strata=strata, seed=seed)
    assert_same_rows(split(weight=weight, strata=strata, seed=seed), expected)


@SEEDS
@STRATA
def test_a_row_of_weight_zero_is_as_good_as_removed(strata, seed):
    weight = np.random.default_rng(seed).integers(0, 4, N)
    kept = np.flatnonzero(weight)
    removed = split(
        len(kept), strata=None if strata is None else strata[kept], seed=seed
    )
    rows = split(weight=weight, strata=strata, seed=seed)
    assert_same_rows(rows, [kept[r] for r in removed])


def test_messages_name_the_fraction_and_the_class_as_the_user_does():
    with pytest.raises(ValueError, match=r"validation_fraction=0\.99"):
        split(fraction=0.99)
    with pytest.raises(ValueError, match=r"1 of 30 rows.*'validation_fraction'.*0\.01"):
        split(fraction=0.01)
    labels = np.where(np.arange(N) == 0, "spam", "ham")
    # Before 1.9, scikit-learn does not say which class it is.
    with pytest.raises(ValueError, match=r"early_stopping.*('spam'|class in y)"):
        split(strata=labels)


# Parity with scikit-learn on data whose rows repeat ----------------------------------


def poisson_counts(n=10_000, rate=0.05):
    rng = np.random.RandomState(0)
    X = rng.poisson(rate, (n, 6)).astype(float)
    return X, ((X.sum(1) > 0) & (rng.rand(n) < 0.7)).astype(int)


def test_repeated_rows_train_and_score_as_in_scikit_learn():
    X, y = poisson_counts()
    shared = {"hidden_layer_sizes": (5,), "early_stopping": True, "random_state": 9}
    shared |= {"max_iter": 500, "learning_rate_init": 0.01}
    ours = RegMLPClassifier(**shared, penalty=None, epsilon=1e-12).fit(X, y)
    theirs = MLPClassifier(**shared, alpha=0.0, epsilon=1e-12).fit(X, y)
    assert ours.t_ / ours.n_iter_ == 9000
    # Training alone may differ by rounding; the data it sees may not.
    np.testing.assert_allclose(
        ours.validation_scores_[:3], theirs.validation_scores_[:3], rtol=1e-10
    )
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), abs=2e-3)
    assert ours.score(X, y) > 0.92


@SEEDS
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("kind", ["binary", "duplicate", "constant"])
def test_the_first_epochs_are_those_of_scikit_learn_for_any_repetition(
    kind, task, seed
):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(400, 2))
    X = {"binary": (X > 0) * 1.0, "duplicate": X, "constant": 0 * X}[kind]
    X[-1] = X[0]
    y = X[:, 0] + rng.normal(size=400)
    if task != "regression":
        y = np.digitize(y, [0.0] if task == "binary" else [-0.5, 0.5])
    shared = {"hidden_layer_sizes": (4,), "early_stopping": True, "random_state": seed}
    shared |= {"max_iter": 3, "n_iter_no_change": 3, "epsilon": 1e-12}
    pair = [RegMLPRegressor, MLPRegressor]
    if task != "regression":
        pair = [RegMLPClassifier, MLPClassifier]
    ours = pair[0](**shared, penalty=None).fit(X, y)
    theirs = pair[1](**shared, alpha=0.0).fit(X, y)
    np.testing.assert_allclose(
        ours.validation_scores_, theirs.validation_scores_, rtol=1e-6
    )
    assert ours.t_ == theirs.t_


@pytest.mark.parametrize("p", [1, 2])
@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
def test_many_rows_of_a_few_binary_inputs_can_be_split(estimator, p):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 2, (10_000, p)).astype(float)
    y = X[:, 0].astype(int)
    model = estimator((3,), early_stopping=True, max_iter=2, random_state=0).fit(X, y)
    assert model.t_ == 2 * 9000
    assert len(model.validation_scores_) == 2


@pytest.mark.parametrize("estimator", [RegMLPClassifier, RegMLPRegressor])
def test_one_repeated_row_does_not_change_the_draw_of_the_others(estimator):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(100, 3))
    y = (X[:, 0] > 0).astype(int)
    copied, changed = X.copy(), X.copy()
    copied[7], changed[7] = X[3], X[3] + 1e-9
    params = {"early_stopping": True, "max_iter": 3, "random_state": 0}
    a = estimator((4,), **params).fit(copied, y)
    b = estimator((4,), **params).fit(changed, y)
    np.testing.assert_allclose(a.validation_scores_, b.validation_scores_, atol=1e-6)
