"""Cross-validation: the lambda of the best score, along warm-started paths."""

import copy
import inspect
import re
from dataclasses import dataclass, replace
from numbers import Integral

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context, get_config
from sklearn.base import clone, is_classifier
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
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._path import Grid, Walk, as_path, warn_unconverged
from skreg._threads import single_blas_thread

# Parameters of the network that the search sets itself or has no use for.
_LEFT_OUT = {"reg_lambda", "warm_start"}
# What a fitted network knows besides its public attributes.
_STATE = {"_rng", "_solver_state", "_no_improvement_count", "_target_type"}
_NO_ROUTING = (
    "fit got unexpected arguments: {names}. Without metadata routing it takes "
    "sample_weight and groups; see sklearn.set_config(enable_metadata_routing=True)."
)
_NO_REFIT = (
    "This {name} was fitted with refit=False: there are scores and reg_lambda_, but no "
    "network. Fit it with refit=True, or fit a {network} with this reg_lambda."
)


def _search_parameters(network_class):
    """Decorate the constructor of a search: it also takes the network's parameters."""

    def decorate(init):
        of_network = inspect.signature(network_class.__init__).parameters.values()
        taken = [p for p in of_network if p.name not in _LEFT_OUT]
        own = list(inspect.signature(init).parameters.values())[1:]
        signature = inspect.Signature([*taken, *own])

        def __init__(self, *args, **kwargs):
            values = signature.bind(self, *args, **kwargs)
            values.apply_defaults()
            for name, value in list(values.arguments.items())[1:]:
                setattr(self, name, value)

        # scikit-learn reads the parameters here.
        __init__.__signature__ = signature
        return __init__

    return decorate


class _SearchCV:
    """Choice of lambda by cross-validation, for a subclass of a network's class."""

    def fit(self, X, y, sample_weight=None, **params):
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
        with self._unchanged_on_error(), single_blas_thread():
            return self._search(X, y, sample_weight, params)

    def _search(self, X, y, sample_weight, params):
        self._check_search_parameters()
        self._forget()
        given = X, y
        X, y = validation.check_X_y(self, X, y, True, **self._y_options)
        weights = validation.check_sample_weight(sample_weight, X)
        network = self._network()
        training = network._prepare(X, y, weights)
        if hasattr(self, "feature_names_in_"):
            network.feature_names_in_ = self.feature_names_in_
        validation.warn_if_vacuous(training.problem.penalties, np.ones(99))
        split_params, score_params = self._route(weights, params)
        data = _Data(X, y, weights, indexable(*given))
        splits = self._split(data, training, split_params, score_params)

        walk, fits = Walk(network, training), None
        grid, jobs = walk.grid(self.reg_lambdas), []
        if grid.ratio:
            fits = walk.run(grid)
            grid = Grid(np.array([fit.lam for fit in fits]))
        elif self.refit:
            jobs.append(delayed(_with_config)(get_config(), walk.run, grid))
        fold = (get_config(), _score_fold, network, data, grid, score_params)
        jobs += [delayed(_with_config)(*fold, *split) for split in splits]
        # Threads, whatever the backend: the compiled core releases the GIL.
        done = Parallel(n_jobs=self.n_jobs, require="sharedmem")(jobs)
        if self.refit and fits is None:
            fits = done.pop(0)
        self._choose(grid.values, done)
        if self.refit:
            self._take_over(network, walk, fits)
        counts = [walk.count, *(scores.count for scores in done)]
        warn_unconverged(*np.sum(counts, axis=0), self, stacklevel=4)
        return self

    def _check_search_parameters(self):
        validation.check_parameters(self)
        if self.selection not in ("best", "1se"):
            raise validation.parameter_error(self, "selection", "'best' or '1se'")
        if not isinstance(self.refit, bool | np.bool_):
            raise validation.parameter_error(self, "refit", "True or False")
        is_count = isinstance(self.n_jobs, Integral) and self.n_jobs != 0
        if self.n_jobs is not None and not is_count:
            raise validation.parameter_error(self, "n_jobs", "None or an int, not 0")

    def _forget(self):
        """Remove what an earlier fit has left; without refit, nothing replaces it."""
        for name in list(vars(self)):
            if name in _STATE or (name.endswith("_") and not name.startswith("_")):
                delattr(self, name)

    def _split(self, data, training, split_params, score_params):
        """List of (training rows, test rows)."""
        cv = check_cv(self.cv, data.y, classifier=is_classifier(self))
        splits = list(cv.split(*data.given, **split_params))
        if not splits:
            raise validation.parameter_error(
                self, "cv", "a source of at least one split, such as an unused iterator"
            )
        weights = training.weights if self.scoring == "loss" else data.weights
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

    def _choose(self, reg_lambdas, folds):
        self.reg_lambdas_ = reg_lambdas
        self.scores_ = np.array([fold.test for fold in folds])
        self.train_scores_ = np.array([fold.train for fold in folds])
        self.mean_scores_ = self.scores_.mean(axis=0)
        self.std_error_ = np.zeros_like(self.mean_scores_)
        if len(folds) > 1:
            spread = self.scores_.std(axis=0, ddof=1)
            self.std_error_ = spread / np.sqrt(len(folds))
        if np.isnan(self.mean_scores_).all():
            raise ValueError(
                "No value of 'reg_lambdas' has a score in every fold: the networks "
                "diverged, or the scorer returned NaN."
            )
        # Of equals, up to rounding, the simplest.
        best = np.nanmax(self.mean_scores_)
        index = self._largest(reg_lambdas, best - 1e-12 * max(1.0, abs(best)))
        if self.selection == "1se":
            index = self._largest(reg_lambdas, best - self.std_error_[index])
        self.reg_lambda_ = float(reg_lambdas[index])

    def _largest(self, reg_lambdas, level):
        """Index of the largest lambda whose mean score reaches a level."""
        within = np.flatnonzero(self.mean_scores_ >= level)
        return within[np.argmax(reg_lambdas[within])]

    def _take_over(self, network, walk, fits):
        """Fitted attributes of the network at the chosen lambda."""
        self.path_ = as_path(fits, walk.training)
        index = int(np.flatnonzero(self.path_.reg_lambdas == self.reg_lambda_)[0])
        chosen = walk.refine(fits[index])
        n_iter = len(chosen.result.history["data_loss"])  # 1 where none was needed
        result = replace(chosen.result, n_iter=n_iter)
        network._finish(result, chosen.monitor, walk.training)
        params = network.get_params(deep=False)
        fitted = {k: v for k, v in vars(network).items() if k not in params}
        self.__dict__.update(fitted)

    # Metadata ------------------------------------------------------------------------

    def get_metadata_routing(self):
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
        if hasattr(self, "reg_lambda_") and not hasattr(self, "coefs_"):
            names = {"name": type(self).__name__}
            names["network"] = self._network_class.__name__
            raise NotFittedError(_NO_REFIT.format(**names))
        return hasattr(self, "coefs_")

    @property
    def best_estimator_(self):
        """The fitted network alone, with the chosen `reg_lambda`."""
        check_is_fitted(self)
        network = self._network().set_params(reg_lambda=self.reg_lambda_)
        own = self.get_params(deep=False)
        fitted = {k: v for k, v in vars(self).items() if k not in own}
        network.__dict__.update(fitted)
        for name in _SEARCH_ATTRIBUTES:
            network.__dict__.pop(name, None)
        return network

    @property
    def partial_fit(self):
        """Hidden: a search needs all data at once."""
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit. Use best_estimator_."
        )

    def compact(self):
        """Return `best_estimator_` without its unused inputs and dead units.

        Returns
        -------
        BaseRegMLP
            A fitted network with the same predictions.
        """
        return self.best_estimator_.compact()

    def refit_on_support(self, X, y, sample_weight=None, *, penalty=None, **params):
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


_SEARCH_ATTRIBUTES = (
    "reg_lambda_ reg_lambdas_ scores_ train_scores_ mean_scores_ std_error_ path_"
).split()


@dataclass
class _Data:
    X: np.ndarray  # or CSR matrix; checked, like y and weights
    y: np.ndarray
    weights: np.ndarray | None
    given: list  # X and y as the user knows them, for splitter and scorers


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
    on_all, network = network, clone(network)
    train, test = (np.arange(data.X.shape[0])[rows] for rows in (train, test))
    classes = getattr(on_all, "classes_", None)
    weights = _rows(data.weights, train)
    training = network._prepare(data.X[train], data.y[train], weights, classes=classes)
    if hasattr(on_all, "feature_names_in_"):
        network.feature_names_in_ = on_all.feature_names_in_
    walk = Walk(network, training)
    fits, scores = walk.run(grid), []
    make_score = _own_score if score_params is None else _scorer
    for rows in (test, train):
        score = make_score(network, training, data, rows, score_params)
        scores.append([np.nan if fit.has_diverged else score(fit) for fit in fits])
    return _FoldScores(*scores, walk.count)


def _own_score(network, training, data, rows, options):
    """Function fit -> default score, or minus the data loss, on some rows."""
    problem, y, weights = training.problem, data.y[rows], _rows(data.weights, rows)
    targets = network._encode_validation_targets(y, problem.network.units[-1])
    if network.scoring == "loss":
        weights = training.reweight(targets, weights)
    X = validation.core_matrix(data.X[rows], training.dtype)
    score = network._score_function(
        X, y, targets, weights, problem.network, problem.loss
    )
    return lambda fit: score(fit.theta)


def _scorer(network, training, data, rows, options):
    """Function fit -> what the scorer says of the fitted network on some rows."""
    scorer = validation.check_scorer(network)
    X, y = (_rows(values, rows) for values in data.given)
    options = {name: _rows(value, rows) for name, value in options.items()}

    def score(fit):
        fitted = copy.copy(network).set_params(reg_lambda=fit.lam)
        fitted._finish(fit.result, fit.monitor, training)
        return float(scorer(fitted, X, y, **options))

    return score


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


_OWN_PARAMETERS = """\
reg_lambdas : int or array-like of float >= 0, default=20
    The grid. An int is the number of values of an automatic one, as in `reg_mlp_path`;
    with hidden layers its upper end, and with it the number, depend on the data.
cv : int, splitter, iterable or None, default=None
    Folds, as in scikit-learn; None is 5.
n_jobs : int, default=None
    Threads that share the folds. The results do not depend on it.
selection : {"best", "1se"}, default="best"
    "best": the lambda of the best mean score, the largest one of equals; "1se": the
    largest one whose mean score is within one standard error of it, for the simplest
    network that is not clearly worse.
refit : bool, default=True
    Whether to fit the network on all data: along the whole path, from which the one at
    the chosen lambda is taken."""

_SCORING = """\
scoring : None, "loss", str or callable, default=None
    By what lambda is chosen: `score`, minus the data loss, or any scikit-learn scorer.
    Also the validation score of `early_stopping`."""

_OWN_ATTRIBUTES = """\
reg_lambda_ : float
    The chosen lambda.
reg_lambdas_ : ndarray of shape (n_lambdas,)
    The grid, in the order of the path: increasing with hidden layers, else decreasing.
scores_, train_scores_ : ndarray of shape (n_folds, n_lambdas)
    Scores on the rows held out of each fold, and on those trained on.
mean_scores_, std_error_ : ndarray of shape (n_lambdas,)
    Mean of `scores_` over the folds, and its standard error.
path_ : RegMLPPath
    Networks along the grid on all data; see `reg_mlp_path`. With ``refit=True``, as all
    attributes below but `n_features_in_` and `feature_names_in_`.
best_estimator_ : {network}
    The fitted network alone."""

_SEARCH_NOTES = """\
Each fold is a path of warm starts, see `reg_mlp_path`, with one seed for all. The
network is the one at the chosen lambda of the path on all data; with lbfgs and hidden
layers, fitted from there to the full tolerance. Its curves start where the fit at that
lambda has started, on the path, and go on through the second fit; `n_iter_` counts
both, and `path_.n_iter` all that the path has spent there. Folds run in threads with
one BLAS thread each."""


def _search_docstring(summary, base, network, example):
    """Docstring of a search: that of the network with entries exchanged."""
    start, parameters, attributes, rest = re.split(
        r"\n(?:Parameters|Attributes|See Also)\n-+\n", base
    )
    entries = re.split(r"\n(?=\S)", parameters.strip())
    kept = [e for e in entries if e.split(" :")[0] not in _LEFT_OUT]
    kept = [_SCORING if e.startswith("scoring :") else e for e in kept]
    objective = start.partition("\n\n")[2]
    sections = {
        "Parameters": "\n".join([*kept, _OWN_PARAMETERS]),
        "Attributes": f"{_OWN_ATTRIBUTES.format(network=network)}\n{attributes}",
        "See Also": f"{network} : The network with a given lambda.\n"
        "reg_mlp_path : The path alone.\n",
        "Notes": _SEARCH_NOTES + "\n",
        "Examples": example,
    }
    body = "\n\n".join(
        f"{title}\n{'-' * len(title)}\n{text.strip()}"
        for title, text in sections.items()
    )
    return f"{summary}\n\n{objective}\n{body}\n"


class RegMLPClassifierCV(_SearchCV, RegMLPClassifier):
    __doc__ = _search_docstring(
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
>>> model.score(scale(X), y) > 0.95
True
>>> int(model.selected_features_.sum()) < 30
True""",
    )
    _network_class = RegMLPClassifier

    @_search_parameters(RegMLPClassifier)
    def __init__(
        self, *, reg_lambdas=20, cv=None, n_jobs=None, selection="best", refit=True
    ):
        """Takes the parameters of the network as well."""


class RegMLPRegressorCV(_SearchCV, RegMLPRegressor):
    __doc__ = _search_docstring(
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

    @_search_parameters(RegMLPRegressor)
    def __init__(
        self, *, reg_lambdas=20, cv=None, n_jobs=None, selection="best", refit=True
    ):
        """Takes the parameters of the network as well."""
