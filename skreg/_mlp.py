"""The estimators: `RegMLPClassifier` and `RegMLPRegressor`."""

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import (
    check_array,
    column_or_1d,
    compute_class_weight,
    compute_sample_weight,
)
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from skreg import _docs
from skreg._base import BaseRegMLP, streaming_method
from skreg._threads import single_blas_thread
from skreg.losses import CLASSIFICATION_LOSSES, regression_loss


class RegMLPClassifier(ClassifierMixin, BaseRegMLP):
    __doc__ = _docs.CLASSIFIER
    _y_options = {}

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        *,
        activation="relu",
        penalty="l2",
        reg_lambda=1e-4,
        l1_ratio=0.5,
        decay_mode="auto",
        penalize_intercepts=False,
        class_weight=None,
        solver="adam",
        learning_rate_init=0.001,
        learning_rate="constant",
        power_t=0.5,
        momentum=0.9,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        rho=0.9,
        epsilon=1e-8,
        batch_size="auto",
        max_iter=200,
        max_fun=15000,
        tol=1e-4,
        shuffle=True,
        random_state=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        scoring=None,
        warm_start=False,
        verbose=False,
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
        self.scoring = scoring
        self.warm_start = warm_start
        self.verbose = verbose

    @streaming_method
    def partial_fit(self, X, y, sample_weight=None, classes=None):
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
        with self._unchanged_on_error(), single_blas_thread():
            if classes is None and not hasattr(self, "classes_"):
                raise ValueError(
                    "classes must be passed on the first call to partial_fit."
                )
            return self._fit(X, y, sample_weight, (None,) * 3, True, classes)

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Class labels; for multilabel, an indicator matrix.
        """
        labels = self._labels(self._raw_predict(X))
        return labels if self._is_multilabel() else self.classes_[labels]

    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`; for multilabel, the probability of each label.
        """
        raw = self._raw_predict(X)
        kind = "multiclass" if self.out_activation_ == "softmax" else "binary"
        proba = CLASSIFICATION_LOSSES[kind].predict(raw)
        if self.n_outputs_ == 1 and not self._is_multilabel():
            proba = np.hstack([1.0 - proba, proba])
        return proba

    def predict_log_proba(self, X):
        """Predict logarithms of class probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            As `predict_proba`, in logarithms; -inf where a probability underflows.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def decision_function(self, X):
        """Raw predictions: log-odds, or unnormalized logarithms of probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            One column is returned as a vector, for two classes.
        """
        raw = self._raw_predict(X)
        return raw.ravel() if raw.shape[1] == 1 else raw

    def _is_multilabel(self):
        return self._target_type == "multilabel-indicator"

    def _labels(self, raw):
        """Class indices, or an indicator matrix, from raw predictions."""
        if self._is_multilabel():
            return (raw > 0).astype(int)
        return (raw[:, 0] > 0).astype(int) if raw.shape[1] == 1 else raw.argmax(axis=1)

    def _encode_targets(self, y, warm, incremental, classes):
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError(
                "RegMLPClassifier does not support multiclass-multioutput targets: y "
                "must be 1D, or a multilabel indicator matrix of 0 and 1."
            )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not warm:
            self._set_classes(y if classes is None else np.asarray(classes), y, kind)
        elif classes is not None and set(classes) != set(self.classes_):
            raise ValueError(
                f"classes={classes!r} is not the same as on the last call to "
                f"partial_fit, was: {self.classes_!r}"
            )
        elif not incremental and not np.array_equal(_labels_of(y), self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {self.classes_}, `y` has "
                f"{_labels_of(y)}"
            )
        n_classes = len(self.classes_)
        if self._is_multilabel():
            n_outputs = n_classes
        else:
            n_outputs = 1 if n_classes == 2 else n_classes
        targets = self._indices(y, kind)
        return targets, CLASSIFICATION_LOSSES[self._target_type], n_outputs

    def _set_classes(self, labels, y, kind):
        if kind.startswith("multilabel"):
            if labels is not y and len(labels) != y.shape[1]:
                raise ValueError(
                    f"classes has {len(labels)} entries, but y has {y.shape[1]} labels."
                )
            self.classes_ = np.arange(y.shape[1])
            self._target_type = "multilabel-indicator"
            return
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ValueError(
                "RegMLPClassifier needs samples of at least 2 classes, but the data "
                f"contains only one class: {self.classes_.tolist()[0]!r}."
            )
        self._target_type = "binary" if len(self.classes_) == 2 else "multiclass"

    def _indices(self, y, kind, name="y"):
        """Class indices of shape (n, 1), or the indicator matrix."""
        if kind.startswith("multilabel") != self._is_multilabel():
            raise ValueError(f"{name} is of another kind than in the first fit.")
        if self._is_multilabel():
            y = y.toarray() if sparse.issparse(y) else np.asarray(y)
            if y.shape[1] != len(self.classes_):
                raise ValueError(
                    f"{name} has {y.shape[1]} labels, but {len(self.classes_)} are "
                    "expected."
                )
            return y.astype(np.float64)
        indices = np.searchsorted(self.classes_, y)
        known = self.classes_.take(indices, mode="clip") == y
        if not known.all():
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. `self.classes_` has "
                f"{self.classes_}. '{name}' has {np.unique(y)}."
            )
        return indices.astype(np.float64)[:, None]

    def _encode_validation_targets(self, y, n_outputs):
        y = y if sparse.issparse(y) else np.asarray(y)
        return self._indices(y, type_of_target(y), "y_val")

    def _class_weighting(self, y, targets, sample_weight, incremental):
        if self.class_weight is None:
            return super()._class_weighting(y, targets, sample_weight, incremental)
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight={self.class_weight!r} is not supported for partial_fit: "
                "one batch does not know the shares of the classes. Pass a dict of "
                "weights, or sample_weight."
            )
        if self._is_multilabel():
            return self._label_weighting()
        class_weight = self._weight_of_each_class(y, targets, sample_weight)

        def reweight(targets, sample_weight):
            weights = class_weight[targets[:, 0].astype(int)]
            return weights if sample_weight is None else weights * sample_weight

        return reweight

    def _weight_of_each_class(self, y, targets, sample_weight):
        """Array of weights; "balanced" counts a weighted sample as so many copies."""
        if self.class_weight == "balanced":
            counts = np.bincount(
                targets[:, 0].astype(int), sample_weight, len(self.classes_)
            )
            with np.errstate(divide="ignore"):
                balanced = counts.sum() / (np.count_nonzero(counts) * counts)
            return np.where(counts > 0, balanced, 0.0)
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        self._check_class_weights(weights)
        return weights

    def _label_weighting(self):
        def reweight(targets, sample_weight):
            weights = compute_sample_weight(self.class_weight, targets.astype(int))
            self._check_class_weights(weights)
            return weights if sample_weight is None else weights * sample_weight

        return reweight

    def _check_class_weights(self, weights):
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError(
                "The 'class_weight' parameter of RegMLPClassifier must hold finite "
                f"weights >= 0. Got {self.class_weight!r} instead."
            )

    def _stratify(self, targets, network):
        # As scikit-learn: two classes are stratified, more are not.
        binary = network.units[-1] == 1 and not self._is_multilabel()
        return targets.astype(bool) if binary else None

    def _default_score(self, loss, raw, targets, sample_weight):
        # Not accuracy_score, whose checks take longer than an epoch of a small network.
        predicted = self._labels(raw).reshape(targets.shape)
        is_right = (predicted == targets).all(axis=1)
        return float(np.average(is_right, weights=sample_weight))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class RegMLPRegressor(RegressorMixin, BaseRegMLP):
    __doc__ = _docs.REGRESSOR
    _y_options = {"y_numeric": True}

    def __init__(
        self,
        hidden_layer_sizes=(100,),
        *,
        activation="relu",
        penalty="l2",
        reg_lambda=1e-4,
        l1_ratio=0.5,
        decay_mode="auto",
        penalize_intercepts=False,
        loss="squared_error",
        quantile=0.5,
        solver="adam",
        learning_rate_init=0.001,
        learning_rate="constant",
        power_t=0.5,
        momentum=0.9,
        nesterovs_momentum=True,
        beta_1=0.9,
        beta_2=0.999,
        rho=0.9,
        epsilon=1e-8,
        batch_size="auto",
        max_iter=200,
        max_fun=15000,
        tol=1e-4,
        shuffle=True,
        random_state=None,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=10,
        scoring=None,
        warm_start=False,
        verbose=False,
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
        self.scoring = scoring
        self.warm_start = warm_start
        self.verbose = verbose

    @streaming_method
    def partial_fit(self, X, y, sample_weight=None):
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
        with self._unchanged_on_error(), single_blas_thread():
            return self._fit(X, y, sample_weight, (None,) * 3, True)

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the precision of the fitted weights.
        """
        raw = self._raw_predict(X)
        predicted = regression_loss(self.loss, self.quantile).predict(raw)
        return predicted.ravel() if predicted.shape[1] == 1 else predicted

    def _encode_targets(self, y, warm, incremental, classes):
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        loss = regression_loss(self.loss, self.quantile)
        targets = self._columns(y, loss)
        return targets, loss, targets.shape[1]

    def _columns(self, y, loss, name="y"):
        targets = np.asarray(y, np.float64)
        if targets.ndim == 1:
            targets = targets[:, None]
        loss.check_targets(targets, name)
        return targets

    def _encode_validation_targets(self, y, n_outputs):
        if np.ndim(y) > 2:
            raise ValueError(f"y_val must be 1D or 2D, got {np.ndim(y)} dimensions.")
        y = check_array(y, ensure_2d=False, dtype=np.float64, input_name="y_val")
        targets = self._columns(y, regression_loss(self.loss, self.quantile), "y_val")
        if targets.shape[1] != n_outputs:
            raise ValueError(
                f"y_val has {targets.shape[1]} outputs, but y has {n_outputs}."
            )
        return targets

    def _default_score(self, loss, raw, targets, sample_weight):
        predicted = loss.predict(raw)
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(targets, predicted, sample_weight=sample_weight))


def _labels_of(y):
    return np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
