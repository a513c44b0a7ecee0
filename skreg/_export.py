"""Fitted networks as objects of other libraries: scikit-learn's MLP and PyTorch.

Whatever is exported is read from what was fitted, so that an export of a network which
was pickled, pruned or averaged needs no case of its own. Parameters of the estimator
say nothing: those of a search are not the chosen ones, and `set_params` changes them.
"""

import numpy as np
import sklearn
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

# What scikit-learn's MLP knows of what the networks here do.
_SKLEARN_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
_SKLEARN_LOSSES = ("squared_error", "poisson")

# Names of classes in torch.nn, with their arguments.
_TORCH_ACTIVATIONS = {
    "identity": ("Identity", {}),
    "logistic": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01}),
    "gelu": ("GELU", {}),
    "silu": ("SiLU", {}),
}


def used_inputs(estimator):
    """Columns of X that the first weight matrix of a fitted network reads.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Fitted. After `compact` or `refit_on_support` it may read a part of X only.

    Returns
    -------
    ndarray of intp of shape (n_rows of coefs_[0],) or None
        In the order of the rows; None stands for all columns.
    """
    return estimator.fitted_.inputs


def is_multilabel(classifier):
    """Whether each class of a fitted classifier has an output, and a logit, alone."""
    has_logits = classifier.out_activation_ == "logistic"
    return has_logits and classifier.n_outputs_ == len(classifier.classes_)


def coefs_of_all_inputs(estimator):
    """Weight matrices of a network that takes all of X; rows of unused inputs are 0."""
    used = used_inputs(estimator)
    first, *others = (W.copy() for W in estimator.coefs_)
    if used is not None:
        small = first
        first = np.zeros((estimator.n_features_in_, small.shape[1]), small.dtype)
        first[used] = small
    return [first, *others]


def to_sklearn(estimator):
    """Return a fitted network of scikit-learn with the same predictions.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Fitted, with ``activation`` "identity", "logistic", "tanh" or "relu" (any,
        without hidden layers); a regressor with ``loss`` "squared_error" or "poisson".

    Returns
    -------
    MLPClassifier or MLPRegressor
        Takes the same X. It is fitted by ``solver="adam"`` with scikit-learn's
        settings and ``alpha=0`` if it is trained on (``warm_start=True`` or
        `partial_fit`), with a new state of the optimizer.

    Raises
    ------
    ValueError
        If scikit-learn has no such activation or loss.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressor
    >>> from skreg._export import to_sklearn
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RegMLPRegressor((5,), solver="lbfgs", reg_lambda=0.1, random_state=0)
    >>> mlp = to_sklearn(model.fit(scale(X), scale(y)))
    >>> np.allclose(mlp.predict(scale(X)), model.predict(scale(X)), rtol=0, atol=1e-12)
    True
    """
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    check_is_fitted(estimator)
    hidden = tuple(W.shape[1] for W in estimator.coefs_[:-1])
    fitted, loss = estimator.fitted_, estimator.fitted_.task.loss.name
    activation = fitted.network.activation if hidden else "identity"
    _check_known("activation", activation, _SKLEARN_ACTIVATIONS)
    settings = {"hidden_layer_sizes": hidden, "activation": activation, "alpha": 0.0}
    if is_classifier(estimator):
        mlp, first_call = MLPClassifier(**settings), {"classes": estimator.classes_}
        y = estimator.classes_
        if is_multilabel(estimator):
            y = np.eye(estimator.n_outputs_, dtype=int)
    else:
        _check_known("loss", loss, _SKLEARN_LOSSES)
        if loss != "squared_error":
            if "loss" not in MLPRegressor().get_params():
                raise ValueError(
                    f"loss={loss!r} needs scikit-learn >= 1.7; this is "
                    f"{sklearn.__version__}."
                )
            settings["loss"] = loss
        mlp, first_call = MLPRegressor(**settings), {}
        y = np.ones((2, estimator.n_outputs_))
        y = y if estimator.n_outputs_ > 1 else y.ravel()
    # One epoch on rows of zeros sets what scikit-learn keeps beside the weights.
    X = np.zeros((len(y), estimator.n_features_in_), estimator.coefs_[0].dtype)
    mlp.set_params(random_state=0).partial_fit(X, y, **first_call)
    mlp.set_params(random_state=estimator.random_state)
    mlp.coefs_ = coefs_of_all_inputs(estimator)
    mlp.intercepts_ = [b.copy() for b in estimator.intercepts_]
    for name in ("n_iter_", "t_", "loss_", "best_loss_", "feature_names_in_"):
        if hasattr(estimator, name):
            setattr(mlp, name, getattr(estimator, name))
    mlp.loss_curve_ = list(estimator.loss_curve_)
    return mlp


def _check_known(parameter, value, allowed):
    if value not in allowed:
        names = ", ".join(repr(name) for name in allowed)
        raise ValueError(
            f"scikit-learn's MLP has no {parameter}={value!r}. Networks with one of "
            f"{names} can be converted; 'to_torch' and 'skreg.onnx' take all."
        )


def to_torch(estimator):
    """Return the network as a ``torch.nn.Sequential`` of raw predictions.

    Raw predictions come before the output activation: logits of a classifier, what
    ``torch.nn.CrossEntropyLoss`` and ``torch.nn.BCEWithLogitsLoss`` take, and the
    logarithm of the mean for Poisson and Gamma losses. `decision_function` of a
    classifier returns the same.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Fitted.

    Returns
    -------
    torch.nn.Sequential
        Maps a tensor of shape (n_samples, n_features_in_), of the dtype of the weights,
        to one of shape (n_samples, n_outputs_). Layers alternate with activations, so
        the names of a `state_dict` are "0.weight", "0.bias", "2.weight", ...

    Raises
    ------
    ImportError
        If PyTorch is not installed.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressor
    >>> from skreg._export import to_torch
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RegMLPRegressor((5,), solver="lbfgs", reg_lambda=0.1, random_state=0)
    >>> module = to_torch(model.fit(scale(X), scale(y)))
    >>> module
    Sequential(
      (0): Linear(in_features=10, out_features=5, bias=True)
      (1): ReLU()
      (2): Linear(in_features=5, out_features=1, bias=True)
    )
    """
    import torch

    check_is_fitted(estimator)
    name, options = _TORCH_ACTIVATIONS[estimator.fitted_.network.activation]
    layers = []
    for W, b in zip(coefs_of_all_inputs(estimator), estimator.intercepts_):
        linear = torch.nn.Linear(*W.shape, dtype=torch.from_numpy(W).dtype)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(W.T))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, getattr(torch.nn, name)(**options)]
    return torch.nn.Sequential(*layers[:-1])  # no activation after the last layer
