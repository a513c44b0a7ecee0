"""Calls on the workers of a Dask cluster, where joblib has one as its backend.

joblib sends an argument once, however many calls have it, but it does not look into
objects. So each call travels as a pickle without its large arrays, and these beside it.
"""

import io
import pickle

import numpy as np
from joblib import Parallel, delayed
from joblib.parallel import get_active_backend
from sklearn import config_context, get_config

_LARGE = 10_000  # bytes of an array that is worth a message of its own


def is_active():
    """Whether joblib sends its calls to a Dask cluster."""
    return type(get_active_backend()[0]).__name__ == "DaskDistributedBackend"


def run(n_jobs, calls):
    """Results of calls ``(function, *args)`` on the workers, in their order.

    Parameters
    ----------
    n_jobs : int or None
        As of `joblib.Parallel`; a cluster uses all of its workers.
    calls : iterable of tuple
        What they return travels back, so that it should be small.

    Returns
    -------
    list
    """
    known = {}
    jobs = (delayed(_unpacked)(get_config(), *_packed(call, known)) for call in calls)
    return Parallel(n_jobs=n_jobs, batch_size=1)(jobs)


def _packed(call, known):
    """Pickle of a call, and the large arrays in it; `known` are those of all calls."""
    from cloudpickle import Pickler  # which distributed needs

    arrays, places = [], {}

    class WithoutArrays(Pickler):
        def persistent_id(self, value):
            if type(value) is not np.ndarray or value.nbytes < _LARGE:
                return None
            if value.dtype.hasobject:
                return None
            # Views of the same values are one array; `known` keeps its memory alive.
            start = value.__array_interface__["data"][0]
            key = start, value.shape, value.strides, value.dtype.str
            value = known.setdefault(key, value)
            if key not in places:
                places[key] = len(arrays)
                arrays.append(value)
            return places[key]

    buffer = io.BytesIO()
    WithoutArrays(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(call)
    return buffer.getvalue(), *arrays


def _unpacked(config, packed, *arrays):
    """Make a call, on a worker, with the configuration of scikit-learn of here."""

    class WithArrays(pickle.Unpickler):
        def persistent_load(self, place):
            # Sums over arrays that have travelled to odd addresses have other bits.
            return np.require(arrays[place], requirements="A")

    function, *args = WithArrays(io.BytesIO(packed)).load()
    with config_context(**config):
        return function(*args)
