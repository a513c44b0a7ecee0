"""Choice of candidate and lambda: grids, folds, race, extension, and what is kept."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from skreg._cv import _race, _spread
from skreg._cv._adaptive import with_adaptive_factors
from skreg._cv._crossval import (
    fit_folds,
    fit_path,
    fixed,
    in_parallel,
    joined,
    row_of,
    with_entries,
)
from skreg._cv._ensemble import Ensemble, mean_raw, sharpness_of, stacking_weights
from skreg._cv._loo import leave_one_out
from skreg._cv._results import CVResult, as_table, best_result
from skreg._cv._support import select_inputs
from skreg._numbers import as_strength, strength_text
from skreg._paths._grid import Grid
from skreg._paths._walk import Walk
from skreg._training import prepare
from skreg._warnings import warn

_EPS, _N_LAMBDAS = 1e-3, 20
_EPS_AUTO, _N_LAMBDAS_AUTO = 1e-4, 10
_MOST_EXTENSIONS, _MOST_EXTENSIONS_AUTO = 4, 2
_STEPS_AROUND = 2  # of the grid, on all rows after a race on some


@dataclass(frozen=True, eq=False)
class Plan:
    """How a cross-validation runs.

    Parameters
    ----------
    splits : list of (train, test)
        Rows of each fold.
    scorer_params : dict or None
        Arguments of the scorer, one entry per row; None if there is none.
    reg_lambdas : int, sequence of float, table or None
        The grid of each candidate; None for the default.
    eps : float or None
    selection : {"best", "1se"}
    refit : bool, "folds" or "stack"
    n_jobs : int or None
    is_race : bool
        Whether candidates that are clearly worse are dropped.
    report : callable
        Is told what has been done, as a line of text.
    rng : RandomState
        Draws the rows of a race on some rows.
    hear : callable or None
        Is told of each path on a fold that is done, for callbacks.
    exponents : tuple of float
        Those of adaptive factors, increasing; 0 for none.
    is_loo : bool
        Whether scores are those of approximate leave-one-out, without fits on folds.
    """

    splits: list
    scorer_params: dict | None
    reg_lambdas: ArrayLike | None
    eps: float | None
    selection: str
    refit: bool | str
    n_jobs: int | None
    is_race: bool
    report: Callable[[str], None]
    rng: np.random.RandomState
    hear: Callable[..., None] | None = None
    exponents: tuple = (0.0,)
    is_loo: bool = False

    @property
    def fits_all_rows(self):
        """Whether a network of all rows is wanted."""
        return bool(self.refit) and not isinstance(self.refit, str)

    def trains_all_at_once(self, data):
        """Whether networks of all rows train together with those of the folds."""
        is_wanted = self.fits_all_rows and not self.is_race
        return data.trains_together and is_wanted

    def run(self, calls):
        """Results of calls, by the threads of this plan."""
        return in_parallel(self.n_jobs, calls)


@dataclass(frozen=True, eq=False)
class Choice:
    """Outcome of a cross-validation.

    Parameters
    ----------
    results : list of CVResult
    best : CVResult
        Of the chosen candidate.
    index : int
        Of the chosen lambda in it.
    race : dict or None
        Table of the race.
    """

    results: list[CVResult]
    best: CVResult
    index: int
    race: dict | None

    @property
    def reg_lambda(self):
        """The chosen lambda."""
        return as_strength(self.best.reg_lambdas[self.index])

    @property
    def is_constant(self):
        """Whether the networks of all folds predict a constant."""
        return self.best.is_null(self.index)

    @property
    def verdicts(self):
        """Those of the networks of the folds; none for leave-one-out."""
        folds = [f.verdicts for f in self.best.folds if f.verdicts is not None]
        return [verdicts[self.index] for verdicts in folds]

    @property
    def params(self):
        """Chosen parameters in which the network differs from the search."""
        return {**self.best.data.point.params, "reg_lambda": self.reg_lambda}

    @property
    def count(self):
        """Fits that ended at a limit or diverged, and all fits."""
        folds = [f for r in self.results for f in r.folds if f is not None]
        return np.sum([fold.count for fold in folds], axis=0)

    def table(self):
        """`cv_results_`, and the row of the choice."""
        before = self.results[: self.results.index(self.best)]
        return as_table(self.results), self.index + sum(
            len(result.reg_lambdas) for result in before
        )


def choose(candidates, plan):
    """Cross-validate candidates and choose one, and its lambda.

    Parameters
    ----------
    candidates : list of Data
    plan : Plan

    Returns
    -------
    Choice
    """
    if all(data.inputs is not None for data in candidates):  # the grids are theirs
        folds = range(len(plan.splits))
        candidates = _with_inputs(candidates, plan, plan.splits, folds)
    results = plan.run((_first_grid, data, plan) for data in candidates)
    n_rows, race, n_done = len(candidates[0].rows.y), None, 0
    is_narrowed = plan.is_race and n_rows > _race.MOST_ROWS
    if is_narrowed:
        race, results = _race_on_some_rows(results, plan)
    elif plan.is_race:
        results = _with_folds(results, plan, plan.splits, [0])
        race = _race.run(results, plan.splits, [0])
        _report_race(race, results, plan, n_rows)
        n_done = 1
    alive = range(len(results))
    if race is not None:
        alive = np.flatnonzero(~race["dropped"])
    running = [results[k] for k in alive]
    running = _with_folds(running, plan, plan.splits, range(n_done, len(plan.splits)))
    if is_narrowed:  # those that are dropped have no scores on all rows
        results = running
    else:
        for k, result in zip(alive, _extended(running, plan)):
            results[k] = result
    results = [_decided_exactly(result, plan) for result in results]
    if plan.exponents != (0.0,):
        results = _adapted(results, plan)
    best = results[best_result(results)]
    index = best.chosen(plan.selection)
    if best.edge and index == best.best:
        _warn_of_edge(best, plan)
    if race is not None:
        labels = [data.point.label for data in candidates]
        race = {"params": labels, **race, "n_rows": min(n_rows, _race.MOST_ROWS)}
    return Choice(results, best, index, race)


def _first_grid(data, plan):
    """Result without folds: the grid, by a path on all rows where that is needed."""
    training = _training(data, plan)
    n, eps, given = plan.reg_lambdas, plan.eps, plan.reg_lambdas
    if n is None:
        n = _N_LAMBDAS_AUTO if plan.is_race else _N_LAMBDAS
    if eps is None:
        eps = _EPS_AUTO if plan.is_race else _EPS
    nothing = [None] * len(plan.splits)
    is_automatic = isinstance(n, int | np.integer)
    is_free = all(p is None for p in training.problem.penalties)
    if is_automatic and is_free and data.point.params:  # one of several
        return CVResult(data, (Grid(np.zeros(1)),), None, nothing)
    walk = Walk(training)
    grid = walk.grid(n if given is None else given, eps)
    ratio = float(eps ** (-1 / (n - 1))) if is_automatic else None
    if grid.ratio is None or plan.is_race or plan.trains_all_at_once(data):
        return CVResult(data, (Grid(grid.values),), ratio, nothing)
    path = fit_path(training, grid, data.start)
    return CVResult(data, (Grid(path.reg_lambdas),), ratio, nothing, (path,))


def _training(data, plan):
    """Training of a candidate on all rows."""
    inputs = None if data.inputs is None else data.inputs.of_all
    network = data.exact().point.network
    return prepare(network, data.task, data.rows, data.header, inputs=inputs)


def _with_inputs(candidates, plan, splits, folds):
    """Candidates that know which inputs they read in these folds.

    Each fold has those of its own training rows, so that scores are honest.
    """
    # Candidates may share theirs, or the paths that select them.
    known = {d.inputs: d.inputs for d in candidates if d.inputs is not None}
    paths = {}
    for some, k in itertools.product(known, folds):
        if k not in some.importances:
            paths.setdefault((some.network, k), []).append(some)
    data = candidates[0]
    found = plan.run(
        (select_inputs, data, network, [s.max_features for s in readers], splits[k][0])
        for (network, k), readers in paths.items()
    )
    for ((_, k), readers), of_readers in zip(paths.items(), found):
        for some, importances in zip(readers, of_readers):
            known[some] = known[some].with_fold(k, importances)
    for some in dict.fromkeys(itertools.chain(*paths.values())):
        n, n_all = len(known[some].of_all), data.header.n_features
        plan.report(f"{n} of {n_all} inputs are selected")
    return [replace(d, inputs=known.get(d.inputs)) for d in candidates]


def _with_folds(results, plan, splits, folds):
    """Results with the scores of more folds."""
    if plan.is_loo:
        jobs = ((r.data, r.grids[0], plan, *r.paths) for r in results)
        known = zip(results, plan.run((_left_out, *job) for job in jobs))
        return [replace(r, paths=(path,), folds=folds) for r, (path, folds) in known]
    every = _with_inputs([result.data for result in results], plan, splits, folds)
    results = [replace(result, data=data) for result, data in zip(results, every)]
    jobs = [(result.data, result.grids[0]) for result in results]
    new = []
    for result, (scores, paths) in zip(results, _run_folds(jobs, plan, splits, folds)):
        row = list(result.folds)
        for k, of_fold in zip(folds, scores):
            row[k] = of_fold
        new.append(replace(result, folds=row, paths=result.paths or paths))
    return new


def _left_out(data, grid, plan, path=None):
    """A path on all rows, and `Scores` of each row without it."""
    training = _training(data, plan)
    path = path or fit_path(training, grid, data.start)
    scores = leave_one_out(training, data.rows, path)
    n_known = np.isfinite(scores[0].test).sum()
    plan.report(
        f"{data.point.label}, leave-one-out: scores at {n_known} of "
        f"{len(path.networks)} lambdas"
    )
    return path, scores


def _run_folds(jobs, plan, splits, folds):
    """For each (data, grid) the scores of these folds, and a path on all rows, if any.

    One call of the plan is one fold of one job, or all of those that train at once.
    """
    if plan.is_loo:
        pairs = plan.run((_left_out, *job, plan) for job in jobs)
        return [(scores, (path,)) for path, scores in pairs]
    together = {}
    for j, (data, grid) in enumerate(jobs):
        together.setdefault(_together_key(j, data, grid), []).append(j)
    calls = [
        (some, list(folds) if jobs[some[0]][0].trains_together else [k])
        for k in folds
        for some in together.values()
        if k == folds[0] or not jobs[some[0]][0].trains_together
    ]
    done = _run_calls(
        [
            ([jobs[j][0] for j in some], jobs[some[0]][1], splits, part)
            for some, part in calls
        ],
        plan,
    )
    scores, paths = [[] for _ in jobs], [()] * len(jobs)
    for (some, _), (parts, on_all) in zip(calls, done):
        for j, part, path in zip(some, parts, on_all):
            scores[j] += part
            paths[j] = path
    return list(zip(scores, paths))


def _together_key(j, data, grid):
    """What jobs have in common that train at once: all but the seed."""
    if not data.trains_together:
        return j
    # The values of a grid of parameters are the same objects for all candidates.
    others = {(k, id(v)) for k, v in data.point.params.items() if k != "random_state"}
    return frozenset(others), grid.values.tobytes()


def _run_calls(calls, plan):
    """What `fit_folds` returns for each ``(alike, grid, splits, folds)``."""
    if not _spread.is_active():
        return plan.run((_run_some, plan, *call) for call in calls)
    done = _spread.run(plan.n_jobs, (_fit_call(plan, *call) for call in calls))
    for (alike, _, splits, folds), (every, _) in zip(calls, done):
        _tell(plan, alike, splits, folds, every)
    return done


def _run_some(plan, alike, grid, splits, folds):
    fit, *args = _fit_call(plan, alike, grid, splits, folds)
    every, on_all = fit(*args)
    _tell(plan, alike, splits, folds, every)
    return every, on_all


def _fit_call(plan, alike, grid, splits, folds):
    """The call of `fit_folds`, with nothing in it that cannot travel."""
    inputs = alike[0].inputs
    if inputs is not None:
        inputs = [inputs.of_fold(k) for k in folds]
    own = [data.of_fold(folds[0]) for data in alike]  # several folds are alike
    if plan.scorer_params is None:
        own = [replace(data, given=None) for data in own]
    parts = [splits[k] for k in folds]
    with_all = plan.trains_all_at_once(own[0]) and splits is plan.splits
    return fit_folds, own, grid, plan.scorer_params, parts, inputs, with_all


def _tell(plan, alike, splits, folds, every):
    """Tell of paths on folds that are done."""
    of_all = ((d, k, s) for d, row in zip(alike, every) for k, s in zip(folds, row))
    for data, k, scores in of_all:
        n, line = len(scores.reg_lambdas), "no score"
        if not np.isnan(scores.test).all():
            best = np.nanargmax(scores.test)
            lam = strength_text(scores.reg_lambdas[best])
            line = f"best score {scores.test[best]:.4g} at reg_lambda={lam}"
        plan.report(
            f"{data.point.label}, fold {k + 1} of {len(splits)}: {n} lambdas, {line}, "
            f"{scores.fit_time.sum():.1f} s"
        )
        if plan.hear is not None:
            plan.hear(data, splits[k][0], k, scores)


def _extended(results, plan):
    """Results whose automatic grids go on where their best lambda is at an end."""
    most = _MOST_EXTENSIONS_AUTO if plan.is_race else _MOST_EXTENSIONS
    for _ in range(most):
        todo = [k for k, result in enumerate(results) if result.edge]
        jobs = [(results[k].data, results[k].extension) for k in todo]
        scores = _run_folds(jobs, plan, plan.splits, range(len(plan.splits)))
        for k, (_, grid), more in zip(todo, jobs, scores):
            results[k] = results[k].extended(grid, *more)
    return results


def _decided_exactly(result, plan):
    """The result with exact networks wherever rounding to TF32 could decide."""
    data = result.data
    if not (data.is_rounded and result.is_complete and result.best is not None):
        return result
    close, every = result.close(plan.selection), range(len(plan.splits))
    grid = Grid(result.reg_lambdas[close])
    [(folds, paths)] = _run_folds([(data.exact(), grid)], plan, plan.splits, every)
    both = zip(result.folds, folds, strict=True)
    folds = [with_entries(old, close, new) for old, new in both]
    if not paths:
        return replace(result, folds=folds)
    path = with_entries(joined(result.paths, result.is_linear), close, *paths)
    return replace(result, folds=folds, grids=(Grid(path.reg_lambdas),), paths=(path,))


def _warn_of_edge(result, plan):
    end = "smallest" if result.edge < 0 else "largest"
    n_values = len(result.reg_lambdas)
    warn(
        f"The best reg_lambda of {result.data.point.label}, "
        f"{result.reg_lambdas[result.best]:.3g}, is the {end} of {n_values} values, "
        "though the grid was extended there. Pass 'reg_lambdas' that go further, or "
        "a smaller 'eps'."
    )


# Adaptive factors --------------------------------------------------------------------


def _adapted(results, plan):
    """Results for each exponent; the given ones, of plain penalties, are those of 0.

    Their networks at the least lambda within a standard error of the best one are the
    pilots: of each fold for that fold, and of all rows for networks of all rows. An
    input that a pilot has lost hardly comes back, and where a plain penalty is as good
    without it, an adaptive one need not be.
    """
    known = [result for result in results if result.best is not None]
    if not known:  # `best_result` raises
        return results
    positive = [gamma for gamma in plan.exponents if gamma > 0]
    pilots = [_pilots(result, plan) for result in known]
    candidates = [
        _adapted_data(result.data, of_result, gamma)
        for result, of_result in zip(known, pilots)
        for gamma in positive
    ]
    new = plan.run((_first_grid, data, plan) for data in candidates)
    new = _with_folds(new, plan, plan.splits, range(len(plan.splits)))
    new = iter(_extended(new, plan))
    every = []
    for result in results:
        if 0 in plan.exponents or result.best is None:
            every.append(replace(result, data=result.data.with_exponent(0.0)))
        every += [next(new) for _ in positive if result.best is not None]
    return every


def _pilots(result, plan):
    """First weights of the pilots: of each fold, and of all rows."""
    path = _path_on_all_rows(result, plan)
    index = row_of(path.reg_lambdas, result.reg_lambdas[result.densest])
    networks = [*result.networks(result.densest), path.networks[index]]
    return [network.coefs[0] for network in networks]


def _adapted_data(data, pilots, gamma):
    """A candidate with adaptive factors."""
    plain = data.point.network
    *of_folds, of_all = (with_adaptive_factors(plain, W, gamma) for W in pilots)
    adapted = data.with_exponent(gamma)
    point = replace(adapted.point, network=of_all)
    return replace(adapted, point=point, networks=tuple(of_folds))


# Races -------------------------------------------------------------------------------


def _race_on_some_rows(results, plan):
    """The race on a part of the rows, and results with grids that it has narrowed."""
    n_rows = len(results[0].data.rows.y)
    chosen = _race.subsample(results[0].data.rows.targets, _race.MOST_ROWS, plan.rng)
    is_chosen = np.zeros(n_rows, dtype=bool)
    is_chosen[chosen] = True
    splits = [tuple(rows[is_chosen[rows]] for rows in split) for split in plan.splits]
    folds = range(len(splits))
    some = _with_folds(results, plan, splits, folds)
    race = _race.run(some, splits, folds)
    _report_race(race, some, plan, len(chosen))
    narrow = []
    for result, scored in zip(results, some):
        if scored.best is None:
            narrow.append(result)
            continue
        near = slice(
            max(0, scored.best - _STEPS_AROUND), scored.best + _STEPS_AROUND + 1
        )
        grid = fixed(scored.reg_lambdas[near], scored.is_linear)
        narrow.append(replace(result, grids=(grid,)))
    return race, narrow


def _report_race(race, results, plan, n_rows):
    for result, difference, error, dropped in zip(
        results, race["difference"], race["error"], race["dropped"]
    ):
        plan.report(
            f"race on {n_rows} rows: {result.data.point.label}: loss above the best "
            f"{difference:.3g} +- {error:.2g}{', dropped' if dropped else ''}"
        )


# What is kept ------------------------------------------------------------------------


def path_of(choice, plan):
    """Path of the chosen candidate on all rows, and its network at the chosen lambda.

    Returns
    -------
    Path, Fitted, Verdict or None
    """
    path = _path_on_all_rows(choice.best, plan)
    index = row_of(path.reg_lambdas, choice.reg_lambda)
    return path, *path.refined[index]()


def _path_on_all_rows(result, plan):
    """Path of a candidate on all rows, along all of its grids."""
    data, known = result.data, result.paths
    training, todo = _training(data, plan), result.grids[len(known) :]
    parts = plan.run((fit_path, training, grid, data.start) for grid in todo)
    return joined([*known, *parts], result.is_linear)


def mean_of_folds(choice, plan):
    """Networks of the folds at the choice; for a stack, of all candidates with weight.

    Returns
    -------
    Ensemble
    """
    members, weights, sharpness = [(choice.best, choice.index)], np.ones(1), 1.0
    if plan.refit == "stack":
        members, weights, sharpness = _stack(choice, plan)
    networks, of_network, params = [], [], []
    n_folds = len(plan.splits)
    for k in range(n_folds):
        for (result, index), weight in zip(members, weights):
            networks.append(result.data.restored(result.networks(index)[k]))
            of_network.append(weight / n_folds)
            lam = as_strength(result.reg_lambdas[index])
            own = result.data.of_fold(k).network_params
            params.append({**own, "reg_lambda": lam})
    folds = np.repeat(np.arange(n_folds), len(members))
    weights = np.array(of_network)
    return Ensemble(tuple(networks), weights, tuple(params), folds, sharpness)


def _stack(choice, plan):
    """Candidates (result, index of lambda) with weight, weights, and sharpness."""
    members = [
        (result, index)
        for result in choice.results
        if result.is_complete
        for index in np.flatnonzero(np.isfinite(result.mean))
    ]
    data = choice.best.data
    rows = [data.rows.take(test) for _, test in plan.splits]
    raws = [
        np.concatenate([part.raw(n) for n, part in zip(result.networks(index), rows)])
        for result, index in members
    ]
    targets = np.concatenate([part.targets for part in rows])
    s = data.rows.weights
    if s is not None:
        s = np.concatenate([s[test] for _, test in plan.splits])
    loss = data.task.loss
    weights = stacking_weights(loss, targets, raws, s)
    kept = np.flatnonzero(weights > 1e-6 * weights.max())
    weights = weights[kept] / weights[kept].sum()
    mean = mean_raw(loss, [raws[k] for k in kept], weights)
    sharpness = sharpness_of(loss, targets, mean, s)
    return [members[k] for k in kept], weights, sharpness


def out_of_fold(ensemble, data, splits):
    """Raw predictions of each row by the networks that have not been trained on it.

    Parameters
    ----------
    ensemble : Ensemble
    data : Data
    splits : list of (train, test)

    Returns
    -------
    list of ndarray of shape (n_test, n_outputs)
        Of each fold.
    """
    return [
        data.user.take(test).raw(ensemble.of_fold(k))
        for k, (_, test) in enumerate(splits)
    ]
