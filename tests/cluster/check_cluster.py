"""What a cluster promises, in full: too long for the suite, see `.ci/run cluster`."""

import dask
import numpy as np
import pytest
from distributed import Future, LocalCluster, wait

from skreg import RegMLPRegressor
from skreg.dask import _epochs, _term
from skreg.dask._cluster import Cluster
from skreg.penalties import MCP, SCAD
from tests.test_dask import (
    DASK,
    EXACT,
    LONG,
    STOCHASTIC,
    DaskRegMLPClassifier,
    DaskRegMLPRegressor,
    assert_same_fit,
    before_call,
    chunked,
    distributed,
    in_time,
    kill_a_worker,
    local_class,
    make_data,
)

SOLVERS = ("lbfgs", *STOCHASTIC)
KINDS = ("classes", "labels", "values")
PENALTIES = (
    None,
    "l1",
    "l2",
    "elasticnet",
    "group_lasso",
    "sparse_group_lasso",
    MCP(),
    SCAD(),
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def digests(monkeypatch):
    """Digests of theta on all workers, one list per epoch."""
    found, run = [], _epochs.ClusterEpochs.run

    def recorded(runner, *args):
        loss = run(runner, *args)
        found.append(runner.digests)
        return loss

    monkeypatch.setattr(_epochs.ClusterEpochs, "run", recorded)
    return found


# Every penalty, solver and target ----------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("penalty", PENALTIES, ids=str)
def test_a_fit_is_the_local_one(client, digests, penalty, solver, kind):
    X, y, s = make_data(kind)
    kwargs = {**EXACT, "penalty": penalty, "reg_lambda": 0.01}
    if solver != "lbfgs":  # one batch of all rows: step by step the same
        kwargs |= {"solver": solver, "batch_size": 300, "max_iter": 5, **LONG}
        kwargs |= {"learning_rate_init": 0.02}
    local = local_class(kind)((5,), **kwargs).fit(X, y, s)
    model = DASK[type(local)]((5,), client=client, **kwargs)
    in_time(model.fit, *chunked(X, y, s))
    assert_same_fit(model, local)
    assert solver == "lbfgs" or len(digests) == 5
    for of_epoch in digests:
        assert len(of_epoch) == 2 and len(set(of_epoch)) == 1


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("penalty", ["l1", "group_lasso", MCP()], ids=str)
def test_small_batches_reach_objective_and_zeros(client, digests, penalty, solver):
    rng = np.random.default_rng(1)
    X = rng.standard_normal((300, 60))
    y = X[:, :4].sum(axis=1) + 0.5 * rng.standard_normal(300)
    kwargs = {"penalty": penalty, "reg_lambda": 0.2, "solver": solver, **LONG}
    kwargs |= {"batch_size": 30, "max_iter": 60, "learning_rate": "cosine"}
    kwargs |= {"learning_rate_init": 0.02}
    seeds = [{"random_state": seed} for seed in range(8)]
    local = [RegMLPRegressor((), **{**kwargs, **seed}).fit(X, y) for seed in seeds]
    model = DaskRegMLPRegressor((), client=client, **kwargs)
    in_time(model.fit, *chunked(X, y))
    np.testing.assert_allclose(model.loss_, local[0].loss_, rtol=0.01)
    # Zeros of rmsprop differ by 0.1 from seed to seed, those of the others do not.
    zeros = [one.sparsity_[0] for one in local]
    assert min(zeros) - 0.02 <= model.sparsity_[0] <= max(zeros) + 0.02
    assert all(len(set(of_epoch)) == 1 for of_epoch in digests)


# Faults ------------------------------------------------------------------------------

IN_TRAINING = {
    "lbfgs": (_term.ClusterTerm, "value_grad", 4),
    "adam": (_epochs, "_results", 2),
    "sgd": (_epochs, "_groups", 2),
    "rmsprop": (Future, "result", 1),
}


def settings(solver):
    return {**EXACT, "solver": solver, "max_iter": 5, "tol": 0.0}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("moment", ["set-up", "training"])
def test_a_death_in_a_fit_changes_nothing(mortal_client, monkeypatch, moment, solver):
    X, y, s = make_data("values")
    kwargs = {**settings(solver), "client": mortal_client}
    quiet = DaskRegMLPRegressor((5,), **kwargs).fit(*chunked(X, y, s))
    monkeypatch.setattr(_epochs, "_FETCH", 1.0)
    where = (Cluster, "map", 2) if moment == "set-up" else IN_TRAINING[solver]
    before_call(monkeypatch, *where, lambda: kill_a_worker(mortal_client))
    model = DaskRegMLPRegressor((5,), **kwargs)
    in_time(model.fit, *chunked(X, y, s))
    np.testing.assert_allclose(model.loss_curve_, quiet.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_deaths_one_after_the_other_change_nothing(mortal_client, monkeypatch, solver):
    X, y, s = make_data("values")
    kwargs = {**settings(solver), "client": mortal_client}
    quiet = DaskRegMLPRegressor((5,), **kwargs).fit(*chunked(X, y, s))
    monkeypatch.setattr(_epochs, "_FETCH", 1.0)

    def kill():
        mortal_client.wait_for_workers(1, timeout=60)
        kill_a_worker(mortal_client)

    # Dask's cluster gives up workers that die again in this time.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}):
        for number in range(1, 6):
            with monkeypatch.context() as patch:
                before_call(patch, Cluster, "start", number, kill)
                model = DaskRegMLPRegressor((5,), **kwargs)
                in_time(model.fit, *chunked(X, y, s))
            np.testing.assert_allclose(model.loss_curve_, quiet.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_death_in_predictions_changes_nothing(mortal_client, solver):
    X, y, _ = make_data("classes")
    dX, dy = chunked(X, y)
    model = DaskRegMLPClassifier((5,), client=mortal_client, **settings(solver))
    lazy = mortal_client.persist(model.fit(dX, dy).predict(dX))
    wait(lazy)
    kill_a_worker(mortal_client)
    values = in_time(mortal_client.gather, mortal_client.compute(lazy))
    np.testing.assert_array_equal(values, model.to_local().predict(X))


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_a_worker_may_come_in_a_fit(mortal_client, monkeypatch, solver):
    X, y, s = make_data("values")
    kwargs = {**settings(solver), "client": mortal_client}
    quiet = DaskRegMLPRegressor((5,), **kwargs).fit(*chunked(X, y, s))

    def add_a_worker():
        mortal_client.cluster.scale(3)
        mortal_client.wait_for_workers(3, timeout=60)

    before_call(monkeypatch, *IN_TRAINING[solver], add_a_worker)
    model = DaskRegMLPRegressor((5,), **kwargs)
    in_time(model.fit, *chunked(X, y, s))
    np.testing.assert_allclose(model.loss_curve_, quiet.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
@pytest.mark.parametrize("how", ["closed", "restarted"])
def test_a_lost_scheduler_is_a_clear_error(monkeypatch, solver, how):
    X, y, s = make_data("values")
    with (
        LocalCluster(n_workers=1, host="127.0.0.1", dashboard_address=":0") as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        lose = cluster.close if how == "closed" else client.restart
        before_call(monkeypatch, *IN_TRAINING[solver], lose)
        model = DaskRegMLPRegressor((5,), client=client, **settings(solver))
        with pytest.raises(RuntimeError, match=r"scheduler|cancelled|lost"):
            in_time(model.fit, *chunked(X, y, s))
    assert not hasattr(model, "fitted_")


# Bad inputs --------------------------------------------------------------------------


def bad_values():
    """Blocks of the rows 40, 95, 120 and 299, each with a bad value in turn."""
    X, y, s = make_data("values")
    for block, row in enumerate((40, 95, 120, 299)):
        for value in (np.nan, np.inf, -np.inf):
            for name, values in (("X", X), ("y", y), ("sample_weight", s)):
                bad = values.copy()
                bad[row] = value
                data = {"X": X, "y": y, "sample_weight": s, name: bad}
                yield data, f"Block {block} of X and y: .*{name}"
        for value in (-1.0, -1e-300, -1e300):
            bad = s.copy()
            bad[row] = value
            data = {"X": X, "y": y, "sample_weight": bad}
            yield data, f"Block {block} of X and y: Negative values .*sample_weight"
        for n in (1, 5, 7):
            short = np.delete(y, row if n == 1 else slice(row - n, row))
            data = {"X": X, "y": short, "sample_weight": s}
            yield data, f"X has 300 rows, but y has {300 - n}"
            data = {"X": X, "y": y, "sample_weight": short}
            yield data, f"X has 300 rows, but sample_weight has {300 - n}"


BAD_PARAMETERS = {
    "reg_lambda": (-1.0, np.nan, "a"),
    "hidden_layer_sizes": ((0,), (-1,), "a"),
    "activation": ("step", 1),
    "penalty": ("l3", 1),
    "l1_ratio": (-0.1, 1.1),
    "decay_mode": ("soft",),
    "loss": ("hinge",),
    "solver": ("newton", None),
    "learning_rate_init": (0.0, np.inf),
    "learning_rate": ("slow",),
    "batch_size": (0, "all"),
    "max_iter": (0, 1.5),
    "tol": (-1.0,),
    "random_state": ("a",),
    "n_iter_no_change": (0,),
    "device": ("cuda", "torch:cpu", "tpu"),
    "verbose": (-1,),
}


def test_a_hundred_bad_inputs_are_named(client):
    X, y, s = make_data("values")
    model = DaskRegMLPRegressor((), solver="lbfgs", client=client)
    before = model.fit(*chunked(X, y, s)).fitted_
    n = 0
    for data, message in bad_values():
        n += 1
        chunks = [
            (90, 10, 120, 80) if len(values) == 300 else (len(values),)
            for values in data.values()
        ]
        arrays = [chunked(v, chunks=c)[0] for v, c in zip(data.values(), chunks)]
        with pytest.raises(ValueError, match=f"(?s){message}"):
            in_time(model.fit, *arrays)
        assert model.fitted_ is before
    for name, values in BAD_PARAMETERS.items():
        for value in values:
            n += 1
            wrong = DaskRegMLPRegressor(**{name: value}, client=client)
            with pytest.raises(ValueError, match=name):
                in_time(wrong.fit, *chunked(X, y, s))
    assert n >= 100
