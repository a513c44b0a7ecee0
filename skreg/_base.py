"""What both estimators share: from validated data through a solver to attributes."""

import copy
import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import contextmanager
from functools import update_wrapper
from inspect import signature
from types import MethodType
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from skreg import _prune
from skreg import _validation as validation
from skreg._network import Network
from skreg._problem import Problem
from skreg._solvers._decay import STOCHASTIC_SOLVERS, resolve_decay_mode
from skreg._solvers._deterministic import Deterministic
from skreg._solvers._result import Status
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._stopping import Monitor
from skreg._threads import single_blas_thread

_NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large "
    "values and need to be preprocessed."
)

# In units of `optimality_`; the second one at kinks of ReLU networks, where minimizers
# often lie.
_FAR_FROM_OPTIMAL, _FAR_EVEN_AT_KINKS = 0.1, 1.0
_WORSE = 1e-6  # relative difference of objectives that is more than rounding


class _NotAvailable(AttributeError, ValueError):
    """An attribute that is hidden, because a parameter rules it out."""


class streaming_method:
    """Method that exists only while solver and early_stopping allow a stream.

    Like scikit-learn's ``available_if``, but the reason is also a ValueError, as for
    any other parameter that does not fit.
    """

    def __init__(self, method):
        self.method = method
        update_wrapper(self, method)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self.method
        if estimator.solver not in STOCHASTIC_SOLVERS:
            raise _NotAvailable(
                "partial_fit is only available for stochastic solvers. "
                f"solver={estimator.solver!r} is not stochastic."
            )
        if estimator.early_stopping:
            raise _NotAvailable(
                "partial_fit does not support early_stopping=True: one epoch leaves "
                "nothing to stop. Use fit, or early_stopping=False."
            )
        return MethodType(self.method, estimator)


class Training(NamedTuple):
    """What a fit works on, but lambda: made of checked parameters and data."""

    problem: Problem
    targets: np.ndarray  # of all rows, as the loss reads them
    weights: np.ndarray | None  # of all rows, in the data term
    reweight: Callable  # maps (targets, sample_weight) to such weights
    solver: Deterministic | Stochastic
    modes: tuple  # resolved decay mode per layer
    theta: np.ndarray  # start
    rng: np.random.RandomState  # as it is after the start was drawn
    validate: Callable | None  # maps theta to a validation score, for early stopping
    dtype: np.dtype  # of the fitted weights


class BaseRegMLP(BaseEstimator):
    """Base of classifier and regressor, which add targets, scores and predictions."""

    # Features of X that the network reads, by compact and refit_on_support; None: all.
    _used_features = None

    # Fitting -------------------------------------------------------------------------

    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
    ):
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
        with self._unchanged_on_error(), single_blas_thread():
            if not self.warm_start:
                self._used_features = None  # a cold fit is on all inputs
            check = (X_val, y_val, sample_weight_val)
            return self._fit(X, y, sample_weight, check, incremental=False)

    def _fit(self, X, y, sample_weight, given_validation, incremental, classes=None):
        warm = (self.warm_start or incremental) and hasattr(self, "coefs_")
        training = self._prepare(
            X, y, sample_weight, given_validation, warm, incremental, classes
        )
        problem, theta, rng = training.problem, training.theta, training.rng
        lam = validation.check_reg_lambda(self, problem.network.n_layers)
        validation.warn_if_vacuous(problem.penalties, lam)
        self._warn_if_shrunk_to_zero(problem.penalties, lam, training.modes)
        monitor = self._monitor(training)
        if warm and incremental:  # a stream stops and slows down as one fit would
            monitor.best_loss = np.inf if self.best_loss_ is None else self.best_loss_
            monitor.count = self._no_improvement_count
        state = self._solver_state if warm else None
        result = training.solver.solve(problem, lam, theta, rng, monitor, state)
        self._finish(result, monitor, training, warm)
        self._warn(result, problem, incremental)
        return self

    def _prepare(
        self,
        X,
        y,
        sample_weight=None,
        given_validation=(None, None, None),
        warm=False,
        incremental=False,
        classes=None,
    ):
        """Check parameters and data; return all that a fit works on, but lambda."""
        validation.check_parameters(self)
        validation.check_scorer(self)
        hidden = validation.check_hidden_layer_sizes(self)
        X, y = validation.check_X_y(self, X, y, not warm, **self._y_options)
        sample_weight = validation.check_sample_weight(sample_weight, X)
        targets, loss, n_outputs = self._encode_targets(y, warm, incremental, classes)
        reweight = self._class_weighting(y, targets, sample_weight, incremental)
        X = validation.core_matrix(X, X.dtype)
        inputs = _prune.take_inputs(X, self._used_features)
        network = Network((inputs.shape[1], *hidden, n_outputs), self.activation)
        penalties = validation.check_penalties(self, network.shapes)
        modes = self._resolve_modes(penalties, loss)

        dtype = X.dtype
        work_dtype = np.dtype(np.float64) if self.solver == "lbfgs" else dtype
        rng = self._generator(warm and incremental)
        if warm:
            self._check_same_network(network)
            theta = network.pack(self.coefs_, self.intercepts_, work_dtype)
        else:
            theta = network.initial_theta(rng, dtype).astype(work_dtype, copy=False)
        rows, validate = self._validation_score(
            X, y, targets, sample_weight, reweight, given_validation, network, loss, rng
        )
        weights = reweight(targets, sample_weight)
        problem = Problem(
            inputs,
            targets,
            weights,
            network,
            loss,
            penalties,
            self.penalize_intercepts,
            work_dtype,
            rows,
        )
        if not problem.weight_sum > 0:
            raise ValueError("The weights of all training rows are 0.")
        solver = self._make_solver(problem.n_rows, modes, incremental)
        return Training(
            problem,
            targets,
            weights,
            reweight,
            solver,
            modes,
            theta,
            rng,
            validate,
            dtype,
        )

    def _monitor(self, training):
        return Monitor(self.tol, self.n_iter_no_change, training.validate, self.verbose)

    @contextmanager
    def _unchanged_on_error(self):
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _check_same_network(self, network):
        fitted = tuple(W.shape[1] for W in self.coefs_)
        if fitted[:-1] != network.units[1:-1]:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} differs from the "
                f"fitted network, whose hidden layers have {fitted[:-1]} units. A warm "
                "start needs the same; set warm_start=False to fit anew."
            )
        if fitted[-1] != network.units[-1]:
            raise ValueError(
                f"y has {network.units[-1]} outputs, but the fitted network has "
                f"{fitted[-1]} outputs."
            )

    def _generator(self, resume):
        """A stream of partial_fit calls draws its shuffles from one random stream."""
        if resume and getattr(self, "_rng", None) is not None:
            return copy.deepcopy(self._rng)
        return validation.check_random_state(self)

    def _resolve_modes(self, penalties, loss):
        if self.solver == "lbfgs" and not loss.is_smooth:
            raise ValueError(
                f"loss={self.loss!r} has a kink, and solver='lbfgs' needs a smooth "
                "loss. Use solver='adam', 'sgd' or 'rmsprop', or loss='huber'."
            )
        return tuple(
            resolve_decay_mode(self.decay_mode, penalty, self.solver)
            for penalty in penalties
        )

    def _warn_if_shrunk_to_zero(self, penalties, lam, modes):
        decoupled = [
            strength
            for penalty, strength, mode in zip(penalties, lam, modes)
            if penalty is not None and mode == "decoupled"
        ]
        if max(decoupled, default=0.0) * self.learning_rate_init > 1.0:
            warnings.warn(
                f"reg_lambda={self.reg_lambda!r} times learning_rate_init="
                f"{self.learning_rate_init!r} is above 1: decoupled decay sets the "
                "weights to 0 in every step. Lower one of them.",
                stacklevel=5,
            )

    def _make_solver(self, n_rows, modes, incremental):
        if self.solver == "lbfgs":
            return Deterministic(self.max_iter, self.max_fun, self.tol)
        batch_size = min(200, n_rows) if self.batch_size == "auto" else self.batch_size
        if batch_size > n_rows:
            warnings.warn(
                f"Got batch_size={batch_size}, larger than the {n_rows} training "
                "samples. It is clipped.",
                stacklevel=5,
            )
        shared = (
            "learning_rate learning_rate_init power_t momentum nesterovs_momentum "
            "beta_1 beta_2 rho epsilon shuffle"
        )
        return Stochastic(
            self.solver,
            modes,
            min(batch_size, n_rows),
            max_iter=1 if incremental else self.max_iter,
            horizon=self.max_iter if incremental else None,
            **{name: getattr(self, name) for name in shared.split()},
        )

    def _finish(self, result, monitor, training, warm=False):
        """Turn a result into fitted attributes."""
        network, modes = training.problem.network, training.modes
        theta = result.theta
        if monitor.best_theta is not None:
            theta = monitor.best_theta
        diverged = result.status is Status.NON_FINITE and monitor.best_theta is None
        if diverged or not np.isfinite(theta).all():
            raise ValueError(_NON_FINITE)
        theta = theta.astype(training.dtype, copy=False)
        self.coefs_, self.intercepts_ = network.coefs(theta), network.intercepts(theta)
        self.n_iter_ = result.n_iter
        self.n_layers_ = network.n_layers + 1
        self.n_outputs_ = network.units[-1]
        self.out_activation_ = training.problem.loss.out_activation
        self.decay_mode_ = modes[0] if len(set(modes)) == 1 else list(modes)
        n_samples = result.n_iter * training.problem.n_rows
        self.t_ = (self.t_ if warm else 0) + n_samples
        self._rng = training.rng
        self.optimality_ = result.optimality
        self._solver_state = result.state
        self._no_improvement_count = monitor.count

        def curve(name, values):
            return [*(getattr(self, name) if warm else []), *values]

        history = result.history
        total = [a + b for a, b in zip(history["data_loss"], history["penalty"])]
        self.data_loss_curve_ = curve("data_loss_curve_", history["data_loss"])
        self.penalty_curve_ = curve("penalty_curve_", history["penalty"])
        self.loss_curve_ = curve("loss_curve_", total)
        self.loss_ = self.loss_curve_[-1]
        if monitor.validate is None:
            self.best_loss_ = float(min(monitor.best_loss, *total, self.loss_))
            self.validation_scores_ = self.best_validation_score_ = None
        else:
            earlier = getattr(self, "validation_scores_", None) if warm else None
            self.validation_scores_ = [*(earlier or []), *history["validation_scores"]]
            self.best_validation_score_ = monitor.best_score
            self.best_loss_ = None

    def _warn(self, result, problem, incremental):
        if result.status is Status.INTERRUPTED:
            message, category = "Training interrupted by user.", UserWarning
        elif result.status is Status.NON_FINITE:
            message, category = (
                "Training diverged; the weights of the best validation score are kept. "
                "Lower 'learning_rate_init' or scale the data.",
                ConvergenceWarning,
            )
        elif result.status is Status.MAX_ITER and not incremental:
            message, category = (
                f"solver={self.solver!r} stopped after {result.n_iter} iterations "
                f"({self._limits()}) and has not converged yet. Increase the limit, "
                "scale the data, or raise 'tol'.",
                ConvergenceWarning,
            )
        elif result.status is not Status.STOPPED and self._is_far_from_optimal(
            result.optimality, problem
        ):
            message, category = (
                f"solver={self.solver!r} hardly decreases the objective any more, but "
                "the optimality conditions are not met (optimality_ = "
                f"{result.optimality:.1g}). Scale the data, or lower 'tol'.",
                ConvergenceWarning,
            )
        else:
            return
        warnings.warn(message, category, stacklevel=4)

    def _is_far_from_optimal(self, optimality, problem):
        if optimality is None or optimality <= self.tol:
            return False
        is_smooth = problem.network.is_smooth
        if optimality > (_FAR_FROM_OPTIMAL if is_smooth else _FAR_EVEN_AT_KINKS):
            return True
        constant = problem.constant_value()
        return self.loss_ > constant + _WORSE * abs(constant)

    def _limits(self):
        limits = f"max_iter={self.max_iter}"
        return limits + (f", max_fun={self.max_fun}" if self.solver == "lbfgs" else "")

    # Early stopping ------------------------------------------------------------------

    def _validation_score(
        self, X, y, targets, sample_weight, reweight, given, network, loss, rng
    ):
        """Return the training rows (None: all) and a function theta -> score.

        Scores weigh the rows held out by `sample_weight`; the loss, being the data term
        of the objective, also by the class weights that `reweight` applies.
        """
        X_val, weight_val = validation.check_validation_data(self, *given)
        if not self.early_stopping:
            return None, None
        if X_val is not None:
            y_val, rows = given[1], None
            targets_val = self._encode_validation_targets(y_val, network.units[-1])
            X_val = validation.core_matrix(X_val, X.dtype)
        else:
            rows, held_out = validation.split_rows(
                X,
                targets,
                sample_weight,
                self.validation_fraction,
                self._stratify(targets, network),
                rng,
            )
            X_val, y_val, targets_val = X[held_out], y[held_out], targets[held_out]
            weight_val = None if sample_weight is None else sample_weight[held_out]
            if sparse.issparse(X_val):
                X_val = validation.core_matrix(X_val, X.dtype)
        if self.scoring == "loss":
            weight_val = reweight(targets_val, weight_val)
        return rows, self._score_function(
            X_val, y_val, targets_val, weight_val, network, loss
        )

    def _score_function(self, X_val, y_val, targets_val, weight_val, network, loss):
        """Score of parameters theta on the validation set."""
        inputs = _prune.take_inputs(X_val, self._used_features)
        if self.scoring == "loss":
            problem = Problem(
                inputs,
                targets_val,
                weight_val,
                network,
                loss,
                (None,) * network.n_layers,
                dtype=np.float64,
            )
            return lambda theta: -problem.data_value(theta.astype(np.float64))

        if self.scoring is None:

            def score(theta):
                raw = network.raw_predictions(inputs, theta)
                if not np.isfinite(raw).all():
                    return float("nan")
                with np.errstate(over="ignore", invalid="ignore"):
                    return self._default_score(loss, raw, targets_val, weight_val)

            return score

        scorer, options = validation.check_scorer(self), {}
        if weight_val is not None and "sample_weight" in signature(scorer).parameters:
            options["sample_weight"] = weight_val
        probe = copy.copy(self)  # fitted as far as predicting goes, without names
        probe.__dict__.pop("feature_names_in_", None)
        probe.out_activation_, probe.n_outputs_ = loss.out_activation, network.units[-1]

        def score_with_scorer(theta):
            probe.coefs_ = network.coefs(theta)
            probe.intercepts_ = network.intercepts(theta)
            if not np.isfinite(theta).all():
                return float("nan")
            return float(scorer(probe, X_val, y_val, **options))

        return score_with_scorer

    # Predicting ----------------------------------------------------------------------

    def _raw_predict(self, X):
        check_is_fitted(self)
        X = _prune.take_inputs(validation.check_X(self, X), self._used_features)
        dtype = self.coefs_[0].dtype
        units = [self.coefs_[0].shape[0], *(W.shape[1] for W in self.coefs_)]
        network = Network(tuple(units), self.activation)
        theta = network.pack(self.coefs_, self.intercepts_, dtype)
        X = validation.core_matrix(X, dtype)
        with single_blas_thread():
            return network.raw_predictions(X, theta)

    # Using what was learned ----------------------------------------------------------

    @property
    def feature_importances_(self):
        """Norm of the weights from each input to units in use, shape (n_features,)."""
        check_is_fitted(self)
        return _prune.feature_importances(self)

    @property
    def selected_features_(self):
        """Mask of the inputs that reach an output, shape (n_features,)."""
        check_is_fitted(self)
        return _prune.selected_features(self)

    @property
    def sparsity_(self):
        """Share of exact zeros in each weight matrix, shape (n_layers,)."""
        check_is_fitted(self)
        return np.array([np.mean(W == 0) for W in self.coefs_])

    def compact(self):
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
        return _prune.compact(self)

    def refit_on_support(self, X, y, sample_weight=None, *, penalty=None, **params):
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
        used = _prune.support(self)
        validation.check_X(self, X)
        dense = clone(self).set_params(penalty=penalty, **params)
        dense._used_features = used
        with single_blas_thread():
            return dense._fit(X, y, sample_weight, (None,) * 3, incremental=False)

    # What differs between the tasks --------------------------------------------------

    @abstractmethod
    def _encode_targets(self, y, warm, incremental, classes):
        """Return targets as the loss reads them, the loss, and n_outputs."""

    @abstractmethod
    def _encode_validation_targets(self, y, n_outputs):
        """Return targets of a validation set given by the user."""

    @abstractmethod
    def _default_score(self, loss, raw, targets, sample_weight):
        """Score of raw predictions as `score` computes it."""

    def _class_weighting(self, y, targets, sample_weight, incremental):
        """Return a function (targets, sample_weight) -> weights of the data term."""
        return lambda targets, sample_weight: sample_weight

    def _stratify(self, targets, network):
        return None

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
