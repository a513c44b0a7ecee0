"""Warnings point to the line of the user, whatever lies between it and the fit."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skreg import (
    RegMLPClassifier,
    RegMLPRegressor,
    RegMLPRegressorCV,
    reg_mlp_path,
)
from skreg.penalties import GroupLasso

X = np.random.default_rng(0).normal(size=(40, 3))
Y = X[:, 0]
SHORT = {"max_iter": 1, "random_state": 0}
NETWORK = RegMLPRegressor((3,), **SHORT)
FREE_LAYER = [GroupLasso(), None]
NAN_SCORE = {"early_stopping": True, "scoring": lambda *_: np.nan}

CALLS = {
    "limit": lambda: NETWORK.fit(X, Y),
    "batch_size": lambda: RegMLPRegressor(batch_size=99, **SHORT).fit(X, Y),
    "partial_fit": lambda: RegMLPRegressor(batch_size=99).partial_fit(X, Y),
    "classifier": lambda: RegMLPClassifier(3, **SHORT).fit(X, Y > 0),
    "vacuous": lambda: RegMLPRegressor(3, penalty=FREE_LAYER, **SHORT).fit(X, Y),
    "decoupled": lambda: RegMLPRegressor(
        3, reg_lambda=1e4, decay_mode="decoupled", **SHORT
    ).fit(X, Y),
    "score": lambda: RegMLPRegressor(3, **SHORT, **NAN_SCORE).fit(X, Y),
    "worse": lambda: RegMLPRegressor(3, tol=9.0, random_state=0).fit(X, 1e-3 * Y),
    "pipeline": lambda: make_pipeline(StandardScaler(), NETWORK).fit(X, Y),
    "grid search": lambda: GridSearchCV(NETWORK, {"tol": [0.1]}, cv=2).fit(X, Y),
    "search": lambda: RegMLPRegressorCV(
        3, solver="lbfgs", reg_lambdas=[0.1, 0.2], cv=2, **SHORT
    ).fit(X, Y),
    "search in a pipeline": lambda: make_pipeline(
        RegMLPRegressorCV(3, solver="lbfgs", reg_lambdas=[0.1], cv=2, **SHORT)
    ).fit(X, Y),
    "search that finds a constant": lambda: RegMLPRegressorCV(
        3, penalty="l1", solver="lbfgs", reg_lambdas=[1e3], cv=2
    ).fit(X, Y),
    "early stopping": lambda: RegMLPRegressor(3, early_stopping=True, **SHORT).fit(
        X, Y, X_val=X, y_val=0 * Y
    ),
    "outputs": lambda: RegMLPRegressor(3, learning_rate_init=0.1, tol=9.0).fit(
        X, np.c_[9 * Y, 1e-4 * X[:, 1]]
    ),
    "search of worse networks": lambda: RegMLPRegressorCV(
        3, reg_lambdas=[0.1], cv=2, tol=9.0, random_state=0
    ).fit(X, 1e-3 * Y),
    "path of worse networks": lambda: reg_mlp_path(
        RegMLPRegressor(3, tol=9.0, random_state=0), X, 1e-3 * Y, reg_lambdas=[0.1]
    ),
    "path": lambda: reg_mlp_path(NETWORK, X, Y, reg_lambdas=[0.1, 0.2]),
    "path without its end": lambda: reg_mlp_path(
        RegMLPRegressor(3, solver="lbfgs", penalty="group_lasso", random_state=0),
        X,
        Y,
        reg_lambdas=[1e-6],
        max_features=1,
    ),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_warnings_point_to_this_file(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert caught
    assert {warning.filename for warning in caught} == {__file__}


def test_the_line_is_that_of_the_call():
    with pytest.warns(ConvergenceWarning) as caught:
        NETWORK.fit(X, Y)  # here
    with open(__file__, encoding="utf-8") as lines:
        assert lines.readlines()[caught[0].lineno - 1].endswith("# here\n")
