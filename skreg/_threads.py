"""One BLAS thread while networks train, and the threads that one fit may use.

The same sum in another order is another network: with one BLAS thread, results do not
depend on the machine's thread settings. The compiled core has threads of its own, which
share the work of long steps without a change of the order of sums.
"""

import os
import threading
from functools import cache

import joblib
from joblib.parallel import get_active_backend
from threadpoolctl import ThreadpoolController  # a dependency of scikit-learn

# Number of BLAS threads is a setting of the process, so these are as well. The lock is
# reentrant because garbage collection may end a use in the middle of another one.
_lock = threading.RLock()
_users: dict[int, int] = {}  # id of each use: its thread
_before = None  # (library, number of threads) as the first user has found them


@cache
def _blas():
    return ThreadpoolController().select(user_api="blas").lib_controllers


def _set(threads_of_libraries):
    # Since 3.8, threadpoolctl lets one thread at a time change OpenBLAS and silently
    # ignores the others; here the last user may be another thread than the first.
    for library in _blas():
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)
    for library, n_threads in threads_of_libraries:
        library.set_num_threads(n_threads)
    for library in _blas():
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


def _limit(user):
    global _before
    with _lock:
        _users[user] = threading.get_ident()
        if _before is None:
            found = [(library, library.num_threads) for library in _blas()]
            _before = [pair for pair in found if pair[1] is not None]
            _set([(library, 1) for library, _ in _before])


def _release(user):
    """Forget a user, and restore the limits after the last one. May be repeated."""
    global _before
    with _lock:
        _users.pop(user, None)
        if not _users and _before is not None:
            _set(_before)
            _before = None


class single_blas_thread:
    """Context with one BLAS thread until its last concurrent user is done.

    Fits that overlap in several Python threads share the limit: the first sets it, the
    last one restores what was there before. An interrupt at any point restores it too:
    entering and leaving are undone by a release that may be repeated, and a use whose
    end was never reached ends with its object.
    """

    def __enter__(self):
        try:
            _limit(id(self))
        except BaseException:
            _release(id(self))
            raise

    def __exit__(self, *exception):
        try:
            _release(id(self))
        except BaseException:
            _release(id(self))
            raise

    def __del__(self):
        if id(self) in _users:
            _release(id(self))


def _keep_own_users():
    """In the child of a fork, where only the thread that forked lives on."""
    own = threading.get_ident()
    try:
        for user in [user for user, thread in _users.items() if thread != own]:
            _release(user)
    finally:
        _lock.release()


if hasattr(os, "register_at_fork"):
    # No fork while another thread changes the settings, nor holds a lock for that.
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_keep_own_users,
    )


def effective_n_threads(n_jobs=None):
    """Number of threads that one fit may use.

    Parameters
    ----------
    n_jobs : int or None
        None: the physical cores within the affinity of the process and the quota of
        its cgroup, at most OMP_NUM_THREADS; one inside workers of joblib, which share
        the cores already. Otherwise as in joblib: -1 is all processors, -2 all but one.

    Returns
    -------
    int
        At least 1.
    """
    if n_jobs is not None:
        return n_jobs if n_jobs > 0 else max(1, joblib.cpu_count() + 1 + n_jobs)
    if get_active_backend()[0].nesting_level:
        return 1
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    n_threads = _n_cores(frozenset(affinity))
    limit = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(n_threads, int(limit)) if limit.isdecimal() and int(limit) else n_threads


@cache
def _n_cores(affinity):
    """Physical cores within an affinity and the quota; 100 microseconds to ask for."""
    return joblib.cpu_count(only_physical_cores=True)


def threads_of_tasks(n_jobs, n_tasks):
    """Threads for each of `n_tasks` fits that run in ``joblib.Parallel(n_jobs)``.

    Parameters
    ----------
    n_jobs : int or None
    n_tasks : int

    Returns
    -------
    int
        At least 1. Where there are fewer fits than cores, what is left is for threads
        inside of each.
    """
    n_workers = min(joblib.effective_n_jobs(n_jobs), n_tasks)
    return max(1, effective_n_threads(n_jobs) // n_workers)
