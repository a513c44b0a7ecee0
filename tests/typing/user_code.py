"""Code as users write it, for type checkers: `mypy` and `pyright` find no error.

`assert_type` says what editors should know; the lines at the end are errors, and the
checkers complain where they are not. It also runs, see `test_typing.py`.
"""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

import skreg
from skreg import (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPPath,
    RegMLPRegressor,
    RegMLPRegressorCV,
    convert_lambda,
    penalties,
    recommended,
    reg_mlp_path,
)
from skreg.penalties import L1, MCP, GroupLasso, Penalty


class Nonnegative(Penalty):
    """A penalty of one's own."""

    is_convex = is_separable = has_metric_prox = True

    def value(self, W: NDArray[Any], lam: float = 1.0) -> float:
        return 0.0 if np.all(W >= 0) else np.inf

    def prox(
        self, W: NDArray[Any], step: float | NDArray[Any], lam: float = 1.0
    ) -> NDArray[Any]:
        return np.maximum(W, 0)


def classify(X: NDArray[np.float64], y: NDArray[np.int64]) -> None:
    model = RegMLPClassifier((5,), penalty="l1", reg_lambda=1e-3, max_iter=3)
    model = model.fit(X, y, sample_weight=np.ones(len(y)))
    assert_type(model, RegMLPClassifier)
    assert_type(model.predict_proba(X), NDArray[Any])
    assert_type(model.n_iter_, int)
    assert_type(model.coefs_, list[NDArray[Any]])
    assert_type(model.selected_features_, NDArray[Any])
    assert_type(model.best_validation_score_, float | None)
    print(model.loss_curve_[-1] + 1, model.score(X, y), model.compact().n_layers_)
    model.partial_fit(X, y, classes=[0, 1])

    layers = [penalties.GroupLasso(), penalties.L2()]
    RegMLPClassifier([5], penalty=layers, class_weight={0: 1.0, 1: 2.0}).set_params(
        reg_lambda=[0.1, 0.01], activation="tanh", max_iter=2, tol=10.0
    ).fit(X.tolist(), y.tolist())
    RegMLPClassifier(**{**recommended(), "max_iter": 20}, random_state=0).fit(X, y)
    search = RegMLPClassifierCV(
        (), penalty=L1(), solver="lbfgs", cv=KFold(3), reg_lambdas=3, n_jobs=2
    )
    search = search.fit(X, y)
    assert_type(search, RegMLPClassifierCV)
    assert_type(search.reg_lambda_, float | tuple[float, ...])
    assert_type(search.scores_, NDArray[Any])
    assert_type(search.path_, RegMLPPath)
    grid = {"regmlpclassifier__reg_lambda": [1e-3, 1e-2]}
    pipeline = make_pipeline(StandardScaler(), RegMLPClassifier((), solver="lbfgs"))
    GridSearchCV(pipeline, grid, cv=2).fit(X, y)


def regress(X: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    model = RegMLPRegressor(3, penalty=Nonnegative(), solver="lbfgs", loss="huber")
    assert_type(model.fit(X, y).predict(X), NDArray[Any])
    RegMLPRegressorCV((), penalty=MCP(gamma=4), solver="lbfgs", eps=0.1).fit(X, y)
    lasso = RegMLPRegressor((), penalty=GroupLasso(factors=[1.0] * 10), solver="lbfgs")
    path = reg_mlp_path(lasso, X, y, reg_lambdas=[0.5, 0.1])
    assert_type(path, RegMLPPath)
    assert_type(path.n_features, NDArray[Any])
    assert_type(path[:2], RegMLPPath)
    assert_type(path.coefs[0], list[NDArray[Any]])
    print(path[0].predict(X).shape, len(path), [model.loss_ for model in path])
    lam = convert_lambda(0.1, "sklearn_logistic", n_samples=len(y))
    assert_type(lam, float | NDArray[np.float64])


def draw(X: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    model = RegMLPRegressor((5,), max_iter=2, tol=10.0).fit(X, y)
    display = skreg.displays.LossCurveDisplay.from_estimator(model)
    assert_type(display, skreg.displays.LossCurveDisplay)
    pair = skreg.displays.PenaltyDisplay.from_penalties(["l1", L1()], others=[1.0])
    assert_type(pair, skreg.displays.PenaltyDisplay)
    matrices = [W.tolist() for W in model.coefs_]
    skreg.displays.WeightsDisplay(matrices, names=np.array(["a", "b"])).plot()


def errors(X: NDArray[np.float64]) -> None:
    RegMLPClassifierCV((5,), reg_lambda=1.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    RegMLPClassifier((5,), max_iter="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    RegMLPRegressor(hidden=(5,))  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    skreg.displays.WeightsDisplay([X], kind=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    reg_mlp_path("lasso", X, X)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    cancer: Any = load_breast_cancer(return_X_y=True)
    classify(scale(cancer[0]), cancer[1])
    diabetes: Any = load_diabetes(return_X_y=True)
    regress(scale(diabetes[0]), scale(diabetes[1]))
    draw(scale(diabetes[0]), scale(diabetes[1]))
