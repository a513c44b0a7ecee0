"""The estimators: `RegMLPClassifier` and `RegMLPRegressor`."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if

from skreg import _docs
from skreg._arrays import like
from skreg._base import BaseRegMLP, _attribute, can_stream
from skreg._training import train
from skreg._typing import (
    Array,
    ClassWeight,
    Matrix,
    PenaltyLike,
    RandomState,
    Scoring,
)
from skreg._validation import explains_unknown_names
from skreg.losses import REGRESSION_LOSSES


@_docs.documented(**_docs.CLASSIFIER)
class RegMLPClassifier(ClassifierMixin, BaseRegMLP):
    """Neural-network classifier with L1, L2, elastic-net and group penalties.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skreg import RegMLPClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> network = RegMLPClassifier(
    ...     (20,), penalty="l1", reg_lambda=0.01, learning_rate_init=0.01,
    ...     random_state=0,
    ... )
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    >>> bool((network.coefs_[0] == 0).mean() > 0.5)
    True
    """

    @explains_unknown_names
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        penalty: PenaltyLike = "l2",
        reg_lambda: float | Sequence[float] = 1e-4,
        l1_ratio: float = 0.5,
        decay_mode: str = "auto",
        penalize_intercepts: bool = False,
        class_weight: ClassWeight = None,
        solver: str = "adam",
        learning_rate_init: float = 0.001,
        learning_rate: str = "constant",
        power_t: float = 0.5,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        max_fun: int = 15000,
        tol: float = 1e-4,
        shuffle: bool = True,
        random_state: RandomState = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        ema: float = 0.0,
        scoring: Scoring = None,
        warm_start: bool = False,
        verbose: bool | int = False,
        device: str = "cpu",
        precision: str = "exact",
        n_jobs: int | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.penalty = penalty
        self.reg_lambda = reg_lambda
        self.l1_ratio = l1_ratio
        self.decay_mode = decay_mode
        self.penalize_intercepts = penalize_intercepts
        self.class_weight = class_weight
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.power_t = power_t
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.rho = rho
        self.epsilon = epsilon
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_fun = max_fun
        self.tol = tol
        self.shuffle = shuffle
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.ema = ema
        self.scoring = scoring
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs

    @available_if(can_stream)
    def partial_fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch on the given data.

        The optimizer's state and the random stream continue from call to call. With
        ``shuffle=False``, n calls on the same data are one `fit` of n epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
            Class labels, or a multilabel indicator matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0.
        classes : array-like of shape (n_classes,), default=None
            All classes of the stream; required in the first call.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            Names the parameter or the data at fault and what is allowed.
        AttributeError
            If ``solver="lbfgs"``.
        """
        previous = getattr(self, "fitted_", None)
        if classes is None and previous is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._take(
            train(
                self,
                X,
                y,
                sample_weight,
                previous=previous,
                classes=classes,
                is_stream=True,
            )
        )

    def predict_proba(self, X: Matrix) -> Array:
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; for multilabel, the probability of each label.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If X does not fit the network, or a prediction is beyond all floats.
        """
        return like(X, self._probabilities(X))

    def predict_log_proba(self, X: Matrix) -> Array:
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            As `predict_proba`, in logarithms; -inf where a probability underflows.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If X does not fit the network, or a prediction is beyond all floats.
        """
        with np.errstate(divide="ignore"):
            return like(X, np.log(self._probabilities(X)))

    def _probabilities(self, X):
        raw = self._raw_predict(X)
        task: Any = self.fitted_.task  # of a classifier
        return task.probabilities(raw)

    def decision_function(self, X: Matrix) -> Array:
        """Raw predictions: log-odds, or unnormalized logarithms of probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One column is returned as a vector, for two classes.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If X does not fit the network, or a prediction is beyond all floats.
        """
        raw = self._raw_predict(X)
        return like(X, raw.ravel() if raw.shape[1] == 1 else raw)

    classes_: Array | list[Array] = _attribute(
        lambda f: f.task.classes, "Class labels; for multilabel, the column numbers."
    )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@_docs.documented(**_docs.REGRESSOR)
class RegMLPRegressor(RegressorMixin, BaseRegMLP):
    """Neural-network regressor with L1, L2, elastic-net and group penalties.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RegMLPRegressor(
    ...     (20,), activation="tanh", reg_lambda=0.1, solver="lbfgs", random_state=0
    ... ).fit(scale(X), scale(y))
    >>> model.score(scale(X), scale(y)) > 0.4
    True
    """

    @explains_unknown_names
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        penalty: PenaltyLike = "l2",
        reg_lambda: float | Sequence[float] = 1e-4,
        l1_ratio: float = 0.5,
        decay_mode: str = "auto",
        penalize_intercepts: bool = False,
        loss: str = "squared_error",
        quantile: float = 0.5,
        solver: str = "adam",
        learning_rate_init: float = 0.001,
        learning_rate: str = "constant",
        power_t: float = 0.5,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        rho: float = 0.9,
        epsilon: float = 1e-8,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        max_fun: int = 15000,
        tol: float = 1e-4,
        shuffle: bool = True,
        random_state: RandomState = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: float = 10,
        ema: float = 0.0,
        scoring: Scoring = None,
        warm_start: bool = False,
        verbose: bool | int = False,
        device: str = "cpu",
        precision: str = "exact",
        n_jobs: int | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.penalty = penalty
        self.reg_lambda = reg_lambda
        self.l1_ratio = l1_ratio
        self.decay_mode = decay_mode
        self.penalize_intercepts = penalize_intercepts
        self.loss = loss
        self.quantile = quantile
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.learning_rate = learning_rate
        self.power_t = power_t
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.rho = rho
        self.epsilon = epsilon
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_fun = max_fun
        self.tol = tol
        self.shuffle = shuffle
        self.random_state = random_state
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.ema = ema
        self.scoring = scoring
        self.warm_start = warm_start
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.n_jobs = n_jobs

    @available_if(can_stream)
    def partial_fit(
        self, X: Matrix, y: Matrix, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on the given data.

        The optimizer's state and the random stream continue from call to call. With
        ``shuffle=False``, n calls on the same data are one `fit` of n epochs.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            Names the parameter or the data at fault and what is allowed.
        AttributeError
            If ``solver="lbfgs"``.
        """
        previous = getattr(self, "fitted_", None)
        fitted = train(self, X, y, sample_weight, previous=previous, is_stream=True)
        return self._take(fitted)

    def predict(self, X: Matrix) -> Array:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the precision of the fitted weights.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        ValueError
            If X does not fit the network, or a prediction is beyond all floats.
        """
        raw = self._raw_predict(X)
        return like(X, self.fitted_.task.decode(raw))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # Tags are asked of parameters that nobody has checked yet.
        if isinstance(self.loss, str) and self.loss in REGRESSION_LOSSES:
            tags.target_tags.positive_only = REGRESSION_LOSSES[self.loss].lowest == 0
        return tags
