"""Tasks: what y means, as a codec between the user's targets and the core's numbers.

A task is a value. It is made of the targets of one fit, never changes, and is all in
which a classifier differs from a regressor: how y becomes columns of numbers, which
loss reads them, what the rows weigh, and how raw predictions become answers and scores.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.metrics import r2_score
from sklearn.utils import (
    check_array,
    column_or_1d,
    compute_class_weight,
    compute_sample_weight,
)
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from skreg.losses import CLASSIFICATION_LOSSES, Loss, regression_loss

MULTILABEL = "multilabel-indicator"


def task_of(estimator, y, sample_weight=None, *, known=None, classes=None):
    """Task of an estimator's parameters and the targets of a fit.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Gives `class_weight`, or `loss` and `quantile`.
    y : ndarray of shape (n,) or (n, k), or sparse indicator matrix
        Targets, checked by scikit-learn's `check_X_y`.
    sample_weight : ndarray of shape (n,) or None
        For class weights "balanced".
    known : Task or None
        The task of the fit that this one continues.
    classes : array-like or None
        All class labels, where y may lack some.

    Returns
    -------
    Task

    Raises
    ------
    ValueError
        If y does not fit the estimator, the known task or the classes.
    """
    if not is_classifier(estimator):
        return Regression.of(y, regression_loss(estimator.loss, estimator.quantile))
    task = Classification.of(y, estimator.class_weight, known, classes)
    if task.class_weight is None:
        return task
    return task.balanced(task.targets(y), sample_weight)


class Task:
    """What both kinds have.

    Attributes
    ----------
    loss : Loss
    n_outputs : int
        Output units of the network.
    """

    loss: Loss
    n_outputs: int

    def targets(self, y, name="y"):
        """Targets as the loss reads them, float64 of shape (n, n_targets).

        Raises
        ------
        ValueError
            Names y, by `name`, and what does not fit.
        """
        raise NotImplementedError

    def weights(self, targets, sample_weight):
        """Weights of rows in the data term, of shape (n,), or None for equal ones."""
        return sample_weight

    def strata(self, targets):
        """Labels of which a validation set keeps the shares, or None."""
        return None

    def balanced(self, targets, sample_weight):
        """The task with the class weights of these training rows."""
        return self

    def score(self, raw, targets, sample_weight):
        """What `score` of the estimator says of raw predictions, NaN if not finite."""
        raise NotImplementedError

    def has_no_score(self, rows):
        """Whether all networks but perfect ones have the same score on these rows."""
        return False

    def decode(self, raw):
        """Answer in the user's terms to raw predictions of shape (n, n_outputs)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Regression(Task):
    """Real targets.

    Parameters
    ----------
    loss : Loss
    n_outputs : int
    """

    loss: Loss
    n_outputs: int
    classes = None  # there are none

    @classmethod
    def of(cls, y, loss):
        """Task of the targets y of shape (n,) or (n, n_outputs)."""
        return cls(loss, 1 if y.ndim == 1 else y.shape[1])

    def targets(self, y, name="y"):
        if name == "y":
            y = column_or_1d(y, warn=True) if np.shape(y)[1:] == (1,) else np.asarray(y)
        else:
            if np.ndim(y) > 2:
                raise ValueError(
                    f"{name} must be 1D or 2D, got {np.ndim(y)} dimensions."
                )
            y = check_array(y, ensure_2d=False, dtype=np.float64, input_name=name)
        targets = np.asarray(y, np.float64)
        targets = targets[:, None] if targets.ndim == 1 else targets
        self.loss.check_targets(targets, name)
        if targets.shape[1] != self.n_outputs:
            raise ValueError(
                f"{name} has {targets.shape[1]} outputs, but y has {self.n_outputs}."
            )
        return targets

    def score(self, raw, targets, sample_weight):
        predicted = self.loss.predict(raw)
        if not np.isfinite(predicted).all():
            return float("nan")
        return float(r2_score(targets, predicted, sample_weight=sample_weight))

    def has_no_score(self, rows):
        low, high = rows.target_range()
        return np.array_equal(low, high)

    def decode(self, raw):
        predicted = self.loss.predict(raw)
        return predicted.ravel() if predicted.shape[1] == 1 else predicted


@dataclass(frozen=True, eq=False)
class Classification(Task):
    """Class labels, or an indicator matrix of several labels per row.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
        Labels in increasing order; the column numbers of an indicator matrix.
    kind : {"binary", "multiclass", "multilabel-indicator"}
    class_weight : dict, "balanced" or None
        As the user gave it.
    per_class : ndarray of shape (n_classes,) or None
        Weights that `balanced` has made of it; not for indicator matrices.
    """

    classes: np.ndarray
    kind: str
    class_weight: object = None
    per_class: np.ndarray | None = None

    @classmethod
    def of(cls, y, class_weight=None, known=None, classes=None):
        """Task of the labels y; see `task_of`."""
        if isinstance(classes, set | frozenset) or np.ndim(classes) > 1:
            raise ValueError(
                f"'classes' must be a 1-d array-like of labels. Got {classes!r}."
            )
        kind = type_of_target(y)
        if kind not in ("binary", MULTILABEL):
            check_classification_targets(y)  # that there are not too many classes
        if kind == "multiclass-multioutput":
            raise ValueError(
                "RegMLPClassifier does not support multiclass-multioutput targets: y "
                "must be 1D, or a multilabel indicator matrix of 0 and 1."
            )
        if known is not None:
            _check_same_classes(known, classes)
            return replace(known, class_weight=class_weight, per_class=None)
        if kind.startswith("multilabel"):
            if classes is not None and len(classes) != y.shape[1]:
                raise ValueError(
                    f"classes has {len(classes)} entries, but y has {y.shape[1]} "
                    "labels."
                )
            return cls(np.arange(y.shape[1]), MULTILABEL, class_weight)
        labels = np.unique(y if classes is None else np.asarray(classes))
        if len(labels) < 2:
            raise ValueError(
                "RegMLPClassifier needs samples of at least 2 classes, but the data "
                f"contains only one class: {labels.tolist()[0]!r}."
            )
        return cls(labels, "binary" if len(labels) == 2 else "multiclass", class_weight)

    @property
    def is_multilabel(self):
        """Whether a row has several labels."""
        return self.kind == MULTILABEL

    @property
    def loss(self):
        """Log-loss; of each label where there are several."""
        return CLASSIFICATION_LOSSES[self.kind]

    @property
    def n_outputs(self):
        """One for two classes, else one per class or label."""
        return 1 if self.kind == "binary" else len(self.classes)

    def targets(self, y, name="y"):
        if name != "y":
            y = y if sparse.issparse(y) else np.asarray(y)
        if np.ndim(y) == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=name == "y")
        is_matrix = np.ndim(y) > 1
        if is_matrix != self.is_multilabel or (
            is_matrix and type_of_target(y, input_name=name) != MULTILABEL
        ):
            raise ValueError(f"{name} is of another kind than in the first fit.")
        if self.is_multilabel:
            y = y.toarray() if sparse.issparse(y) else np.asarray(y)
            if y.shape[1] != len(self.classes):
                raise ValueError(
                    f"{name} has {y.shape[1]} labels, but {len(self.classes)} are "
                    "expected."
                )
            return y.astype(np.float64)
        indices = np.searchsorted(self.classes, y)
        known = self.classes.take(indices, mode="clip") == y
        if not known.all():
            raise ValueError(
                f"`{name}` has classes not in `self.classes_`. `self.classes_` has "
                f"{self.classes}. '{name}' has {np.unique(y)}."
            )
        return indices.astype(np.float64)[:, None]

    def weights(self, targets, sample_weight):
        if self.class_weight is None:
            return sample_weight
        if self.is_multilabel:
            weights = compute_sample_weight(self.class_weight, targets.astype(int))
            self._check_class_weights(weights)
        else:
            weights = self.per_class[targets[:, 0].astype(int)]
        return weights if sample_weight is None else weights * sample_weight

    def balanced(self, targets, sample_weight):
        if self.class_weight is None or self.is_multilabel:
            return self
        indices = targets[:, 0].astype(int)
        if self.class_weight == "balanced":
            # A weighted sample counts as so many copies.
            counts = np.bincount(indices, sample_weight, len(self.classes))
            with np.errstate(divide="ignore"):
                weights = counts.sum() / (np.count_nonzero(counts) * counts)
            weights[counts == 0] = 0.0
        else:
            weights = compute_class_weight(
                self.class_weight, classes=self.classes, y=self.classes[indices]
            )
            self._check_class_weights(weights)
        return replace(self, per_class=weights)

    def _check_class_weights(self, weights):
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError(
                "The 'class_weight' parameter of RegMLPClassifier must hold finite "
                f"weights >= 0. Got {self.class_weight!r} instead."
            )

    def strata(self, targets):
        # As scikit-learn: two classes are stratified, more are not.
        return (
            self.classes[targets[:, 0].astype(int)] if self.kind == "binary" else None
        )

    def indices(self, raw):
        """Class indices of shape (n,), or an indicator matrix."""
        if self.is_multilabel:
            return (raw > 0).astype(int)
        return (raw[:, 0] > 0).astype(int) if raw.shape[1] == 1 else raw.argmax(axis=1)

    def score(self, raw, targets, sample_weight):
        # Not accuracy_score, whose checks take longer than an epoch of a small network.
        is_right = (self.indices(raw).reshape(targets.shape) == targets).all(axis=1)
        return float(np.average(is_right, weights=sample_weight))

    def decode(self, raw):
        indices = self.indices(raw)
        return indices if self.is_multilabel else self.classes[indices]

    def probabilities(self, raw):
        """Probabilities of shape (n, n_classes), or of each label."""
        proba = self.loss.predict(raw)
        return np.hstack([1.0 - proba, proba]) if self.kind == "binary" else proba


def _check_same_classes(known, classes):
    if classes is not None and set(classes) != set(known.classes):
        raise ValueError(
            f"classes={classes!r} is not the same as on the last call to "
            f"partial_fit, was: {known.classes!r}"
        )


def check_continued_labels(task, y):
    """Raise ValueError unless y has just the classes of a task: a warm start."""
    labels = np.arange(y.shape[1]) if y.ndim == 2 else np.unique(y)
    if task.classes is not None and not np.array_equal(labels, task.classes):
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the "
            f"previous call to fit. Previously got {task.classes}, `y` has {labels}"
        )
