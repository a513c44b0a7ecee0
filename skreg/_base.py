"""What classifier and regressor share: `fit`, and attributes read off its result."""

from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from skreg import _export
from skreg._arrays import like
from skreg._callbacks import CallbackSupportMixin
from skreg._fitted import Fitted, as_estimator
from skreg._repr import DocumentationLinks
from skreg._rows import Rows, read_weights, read_X, read_X_y
from skreg._solvers._decay import STOCHASTIC_SOLVERS
from skreg._task import task_of
from skreg._threads import single_blas_thread
from skreg._training import prepare, train
from skreg._typing import Array, Matrix, PenaltyLike
from skreg._validation import check_parameter_names, check_support


def check_network(estimator, may_be_on_cluster=False):
    """Raise a ValueError unless lambda of this estimator is one, and can be varied.

    Searches have grids and folds of their own.
    """
    is_other = isinstance(estimator, BaseRegMLP) and (
        estimator._is_search or (estimator._is_on_cluster and not may_be_on_cluster)
    )
    if not isinstance(estimator, BaseRegMLP) or is_other:
        raise ValueError(
            "estimator must be a RegMLPClassifier or a RegMLPRegressor, got "
            f"{type(estimator).__name__}."
        )


def can_stream(estimator):
    """Whether `partial_fit` is there, for `available_if`; the error says why not."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            "partial_fit is only available for stochastic solvers. "
            f"solver={estimator.solver!r} is not stochastic."
        )
    if estimator.early_stopping:
        raise AttributeError(
            "partial_fit does not support early_stopping=True: one epoch leaves "
            "nothing to stop. Use fit, or early_stopping=False."
        )
    return True


def _attribute(read, doc):
    """Fitted attribute that `read` takes from the `Fitted` of an estimator."""

    def get(estimator):
        check_is_fitted(estimator)
        return read(estimator.fitted_)

    return property(get, doc=doc)


def _weights(name, doc):
    """Fitted attribute that may be replaced, as scikit-learn's networks allow."""

    def put(estimator, values):
        if not hasattr(estimator, "fitted_"):
            raise NotFittedError(
                f"{name}_ of {type(estimator).__name__} can be replaced once fit has "
                "been called."
            )
        new = {name: list(values), "null_value": None}  # no fit's any more
        estimator.fitted_ = replace(estimator.fitted_, **new)

    return _attribute(lambda fitted: getattr(fitted, name), doc).setter(put)


def _of_linear_model(read, doc):
    """Fitted attribute of networks without hidden layers; the others lack it."""

    def get(estimator):
        check_is_fitted(estimator)
        fitted = estimator.fitted_
        if fitted.network.n_layers > 1:
            raise AttributeError(
                f"{type(estimator).__name__} has coef_ and intercept_ only with "
                "hidden_layer_sizes=(): the weights of networks are coefs_ and "
                "intercepts_."
            )
        return read(fitted)

    return property(get, doc=doc)


def _coef(fitted):
    rows = np.array([fitted.per_feature(column) for column in fitted.coefs[0].T])
    return rows[0] if _has_one_target(fitted) else rows


def _intercept(fitted):
    (values,) = fitted.intercepts
    return values[0] if _has_one_target(fitted) else values


def _has_one_target(fitted):
    return fitted.task.classes is None and fitted.task.n_outputs == 1


def _one_or_all(values):
    return values[0] if len(set(values)) == 1 else list(values)


class BaseRegMLP(DocumentationLinks, CallbackSupportMixin, BaseEstimator):
    """Base of classifier and regressor, which add parameters and predictions.

    `fit` leaves one value, `fitted_`, of which all other attributes are readings.
    """

    _is_search = False  # over lambda
    _is_on_cluster = False  # Dask's

    def fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Matrix | None = None,
        y_val: Matrix | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Fit the network.

        A call that fails leaves the estimator as it was before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs. float32 and float64 are kept, and C-ordered arrays are not copied;
            other dtypes become float64. Sparse input is used as CSR.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, a multilabel indicator matrix, or real targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0. A weight of 2 means the same as the row
            twice.
        X_val, y_val : like X and y, default=None
            Validation set for `early_stopping`, in place of one split off.
        sample_weight_val : array-like of shape (n_val,), default=None
            Weights of the validation set.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            Names the parameter or the data at fault and what is allowed.
        """
        previous = getattr(self, "fitted_", None)
        held_out = (X_val, y_val, sample_weight_val)
        fitted = train(self, X, y, sample_weight, held_out=held_out, previous=previous)
        return self._take(fitted)

    def _prepare(self, X, y, sample_weight):
        """All that paths work on, but lambda; see `Training`."""
        X, y, header = read_X_y(self, X, y)
        weights = read_weights(sample_weight, X.shape[0])
        task = task_of(self, y, weights)
        return prepare(self, task, Rows.of(task, X, y, weights), header)

    def _take(self, fitted):
        fitted.header.write(self)
        self.fitted_ = fitted
        return self

    def _raw_predict(self, X):
        check_is_fitted(self)
        with single_blas_thread():
            X = read_X(self, X, self.fitted_.dtype)
            raw = self.fitted_.raw(X, self.device, self.n_jobs)
        is_finite = np.isfinite(raw).all(axis=1)
        if not is_finite.all():
            raise ValueError(
                f"The prediction of row {is_finite.argmin()} of X is not finite: the "
                f"row is so large that it is beyond {raw.dtype}, or there are NaN in "
                "it or in the weights. Scale X like the rows of the fit."
            )
        return raw

    fitted_: Fitted
    n_features_in_: int
    feature_names_in_: Array

    def predict(self, X: Matrix) -> Array:
        """Predict class labels, or targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, for multilabel an indicator matrix; or targets, in the
            precision of the fitted weights.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If X does not fit the network, or a prediction is beyond all floats.
        """
        raw = self._raw_predict(X)
        return like(X, self.fitted_.task.decode(raw))

    # Fitted attributes ---------------------------------------------------------------

    coefs_: list[Array] = _weights("coefs", "Weight matrices, of shape (n_in, n_out).")
    intercepts_: list[Array] = _weights("intercepts", "Intercepts of each layer.")
    coef_: Array = _of_linear_model(
        _coef, "The weights in the shape of scikit-learn's linear models."
    )
    intercept_: Any = _of_linear_model(_intercept, "The intercepts, likewise.")
    n_iter_: int = _attribute(
        lambda f: f.n_iter, "Epochs or iterations of the last call."
    )
    t_: int = _attribute(lambda f: f.n_seen, "Training samples seen, over all epochs.")
    n_layers_: int = _attribute(
        lambda f: f.network.n_layers + 1, "Layers, input and output included."
    )
    n_outputs_: int = _attribute(lambda f: f.task.n_outputs, "Output units.")
    out_activation_: str = _attribute(
        lambda f: f.task.loss.out_activation, "Output activation."
    )
    decay_mode_: str | list[str] = _attribute(
        lambda f: _one_or_all(f.modes),
        "Resolved `decay_mode`, per layer if they differ.",
    )
    loss_: float = _attribute(
        lambda f: f.history.last_objective, "J of the last epoch."
    )
    loss_curve_: list[float] = _attribute(lambda f: f.history.objective, "J per epoch.")
    data_loss_curve_: list[float] = _attribute(
        lambda f: f.history.data_loss, "Data term per epoch."
    )
    penalty_curve_: list[float] = _attribute(
        lambda f: f.history.penalty, "Penalty per epoch."
    )
    best_loss_: float | None = _attribute(
        lambda f: f.best_loss, "Smallest J; None with early stopping."
    )
    validation_scores_: list[float] | None = _attribute(
        lambda f: None if f.best_score is None else f.history.validation_scores,
        "Score per epoch, with early stopping.",
    )
    best_validation_score_: float | None = _attribute(
        lambda f: f.best_score, "Score of the network that is kept."
    )
    optimality_: float | None = _attribute(
        lambda f: f.optimality, "Violation of the optimality conditions, for lbfgs."
    )
    feature_importances_: Array = _attribute(
        lambda f: f.importances,
        "Norm of the weights from each input to units in use, shape (n_features,).",
    )
    selected_features_: Array = _attribute(
        lambda f: f.selected, "Mask of the inputs that reach an output, (n_features,)."
    )
    sparsity_: Array = _attribute(
        lambda f: np.array([np.mean(W == 0) for W in f.coefs]),
        "Share of exact zeros in each weight matrix, shape (n_layers,).",
    )

    # Using what was learned ----------------------------------------------------------

    def compact(self) -> "BaseRegMLP":
        """Return the same network without its unused inputs and dead units.

        What is left are the inputs and units on a path of non-zero weights from an
        input to an output. Units whose activation is constant are folded into the next
        intercepts. The result takes the same X and predicts the same, up to rounding,
        but faster.

        Returns
        -------
        BaseRegMLP
            A fitted copy of this estimator, with new `coefs_`, `intercepts_` and
            `hidden_layer_sizes`. The rows of ``coefs_[0]`` are the inputs where
            `selected_features_` is True. `feature_importances_` does not change, nor do
            the attributes that record the training.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.

        See Also
        --------
        refit_on_support : Train a network on the selected inputs.

        Notes
        -----
        A network that has become constant keeps its number of layers, with one unit and
        one input each, and zero weights.

        `partial_fit`, and `fit` with ``warm_start=True``, go on with the small network
        on its inputs (fine-tuning, say with ``penalty=None``); the optimizer starts
        anew. A penalty with labels of groups then needs labels for the small matrices.
        Any other `fit` trains a network with these `hidden_layer_sizes` on all inputs.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import scale
        >>> from skreg import RegMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> X, y = scale(X), scale(y)
        >>> model = RegMLPRegressor(
        ...     (50,), penalty="group_lasso", reg_lambda=0.02, learning_rate_init=0.01,
        ...     tol=1e-3, random_state=0,
        ... ).fit(X, y)
        >>> small = model.compact()
        >>> small.n_features_in_ == model.n_features_in_ == 10
        True
        >>> small.coefs_[0].shape[0] < 10
        True
        >>> small.hidden_layer_sizes[0] < 50
        True
        >>> np.allclose(small.predict(X), model.predict(X), rtol=0, atol=1e-12)
        True
        """
        check_is_fitted(self)
        fitted = self.fitted_.compact()
        hidden = fitted.network.units[1:-1]
        return as_estimator(clone(self), fitted, hidden_layer_sizes=hidden)

    def to_sklearn(self) -> Any:
        """Return a fitted network of scikit-learn with the same predictions.

        For ``activation`` "identity", "logistic", "tanh" and "relu" (any, without
        hidden layers), and for regressors with ``loss`` "squared_error" or "poisson".

        Returns
        -------
        MLPClassifier or MLPRegressor
            Takes the same X. Trained on, it has scikit-learn's settings and
            ``alpha=0``.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If scikit-learn has no such activation or loss.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import scale
        >>> from skreg import RegMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> X, y = scale(X), scale(y)
        >>> model = RegMLPRegressor(
        ...     (5,), solver="lbfgs", reg_lambda=0.1, random_state=0
        ... ).fit(X, y)
        >>> mlp = model.to_sklearn()
        >>> np.allclose(mlp.predict(X), model.predict(X), rtol=0, atol=1e-12)
        True
        """
        return _export.to_sklearn(self)

    def to_torch(self) -> Any:
        """Return the network as a ``torch.nn.Sequential`` of raw predictions.

        These come before the output activation: what `decision_function` returns, and
        ``torch.nn.CrossEntropyLoss`` and ``BCEWithLogitsLoss`` take; for Poisson and
        Gamma losses, the logarithm of the mean.

        Returns
        -------
        torch.nn.Sequential
            Maps a tensor of shape (n_samples, n_features), of the dtype of the
            weights, to one of shape (n_samples, n_outputs).

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ImportError
            If PyTorch is not installed.
        """
        return _export.to_torch(self)

    def refit_on_support(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        *,
        penalty: PenaltyLike = None,
        **params: Any,
    ) -> "BaseRegMLP":
        """Train a new network on the selected inputs only.

        A penalty that selects inputs also shrinks the weights of those it keeps. The
        new network has the inputs in `selected_features_`, is not penalized unless told
        so, and starts from new initial weights.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs, all of them, as in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets, as in `fit`.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0.
        penalty : None, str, Penalty or sequence of these, default=None
            Of the new network.
        **params : dict
            Other parameters in which the new network differs from this one, such as
            `reg_lambda`, `hidden_layer_sizes` or `max_iter`.

        Returns
        -------
        BaseRegMLP
            A fitted estimator that takes the same X. The rows of ``coefs_[0]`` are the
            selected inputs.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If no input is selected, or as in `fit`.

        See Also
        --------
        compact : The same network without its dead parts, not trained anew.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import scale
        >>> from skreg import RegMLPRegressor
        >>> X, y = load_diabetes(return_X_y=True)
        >>> X, y = scale(X), scale(y)
        >>> model = RegMLPRegressor(
        ...     (50,), penalty="group_lasso", reg_lambda=0.02, learning_rate_init=0.01,
        ...     tol=1e-3, random_state=0,
        ... ).fit(X, y)
        >>> dense = model.refit_on_support(X, y, penalty="l2", reg_lambda=0.01)
        >>> dense.coefs_[0].shape[0] < 10
        True
        >>> dense.score(X, y) > model.score(X, y)
        True
        """
        check_is_fitted(self)
        mask = self.selected_features_
        check_support(mask)
        read_X(self, X)
        dense = clone(self).set_params(penalty=penalty, **params)
        inputs = None if mask.all() else np.flatnonzero(mask)
        return dense._take(train(dense, X, y, sample_weight, inputs=inputs))

    # scikit-learn --------------------------------------------------------------------

    def set_params(self, **params: Any) -> Self:
        """Set parameters.

        Parameters
        ----------
        **params : dict
            Of this estimator, and of penalties as ``penalty__gamma``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For unknown names; those of other libraries for the strength of
            regularization are answered with the name here.
        """
        check_parameter_names(self, params)
        return super().set_params(**params)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def __getstate__(self):
        state = {**super().__getstate__(), "_skreg_version": _version()}
        if "fitted_" in state:
            state["fitted_"] = state["fitted_"].to_plain()
        return state

    def __setstate__(self, state):
        state = {k: v for k, v in state.items() if k != "_skreg_version"}
        if "fitted_" in state:
            state["fitted_"] = Fitted.from_plain(state["fitted_"])
        super().__setstate__(state)


@cache
def _version():
    return version("skreg")
