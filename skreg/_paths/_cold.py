"""Cold starts: networks of many strengths and folds, none started from another one.

On a device of torch the networks of one architecture train together, all strengths of
all folds at once, on one copy of X.
"""

from copy import deepcopy
from dataclasses import replace

import numpy as np

from skreg._engines import _device
from skreg._solvers._result import Status
from skreg._solvers._stochastic import Stochastic
from skreg._solvers._together import Member, Order, solve_together
from skreg._training import prepare


def trainings_of_folds(networks, task, rows, header, folds):
    """Return what the fits of each fold work on; on a device they share one copy of X.

    Parameters
    ----------
    networks : list of RegMLPClassifier or RegMLPRegressor
        Give the parameters, which `validation.check_parameters` has passed. They differ
        in their seeds alone.
    task : Task
        Of all rows; class weights "balanced" are those of each fold.
    rows : Rows
    header : Header
    folds : list of ndarray of intp
        Training rows of each.

    Returns
    -------
    list of Training
        Those of all folds of the first network, of the second one, ...
    """
    copy = None if networks[0].device == "cpu" else _OneCopy(rows)
    trainings = []
    for network in networks:
        for fold in folds:
            some, own_task = rows.take(fold).balanced(task)
            make_data = None if copy is None else copy.of_fold(fold)
            training = prepare(network, own_task, some, header, make_data=make_data)
            trainings.append(training)
    return trainings


class _OneCopy:
    """Makes data terms over parts of the same rows, which lie on a device once."""

    def __init__(self, rows):
        self._rows, self._X = rows, rows.X

    def of_fold(self, fold):
        """See `skreg._training.prepare`."""

        def data_term(rows, estimator, task, X, dtype, train):
            encoded = self._rows.weighted(task).encoded(task)
            chosen = fold if train is None else fold[train]
            data = _device.data_term(
                estimator.device, self._X, *encoded, dtype, chosen, estimator.precision
            )
            self._X = data.X
            return data

        return data_term


def solve_cold(trainings, reg_lambdas):
    """Train for each strength from the start, as a single fit would.

    Parameters
    ----------
    trainings : list of Training
        Of networks that differ in their seeds alone.
    reg_lambdas : array-like of shape (n_lambdas,) or (n_lambdas, n_layers)
        lambda of all layers, or of each.

    Returns
    -------
    list of list of (Result, Monitor)
        One list per training, one entry per lambda. Results have no solver state.

    Raises
    ------
    KeyboardInterrupt
        In place of results that are not complete.
    """
    n_layers = trainings[0].problem.network.n_layers
    table = [np.broadcast_to(lam, n_layers).astype(float) for lam in reg_lambdas]
    alike = {}
    for k, training in enumerate(trainings):
        alike.setdefault(_together_key(training, k), []).append(k)
    solved = [None] * len(trainings)
    for members in alike.values():
        some = [trainings[k] for k in members]
        solve = _together if _can_train_together(some[0]) else _one_by_one
        for k, of_one in zip(members, solve(some, table)):
            solved[k] = of_one
    return solved


def _can_train_together(training):
    return isinstance(training.solver, Stochastic) and hasattr(
        training.problem.data, "networks"
    )


def _together_key(training, k):
    """What trainings have in common that can train together."""
    if not _can_train_together(training):
        return k
    data = training.problem.data
    weights = None if data.weights is None else data.weights.tobytes()
    return training.solver, id(data.X), weights


def _together(trainings, table):
    members = []
    for training in trainings:
        problem = training.problem
        order = Order(problem.data.stream.rows, training.rng)
        members += [
            Member(
                order,
                training.theta,
                problem.terms(lam, training.modes),
                training.monitor(),
            )
            for lam in table
        ]
    problem, solver = trainings[0].problem, trainings[0].solver
    results = solve_together(solver, problem.data, problem.network, members)
    pairs = [(result, m.monitor) for result, m in zip(results, members)]
    return [pairs[k : k + len(table)] for k in range(0, len(pairs), len(table))]


def _one_by_one(trainings, table):
    return [[_alone(training, lam) for lam in table] for training in trainings]


def _alone(training, lam):
    result, monitor = replace(training, rng=deepcopy(training.rng)).solve(lam)
    if result.status is Status.INTERRUPTED:
        raise KeyboardInterrupt
    return replace(result, state=None), monitor  # as large as two networks
