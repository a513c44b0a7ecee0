"""Paths of lambda on folds: their networks, scores and costs."""

import inspect
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
from joblib import Parallel, delayed
from sklearn import config_context, get_config
from sklearn.base import clone

from skreg import _validation as validation
from skreg._cv._points import Point, of_network
from skreg._cv._support import Inputs
from skreg._cv._units import Units
from skreg._engines import _device
from skreg._fitted import Fitted, as_estimator
from skreg._judgement import Verdict, judge
from skreg._numbers import as_strength
from skreg._paths._cold import solve_cold, trainings_of_folds
from skreg._paths._grid import Grid
from skreg._paths._path import RegMLPPath
from skreg._paths._walk import Walk
from skreg._rows import Header, Rows
from skreg._solvers._decay import STOCHASTIC_SOLVERS
from skreg._solvers._result import Status
from skreg._task import Task
from skreg._training import NON_FINITE, prepare, validation_score


@dataclass(frozen=True, eq=False)
class Data:
    """What all fits of one candidate share.

    Parameters
    ----------
    point : Point
    task : Task
    header : Header
    rows : Rows
        Encoded, in the units of `units`.
    user : Rows
        Encoded, in the user's units.
    units : Units or None
        None where these are the same.
    given : list
        X and y of the user, for scorers.
    start : {"warm", "cold"}
    networks : tuple of RegMLPClassifier or RegMLPRegressor, or None
        The network of each fold, where adaptive factors make them differ from that of
        all rows, which is `point.network`.
    inputs : Inputs or None
        What the networks read; None for all columns.
    """

    point: Point
    task: Task
    header: Header
    rows: Rows
    user: Rows
    units: Units | None
    given: list
    start: str
    networks: tuple | None = None
    inputs: Inputs | None = None

    @property
    def trains_together(self):
        """Whether all folds train in one call."""
        is_alike = self.networks is None and self.inputs is None
        return is_alike and self.start == "cold" and self.point.network.device != "cpu"

    @property
    def is_rounded(self):
        """Whether all folds train in one call, and in TF32."""
        network = self.point.network
        is_in_batches = network.solver in STOCHASTIC_SOLVERS
        settings = network.device, network.precision, self.rows.X.dtype
        return self.trains_together and is_in_batches and _device.rounds(*settings)

    def exact(self):
        """The same in float32."""
        if self.point.network.precision == "exact":
            return self
        network = clone(self.point.network).set_params(precision="exact")
        return replace(self, point=replace(self.point, network=network))

    def of_fold(self, k):
        """The same with the network of a fold."""
        if self.networks is None:
            return self
        return replace(self, point=replace(self.point, network=self.networks[k]))

    def with_exponent(self, gamma):
        """The same as a candidate of `adaptive`."""
        point, label = self.point, f"adaptive={gamma:g}"
        label = label if point.label == "network" else f"{point.label}, {label}"
        params = {**point.params, "adaptive": gamma}
        return replace(self, point=replace(point, params=params, label=label))

    @property
    def network_params(self):
        """Parameters in which the network differs from that of the search."""
        params = of_network(self.point.params)
        is_adaptive = self.networks is not None
        return params | ({"penalty": self.point.network.penalty} if is_adaptive else {})

    def restored(self, fitted):
        """A network in the user's units."""
        return fitted if self.units is None else self.units.restored(fitted)


@dataclass(frozen=True, eq=False)
class Path:
    """Networks along a grid of lambda, increasing with hidden layers, else decreasing.

    Parameters
    ----------
    reg_lambdas : ndarray of shape (n_lambdas,) or (n_lambdas, n_layers)
    data_loss, penalty, n_iter : ndarray of shape (n_lambdas,)
    networks : list of Fitted
    has_diverged : ndarray of bool
    refined : list of callable
        Each returns its network, trained to the tolerance of the estimator, and the
        verdict on it.
    count : ndarray of int, shape (2,)
        Fits that ended at a limit or diverged, and all fits.
    verdicts : list of Verdict or None
        Of networks that are worse than a constant.
    """

    reg_lambdas: np.ndarray
    data_loss: np.ndarray
    penalty: np.ndarray
    n_iter: np.ndarray
    networks: list[Fitted]
    has_diverged: np.ndarray
    refined: list[Callable]
    count: np.ndarray
    verdicts: list[Verdict | None]

    def public(self, data):
        """The path as users see it."""
        return RegMLPPath(
            self.reg_lambdas,
            self.data_loss + self.penalty,
            self.data_loss,
            self.penalty,
            self.n_iter,
            data.point.network,
            tuple(data.restored(network) for network in self.networks),
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """A path on one fold, as arrays and a list of one entry per lambda.

    Parameters
    ----------
    reg_lambdas : ndarray of shape (n_lambdas,) or (n_lambdas, n_layers)
        The grid.
    test, train : ndarray of shape (n_lambdas,)
        Scores on the rows held out and on those trained on.
    networks : list of Fitted
    has_diverged : ndarray of bool
    count : ndarray of int, shape (2,)
    fit_time, score_time : ndarray of shape (n_lambdas,)
        Processor time of each fit (an equal share of the path's) and its scores, in s.
    left_out : ndarray of shape (n_lambdas, n_outputs) or None
        Raw predictions of the row held out, where that is a single one whose networks
        are those of all rows: approximate leave-one-out.
    verdicts : list of Verdict or None, or None
        As of the path; None for leave-one-out, whose networks are those of all rows.
    """

    reg_lambdas: np.ndarray
    test: np.ndarray
    train: np.ndarray
    networks: list[Fitted]
    has_diverged: np.ndarray
    count: np.ndarray
    fit_time: np.ndarray
    score_time: np.ndarray
    left_out: np.ndarray | None = None
    verdicts: list[Verdict | None] | None = None


def joined(parts, is_linear):
    """One value of several of the same class, in the order of a path."""
    if len(parts) == 1:
        return parts[0]
    reg_lambdas = np.concatenate([part.reg_lambdas for part in parts])
    order = np.argsort(-reg_lambdas if is_linear else reg_lambdas, kind="stable")

    def join(name):
        values = [getattr(part, name) for part in parts]
        if name == "count":
            return np.sum(values, axis=0)
        if values[0] is None:
            return None
        if isinstance(values[0], list):
            every = [value for part in values for value in part]
            return [every[k] for k in order]
        return np.concatenate(values)[order]

    cls = type(parts[0])
    return cls(**{field.name: join(field.name) for field in fields(cls)})


def with_entries(value, indices, others):
    """One value whose entries at these indices are those of another of its class."""

    def put(name):
        old, new = getattr(value, name), getattr(others, name)
        if name == "count":
            return old + new
        if old is None:
            return None
        old = old.copy()
        for k, entry in zip(indices, new):
            old[k] = entry
        return old

    cls = type(value)
    return cls(**{field.name: put(field.name) for field in fields(cls)})


# Fits --------------------------------------------------------------------------------


def fit_path(training, grid, start="warm"):
    """Networks of one training set along a grid.

    Parameters
    ----------
    training : Training
    grid : Grid
    start : {"warm", "cold"}
        Whether each network starts from the one before, or all from the same start.

    Returns
    -------
    Path
    """
    if start == "cold":
        return _cold_paths([training], grid)[0]
    walk = Walk(training)
    fits = walk.run(grid)

    def refined(fit):
        chosen = walk.refine(fit)
        if chosen.has_diverged:
            raise ValueError(NON_FINITE)
        n_iter = len(chosen.result.history["data_loss"])  # 1 where none was needed
        result = replace(chosen.result, n_iter=n_iter)
        verdict = judge(training, chosen.theta, chosen.data_loss)
        return training.fitted(result, chosen.monitor), verdict

    return Path(
        np.array([fit.lam for fit in fits]),
        np.array([fit.data_loss for fit in fits]),
        np.array([fit.penalty for fit in fits]),
        np.array([fit.n_iter for fit in fits]),
        [training.record(fit.result, fit.monitor) for fit in fits],
        np.array([fit.has_diverged for fit in fits]),
        [lambda fit=fit: refined(fit) for fit in fits],
        np.array(walk.count),
        [judge(training, fit.theta, fit.data_loss) for fit in fits],
    )


def _cold_paths(trainings, grid):
    """Networks of each training set along a grid, all from their own start."""
    solved = solve_cold(trainings, grid.values)
    return [_cold_path(*pair, grid) for pair in zip(trainings, solved)]


def _cold_path(training, solved, grid):
    problem, networks, verdicts = training.problem, [], []
    terms, counts = [], []
    for lam, (result, monitor) in zip(grid.values, solved):
        per_layer = np.broadcast_to(lam, problem.network.n_layers).astype(float)
        fitted = training.record(result, monitor)
        theta = fitted.theta(problem.dtype)
        networks.append(fitted)
        loss = problem.data_value(theta)
        terms.append((loss, problem.penalty_value(theta, per_layer)))
        verdicts.append(judge(training, theta, loss))
        failed = result.status is Status.NON_FINITE
        has_diverged = (failed and monitor.best_theta is None) or not np.isfinite(
            theta
        ).all()
        counts.append((has_diverged, failed or result.status is Status.MAX_ITER))
    terms, counts = np.array(terms), np.array(counts)
    return Path(
        np.array(grid.values, dtype=float),
        terms[:, 0],
        terms[:, 1],
        np.array([fitted.n_iter for fitted in networks]),
        networks,
        counts[:, 0],
        [lambda pair=pair: pair for pair in zip(networks, verdicts)],
        np.array([counts[:, 1].sum(), len(counts)]),
        verdicts,
    )


def fit_folds(alike, grid, scorer_params, splits, inputs=None, with_all=False):
    """Train along a grid on some rows, and score on those and on others.

    Cold starts of all splits and candidates train together where the device can do it.

    Parameters
    ----------
    alike : list of Data
        Candidates that differ in their seeds alone.
    grid : Grid
    scorer_params : dict or None
        Arguments of the scorer, one entry per row of the data; None if there is none.
    splits : list of (train, test)
        Rows.
    inputs : list of ndarray of intp or None
        Columns of X that the networks of each fold read; None for all.
    with_all : bool, default=False
        Whether to train on all rows as well, as on one fold more.

    Returns
    -------
    list of list of Scores
        One list per candidate, one entry per split.
    list of tuple of Path
        On all rows, for each candidate; empty without them.
    """
    clock, data = time.thread_time(), alike[0]
    networks, folds = [d.point.network for d in alike], [train for train, _ in splits]
    folds += [np.arange(len(data.rows.y))] * with_all
    shared = data.task, data.rows, data.header
    if inputs is None:
        trainings = trainings_of_folds(networks, *shared, folds)
    else:
        every = itertools.product(networks, zip(inputs, folds))
        trainings = [_on(*of_fold, network, *shared) for network, of_fold in every]
    if data.start == "cold" and inputs is None:
        paths = _cold_paths(trainings, grid)
    else:
        paths = [fit_path(training, grid, data.start) for training in trainings]
    fit_time = (time.thread_time() - clock) / sum(len(path.networks) for path in paths)
    scores, on_all = [], []
    for row, data in enumerate(alike):
        own = slice(row * len(folds), (row + 1) * len(folds))
        done = zip(trainings[own], paths[own], splits)  # all rows come last
        scores.append([_scores(data, *one, scorer_params, fit_time) for one in done])
        on_all.append(tuple(paths[own][len(splits) :]))
    return scores, on_all


def _on(inputs, fold, network, task, rows, header):
    """Training of a fold on some columns of X."""
    some, own_task = rows.take(fold).balanced(task)
    return prepare(network, own_task, some, header, inputs=inputs)


def _scores(data, training, path, split, scorer_params, fit_time):
    """`Scores` of a path; `fit_time` is that of one network."""
    train, test = split
    clock, scores = time.thread_time(), []
    for part in (test, train):
        score = _scorer(data, training, part, scorer_params)
        scores.append(
            np.array(
                [
                    np.nan if diverged else score(network, as_strength(lam))
                    for network, diverged, lam in zip(
                        path.networks, path.has_diverged, path.reg_lambdas
                    )
                ]
            )
        )
    n = len(path.networks)
    return Scores(
        path.reg_lambdas,
        *scores,
        path.networks,
        path.has_diverged,
        path.count,
        np.full(n, fit_time),
        np.full(n, (time.thread_time() - clock) / n),
        verdicts=path.verdicts,
    )


def _scorer(data, training, rows, options):
    """Function (network, lambda) -> its score on some rows."""
    network = data.point.network
    if options is None:  # the default score, or minus the data loss
        held_out = data.rows.take(rows).weighted(training.task)
        score = validation_score(
            held_out,
            network,
            training.task,
            training.problem.network,
            training.inputs,
            training.dtype,
        )
        return lambda fitted, lam: score(fitted.theta())
    scorer = validation.check_scorer(network)
    X, y = (rows_of(values, rows) for values in data.given)
    options = {name: rows_of(value, rows) for name, value in options.items()}

    def score_with_scorer(fitted, lam):
        if not np.isfinite(fitted.theta()).all():
            return np.nan
        model = as_estimator(network, data.restored(fitted), reg_lambda=lam)
        return validation.score_by(scorer, network.scoring, model, X, y, **options)

    return score_with_scorer


def takes_weights(scorer):
    """Whether a scorer, or the metric in it, has an argument sample_weight."""
    metric = getattr(scorer, "_score_func", scorer)
    parameters = inspect.signature(metric).parameters.values()
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def rows_of(values, rows):
    """Rows of an array, list or table, in the type it has; scalars and None as is."""
    if values is None or np.ndim(values) == 0:
        return values
    if isinstance(values, list | tuple):
        return [values[row] for row in rows]
    if type(values).__module__.startswith("pyarrow"):
        return values.take(rows)
    return values.iloc[rows] if hasattr(values, "iloc") else values[rows]


def row_of(reg_lambdas, lam):
    """Index of one lambda, or of one per layer, in a grid."""
    is_equal = reg_lambdas == lam
    return int(np.flatnonzero(is_equal.reshape(len(is_equal), -1).all(axis=1))[0])


def fixed(reg_lambdas, is_linear):
    """Grid of just these values, in the order of a path."""
    values = np.sort(reg_lambdas)
    return Grid(values[::-1] if is_linear else values)


# Parallel ----------------------------------------------------------------------------


def in_parallel(n_jobs, calls):
    """Results of calls ``(function, *args)``, in their order.

    They run in threads, whatever the backend: the compiled core releases the GIL. For
    workers of a cluster there is `_spread.run`.
    """
    calls = list(calls)
    if n_jobs is not None and n_jobs > 0:
        n_jobs = max(1, min(n_jobs, len(calls)))
    jobs = (delayed(_with_config)(get_config(), *call) for call in calls)
    return Parallel(n_jobs=n_jobs, require="sharedmem")(jobs)


def _with_config(config, function, *args):
    """Call in a thread with the configuration of scikit-learn of the caller's."""
    with config_context(**config):
        return function(*args)
