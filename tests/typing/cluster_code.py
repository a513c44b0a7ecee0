"""Code for a cluster, for `mypy` and `pyright`; `test_dask.py` runs such code."""

from typing import Any, assert_type

from numpy.typing import NDArray

from skreg import reg_mlp_path
from skreg.dask import DaskRegMLPClassifier, DaskRegMLPRegressorCV


def on_a_cluster(X: Any, y: Any, client: Any) -> None:
    model = DaskRegMLPClassifier((5,), client=client, penalty="l1", max_iter=3)
    assert_type(model.fit(X, y, X_val=X, y_val=y), DaskRegMLPClassifier)
    assert_type(model.score(X, y), float)
    assert_type(model.coefs_, list[NDArray[Any]])
    print(model.predict_proba(X).compute(), model.to_local().predict(X.compute()))
    search = DaskRegMLPRegressorCV((), reg_lambdas=[0.1, 0.9], cv=2).fit(X, y)
    assert_type(search, DaskRegMLPRegressorCV)
    assert_type(search.reg_lambda_, float | tuple[float, ...])
    print(len(reg_mlp_path(model, X, y)))


def errors() -> None:
    DaskRegMLPClassifier("many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
