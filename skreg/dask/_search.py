"""Cross-validation of Dask collections: each fit on the whole cluster."""

from collections.abc import Sequence
from typing import Any

import dask
import distributed
import numpy as np
from joblib import parallel_config
from sklearn.base import is_classifier
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skreg import _validation as validation
from skreg._cv._search import RegMLPClassifierCV, RegMLPRegressorCV
from skreg._fitted import as_estimator
from skreg.dask import _folds, _term
from skreg.dask._cluster import Cluster
from skreg.dask._collections import Collection
from skreg.dask._estimators import (
    DaskRegMLPClassifier,
    DaskRegMLPRegressor,
    LazyProbabilities,
    OnCluster,
    with_client,
)


def _not_on_cluster(search):
    raise AttributeError(
        "predict_interval is not available on a cluster: use that of to_local()."
    )


class SearchOnCluster(OnCluster):
    """Mixin, before a cross-validation class: fits of Dask collections.

    Folds, grids and the choice are made at the client, which therefore has the targets
    and weights of all rows; X stays on the cluster.
    """

    _dask_class: type

    def _search(self, X, y, sample_weight, params):
        # Each fit is on all of the cluster, whatever the backend of joblib.
        with parallel_config("threading"):
            return super()._search(X, y, sample_weight, params)

    def _read(self, X, y, sample_weight):
        cluster = Cluster(self.client_)
        found = _term.read(self._template(), cluster, X, y, sample_weight)
        return _folds.source(*found[:2])

    def _route(self, sample_weight, params):
        unknown = sorted(set(params) - {"groups"})
        if unknown:
            raise TypeError(
                f"fit got unexpected arguments: {unknown}. On a cluster it takes "
                "sample_weight and groups."
            )
        (groups,) = dask.compute(params.get("groups"))
        return {"groups": None if groups is None else np.asarray(groups)}, None

    def _check_search_parameters(self):
        super()._check_search_parameters()
        _term.check_scoring(self)
        if self._is_auto:
            name = "max_features" if self.param_grid is None else "param_grid"
            allowed = "None" if self.param_grid is None else "None, a dict or dicts"
            raise validation.parameter_error(self, name, f"{allowed} on a cluster")
        if self._is_loo:
            raise validation.parameter_error(self, "cv", "one with folds on a cluster")
        if isinstance(self.refit, str):
            raise validation.parameter_error(self, "refit", "a bool on a cluster")

    def _candidates(self, network, source):
        candidates = super()._candidates(network, source)
        for data in candidates:
            if data.point.network.device != "cpu":
                raise validation.parameter_error(self, "device", "'cpu' on a cluster")
            if is_classifier(self) and source.y.ndim == 2:
                _term.check_weights_of_labels(data.point.network)
        return candidates

    def _as_network(self, fitted, params):
        params = super()._as_network(fitted, params).get_params(deep=False)
        return as_estimator(self._dask_class(**params, client=self.client), fitted)

    def _scorer(self):
        return self._template()

    def _predictor(self):
        check_is_fitted(self)
        return as_estimator(self._template(), self.fitted_)

    def to_local(self) -> Any:
        """Return the outcome as a local cross-validation.

        Returns
        -------
        RegMLPClassifierCV or RegMLPRegressorCV
            Fitted; takes arrays in memory, and needs no Dask.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        """
        check_is_fitted(self, "best_params_")
        local = self._local()
        fitted = {k: v for k, v in vars(self).items() if k.endswith("_")}
        vars(local).update(fitted)
        return local


class DaskRegMLPClassifierCV(LazyProbabilities, SearchOnCluster, RegMLPClassifierCV):
    """`RegMLPClassifierCV` for Dask collections.

    Each fit of the cross-validation is made on the whole cluster. Targets and weights
    of all rows come to the client, X does not; folds are copies of rows where these
    lie. What is not described here is as in `RegMLPClassifierCV`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int >= 1, default=(100,)
        Units of each hidden layer.
    client : distributed.Client, default=None
        None is Dask's current client. It is not pickled.
    **params : dict
        All other parameters of `RegMLPClassifierCV`, but that `scoring` must be a mean
        over rows, and "auto", `max_features`, ``cv="loo"`` and means of networks
        (`refit` "folds" or "stack") are not available. The networks in `path_` are
        local ones.

    See Also
    --------
    skreg.RegMLPClassifierCV : Parameters, attributes and methods.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask.distributed import Client
    >>> from skreg.dask import DaskRegMLPClassifierCV
    >>> client = Client()  # doctest: +SKIP
    >>> X = da.random.default_rng(0).standard_normal((400, 4), chunks=(200, 4))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> model = DaskRegMLPClassifierCV(
    ...     (), penalty="l1", solver="lbfgs", reg_lambdas=[0.1, 0.9], cv=2
    ... ).fit(X, y)
    >>> model.reg_lambda_
    0.1
    >>> model.predict(X).compute().shape
    (400,)
    """

    _local_class, _dask_class = RegMLPClassifierCV, DaskRegMLPClassifier

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        client: distributed.Client | None = None,
        **params: Any,
    ):
        super().__init__(hidden_layer_sizes, **params)
        self.client = client

    with_client(__init__, RegMLPClassifierCV)


class DaskRegMLPRegressorCV(SearchOnCluster, RegMLPRegressorCV):
    """`RegMLPRegressorCV` for Dask collections.

    Each fit of the cross-validation is made on the whole cluster. Targets and weights
    of all rows come to the client, X does not; folds are copies of rows where these
    lie. What is not described here is as in `RegMLPRegressorCV`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int >= 1, default=(100,)
        Units of each hidden layer.
    client : distributed.Client, default=None
        None is Dask's current client. It is not pickled.
    **params : dict
        All other parameters of `RegMLPRegressorCV`, but that `scoring` must be a mean
        over rows (or None, R^2), and "auto", `max_features`, ``cv="loo"`` and means of
        networks (`refit` "folds" or "stack") are not available. The networks in `path_`
        are local ones.

    See Also
    --------
    skreg.RegMLPRegressorCV : Parameters, attributes and methods.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask.distributed import Client
    >>> from skreg.dask import DaskRegMLPRegressorCV
    >>> client = Client()  # doctest: +SKIP
    >>> X = da.random.default_rng(0).standard_normal((400, 4), chunks=(200, 4))
    >>> y = X[:, 0] - X[:, 1] + 1.0
    >>> lasso = DaskRegMLPRegressorCV(
    ...     (), penalty="l1", solver="lbfgs", reg_lambdas=[0.1, 0.9], cv=2
    ... ).fit(X, y)
    >>> lasso.best_estimator_.selected_features_
    array([ True,  True, False, False])
    """

    _local_class, _dask_class = RegMLPRegressorCV, DaskRegMLPRegressor

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        client: distributed.Client | None = None,
        **params: Any,
    ):
        super().__init__(hidden_layer_sizes, **params)
        self.client = client

    with_client(__init__, RegMLPRegressorCV)

    @available_if(_not_on_cluster)
    def predict_interval(self, X: Collection, level: float = 0.9) -> Any:
        """Not available on a cluster: there is no such attribute.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs.
        level : float in (0, 1), default=0.9
            Share of targets.
        """
