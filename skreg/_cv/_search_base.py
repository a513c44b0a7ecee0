"""What both cross-validation classes share: `fit`, and what is read off its result."""

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
    check_cv,
)
from sklearn.utils.metadata_routing import (
    MetadataRouter,
    MethodMapping,
    process_routing,
)
from sklearn.utils.validation import check_is_fitted

from skreg import _validation as validation
from skreg._base import BaseRegMLP
from skreg._callbacks import Report, with_callbacks
from skreg._cv._adaptive import exponents_of, with_adaptive_factors
from skreg._cv._choice import Plan, choose
from skreg._cv._crossval import Data, row_of, rows_of, takes_weights
from skreg._cv._ensemble import Ensemble
from skreg._cv._loo import check_leave_one_out
from skreg._cv._outcome import outcome_of
from skreg._cv._points import check_losses, of_network, points_of, selector_of
from skreg._cv._results import as_summary
from skreg._cv._support import Inputs
from skreg._cv._units import Units
from skreg._fitted import as_estimator
from skreg._judgement import warn_of_constant_targets
from skreg._numbers import as_strength, is_boolean, is_integer
from skreg._paths._path import RegMLPPath, warn_unconverged
from skreg._repr import Table
from skreg._rows import Rows, Source, read_weights, read_X_y
from skreg._task import task_of
from skreg._threads import single_blas_thread, threads_of_tasks
from skreg._training import prepare
from skreg._typing import (
    Array,
    Matrix,
    PenaltyLike,
    Scoring,
)
from skreg._warnings import warn

ParamGrid: TypeAlias = (
    str | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Sequence[Any]]] | None
)

_NO_ROUTING = (
    "fit got unexpected arguments: {names}. Without metadata routing it takes "
    "sample_weight and groups; see sklearn.set_config(enable_metadata_routing=True)."
)
_NO_REFIT = (
    "This {name} was fitted with refit=False: there are scores and best_params_, but "
    "no network. Fit it with refit=True, or fit a {network} with these parameters."
)
_ONE_SPLIT = "a source of at least one split, such as an unused iterator"
_N_FOLDS = 5
_CHECKS = {
    "selection": (
        lambda value: isinstance(value, str) and value in ("best", "1se"),
        "'best' or '1se'",
    ),
    "refit": (
        lambda v: is_boolean(v) or (isinstance(v, str) and v in ("folds", "stack")),
        "True or False, 'folds' or 'stack'",
    ),
    "start": validation.START,
    "max_features": validation.optional(validation.COUNT),
    "eps": validation.optional(validation.EPS),
}


class SearchCV(BaseRegMLP):
    """Choice by cross-validation, for a subclass of a network's class."""

    _is_search = True
    cv: Any
    scoring: Scoring
    best_params_: dict[str, Any]
    best_score_: float
    best_index_: int
    cv_results_: dict[str, Any]
    reg_lambda_: float | tuple[float, ...]
    reg_lambdas_: Array
    scores_: Array
    train_scores_: Array
    mean_scores_: Array
    std_errors_: Array
    oof_predictions_: Array
    path_: RegMLPPath

    @with_callbacks
    def fit(
        self,
        X: Matrix,
        y: Matrix,
        sample_weight: ArrayLike | None = None,
        **params: Any,
    ) -> Self:
        """Choose lambda, and what `param_grid` asks for, and fit the network.

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
            attributes, header, count = self._search(X, y, sample_weight, params)
        self._forget()
        header.write(self)
        for name, value in attributes.items():
            setattr(self, name, value)
        if not self._is_auto:  # whose numbers of epochs are part of the portfolio
            warn_unconverged(count[0], count[1], self)
        return self

    def _search(self, X, y, sample_weight, params):
        """Fitted attributes by name, the header of X, and the count of fits."""
        self._check_search_parameters()
        source = self._read(X, y, sample_weight)
        network = self._network()
        candidates = self._candidates(network, source)
        data = candidates[0]
        split_params, score_params = self._route(source.sample_weight, params)
        splits = self._split(data, split_params, score_params, network.random_state)
        listener = _Listener.of(self, X, y, sample_weight)
        plan = Plan(
            splits=splits,
            scorer_params=score_params,
            reg_lambdas=self.reg_lambdas,
            eps=self.eps,
            selection=self.selection,
            refit=self.refit,
            n_jobs=self.n_jobs,
            is_race=self._is_auto,
            report=_reporter(self.verbose),
            rng=np.random.RandomState(int(network.random_state) % 2**32),
            hear=listener,
            exponents=exponents_of(self),
            is_loo=self._is_loo,
        )
        n_tasks = len(candidates) * (1 if self._is_loo else len(splits))
        n_threads = threads_of_tasks(self.n_jobs, n_tasks)
        for data in candidates:
            data.point.network.set_params(n_jobs=n_threads)
        choice = choose(candidates, plan)
        for result in choice.results:
            result.data.point.network.set_params(n_jobs=self.n_jobs)
        attributes, count = outcome_of(choice, plan)
        attributes["_template_"] = clone(self._template())
        if listener is not None:
            listener.end(attributes.get("fitted_"))
        return attributes, source.header, count

    def _read(self, X, y, sample_weight):
        """The data as a `Source`."""
        return Source.of(self, X, y, sample_weight)

    @property
    def _is_loo(self):
        return isinstance(self.cv, str) and self.cv == "loo"

    @property
    def _is_auto(self):
        """Whether candidates are those of "auto", in standard units."""
        grid = self.param_grid
        if grid is None:
            return self.max_features is not None
        return isinstance(grid, str) and grid == "auto"

    def _candidates(self, network, source):
        """`Data` of each candidate."""
        points = points_of(self, network, len(source.y), source.header.n_features)
        if self._is_auto and self.scoring is None:
            for point in points:
                point.network.set_params(scoring="loss")
        candidates = []
        for point, inputs in zip(points, self._inputs_of(points, network)):
            first = candidates[0] if candidates else None
            data = self._candidate(point, source, inputs, first)
            self._check_candidate(data, is_first=first is None)
            candidates.append(data)
        check_losses(self, candidates)
        return candidates

    def _inputs_of(self, points, network):
        """`Inputs` of each candidate, None where it reads all columns."""
        if self.max_features is not None:
            return [Inputs(network, self.max_features)] * len(points)
        selector = selector_of(network) if self._is_auto else None
        sizes = [point.params.get("max_features") for point in points]
        return [None if size is None else Inputs(selector, size) for size in sizes]

    def _candidate(self, point, source, inputs, first):
        """`Data` of a point; those of "auto" share rows and units of the first one."""
        task = task_of(point.network, source.y, source.sample_weight)
        if not self._is_auto:
            rows = user = source.encode(task)
            units = None
        elif first is None:
            user = source.encode(task)
            units = Units.of(task, user)
            rows = units.standardized(task, user)
        else:
            rows, user, units = first.rows, first.user, first.units
        data = Data(
            point=point,
            task=task,
            header=source.header,
            rows=rows,
            user=user,
            units=units,
            given=source.given,
            start=self.start,
            inputs=inputs,
        )
        # Of others, what decides could not be trained again alone.
        may_round = data.trains_together and exponents_of(self) == (0.0,)
        return data if may_round else data.exact()

    def _check_candidate(self, data, is_first):
        """Refuse, or warn of, what a network does not allow, before any fit."""
        network, n_features = data.point.network, data.header.n_features
        training = prepare(network, data.task, data.rows, data.header)
        problem = training.problem
        validation.warn_if_vacuous(problem.penalties, np.ones(problem.network.n_layers))
        if is_first:  # whose rows are those of all
            warn_of_constant_targets(training)
        if self.reg_lambdas is not None:
            reg_lambdas = validation.check_reg_lambdas(self.reg_lambdas)
            validation.check_table(problem, reg_lambdas, self.start)
        if self._is_loo:
            check_leave_one_out(self, training)
        if exponents_of(self) != (0.0,):
            with_adaptive_factors(network, np.ones((n_features, 1)), 0)

    def _check_search_parameters(self):
        validation.check_parameters(self)
        for name, (is_allowed, allowed) in _CHECKS.items():
            if not is_allowed(getattr(self, name)):
                raise validation.parameter_error(self, name, allowed)
        if self.max_features is not None and isinstance(self.refit, str):
            raise validation.parameter_error(
                self,
                "refit",
                "True or False with max_features, as each fold selects its own inputs",
            )
        if exponents_of(self) != (0.0,) and self._is_auto:
            raise validation.parameter_error(
                self,
                "adaptive",
                "0 with param_grid='auto' or max_features (give 'param_grid' as a "
                "dict): these choose among penalties of their own, most of which "
                "remove no inputs",
            )
        if self.reg_lambdas is not None:
            reg_lambdas = validation.check_reg_lambdas(self.reg_lambdas)
            if self._is_auto:  # networks of several numbers of layers
                by = "param_grid='auto'" if self.param_grid else "max_features"
                validation.check_order(by, reg_lambdas)

    def _forget(self):
        """Remove what an earlier fit has left; without refit, nothing replaces it."""
        for name in list(vars(self)):
            if name.endswith("_") and not name.startswith("_"):
                delattr(self, name)

    def _split(self, data, split_params, score_params, seed):
        """List of (training rows, test rows)."""
        X, y = data.given
        n_rows = len(data.user.y)
        if self._is_loo:
            if split_params.get("groups") is not None:
                raise ValueError("groups cannot be kept together with cv='loo'.")
            every = np.arange(n_rows)
            return [(every, every[row : row + 1]) for row in range(n_rows)]
        try:
            cv = self.cv
            if cv is None and self._is_auto:
                cv = _shuffled(data.task, split_params.get("groups"), seed)
            cv = check_cv(cv, data.user.y, classifier=is_classifier(self))
            splits = [
                tuple(np.arange(n_rows)[rows] for rows in split)
                for split in cv.split(X, y, **split_params)
            ]
            is_fine = all(len(s) == 2 and len(s[0]) and len(s[1]) for s in splits)
        except (ValueError, TypeError, IndexError) as error:
            with_groups = " and groups" * (split_params.get("groups") is not None)
            raise ValueError(
                f"The 'cv' parameter of {type(self).__name__} gives no splits of "
                f"{n_rows} rows{with_groups}: {error} Got {self.cv!r}."
            ) from error
        if not splits or not is_fine:
            allowed = _ONE_SPLIT if not splits else "pairs of non-empty row indices"
            raise validation.parameter_error(self, "cv", allowed)
        rows = data.user
        weights = rows.weights if self.scoring == "loss" else rows.sample_weight
        if score_params is not None:
            weights = score_params.get("sample_weight")
        has_weight = (
            np.ones(n_rows, bool) if weights is None else np.asarray(weights) != 0
        )
        is_r2 = not is_classifier(self) and self.scoring in (None, "r2")
        least = min(np.count_nonzero(has_weight[test]) for _, test in splits)
        if is_r2 and not self._is_auto and least == 1:
            raise ValueError(
                f"cv={self.cv!r} holds out single rows, and R2, the score, needs two "
                "in each fold. Set scoring='loss', or cv='loo', which takes it."
            )
        for k, (_, test) in enumerate(splits):
            if not has_weight[test].any():
                raise ValueError(
                    f"All test rows of fold {k} have weight 0, by sample_weight or "
                    "class_weight: it has no score. Leave such rows out, or change "
                    "'cv'."
                )
        return splits

    def _template(self):
        """The network of the parameters of this search."""
        params = self.get_params(deep=False)
        names = self._network_class._get_param_names()
        shared = {name: params[name] for name in names if name in params}
        return self._network_class(**{**shared, "verbose": False})

    def _network(self):
        """The same with a seed that all fits share."""
        network = clone(self._template())  # which no set_params changes
        rng = validation.check_random_state(self)
        if not is_integer(self.random_state):
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
        # Its name: scikit-learn 1.6 copies the owner, and with it a source of splits.
        router = MetadataRouter(owner=type(self).__name__).add_self_request(self)
        mapping = MethodMapping().add(caller="fit", callee="split")
        # An int or an iterator requests nothing, as KFold, and cannot be copied.
        splitter = self.cv if hasattr(self.cv, "split") else KFold()
        router.add(splitter=splitter, method_mapping=mapping)
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
        if scorer is not None and sample_weight is not None and takes_weights(scorer):
            options = {"sample_weight": sample_weight}
        return {"groups": params.get("groups")}, options

    # The fitted network --------------------------------------------------------------

    def __sklearn_is_fitted__(self):
        if hasattr(self, "best_params_") and not hasattr(self, "fitted_"):
            names = {"name": type(self).__name__}
            names["network"] = self._network_class.__name__
            raise NotFittedError(_NO_REFIT.format(**names))
        return hasattr(self, "fitted_")

    def _as_network(self, fitted, params):
        return as_estimator(clone(self._template_).set_params(**params), fitted)

    @property
    def best_estimator_(self) -> BaseRegMLP:
        """The fitted network alone, with `best_params_`.

        A new object at each access: one that is kept can be trained on, which does not
        change this estimator.
        """
        check_is_fitted(self)
        if isinstance(self.fitted_, Ensemble):
            raise AttributeError(
                f"refit={self.refit!r} has kept {len(self.estimators_)} networks, of "
                "which predictions are the mean: see estimators_."
            )
        params = of_network(self.best_params_)
        if self.best_params_.get("adaptive"):
            params["penalty"] = clone(self.path_.estimator.penalty, safe=False)
        return self._as_network(self.fitted_, params)

    @property
    def estimators_(self) -> list[BaseRegMLP]:
        """The networks of the folds, as fitted estimators."""
        self._check_has_folds()
        pairs = zip(self.folds_.networks, self.folds_.params)
        return [self._as_network(fitted, params) for fitted, params in pairs]

    def _check_has_folds(self):
        check_is_fitted(self)
        if not hasattr(self, "folds_"):
            raise AttributeError(
                "cv='loo' fits no networks of folds. Set another 'cv'."
            )

    def summary(self) -> str:
        """Table of the best lambda and the largest one within a standard error.

        Returns
        -------
        str
            Lines for "best" and "1se" of the chosen candidate, as of glmnet: lambda,
            mean score, its standard error, and mean numbers of inputs and hidden units
            over the folds. Notebooks show it as a table below a picture of the scores.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_diabetes
        >>> from sklearn.preprocessing import scale
        >>> from skreg import RegMLPRegressorCV
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = RegMLPRegressorCV((), penalty="l1", solver="lbfgs", reg_lambdas=10)
        >>> print(model.fit(scale(X), scale(y)).summary())
             reg_lambda    score    error   inputs    units
        best    0.00126   0.4825  0.02423      9.8        0
        1se      0.0586   0.4687  0.02357      5.8        0
        """
        check_is_fitted(self, "best_params_")
        first = self.best_index_ - row_of(self.reg_lambdas_, self.reg_lambda_)
        rows = slice(first, first + len(self.reg_lambdas_))
        sizes = (self.cv_results_[name][rows] for name in ("n_features", "n_units"))
        arrays = self.reg_lambdas_, self.mean_scores_, self.std_errors_, *sizes
        has_picture = self.reg_lambdas_.ndim == 1
        return Table(as_summary(*arrays), self if has_picture else None)

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
            "loss", else what the scorer returns.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        """
        check_is_fitted(self)
        scorer = validation.check_scorer(self)
        if scorer is None and self.scoring is None:
            return super().score(X, y, sample_weight)
        if scorer is None:
            return self._minus_data_loss(X, y, sample_weight)
        options = {}
        if sample_weight is not None and takes_weights(scorer):
            options["sample_weight"] = sample_weight
        is_mean = isinstance(self.fitted_, Ensemble)
        model = self if is_mean else self.best_estimator_  # as GridSearchCV does
        return validation.score_by(scorer, self.scoring, model, X, y, **options)

    def _minus_data_loss(self, X, y, sample_weight):
        task = self.fitted_.task
        X, y, _ = read_X_y(self, X, y, self.fitted_.header)
        weights = read_weights(sample_weight, X.shape[0])
        rows = Rows.of(task, X, y, weights)
        with single_blas_thread():
            values = task.loss.per_row(
                rows.targets, self.fitted_.raw(rows.X, self.device)
            )
        return -float(np.average(values, weights=rows.weights))

    @property
    def partial_fit(self) -> Self:
        """Hidden: a search needs all data at once."""
        raise AttributeError(
            f"{type(self).__name__} has no partial_fit. Keep its best_estimator_, and "
            "call that of it."
        )

    def compact(self) -> BaseRegMLP:
        """Return what predicts, without unused inputs and dead units.

        Returns
        -------
        BaseRegMLP
            `best_estimator_` compacted; with ``refit="folds"`` or "stack" a copy of
            this estimator, each network of which is. Its predictions are the same.

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        """
        check_is_fitted(self)
        if not isinstance(self.fitted_, Ensemble):
            return self.best_estimator_.compact()
        copy = type(self)(**self.get_params(deep=False))
        copy.__dict__.update(vars(self))
        copy.fitted_ = copy.folds_ = self.fitted_.compact()
        return copy

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

        Raises
        ------
        NotFittedError
            If this estimator is not fitted.
        AttributeError
            If ``refit="folds"`` or "stack": there is no `best_estimator_`.
        ValueError
            If no input is selected, or as in `fit` of the network.
        """
        network = self.best_estimator_
        return network.refit_on_support(X, y, sample_weight, penalty=penalty, **params)

    def __getstate__(self):
        state = super().__getstate__()
        if "folds_" in state:
            state["folds_"] = state["folds_"].to_plain()
        return state

    def __setstate__(self, state):
        state = dict(state)
        for name in ("folds_", "fitted_"):
            if "networks" in state.get(name, ()):
                state[name] = Ensemble.from_plain(state[name])
        fitted = state.pop("fitted_", None)
        if isinstance(fitted, dict):
            state["fitted_"] = fitted
        super().__setstate__(state)
        if isinstance(fitted, Ensemble):
            self.fitted_ = fitted


def _shuffled(task, groups, seed):
    """The splitter of ``param_grid="auto"``."""
    is_stratified = task.classes is not None and not task.is_multilabel
    if groups is not None:
        if is_stratified:
            return StratifiedGroupKFold(_N_FOLDS, shuffle=True, random_state=seed)
        return GroupKFold(_N_FOLDS)
    kind = StratifiedKFold if is_stratified else KFold
    return kind(_N_FOLDS, shuffle=True, random_state=seed)


def _reporter(verbose):
    """Function that prints a line, from any thread, where `verbose` asks for it."""
    if not verbose:
        return lambda line: None
    lock = threading.Lock()

    def report(line):
        with lock:
            print(f"[CV] {line}", flush=True)

    return report


class _Listener:
    """Tells the callbacks of a search: a task per path on a fold, with one per lambda.

    Paths are told of when they are done, one after the other, from any thread.

    Parameters
    ----------
    report : Report
    sample_weight : array-like or None
        As the user gave it.
    """

    def __init__(self, report, sample_weight):
        self._report, self._sample_weight = report, sample_weight
        self._lock, self._wants_an_end = threading.Lock(), False

    @classmethod
    def of(cls, search, X, y, sample_weight):
        """Listener of a search that begins; None where it has no callbacks."""
        report = Report.of(search, X, y, sample_weight, None)
        return None if report is None else cls(report, sample_weight)

    def __call__(self, data, train, k, scores):
        def weights():
            return {"sample_weight": rows_of(self._sample_weight, train)}

        X, y = data.given
        rows = {"X": lambda: rows_of(X, train), "y": lambda: rows_of(y, train)}
        if self._sample_weight is not None:
            rows["metadata"] = weights
        name = f"{data.point.label}, fold {k + 1}"
        with self._lock:
            path = self._report.task(name, len(scores.networks), **rows)
            for network, diverged, lam in zip(
                scores.networks, scores.has_diverged, scores.reg_lambdas
            ):
                fitted = None if diverged else partial(data.restored, network)
                wants = path.done("reg_lambda", fitted, reg_lambda_=as_strength(lam))
                self._wants_an_end |= wants
            self._wants_an_end |= path.end()

    def end(self, fitted):
        """Tell that the search has ended, with a network or None."""
        self._report.end(None if fitted is None else lambda: fitted)
        if self._wants_an_end:
            warn(
                "A callback asked for an end, but a search needs every lambda on every "
                "fold: it went on."
            )
