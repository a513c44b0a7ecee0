"""Settings for people who do not search."""

from typing import Any


def recommended() -> dict[str, Any]:
    """Give parameters of a network that is accurate on small and medium tables.

    A wider, smooth network with a light L1, small batches, and early stopping by the
    loss on a fifth of the rows. The defaults of the estimators are scikit-learn's, for
    those who come from there; these are for those who want predictions. They expect
    standardized inputs, and standardized targets for values.

    Returns
    -------
    dict
        Keyword arguments of `RegMLPClassifier` and `RegMLPRegressor`; a new one in each
        call.

    See Also
    --------
    RegMLPClassifierCV, RegMLPRegressorCV : Choose lambda by cross-validation.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skreg import RegMLPClassifier, recommended
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> network = RegMLPClassifier(**recommended(), random_state=0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """
    return {
        "hidden_layer_sizes": (64, 64),
        "activation": "silu",
        "penalty": "l1",
        "reg_lambda": 3e-4,
        "solver": "adam",
        "batch_size": 32,
        "learning_rate_init": 3e-3,
        "max_iter": 200,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "n_iter_no_change": 20,
        "scoring": "loss",
    }
