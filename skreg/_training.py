"""From encoded rows and checked parameters to a fitted network."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial, singledispatch
from inspect import signature

import numpy as np

from skreg import _validation as validation
from skreg._arrays import as_numpy
from skreg._callbacks import Report, with_callbacks
from skreg._engines import DataTerm, _device
from skreg._fitted import LONGEST_STREAM, Fitted, History, as_estimator
from skreg._judgement import loss_in_doubt, warn_after, warn_before
from skreg._matrix import engine_matrix
from skreg._network import Network
from skreg._numbers import plain
from skreg._optimizers import Optimizer
from skreg._problem import Problem
from skreg._rows import Header, Rows, read_validation, read_weights, read_X_y
from skreg._solvers._decay import resolve_decay_mode
from skreg._solvers._deterministic import Deterministic
from skreg._solvers._result import Result, Status
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._stopping import Monitor, Stopping
from skreg._split import split_rows
from skreg._task import Task, check_continued_labels, task_of
from skreg._threads import single_blas_thread
from skreg._warnings import warn

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large "
    "values and need to be preprocessed. Scale it, or lower 'learning_rate_init' or "
    "'reg_lambda'."
)


@dataclass(frozen=True, eq=False)
class Training:
    """What a fit works on, but lambda: made of checked parameters and encoded rows.

    Parameters
    ----------
    problem : Problem
    solver : Deterministic or Stochastic
    task : Task
    header : Header
    inputs : ndarray of intp or None
        Columns of X that the network reads.
    modes : tuple of str
        Resolved decay mode of each layer.
    theta : ndarray of shape (n_parameters,)
        Initial parameters as they were drawn, or those of the fit to be continued.
    rng : RandomState
        As it is after the start was drawn.
    validate : callable or None
        Maps theta to a validation score, for early stopping.
    dtype : dtype
        Of the fitted weights.
    tol, n_iter_no_change, verbose
        Settings of its monitors.
    previous : Fitted or None
        The fit that this one continues.
    is_stream : bool
        Whether it is one epoch of a stream.
    label : str
        Begins the lines that it prints.
    report : Report or None
        Tells the callbacks of the estimator, if it has any.
    """

    problem: Problem
    solver: Deterministic | Stochastic
    task: Task
    header: Header
    inputs: np.ndarray | None
    modes: tuple
    theta: np.ndarray
    rng: np.random.RandomState
    validate: Callable | None
    dtype: np.dtype
    tol: float
    n_iter_no_change: float
    verbose: bool
    previous: Fitted | None = None
    is_stream: bool = False
    label: str = ""
    report: Report | None = None

    def monitor(self):
        """A new `Monitor`; in a stream, one that goes on where the last one ended.

        For the exact solver, `tol` of a watched loss is in units of the loss of a
        constant, so that results do not depend on the units of y.
        """
        on_epoch = None if self.report is None else self._tell
        is_exact, tol = isinstance(self.solver, Deterministic), self.tol
        if is_exact and isinstance(self.validate, MinusLoss):
            tol *= abs(self.problem.data.null_value)
        monitor = Monitor(
            tol=tol,
            n_iter_no_change=self.n_iter_no_change,
            validate=self.validate,
            verbose=self.verbose,
            label=self.label,
            on_epoch=on_epoch,
        )
        if self.previous is not None and self.is_stream:
            best = self.previous.best_loss
            monitor.best_loss = np.inf if best is None else best
            monitor.count = self.previous.n_stale
        return monitor

    def start(self, lam):
        """The theta from which a fit at lam starts."""
        if self.previous is not None:
            return self.theta
        return self.solver.start(self.problem, self.theta, lam)

    def solve(self, lam):
        """Run the solver from the start; return its result and the monitor."""
        state = None if self.previous is None else self.previous.state
        monitor = self.monitor()
        result = self.solver.solve(
            self.problem, lam, self.start(lam), self.rng, monitor, state
        )
        if self.verbose and not self.is_stream:
            status = result.status.value
            print(f"[{self.label}] Ended after {result.n_iter} epochs: {status}.")
        return result, monitor

    def _tell(self, n_iter, theta, history, monitor):
        """Tell the callbacks of an epoch; return whether one wants to stop here."""

        def fitted():
            curves = {name: list(values) for name, values in history.items()}
            result = Result(theta.copy(), n_iter, Status.STOPPED, curves)
            return self.record(result, monitor)

        return self.report.done("epoch", fitted)

    def fitted(self, result, monitor):
        """The value that a result amounts to.

        Raises
        ------
        ValueError
            If there is no finite network.
        """
        is_finite = np.isfinite(self._kept(result, monitor)).all()
        fitted = self.record(result, monitor)
        if monitor.best_theta is None:
            is_finite &= result.status is not Status.NON_FINITE
            is_finite &= np.isfinite(fitted.history.last_objective)
        if not is_finite:
            raise ValueError(NON_FINITE)
        return fitted

    def _kept(self, result, monitor):
        """The theta to be kept, in the precision of fitted weights."""
        theta = result.theta if monitor.best_theta is None else monitor.best_theta
        return theta.astype(self.dtype, copy=False)

    def record(self, result, monitor):
        """The same, without a check that the network is finite."""
        theta = self._kept(result, monitor)
        history = History(**result.history)
        objective = history.objective
        network, previous = self.problem.network, self.previous
        if previous is not None:
            longest = LONGEST_STREAM if self.is_stream else None
            history = previous.history.extended(history, longest)
        watches = monitor.validate is not None
        best_loss = float(min(monitor.best_loss, *objective, history.last_objective))
        return Fitted(
            task=self.task,
            header=self.header,
            network=network,
            coefs=network.coefs(theta),
            intercepts=network.intercepts(theta),
            inputs=self.inputs,
            modes=self.modes,
            history=history,
            n_iter=result.n_iter,
            n_seen=result.n_iter * self.problem.data.n_rows
            + (0 if previous is None else previous.n_seen),
            best_loss=None if watches else best_loss,
            best_score=monitor.best_score if watches else None,
            n_stale=monitor.count,
            optimality=result.optimality,
            state=result.state,
            rng=self.rng,
            null_value=None if self.is_stream else self.problem.data.null_value,
        )


@with_callbacks
def train(
    estimator,
    X,
    y,
    sample_weight=None,
    *,
    held_out=(None, None, None),
    previous=None,
    inputs=None,
    classes=None,
    is_stream=False,
):
    """Fit a network; the estimator gives the parameters and is not changed.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
    X, y, sample_weight
        As of its `fit`.
    held_out : tuple
        X_val, y_val and sample_weight_val of `fit`.
    previous : Fitted or None
        An earlier fit, which streams and warm starts continue.
    inputs : ndarray of intp or None
        Columns of X for a new network; one that goes on keeps its own.
    classes : array-like or None
        All classes of a stream.
    is_stream : bool, default=False
        Whether this is one epoch of a stream.

    Returns
    -------
    Fitted
    """
    with single_blas_thread():
        validation.check_parameters(estimator)
        validation.check_scorer(estimator)
        if not (is_stream or estimator.warm_start):
            previous = None
        if is_stream and isinstance(getattr(estimator, "class_weight", None), str):
            raise ValueError(
                f"class_weight={estimator.class_weight!r} is not supported for "
                "partial_fit: one batch does not know the shares of the classes. Pass "
                "a dict of weights, or sample_weight."
            )
        report = Report.of(
            estimator,
            X,
            y,
            sample_weight,
            1 if is_stream else plain(estimator.max_iter),
        )
        known = (None, None) if previous is None else (previous.header, previous.task)
        X, y, header = read_X_y(estimator, X, y, known[0])
        weights = read_weights(sample_weight, X.shape[0])
        if previous is not None and not is_stream:
            check_continued_labels(previous.task, y)
        classes = as_numpy(classes, "classes")
        task = task_of(estimator, y, weights, known=known[1], classes=classes)
        training = prepare(
            estimator,
            task,
            Rows.of(task, X, y, weights),
            header,
            held_out=read_validation(estimator, task, header, *held_out),
            previous=previous,
            inputs=inputs,
            is_stream=is_stream,
        )
        if report is None:
            return solve(training, estimator)
        fitted = solve(replace(training, report=report), estimator)
        report.end(lambda: fitted)
    return fitted


def solve(training, estimator):
    """Train what has been prepared; warn of what its user should know.

    Parameters
    ----------
    training : Training
    estimator : RegMLPClassifier or RegMLPRegressor
        Of which it was made.

    Returns
    -------
    Fitted
    """
    lam = validation.check_reg_lambda(estimator, training.problem.network.n_layers)
    warn_before(training, estimator, lam)
    result, monitor = training.solve(lam)
    fitted = training.fitted(result, monitor)
    loss = loss_in_doubt(training, fitted)
    if loss is not None and not np.isfinite(loss):
        raise ValueError(NON_FINITE)
    if monitor.has_no_score:
        warn(
            "Every validation score is NaN or infinite "
            f"(scoring={estimator.scoring!r}): the last network is kept."
        )
    warn_after(training, estimator, result, fitted, loss)
    _advance(estimator.random_state, training.rng)
    return fitted


def _advance(random_state, rng):
    """Let a user's generator go on after the draws of a fit that has succeeded."""
    if isinstance(random_state, np.random.RandomState) and random_state is not rng:
        random_state.set_state(rng.get_state())


def prepare(
    estimator,
    task,
    rows,
    header,
    *,
    held_out=None,
    previous=None,
    inputs=None,
    is_stream=False,
    make_data=None,
):
    """Return all that a fit works on, but lambda.

    Parameters
    ----------
    estimator : RegMLPClassifier or RegMLPRegressor
        Gives the parameters, which `validation.check_parameters` has passed.
    task : Task
    rows : Rows
        Training rows, before a validation set is split off.
    header : Header
        Of X.
    held_out : Rows or None
        Validation rows that the user gave.
    previous : Fitted or None
        The fit to be continued.
    inputs : ndarray of intp or None
        Columns of X for a new network; one that goes on keeps its own.
    is_stream : bool, default=False
        Whether this is one epoch of a stream.
    make_data : callable or None
        Used in place of `data_term`.

    Returns
    -------
    Training

    Raises
    ------
    ValueError
        Names the parameter or the data at fault.
    """
    inputs = inputs if previous is None else previous.inputs
    X, dtype = rows.columns(inputs), rows.X.dtype
    hidden = validation.check_hidden_layer_sizes(estimator)
    units = (X.shape[1], *hidden, task.n_outputs)
    validation.check_network_size(estimator, units)
    network = Network(units, estimator.activation)
    penalties = validation.check_penalties(estimator, network.shapes)
    modes = _resolve_modes(estimator, penalties, task.loss)
    work_dtype = np.dtype(np.float64) if estimator.solver == "lbfgs" else dtype
    rng = _generator(estimator, previous if is_stream else None)
    if previous is not None:
        _check_same_network(estimator, network, previous)
        theta = previous.theta(work_dtype)
    else:
        theta = network.initial_theta(rng, dtype).astype(work_dtype, copy=False)
    train = None  # all rows
    if estimator.early_stopping and held_out is None:
        train, held_out = _split(estimator, task, rows, rng)
    validate = None
    if estimator.early_stopping:
        score = validation_score
        if estimator.scoring in (None, "r2") and task.has_no_score(held_out):
            score = partial(_in_place_of_r2, rows)
        validate = score(held_out, estimator, task, network, inputs, dtype)
    data = (make_data or data_term)(rows, estimator, task, X, work_dtype, train)
    if not data.weight_sum > 0:
        raise ValueError("The weights of all training rows are 0.")
    problem = Problem(data, network, penalties, estimator.penalize_intercepts)
    solver = _make_solver(estimator, data.n_rows, modes, is_stream)
    return Training(
        problem=problem,
        solver=solver,
        task=task,
        header=header,
        inputs=inputs,
        modes=modes,
        theta=theta,
        rng=rng,
        validate=validate,
        dtype=dtype,
        tol=plain(estimator.tol),
        n_iter_no_change=plain(estimator.n_iter_no_change),
        verbose=estimator.verbose,
        previous=previous,
        is_stream=is_stream,
        label=type(estimator).__name__,
    )


@singledispatch
def data_term(rows, estimator, task, X, dtype, train=None):
    """Data term over rows, or those in `train`, with X in the columns to be read.

    Rows that lie elsewhere have an implementation of their own, also of
    `validation_score`.
    """
    options = dtype, train, estimator.precision, estimator.n_jobs
    return _device.data_term(estimator.device, X, *rows.encoded(task), *options)


def _split(estimator, task, rows, rng):
    """Indices of the rows that train, and the rows that do not."""
    train, test = split_rows(
        rows.X.shape[0],
        rows.sample_weight,
        plain(estimator.validation_fraction),
        task.strata(rows.targets),
        rng,
    )
    return train, rows.take(test)


def _resolve_modes(estimator, penalties, loss):
    if estimator.solver == "lbfgs" and not loss.is_smooth:
        raise ValueError(
            f"loss={loss.name!r} has a kink, and solver='lbfgs' needs a smooth "
            "loss. Use solver='adam', 'sgd' or 'rmsprop', or loss='huber'."
        )
    return tuple(
        resolve_decay_mode(estimator.decay_mode, penalty, estimator.solver)
        for penalty in penalties
    )


def _generator(estimator, previous):
    """A stream draws its shuffles from one random stream."""
    if previous is not None and previous.rng is not None:
        return copy.deepcopy(previous.rng)
    rng = validation.check_random_state(estimator)
    # A fit that fails must not have drawn from the user's generator.
    return copy.deepcopy(rng) if rng is estimator.random_state else rng


def _check_same_network(estimator, network, previous):
    fitted = previous.network.units[1:]
    if fitted[:-1] != network.units[1:-1]:
        raise ValueError(
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r} differs from the "
            f"fitted network, whose hidden layers have {fitted[:-1]} units. A warm "
            "start needs the same; set warm_start=False to fit anew."
        )
    if fitted[-1] != network.units[-1]:
        raise ValueError(
            f"y has {network.units[-1]} outputs, but the fitted network has "
            f"{fitted[-1]} outputs."
        )


def _make_solver(estimator, n_rows, modes, is_stream):
    max_iter = plain(estimator.max_iter)
    if estimator.solver == "lbfgs":
        validation.check_no_average(estimator)
        limits = max_iter, plain(estimator.max_fun)
        return Deterministic(Stopping.of_fit(plain(estimator.tol), *limits))
    batch_size = plain(estimator.batch_size)
    batch_size = min(200, n_rows) if batch_size == "auto" else batch_size
    if batch_size > n_rows:
        warn(
            f"Got batch_size={batch_size}, larger than the {n_rows} training "
            "samples. It is clipped."
        )
    names = "momentum", "nesterovs_momentum", "beta_1", "beta_2", "rho", "epsilon"
    hyper = {name: plain(getattr(estimator, name)) for name in names}
    optimizer = Optimizer.of(estimator.solver, **hyper)
    return Stochastic(
        solver=estimator.solver,
        optimizer=optimizer,
        modes=modes,
        batch_size=min(batch_size, n_rows),
        max_iter=1 if is_stream else max_iter,
        learning_rate=estimator.learning_rate,
        learning_rate_init=plain(estimator.learning_rate_init),
        power_t=plain(estimator.power_t),
        shuffle=estimator.shuffle,
        horizon=max_iter if is_stream else None,
        ema=plain(estimator.ema),
    )


@dataclass(frozen=True, eq=False)
class MinusLoss:
    """Minus the data term over validation rows, as their score.

    Parameters
    ----------
    data : DataTerm
        Of these rows, in float64.
    network : Network
    replaces_r2 : bool, default=False
        Whether the user has asked for R^2, and targets vary but for those of these
        rows.
    """

    data: DataTerm
    network: Network
    replaces_r2: bool = False

    def __call__(self, theta):
        return -self.data.value(self.network, theta.astype(np.float64))


def _in_place_of_r2(every, rows, estimator, task, network, inputs, dtype):
    """What stands for R^2 of constant targets, 0 for every network but perfect ones.

    It has the order that R^2 has elsewhere. `every` are the rows before a split.
    """
    data = data_term(rows, estimator, task, rows.columns(inputs), np.float64)
    return MinusLoss(data, network, replaces_r2=not task.has_no_score(every))


@singledispatch
def validation_score(rows, estimator, task, network, inputs, dtype):
    """Score of parameters on rows that do not train.

    Scores weigh the rows by the user's weights; the loss, being the data term of the
    objective, also by the class weights.

    Parameters
    ----------
    rows : Rows
    estimator : RegMLPClassifier or RegMLPRegressor
        Gives `scoring`.
    task : Task
    network : Network
    inputs : ndarray of intp or None
        Columns of X that it reads.
    dtype : dtype
        Of the fitted weights.

    Returns
    -------
    callable
        Maps theta to a float, greater is better, NaN where there is no score.
    """
    X = engine_matrix(rows.columns(inputs), dtype)
    if estimator.scoring == "loss":
        data = data_term(rows, estimator, task, X, np.float64)
        return MinusLoss(data, network)

    if estimator.scoring is None:
        predict = _device.predictor(estimator.device, network, X, estimator.n_jobs)

        def score(theta):
            raw = predict(theta)
            if not np.isfinite(raw).all():
                return float("nan")
            with np.errstate(over="ignore", invalid="ignore"):
                return task.score(raw, rows.targets, rows.sample_weight)

        return score

    scorer, options = validation.check_scorer(estimator), {}
    if (
        rows.sample_weight is not None
        and "sample_weight" in signature(scorer).parameters
    ):
        options["sample_weight"] = rows.sample_weight
    header = Header(rows.X.shape[1])  # without names, as X has none here

    def score_with_scorer(theta):
        if not np.isfinite(theta).all():
            return float("nan")
        coefs, intercepts = network.coefs(theta), network.intercepts(theta)
        fitted = Fitted(task, header, network, coefs, intercepts, inputs)
        model = as_estimator(estimator, fitted)
        return validation.score_by(
            scorer, estimator.scoring, model, rows.X, rows.y, **options
        )

    return score_with_scorer
