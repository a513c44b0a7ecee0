"""Cross-validation: the lambda of the best score, along warm-started paths."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import Any, Self

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike
from sklearn import config_context, get_config
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import check_cv
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted

from skreg import _docs
from skreg import _validation as validation
from skreg._base import BaseRegMLP
from skreg._fitted import as_estimator
from skreg._grid import Grid
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._path import RegMLPPath, as_path, warn_unconverged
from skreg._rows import Header, Rows, read_weights, read_X_y
from skreg._task import Task, task_of
from skreg._threads import single_blas_thread, threads_of_tasks
from skreg._training import prepare, validation_score
from skreg._typing import (
    Array,
    ClassWeight,
    Matrix,
    PenaltyLike,
    RandomState,
    Scoring,
)
from skreg._walk import Walk

_NO_ROUTING = (
    "fit got unexpected arguments: {names}. Without metadata routing it takes "
    "sample_weight and groups; see sklearn.set_config(enable_metadata_routing=True)."
)
_NO_REFIT = (
    "This {name} was fitted with refit=False: there are scores and reg_lambda_, but no "
    "network. Fit it with refit=True, or fit a {network} with this reg_lambda."
)


class _SearchCV(BaseRegMLP):
    """Choice of lambda by cross-validation, for a subclass of a network's class."""

    cv: Any
    scoring: Scoring
    reg_lambda_: float
    reg_lambdas_: Array
    scores_: Array
    train_scores_: Array
    mean_scores_: Array
    std_errors_: Array
    best_score_: float
    path_: RegMLPPath

    def fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Choose lambda, and fit the network with it.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0, for fits and scores (a scorer that takes
            none is not weighted).
        **params : dict
            ``groups`` for the splitter; with scikit-learn's metadata routing, all that
            splitter and scorer request.

        Returns
        -------
        self
            The fitted estimator.

        Raises
        ------
        ValueError
            Names the parameter or the data at fault and what is allowed.
        """
        with single_blas_thread():
            choice, counts = self._search(X, y, sample_weight, params)
        self._forget()
        choice.header.write(self)
        for name, value in choice.attributes().items():
            setattr(self, name, value)
        warn_unconverged(counts[0], counts[1], self)
        return self

    def _search(self, X, y, sample_weight, params):
        self._check_search_parameters()
        given = indexable(X, y)
        X, y, header = read_X_y(self, X, y)
        weights = read_weights(sample_weight, X.shape[0])
        network = self._network()
        task = task_of(network, y, weights)
        data = _Data(task, header, Rows.of(task, X, y, weights), given)
        split_params, score_params = self._route(weights, params)
        splits = self._split(data, split_params, score_params)
        n_threads = threads_of_tasks(self.n_jobs, len(splits) + self.refit)
        network.set_params(n_jobs=n_threads)
        training = prepare(network, task, data.rows, header)
        validation.warn_if_vacuous(training.problem.penalties, np.ones(99))

        walk, fits = Walk(training), None
        grid, jobs = walk.grid(self.reg_lambdas, self.eps), []
        if grid.ratio:
            fits = walk.run(grid)
            grid = Grid(np.array([fit.lam for fit in fits]))
        elif self.refit:
            jobs.append(delayed(_with_config)(get_config(), walk.run, grid))
        fold = (get_config(), _score_fold, network, data, grid, score_params)
        jobs += [delayed(_with_config)(*fold, *split) for split in splits]
        # Threads, whatever the backend: the compiled core releases the GIL.
        done = Parallel(n_jobs=self.n_jobs, require="sharedmem")(jobs)
        network.set_params(n_jobs=self.n_jobs)
        if self.refit and fits is None:
            fits = done.pop(0)
        choice = _choose(grid.values, done, self.selection, header)
        if self.refit:
            choice = _with_network(choice, network, walk, fits)
        counts = [walk.count, *(scores.count for scores in done)]
        return choice, np.sum(counts, axis=0)

    def _check_search_parameters(self):
        validation.check_parameters(self)
        if self.selection not in ("best", "1se"):
            raise validation.parameter_error(self, "selection", "'best' or '1se'")
        if not isinstance(self.refit, bool | np.bool_):
            raise validation.parameter_error(self, "refit", "True or False")
        is_share = validation.as_float(self.eps)
        if not 0 < is_share < 1:
            raise validation.parameter_error(self, "eps", "a float in (0, 1)")

    def _forget(self):
        """Remove what an earlier fit has left; without refit, nothing replaces it."""
        for name in list(vars(self)):
            if name.endswith("_") and not name.startswith("_"):
                delattr(self, name)

    def _split(self, data, split_params, score_params):
        """List of (training rows, test rows)."""
        cv = check_cv(self.cv, data.rows.y, classifier=is_classifier(self))
        splits = list(cv.split(*data.given, **split_params))
        if not splits:
            raise validation.parameter_error(
                self, "cv", "a source of at least one split, such as an unused iterator"
            )
        rows = data.rows
        weights = rows.weights if self.scoring == "loss" else rows.sample_weight
        if score_params is not None:
            weights = score_params.get("sample_weight")
        for k, (_, test) in enumerate(splits):
            if weights is not None and not np.asarray(weights)[test].any():
                raise ValueError(
                    f"All test rows of fold {k} have weight 0, by sample_weight or "
                    "class_weight: it has no score. Leave such rows out, or change "
                    "'cv'."
                )
        return splits

    def _network(self):
        """The network to be fitted, with a seed that all fits share."""
        params = self.get_params(deep=False)
        names = self._network_class._get_param_names()
        network = self._network_class(**{n: params[n] for n in names if n in params})
        if not isinstance(self.random_state, Integral):
            rng = validation.check_random_state(self)
            network.set_params(random_state=rng.randint(np.iinfo(np.int32).max))
        return network

    # Metadata ------------------------------------------------------------------------

    def get_metadata_routing(self) -> MetadataRouter:
        """Describe who requests which arguments of `fit`.

        Returns
        -------
        MetadataRouter
            Of this estimator, its splitter and its scorer.
        """
        router = MetadataRouter(owner=self).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="split")
        router.add(splitter=self.cv, method_mapping=mapping)
        scorer = validation.check_scorer(self)
        if scorer is not None:
            mapping = MethodMapping().add(caller="fit", callee="score")
            router.add(scorer=scorer, method_mapping=mapping)
        return router

    def _route(self, sample_weight, params):
        """Arguments of the splitter, and those of the scorer, None if there is none."""
        scorer = validation.check_scorer(self)
        if get_config()["enable_metadata_routing"]:
            routed = process_routing(self, "fit", sample_weight=sample_weight, **params)
            return routed.splitter.split, scorer and routed.scorer.score
        unknown = sorted(set(params) - {"groups"})
        if unknown:
            raise TypeError(_NO_ROUTING.format(names=unknown))
        options = None if scorer is None else {}
        if scorer is not None and sample_weight is not None and _takes_weights(scorer):
            options = {"sample_weight": sample_weight}
        return {"groups": params.get("groups")}, options

    # The fitted network --------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        if hasattr(self, "reg_lambda_") and not hasattr(self, "fitted_"):
            names = {"name": type(self).__name__}
            names["network"] = self._network_class.__name__
            raise NotFittedError(_NO_REFIT.format(**names))
        return hasattr(self, "fitted_")

    @property
    def best_estimator_(self) -> BaseRegMLP:
        """The fitted network alone, with the chosen `reg_lambda`."""
        check_is_fitted(self)
        network = self._network().set_params(reg_lambda=self.reg_lambda_)
        return as_estimator(network, self.fitted_)

    def score(
        self, X: Matrix, y: Matrix, sample_weight: ArrayLike | None = None
    ) -> float:
        """Score of the chosen network by `scoring`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0, where the scorer takes them.

        Returns
        -------
        float
            Accuracy or R2 where `scoring` is None, minus the data loss where it is
            "loss", else what the scorer says.
        """
        check_is_fitted(self)
        scorer = validation.check_scorer(self)
        if scorer is None and self.scoring is None:
            return super().score(X, y, sample_weight)
        if scorer is None:
            return self._minus_data_loss(X, y, sample_weight)
        options = {}
        if sample_weight is not None and _takes_weights(scorer):
            options["sample_weight"] = sample_weight
        return float(scorer(self, X, y, **options))

    def _minus_data_loss(self, X, y, sample_weight):
        fitted = self.fitted_
        X, y, _ = read_X_y(self, X, y, fitted.header)
        weights = read_weights(sample_weight, X.shape[0])
        rows = Rows.of(fitted.task, X, y, weights)
        score = validation_score(
            self, fitted.task, rows, fitted.network, fitted.inputs, fitted.dtype
        )
        return score(fitted.theta())

    @property
    def partial_fit(self) -> Self:
        """Hidden: a search needs all data at once."""
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit. Use best_estimator_."
        )

    def compact(self) -> BaseRegMLP:
        """Return `best_estimator_` without its unused inputs and dead units.

        Returns
        -------
        BaseRegMLP
            A fitted network with the same predictions.
        """
        return self.best_estimator_.compact()

    def refit_on_support(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        *,
        penalty: PenaltyLike = None,
        **params: Any,
    ) -> BaseRegMLP:
        """Train a new network on the selected inputs; see `best_estimator_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Inputs, all of them.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Non-negative weights, not all 0.
        penalty : None, str, Penalty or sequence of these, default=None
            Of the new network.
        **params : dict
            Other parameters in which the new network differs.

        Returns
        -------
        BaseRegMLP
            A fitted network that takes the same X.
        """
        network = self.best_estimator_
        return network.refit_on_support(X, y, sample_weight, penalty=penalty, **params)


@dataclass(frozen=True, eq=False)
class _Data:
    """What all folds share: the encoded rows, and X and y as the user knows them."""

    task: Task
    header: Header
    rows: Rows
    given: list


@dataclass(frozen=True, eq=False)
class _Choice:
    """Outcome of a search; its fields are attributes of the fitted estimator."""

    header: Header
    reg_lambda: float
    reg_lambdas: np.ndarray
    scores: np.ndarray
    train_scores: np.ndarray
    mean_scores: np.ndarray
    std_errors: np.ndarray
    best_score: float
    path: object = None
    fitted: object = None

    def attributes(self):
        """Fitted attributes by name; those of the network where there is one."""
        values = {f"{f.name}_": getattr(self, f.name) for f in fields(self)}
        del values["header_"]
        return {name: v for name, v in values.items() if v is not None}


def _choose(reg_lambdas, folds, selection, header):
    """Choose lambda by the scores of the folds."""
    scores = np.array([fold.test for fold in folds])
    mean = scores.mean(axis=0)
    error = np.zeros_like(mean)
    if len(folds) > 1:
        error = scores.std(axis=0, ddof=1) / np.sqrt(len(folds))
    if np.isnan(mean).all():
        raise ValueError(
            "No value of 'reg_lambdas' has a score in every fold: the networks "
            "diverged, or the scorer returned NaN."
        )

    def largest(level):
        within = np.flatnonzero(mean >= level)
        return within[np.argmax(reg_lambdas[within])]

    # Of equals, up to rounding, the simplest.
    best = np.nanmax(mean)
    index = largest(best - 1e-12 * max(1.0, abs(best)))
    if selection == "1se":
        index = largest(best - error[index])
    return _Choice(
        header,
        float(reg_lambdas[index]),
        reg_lambdas,
        scores,
        np.array([fold.train for fold in folds]),
        mean,
        error,
        float(mean[index]),
    )


def _with_network(choice, network, walk, fits):
    """The choice with the network at the chosen lambda, fitted on all data."""
    path = as_path(network, fits, walk.training)
    index = int(np.flatnonzero(path.reg_lambdas == choice.reg_lambda)[0])
    chosen = walk.refine(fits[index])
    n_iter = len(chosen.result.history["data_loss"])  # 1 where none was needed
    result = replace(chosen.result, n_iter=n_iter)
    fitted = walk.training.fitted(result, chosen.monitor)
    return replace(choice, path=path, fitted=fitted)


@dataclass
class _FoldScores:
    test: list
    train: list
    count: tuple


def _with_config(config, function, *args):
    """Call in a thread with the configuration of scikit-learn of the caller's."""
    with config_context(**config):
        return function(*args)


def _score_fold(network, data, grid, score_params, train, test):
    """Scores of a path on one fold."""
    train, test = (np.arange(len(data.rows.y))[rows] for rows in (train, test))
    rows, task = data.rows.take(train).balanced(data.task)
    training = prepare(network, task, rows, data.header)
    walk = Walk(training)
    fits, scores = walk.run(grid), []
    for part in (test, train):
        score = _score_of_fits(network, training, data, part, score_params)
        scores.append([np.nan if fit.has_diverged else score(fit) for fit in fits])
    return _FoldScores(*scores, walk.count)


def _score_of_fits(network, training, data, rows, options):
    """Function fit -> its score on some rows."""
    if options is None:  # the default score, or minus the data loss
        held_out = data.rows.take(rows).weighted(training.task)
        score = validation_score(
            network,
            training.task,
            held_out,
            training.problem.network,
            training.inputs,
            training.dtype,
        )
        return lambda fit: score(fit.theta)
    scorer = validation.check_scorer(network)
    X, y = (_rows(values, rows) for values in data.given)
    options = {name: _rows(value, rows) for name, value in options.items()}

    def score_with_scorer(fit):
        fitted = training.fitted(fit.result, fit.monitor)
        model = as_estimator(network, fitted, reg_lambda=fit.lam)
        return float(scorer(model, X, y, **options))

    return score_with_scorer


def _rows(values, rows):
    """Entries of what has one per row, in the type it has; else the whole."""
    if values is None or np.ndim(values) == 0:
        return values
    if isinstance(values, list | tuple):
        return [values[row] for row in rows]
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def _takes_weights(scorer):
    """Whether a scorer, or the metric in it, has an argument sample_weight."""
    metric = getattr(scorer, "_score_func", scorer)
    parameters = inspect.signature(metric).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


class RegMLPClassifierCV(_SearchCV, RegMLPClassifier):
    __doc__ = _docs.search_docstring(
        "`RegMLPClassifier` with lambda chosen by cross-validation.",
        _docs.CLASSIFIER,
        "RegMLPClassifier",
        """\
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
True""",
    )
    _network_class = RegMLPClassifier

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
        reg_lambdas: int | ArrayLike = 20,
        eps: float = 1e-3,
        cv: Any = None,
        n_jobs: int | None = None,
        selection: str = "best",
        refit: bool = True,
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
        self.reg_lambdas = reg_lambdas
        self.eps = eps
        self.cv = cv
        self.n_jobs = n_jobs
        self.selection = selection
        self.refit = refit


class RegMLPRegressorCV(_SearchCV, RegMLPRegressor):
    __doc__ = _docs.search_docstring(
        "`RegMLPRegressor` with lambda chosen by cross-validation.",
        _docs.REGRESSOR,
        "RegMLPRegressor",
        """\
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
True""",
    )
    _network_class = RegMLPRegressor

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
        reg_lambdas: int | ArrayLike = 20,
        eps: float = 1e-3,
        cv: Any = None,
        n_jobs: int | None = None,
        selection: str = "best",
        refit: bool = True,
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
        self.reg_lambdas = reg_lambdas
        self.eps = eps
        self.cv = cv
        self.n_jobs = n_jobs
        self.selection = selection
        self.refit = refit
