"""Estimators of Dask collections."""

from collections.abc import Sequence
from dataclasses import replace
from inspect import Parameter, Signature, signature
from typing import Any, Self

import dask
import distributed
import numpy as np
from sklearn.base import clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skreg import _validation as validation
from skreg._fitted import Fitted, as_estimator
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._rows import Header
from skreg._threads import single_blas_thread
from skreg._training import prepare, solve, validation_score
from skreg._typing import Array, PenaltyLike
from skreg.dask import _term
from skreg.dask._cluster import Cluster
from skreg.dask._collections import Collection, check_collection, is_array


def _not_on_cluster(estimator):
    raise AttributeError(
        "partial_fit is not available on a cluster. Use fit, with warm_start=True to "
        "go on with more rows."
    )


class OnCluster:
    """Mixin, before a local estimator: predicts Dask collections."""

    _is_on_cluster = True
    _local_class: Any = None
    client: distributed.Client | None
    fitted_: Fitted

    @property
    def client_(self) -> distributed.Client:
        """The client in use: the parameter, or Dask's current one."""
        if self.client is not None:
            return self.client
        try:
            return distributed.get_client()
        except ValueError:
            raise ValueError(
                f"{type(self).__name__} needs a Dask client: make one by "
                "dask.distributed.Client(...), or pass client=."
            ) from None

    def _local(self):
        """An unfitted local estimator with the same parameters."""
        params = self.get_params(deep=False)
        del params["client"]
        return self._local_class(**params)

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Refuse callbacks: they are not available on a cluster.

        Parameters
        ----------
        *callbacks : callback instances
            Of scikit-learn.

        Raises
        ------
        ValueError
            Always; it says what to use in place of them.
        """
        raise ValueError(
            "Callbacks are not supported on a cluster. Use verbose=1, and the "
            "dashboard of Dask."
        )

    def to_local(self) -> Any:
        """Return the fitted network as a local estimator.

        Returns
        -------
        RegMLPClassifier or RegMLPRegressor
            Takes arrays in memory, and needs no Dask.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        """
        check_is_fitted(self)
        return as_estimator(self._local(), self.fitted_)

    def score(
        self, X: Collection, y: Collection, sample_weight: Collection | None = None
    ) -> float:
        """Score predictions on the cluster.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs.
        y : dask array of shape (n_samples,) or (n_samples, n_outputs), or DataFrame
            Targets.
        sample_weight : dask array of shape (n_samples,), or Series, default=None
            Non-negative weights, not all 0.

        Returns
        -------
        float
            Accuracy, or R^2, as `score` of the local estimator.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError, TypeError
            Names the block of data at fault.
        """
        check_is_fitted(self)
        fitted, local = self.fitted_, self._scorer()
        rows, header, _ = _term.read(local, Cluster(self.client_), X, y, sample_weight)
        _check_header(header, fitted.header, "X")
        score = validation_score(
            rows, local, fitted.task, fitted.network, fitted.inputs, fitted.dtype
        )
        return score(fitted.theta())

    def _scorer(self):
        """A local estimator with the `scoring` of `score`."""
        return self._local().set_params(scoring=None)

    def _predictor(self):
        """A fitted local estimator that predicts."""
        return self.to_local()

    def _lazy(self, method, X):
        """Dask array of what a method of the local estimator answers to X."""
        local = self._predictor().set_params(n_jobs=1)  # tasks share the cores already
        X = check_collection(X, "X", (2,))
        _check_columns(X, self.fitted_.header)
        nameless = replace(self.fitted_, header=Header(self.n_features_in_))
        some = np.zeros((1, self.n_features_in_), self.fitted_.dtype)
        none = getattr(as_estimator(local, nameless), method)(some)[:0]
        model = dask.delayed(local)  # one value for all blocks
        if not is_array(X):
            meta = _as_frame(none)
            frame = X.map_partitions(_answer_frame, model, method, none, meta=meta)
            values = frame.to_dask_array()
            return values[:, 0] if none.ndim == 1 else values
        dims = {"chunks": (X.chunks[0], *((n,) for n in none.shape[1:]))}
        if none.ndim == 1:
            dims["drop_axis"] = 1
        return X.map_blocks(
            _answer, model, method, none, dtype=none.dtype, meta=none, **dims
        )

    def predict(self, X: Collection) -> Collection:
        """Predict lazily, as `predict` of the local estimator.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs.

        Returns
        -------
        dask array of shape (n_samples,) or (n_samples, n_outputs)
            Computed block by block where X is, once it is asked for.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError, TypeError
            If X is no Dask collection, or has other columns than in `fit`.
        """
        return self._lazy("predict", X)

    # scikit-learn --------------------------------------------------------------------

    def __sklearn_clone__(self):
        params = clone(self._local()).get_params(deep=False)
        return type(self)(**params, client=self.client)  # which cannot be copied

    def __getstate__(self):
        return {**super().__getstate__(), "client": None}


class FitsOnCluster(OnCluster):
    """Mixin, before a network: fits it as well."""

    warm_start: bool
    selected_features_: Array

    def fit(
        self,
        X: Collection,
        y: Collection,
        sample_weight: Collection | None = None,
        *,
        X_val: Collection | None = None,
        y_val: Collection | None = None,
        sample_weight_val: Collection | None = None,
    ) -> Self:
        """Fit the network.

        A call that fails leaves the estimator as it was before.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs, in blocks of dense or CSR rows, or partitions of pandas.
        y : dask array of shape (n_samples,) or (n_samples, n_outputs), or DataFrame
            Class labels, a multilabel indicator matrix, or real targets, in blocks of
            the same rows as X. Where all sizes are known, other blocks are rechunked.
        sample_weight : dask array of shape (n_samples,), or Series, default=None
            Non-negative weights, not all 0.
        X_val, y_val : like X and y, default=None
            Validation set, with ``early_stopping=True`` required: no rows are split
            off on a cluster.
        sample_weight_val : like sample_weight, default=None
            Weights of the validation set.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            Names the parameter, or the block of data, at fault.
        RuntimeError
            If the scheduler is lost, or workers die again and again.
        """
        previous = getattr(self, "fitted_", None) if self.warm_start else None
        held_out = X_val, y_val, sample_weight_val
        return self._train(X, y, sample_weight, held_out, previous=previous)

    def _train(self, X, y, sample_weight, held_out=(None, None, None), **options):
        local = self._local()
        with single_blas_thread():
            validation.check_parameters(local)
            validation.check_scorer(local)
            _check_fit(local, held_out)
            training = self._prepare(X, y, sample_weight, held_out, **options)
            return self._take(solve(training, local))

    def _prepare(
        self,
        X,
        y,
        sample_weight,
        held_out=(None, None, None),
        previous=None,
        inputs=None,
    ):
        """All that fits and paths work on, but lambda; see `Training`."""
        local, cluster = self._local(), Cluster(self.client_)
        rows, header, facts = _term.read(local, cluster, X, y, sample_weight)
        if previous is not None:
            _check_header(header, previous.header, "X")
        task = _term.known_task(local, facts, previous)
        val_rows = None
        if held_out[0] is not None:
            names = "X_val", "y_val", "sample_weight_val"
            val_rows, val_header, _ = _term.read(local, cluster, *held_out, names)
            _check_header(val_header, header, "X_val")
        return prepare(
            local,
            task,
            rows,
            header,
            held_out=val_rows,
            previous=previous,
            inputs=inputs,
        )

    def refit_on_support(
        self,
        X: Collection,
        y: Collection,
        sample_weight: Collection | None = None,
        *,
        penalty: PenaltyLike = None,
        **params: Any,
    ) -> Any:
        """Train a new network on the selected inputs only, on the cluster.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs, all of them, as in `fit`.
        y : dask array of shape (n_samples,) or (n_samples, n_outputs), or DataFrame
            Targets, as in `fit`.
        sample_weight : dask array of shape (n_samples,), or Series, default=None
            Non-negative weights, not all 0.
        penalty : None, str, Penalty or sequence of these, default=None
            Of the new network.
        **params : dict
            Other parameters in which the new network differs from this one.

        Returns
        -------
        DaskRegMLPClassifier or DaskRegMLPRegressor
            A fitted estimator that takes the same X.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If no input is selected, or as in `fit`.
        """
        check_is_fitted(self)
        validation.check_support(self.selected_features_)
        dense = clone(self).set_params(penalty=penalty, **params)
        inputs = np.flatnonzero(self.selected_features_)
        return dense._train(X, y, sample_weight, inputs=inputs)

    @available_if(_not_on_cluster)
    def partial_fit(self, X: Collection, y: Collection) -> Any:
        """Not available on a cluster: there is no such attribute.

        Parameters
        ----------
        X, y : dask arrays or DataFrames
            Rows.
        """


def _check_fit(estimator, held_out):
    """Raise ValueError for what a cluster cannot do, or has not been given."""
    X_val, y_val, sample_weight_val = held_out
    if estimator.device != "cpu":
        raise validation.parameter_error(estimator, "device", "'cpu' on a cluster")
    if not estimator.early_stopping:
        if X_val is not None or y_val is not None or sample_weight_val is not None:
            raise ValueError(
                "X_val, y_val and sample_weight_val are only used with "
                "early_stopping=True. Got early_stopping=False."
            )
        return
    _term.check_scoring(estimator)
    for name, values in (("X_val", X_val), ("y_val", y_val)):
        if values is None:
            raise ValueError(
                "early_stopping=True on a cluster needs X_val and y_val, but "
                f"{name} is None: no rows are split off there."
            )


def _check_header(header, known, name):
    """Raise ValueError unless columns are those of an earlier X."""
    if header.n_features != known.n_features:
        raise ValueError(
            f"{name} has {header.n_features} features, but {known.n_features} are "
            "expected."
        )
    if header.names is None or known.names is None:
        return
    names, expected = list(header.names), list(known.names)
    if names != expected:
        raise ValueError(f"{name} has columns {names}, but {expected} are expected.")


def _check_columns(X, known):
    names = None if is_array(X) else np.array(X.columns, dtype=object)
    if not np.isnan(X.shape[1]):
        _check_header(Header(X.shape[1], names), known, "X")


def _answer(X, model, method, none):
    """Answer of a local estimator to one block; `none` is the one to no rows."""
    return getattr(model, method)(X) if X.shape[0] else none


def _answer_frame(X, model, method, none):
    """The same for a partition, as a frame."""
    return _as_frame(_answer(X, model, method, none), X.index)


def _as_frame(answer, index=None):
    import pandas as pd

    columns = answer if answer.ndim == 2 else answer[:, np.newaxis]
    return pd.DataFrame(columns, index)


def with_client(init, local):
    """Give an `__init__` the signature of the local estimator, and `client`."""
    parameters = [*signature(local.__init__).parameters.values()]
    client = Parameter(
        "client",
        Parameter.KEYWORD_ONLY,
        default=None,
        annotation=distributed.Client | None,
    )
    init.__signature__ = Signature([*parameters, client])


class LazyProbabilities:
    """Mixin of classifiers, before `OnCluster`."""

    _lazy: Any  # of `OnCluster`

    def predict_proba(self, X: Collection) -> Collection:
        """Predict class probabilities lazily.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs.

        Returns
        -------
        dask array of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError, TypeError
            If X is no Dask collection, or has other columns than in `fit`.
        """
        return self._lazy("predict_proba", X)

    def predict_log_proba(self, X: Collection) -> Collection:
        """Predict logarithms of class probabilities lazily.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs.

        Returns
        -------
        dask array of shape (n_samples, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError, TypeError
            If X is no Dask collection, or has other columns than in `fit`.
        """
        return self._lazy("predict_log_proba", X)

    def decision_function(self, X: Collection) -> Collection:
        """Return raw predictions lazily.

        Parameters
        ----------
        X : dask array of shape (n_samples, n_features), or DataFrame
            Inputs.

        Returns
        -------
        dask array of shape (n_samples,) or (n_samples, n_classes)
            Log-odds, or unnormalized logarithms of probabilities.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError, TypeError
            If X is no Dask collection, or has other columns than in `fit`.
        """
        return self._lazy("decision_function", X)


class DaskRegMLPClassifier(LazyProbabilities, FitsOnCluster, RegMLPClassifier):
    """`RegMLPClassifier` for Dask collections.

    A fit minimizes the same objective with the same lambda, on the cluster of the
    client. With ``solver="lbfgs"`` it is the local fit up to the order of sums. What is
    not described here is as in `RegMLPClassifier`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int >= 1, default=(100,)
        Units of each hidden layer.
    client : distributed.Client, default=None
        None is Dask's current client. It is not pickled.
    **params : dict
        All other parameters of `RegMLPClassifier`. `validation_fraction` is not used:
        ``early_stopping=True`` needs `X_val` and `y_val`.

    Attributes
    ----------
    client_ : distributed.Client
        The client in use.

    See Also
    --------
    skreg.RegMLPClassifier : Parameters, attributes and methods.

    Notes
    -----
    The attributes of a fitted estimator are those of `RegMLPClassifier`.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask.distributed import Client
    >>> from skreg.dask import DaskRegMLPClassifier
    >>> client = Client()  # doctest: +SKIP
    >>> X = da.random.default_rng(0).standard_normal((1000, 4), chunks=(250, 4))
    >>> y = (X[:, 0] > X[:, 1]).astype(int)
    >>> model = DaskRegMLPClassifier(
    ...     (5,), penalty="group_lasso", reg_lambda=0.01, solver="lbfgs", random_state=0
    ... ).fit(X, y)
    >>> model.selected_features_
    array([ True,  True, False, False])
    >>> model.predict(X).compute().shape
    (1000,)
    >>> model.score(X, y) > 0.9
    True
    """

    _local_class = RegMLPClassifier

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        client: distributed.Client | None = None,
        **params: Any,
    ):
        super().__init__(hidden_layer_sizes, **params)
        self.client = client

    with_client(__init__, RegMLPClassifier)


class DaskRegMLPRegressor(FitsOnCluster, RegMLPRegressor):
    """`RegMLPRegressor` for Dask collections.

    A fit minimizes the same objective with the same lambda, on the cluster of the
    client. With ``solver="lbfgs"`` it is the local fit up to the order of sums. What is
    not described here is as in `RegMLPRegressor`.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int >= 1, default=(100,)
        Units of each hidden layer.
    client : distributed.Client, default=None
        None is Dask's current client. It is not pickled.
    **params : dict
        All other parameters of `RegMLPRegressor`. `validation_fraction` is not used:
        ``early_stopping=True`` needs `X_val` and `y_val`.

    Attributes
    ----------
    client_ : distributed.Client
        The client in use.

    See Also
    --------
    skreg.RegMLPRegressor : Parameters, attributes and methods.

    Notes
    -----
    The attributes of a fitted estimator are those of `RegMLPRegressor`.

    Examples
    --------
    >>> import dask.array as da
    >>> from dask.distributed import Client
    >>> from skreg.dask import DaskRegMLPRegressor
    >>> client = Client()  # doctest: +SKIP
    >>> X = da.random.default_rng(0).standard_normal((1000, 4), chunks=(250, 4))
    >>> y = X[:, 0] - X[:, 1] + 1.0
    >>> lasso = DaskRegMLPRegressor(
    ...     (), penalty="l1", reg_lambda=0.1, solver="lbfgs"
    ... ).fit(X, y)
    >>> lasso.to_local().coef_.round(1)
    array([ 0.9, -0.9,  0. ,  0. ])
    """

    _local_class = RegMLPRegressor

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        client: distributed.Client | None = None,
        **params: Any,
    ):
        super().__init__(hidden_layer_sizes, **params)
        self.client = client

    with_client(__init__, RegMLPRegressor)
