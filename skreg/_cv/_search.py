"""Cross-validation: the lambda of the best score, and the rest with it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skreg import _docs
from skreg._cv._intervals import cv_plus
from skreg._cv._search_base import ParamGrid, SearchCV
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._numbers import as_float
from skreg._rows import read_X
from skreg._threads import single_blas_thread
from skreg._typing import (
    Array,
    ClassWeight,
    Matrix,
    PenaltyLike,
    RandomState,
    Scoring,
)
from skreg._validation import explains_unknown_names


@_docs.documented(**_docs.of_search(_docs.CLASSIFIER, "RegMLPClassifier"))
class RegMLPClassifierCV(SearchCV, RegMLPClassifier):
    """`RegMLPClassifier` with lambda chosen by cross-validation.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPClassifierCV
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = RegMLPClassifierCV(
    ...     (), penalty="l1", solver="lbfgs", scoring="loss", selection="1se"
    ... ).fit(scale(X), y)
    >>> bool((model.predict(scale(X)) == y).mean() > 0.95)
    True
    >>> int(model.selected_features_.sum()) < 30
    True
    """

    _network_class = RegMLPClassifier

    @explains_unknown_names
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        penalty: PenaltyLike = "l2",
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
        verbose: bool | int = False,
        device: str = "cpu",
        precision: str = "tf32",
        param_grid: ParamGrid = None,
        reg_lambdas: int | ArrayLike | None = None,
        eps: float | None = None,
        cv: Any = None,
        n_jobs: int | None = None,
        selection: str = "best",
        start: str = "warm",
        max_features: int | None = None,
        adaptive: float | Sequence[float] = 0.0,
        refit: bool | str = True,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.penalty = penalty
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
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.param_grid = param_grid
        self.reg_lambdas = reg_lambdas
        self.eps = eps
        self.cv = cv
        self.n_jobs = n_jobs
        self.selection = selection
        self.start = start
        self.max_features = max_features
        self.adaptive = adaptive
        self.refit = refit


@_docs.documented(**_docs.of_search(_docs.REGRESSOR, "RegMLPRegressor"))
class RegMLPRegressorCV(SearchCV, RegMLPRegressor):
    """`RegMLPRegressor` with lambda chosen by cross-validation.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from skreg import RegMLPRegressorCV
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = RegMLPRegressorCV(
    ...     (10,), activation="tanh", penalty="group_lasso", solver="lbfgs", tol=1e-3,
    ...     max_iter=1000, reg_lambdas=10, selection="1se", random_state=0,
    ... ).fit(scale(X), scale(y))
    >>> 0.4 < model.score(scale(X), scale(y)) < 0.7
    True
    >>> int(model.selected_features_.sum()) < 10
    True
    """

    _network_class = RegMLPRegressor

    @explains_unknown_names
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        *,
        activation: str = "relu",
        penalty: PenaltyLike = "l2",
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
        verbose: bool | int = False,
        device: str = "cpu",
        precision: str = "tf32",
        param_grid: ParamGrid = None,
        reg_lambdas: int | ArrayLike | None = None,
        eps: float | None = None,
        cv: Any = None,
        n_jobs: int | None = None,
        selection: str = "best",
        start: str = "warm",
        max_features: int | None = None,
        adaptive: float | Sequence[float] = 0.0,
        refit: bool | str = True,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.penalty = penalty
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
        self.verbose = verbose
        self.device = device
        self.precision = precision
        self.param_grid = param_grid
        self.reg_lambdas = reg_lambdas
        self.eps = eps
        self.cv = cv
        self.n_jobs = n_jobs
        self.selection = selection
        self.start = start
        self.max_features = max_features
        self.adaptive = adaptive
        self.refit = refit

    def predict_interval(self, X: Matrix, level: float = 0.9) -> tuple[Array, Array]:
        """Predict intervals that hold a new target with about a given probability.

        CV+ [1]_: from the networks of the folds and their errors on the rows that they
        have not seen, whatever the distribution of the targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        level : float in (0, 1), default=0.9
            Share of targets that the intervals are to hold. For exchangeable rows, the
            guarantee is ``2 * level - 1``; usually it is close to `level`.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Infinite where there are too few training rows for the level. Rows of weight
            0 do not count, all others count once.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        AttributeError
            If ``cv="loo"``: there are no networks of folds.
        ValueError
            If `level` is not in (0, 1), or X does not fit the networks.

        References
        ----------
        .. [1] R. F. Barber, E. J. Candès, A. Ramdas and R. J. Tibshirani, "Predictive
           inference with the jackknife+", Annals of Statistics 49(1), 2021.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import scale
        >>> from skreg import RegMLPRegressorCV
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = RegMLPRegressorCV((), solver="lbfgs").fit(scale(X[:300]), y[:300])
        >>> lower, upper = model.predict_interval(scale(X[300:]))
        >>> bool(0.8 < ((lower <= y[300:]) & (y[300:] <= upper)).mean() < 1)
        True
        """
        self._check_has_folds()
        if not 0 < as_float(level) < 1:
            raise ValueError(f"'level' must be a float in (0, 1). Got {level!r}.")
        X = read_X(self, X, self.fitted_.dtype)
        n_folds = int(self.folds_.folds.max()) + 1
        with single_blas_thread():
            raws = [self.folds_.of_fold(k).raw(X, self.device) for k in range(n_folds)]
        predictions = np.array([self.fitted_.task.loss.predict(raw) for raw in raws])
        found = cv_plus(predictions, self.oof_residuals_, self.oof_folds_, level)
        lower, upper = (a[:, 0] if a.shape[1] == 1 else a for a in found)
        return lower, upper
