"""One BLAS thread inside of fits; threads of a fit, which change no result."""

import dis
import gc
import os
import signal
import sys
import threading
from contextlib import suppress

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info, threadpool_limits

from skreg import (
    RegMLPClassifier,
    RegMLPRegressor,
    RegMLPRegressorCV,
    _threads,
    reg_mlp_path,
)
from skreg._core import Data, Net, most_threads
from skreg._engines import _compiled
from skreg._threads import effective_n_threads, single_blas_thread, threads_of_tasks
from skreg.penalties import L2, MCP, Penalty, SparseGroupLasso


def blas_threads():
    """Number of threads of each BLAS library of this process."""
    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return sorted({pool["num_threads"] for pool in pools})


@pytest.fixture(autouse=True)
def two_threads():
    """Give BLAS two threads, so that a limit of one can be seen."""
    with threadpool_limits(2, user_api="blas"):
        if blas_threads() != [2]:
            pytest.skip("this BLAS has no number of threads to set")
        yield
        assert blas_threads() == [2]


def test_limit_is_one_inside_and_restored_outside():
    with single_blas_thread():
        assert blas_threads() == [1]
    assert blas_threads() == [2]


def test_nested_contexts_restore_with_the_last_one():
    with single_blas_thread():
        with single_blas_thread():
            assert blas_threads() == [1]
        assert blas_threads() == [1]
    assert blas_threads() == [2]


def test_limit_is_restored_after_an_exception():
    with pytest.raises(KeyError), single_blas_thread():
        raise KeyError
    assert blas_threads() == [2]


def test_exception_in_an_inner_context_leaves_the_outer_one_alone():
    with single_blas_thread():
        with pytest.raises(KeyError), single_blas_thread():
            raise KeyError
        assert blas_threads() == [1]
    assert blas_threads() == [2]


def test_each_use_restores_the_limit_of_its_own_time():
    with single_blas_thread():
        pass
    with threadpool_limits(1, user_api="blas"):
        with single_blas_thread():
            assert blas_threads() == [1]
        assert blas_threads() == [1]
    with single_blas_thread():
        pass
    assert blas_threads() == [2]


class Worker:
    """A thread that enters and leaves the context when told to."""

    def __init__(self, fails=False):
        self.fails = fails
        self.entered, self.leave = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        try:
            with single_blas_thread():
                self.entered.set()
                self.leave.wait(10)
                if self.fails:
                    raise KeyError
        except KeyError:
            pass

    def enter_context(self):
        self.thread.start()
        assert self.entered.wait(10)

    def leave_context(self):
        self.leave.set()
        self.thread.join(10)
        assert not self.thread.is_alive()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_overlapping_threads_restore_when_the_last_one_leaves(order, fails):
    workers = [Worker(fails) for _ in range(3)]
    for worker in workers:
        worker.enter_context()
        assert blas_threads() == [1]
    for k in order[:-1]:
        workers[k].leave_context()
        assert blas_threads() == [1]
    workers[order[-1]].leave_context()
    assert blas_threads() == [2]


def test_many_threads_at_once_restore_in_the_end():
    seen, start = [], threading.Barrier(8)

    def work():
        start.wait(10)
        for _ in range(20):
            with single_blas_thread():
                seen.extend(blas_threads())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 160
    assert set(seen) == {1}
    assert blas_threads() == [2]


def spy_on_threads(seen):
    def scorer(estimator, X, y):
        seen.append(blas_threads())
        return 0.0

    return scorer


@pytest.mark.filterwarnings("ignore:solver='adam' ended with a data loss")
def test_networks_train_with_one_blas_thread():
    X = np.random.default_rng(0).normal(size=(40, 3))
    seen = []
    RegMLPRegressor(
        (3,), early_stopping=True, scoring=spy_on_threads(seen), n_iter_no_change=2
    ).fit(X, X[:, 0])
    assert len(seen) > 1
    assert all(threads == [1] for threads in seen)
    assert blas_threads() == [2]


def test_folds_train_with_one_blas_thread():
    X = np.random.default_rng(0).normal(size=(40, 3))
    seen, params = [], {"solver": "lbfgs", "reg_lambdas": [0.1, 0.2], "cv": 2}
    scorer = spy_on_threads(seen)
    RegMLPRegressorCV((3,), **params, n_jobs=2, scoring=scorer).fit(X, X[:, 0])
    assert seen == [[1]] * 8
    assert blas_threads() == [2]


@pytest.mark.filterwarnings("ignore:.* but a constant has")  # after three epochs
def test_paths_train_with_one_blas_thread():
    X = np.random.default_rng(0).normal(size=(40, 3))
    seen = []
    network = RegMLPRegressor(
        (3,), early_stopping=True, scoring=spy_on_threads(seen), n_iter_no_change=2
    )
    reg_mlp_path(network, X, X[:, 0], reg_lambdas=[0.1, 0.2])
    assert len(seen) > 1
    assert all(threads == [1] for threads in seen)
    assert blas_threads() == [2]


def test_failed_fits_restore_the_threads():
    with pytest.raises(ValueError, match="NaN"):
        RegMLPRegressor((3,)).fit(np.full((9, 2), np.nan), np.ones(9))
    assert blas_threads() == [2]


# Interrupts --------------------------------------------------------------------------


def interrupt_at(n_points):
    """Trace function that raises KeyboardInterrupt at the n-th chance in our code.

    Python looks for signals after calls, at the start of functions and in loops.
    """
    left, previous = n_points, {}

    def trace(frame, event, arg):
        nonlocal left
        code = frame.f_code
        if code.co_filename != _threads.__file__ or code.co_name == "__del__":
            return None  # exceptions in __del__ are ignored
        frame.f_trace_opcodes = True
        if event == "opcode":
            is_chance = previous[frame].startswith(("RESUME", "CALL", "JUMP_BACKWARD"))
            previous[frame] = dis.opname[code.co_code[frame.f_lasti]]
            left -= is_chance
            if is_chance and left == 0:
                sys.settrace(None)
                previous.clear()  # of its references to frames
                raise KeyboardInterrupt
        elif event == "call":
            previous[frame] = "RESUME"
        return trace

    return trace


def use_with_interrupt(n_points):
    """Return whether the interrupt came before all was done."""
    previous = sys.gettrace()
    try:
        sys.settrace(interrupt_at(n_points))
        with single_blas_thread():
            pass
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(previous)
    return False


def test_an_interrupt_at_any_point_restores_the_threads():
    n_points = 1
    while use_with_interrupt(n_points):
        assert blas_threads() == [2], f"point {n_points}"
        assert not _threads._users
        n_points += 1
    assert n_points > 20


def test_an_interrupt_of_one_user_leaves_the_limit_to_the_other():
    n_points, interrupted = 1, True
    while interrupted:
        with single_blas_thread():
            interrupted = use_with_interrupt(n_points)
            assert blas_threads() == [1]
        assert blas_threads() == [2]
        n_points += 1
    assert n_points > 10


def test_a_use_that_is_never_left_ends_with_its_object():
    context = single_blas_thread()
    context.__enter__()
    assert blas_threads() == [1]
    del context
    gc.collect()
    assert blas_threads() == [2]


# Forks -------------------------------------------------------------------------------

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def exit_code_of_child(work):
    """Run `work` in a fork; 0 if it passes, -SIGALRM if it hangs."""
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        code = 1
        with suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def fit_and_check_threads():
    assert not _threads._users
    assert blas_threads() == [2]
    X = np.random.default_rng(0).normal(size=(40, 3))
    RegMLPRegressor((3,), n_iter_no_change=1, tol=10.0).fit(X, X[:, 0])
    assert blas_threads() == [2]


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:solver='adam' ended with a data loss")
def test_a_child_does_not_inherit_the_fits_of_other_threads():
    worker = Worker()
    worker.enter_context()
    code = exit_code_of_child(fit_and_check_threads)
    worker.leave_context()
    assert code == 0


@needs_fork
def test_a_child_goes_on_with_the_fit_that_forked():
    with single_blas_thread():

        def work():
            assert blas_threads() == [1]
            assert len(_threads._users) == 1

        assert exit_code_of_child(work) == 0


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:solver='adam' ended with a data loss")
def test_forks_while_threads_come_and_go():
    stop = threading.Event()

    def work():
        while not stop.is_set():
            with single_blas_thread():
                pass

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    codes = [exit_code_of_child(fit_and_check_threads) for _ in range(20)]
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 20


# Threads of a fit --------------------------------------------------------------------


@pytest.fixture
def eight_cores(monkeypatch):
    """Eight processors on four cores, and no limit in the environment."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(
        joblib,
        "cpu_count",
        lambda only_physical_cores=False: 8 - 4 * only_physical_cores,
    )
    _threads._n_cores.cache_clear()
    yield
    _threads._n_cores.cache_clear()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("1", 1),
        ("3", 3),
        ("16", 4),
        ("2,4", 2),
        (" 2 ", 2),
        ("", 4),
        ("0", 4),
        ("x", 4),
    ],
)
def test_threads_are_the_cores_within_the_environment(
    eight_cores, monkeypatch, limit, expected
):
    assert effective_n_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", limit)
    assert effective_n_threads() == expected


@pytest.mark.parametrize(("n_jobs", "n"), [(1, 1), (3, 3), (-1, 8), (-2, 7), (-9, 1)])
def test_given_threads_are_counted_as_in_joblib(eight_cores, n_jobs, n):
    assert effective_n_threads(n_jobs) == n


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_of_joblib_have_one_thread_each(backend):
    job = joblib.delayed(effective_n_threads)
    assert joblib.Parallel(2, backend=backend)([job(), job()]) == [1, 1]
    assert joblib.Parallel(2, backend=backend)([job(3), job(-1)])[0] == 3


def test_there_is_at_least_one_thread():
    assert effective_n_threads() >= 1
    assert effective_n_threads() <= joblib.cpu_count()


def test_tasks_of_joblib_share_the_threads(eight_cores):
    assert threads_of_tasks(None, 5) == 4
    assert threads_of_tasks(1, 5) == 1
    assert threads_of_tasks(8, 3) == 2
    assert threads_of_tasks(2, 5) == 1
    assert threads_of_tasks(6, 2) == 3


# Elsewhere large products go to BLAS, and nothing is shared.
needs_own_products = pytest.mark.skipif(
    most_threads(
        Net((500, 500), 0, 0, 0.0, 999, 1),
        Data(np.ones((999, 500)), np.dtype(float)),
        999,
    )
    == 1,
    reason="large products go to BLAS on this processor",
)


class Ridge(Penalty):
    """A penalty of a user's own, which acts in Python."""

    is_smooth = is_convex = is_separable = has_metric_prox = True

    def value(self, W, lam):
        return lam / 2 * np.sum(W * W)

    def gradient(self, W, lam):
        return lam * W

    def prox(self, W, step, lam):
        return W / (1 + lam * step)


SOLVERS_OF_FITS = [
    {"solver": "adam"},
    {"solver": "sgd", "learning_rate": "adaptive"},
    {"solver": "rmsprop", "shuffle": False},
    {"solver": "lbfgs", "max_iter": 3},
    {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "cosine"},
]
PENALTIES_OF_FITS = [
    {"penalty": None},
    {"penalty": "l1"},
    {"penalty": "group_lasso"},
    {"penalty": "l2", "decay_mode": "coupled"},
    {"penalty": [MCP(), SparseGroupLasso(0.5, by="units"), L2()]},
    {"penalty": Ridge()},
    {"penalty": "sparse_group_lasso", "penalize_intercepts": True},
    {"penalty": "l2", "activation": "gelu"},
]
TARGETS_OF_FITS = ["multiclass", "poisson", "binary", "multilabel", "huber", "outputs"]
CONTAINERS_OF_FITS = ["float32", "float64", "csr", "narrow csr"]
USES_OF_FITS = ["fit", "weights", "early_stopping", "warm_start", "partial_fit"]


def configuration(k):
    """The k-th of 40: the lists above take turns, each at its own pace."""
    lists = SOLVERS_OF_FITS, PENALTIES_OF_FITS, TARGETS_OF_FITS
    solver, penalty, target = (options[k % len(options)] for options in lists)
    container = CONTAINERS_OF_FITS[k // 3 % 4]
    use = USES_OF_FITS[k // 7 % 5]
    use = "fit" if solver["solver"] == "lbfgs" and use == "partial_fit" else use
    if "shuffle" not in solver and "lbfgs" not in solver["solver"]:
        solver = solver | {"batch_size": 400}
    return solver | penalty, target, container, use


def fit_on_threads(k, n_jobs):
    """Weights and predictions of the k-th configuration, as bytes."""
    params, target, container, use = configuration(k)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(820, 60)) * (rng.random((820, 60)) < 0.7)
    X = X.astype(np.float32 if container in ("float32", "narrow csr") else float)
    y = {
        "multiclass": np.arange(820) % 5,
        "binary": X[:, 0] > 0,
        "multilabel": (X[:, :3] > 0).astype(int),
        "poisson": rng.poisson(1.0, 820),
        "huber": X[:, 0],
        "outputs": X[:, :4],
    }[target]
    X = sparse.csr_array(X) if "csr" in container else X
    kind = RegMLPRegressor if target in ("poisson", "huber", "outputs") else None
    loss = {"loss": target} if target in ("poisson", "huber") else {}
    settings = {"reg_lambda": 1e-3, "max_iter": 2, "tol": 0.0, "random_state": 0}
    early = {"early_stopping": True} if use == "early_stopping" else {}
    model = (kind or RegMLPClassifier)(
        (200, 60), **settings | loss | early | params, n_jobs=n_jobs
    )
    if use == "partial_fit":
        classes = {} if kind else {"classes": np.unique(y)}
        classes = {} if target == "multilabel" else classes
        model.partial_fit(X, y, **classes).partial_fit(X, y)
    else:
        model.fit(X, y, rng.random(820) if use == "weights" else None)
    if use == "warm_start":
        model.set_params(warm_start=True).fit(X, y)
    raw = model.predict(X) if kind else model.predict_proba(X)
    return [a.tobytes() for a in (*model.coefs_, *model.intercepts_, raw)]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*acts on the inputs, but layer:UserWarning")
@pytest.mark.parametrize("k", range(40))
def test_no_result_depends_on_the_number_of_threads(k):
    one, *more = (fit_on_threads(k, n_jobs) for n_jobs in (1, 2, 3, 4, 8))
    assert all(fit == one for fit in more)


def test_configurations_are_forty_different_ones():
    assert len({str(configuration(k)) for k in range(40)}) == 40


def wide_rows(n_rows):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 60)).astype(np.float32)
    return X, X[:, 0].copy()


def threads_used(monkeypatch):
    """List that receives the number of threads of each call that trains."""
    seen, train = [], _compiled.train

    def spy(*args):
        seen.append(args[-1])
        return train(*args)

    monkeypatch.setattr(_compiled, "train", spy)
    return seen


@needs_own_products
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_only_long_steps_are_shared(monkeypatch):
    seen = threads_used(monkeypatch)
    X, y = wide_rows(800)
    settings = {"max_iter": 1, "batch_size": 400, "n_jobs": 3}
    RegMLPRegressor((300, 100), **settings).fit(X, y)
    assert set(seen) == {3}
    seen.clear()
    RegMLPRegressor((20,), **settings).fit(X, y)
    assert set(seen) == {1}


@needs_own_products
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*fits along the path stopped:UserWarning")
def test_searches_give_cores_that_are_left_to_their_fits(eight_cores, monkeypatch):
    seen = threads_used(monkeypatch)
    X, y = wide_rows(900)
    search = RegMLPRegressorCV(
        (300, 100), max_iter=1, reg_lambdas=[0.1, 1.0], cv=2, n_jobs=6
    )
    search.fit(X, y)
    assert set(seen) == {3, 6}  # two folds at once, and all rows alone
    assert search.best_estimator_.n_jobs == search.path_[0].n_jobs == 6


def long_fit():
    X, y = wide_rows(800)
    return RegMLPRegressor(
        (300, 100), max_iter=10, batch_size=400, random_state=0, n_jobs=3
    ).fit(X, y)


@needs_fork
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forks_before_during_and_after_threaded_fits():
    expected = long_fit().coefs_[0].tobytes()

    def work():
        assert long_fit().coefs_[0].tobytes() == expected

    codes = [exit_code_of_child(work)]
    fits = []
    thread = threading.Thread(target=lambda: fits.extend(long_fit() for _ in range(5)))
    thread.start()
    while thread.is_alive():
        codes.append(exit_code_of_child(work))
    thread.join()
    codes.append(exit_code_of_child(work))
    assert set(codes) == {0}
    assert {fit.coefs_[0].tobytes() for fit in fits} == {expected}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_threaded_fits_in_threads_of_python():
    expected, fits = long_fit().coefs_[0].tobytes(), []
    threads = [
        threading.Thread(target=lambda: fits.append(long_fit())) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [fit.coefs_[0].tobytes() for fit in fits] == [expected] * 4


@pytest.fixture
def interruptible():
    """Python's answer to SIGINT, which processes in the background do not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_a_threaded_fit(monkeypatch):
    seen, train = [], _compiled.train

    def train_and_interrupt(*args):
        seen.append(args[-1])
        if len(seen) == 8:
            signal.raise_signal(signal.SIGINT)
        return train(*args)

    monkeypatch.setattr(_compiled, "train", train_and_interrupt)
    monkeypatch.setattr(_compiled, "_FLOPS_PER_CALL", 1.0)
    X, y = wide_rows(800)
    model = RegMLPRegressor(
        (300, 100), batch_size=400, tol=0.0, n_jobs=3, random_state=0
    )
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, y)
    assert model.n_iter_ == 3  # of two batches each
    monkeypatch.setattr(_compiled, "train", train)
    whole = clone(model).set_params(max_iter=3)
    with pytest.warns(ConvergenceWarning):
        whole.fit(X, y)
    for kept, expected in zip(model.coefs_, whole.coefs_):
        np.testing.assert_array_equal(kept, expected)
