"""`single_blas_thread`: one BLAS thread inside, what was there before outside."""

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from skreg import RegMLPRegressor, RegMLPRegressorCV, reg_mlp_path
from skreg._threads import single_blas_thread


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


def test_paths_train_with_one_blas_thread():
    X = np.random.default_rng(0).normal(size=(40, 3))
    seen = []
    network = RegMLPRegressor(
        (3,), early_stopping=True, scoring=spy_on_threads(seen), n_iter_no_change=2
    )
    reg_mlp_path(X, X[:, 0], estimator=network, reg_lambdas=[0.1, 0.2])
    assert len(seen) > 1
    assert all(threads == [1] for threads in seen)
    assert blas_threads() == [2]


def test_failed_fits_restore_the_threads():
    with pytest.raises(ValueError, match="NaN"):
        RegMLPRegressor((3,)).fit(np.full((9, 2), np.nan), np.ones(9))
    assert blas_threads() == [2]
