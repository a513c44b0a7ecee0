"""One BLAS thread while networks train.

A second BLAS thread brings nothing to the matrices of tabular networks, and the same
sum in another order is another network: with one thread, results do not depend on the
machine's thread settings. Parallel work belongs to independent fits.
"""

import threading
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController  # a dependency of scikit-learn

_lock = threading.Lock()
_active = 0
_limiter = None


@cache
def _blas():
    return ThreadpoolController().select(user_api="blas")


def _take_ownership():
    # Since 3.8, threadpoolctl lets one thread at a time change OpenBLAS and silently
    # ignores the others; here the last user may be another thread than the first.
    for library in _blas().lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread(force=True)


@contextmanager
def single_blas_thread():
    """Limit BLAS to one thread until the last concurrent user of this context is done.

    The limit is a setting of the whole process. Fits that overlap in several Python
    threads share it: the first sets it, the last one restores what was there before.
    """
    global _active, _limiter
    with _lock:
        if _active == 0:
            _take_ownership()
            _limiter = _blas().limit(limits=1)
        _active += 1
    try:
        yield
    finally:
        with _lock:
            _active -= 1
            if _active == 0:
                _take_ownership()
                _limiter.restore_original_limits()
                _take_ownership()
