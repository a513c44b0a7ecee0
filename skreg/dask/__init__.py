"""Networks trained on the rows of Dask collections, where these lie.

The estimators take Dask arrays and DataFrames in place of arrays, and a cluster does
the work. Needs the extra ``dask``.
"""

try:
    import dask as _dask  # noqa: F401
    import distributed as _distributed  # noqa: F401
except ImportError as error:
    raise ImportError(
        "skreg.dask needs dask and distributed: pip install 'skreg[dask]'."
    ) from error

from skreg.dask._estimators import DaskRegMLPClassifier, DaskRegMLPRegressor
from skreg.dask._search import DaskRegMLPClassifierCV, DaskRegMLPRegressorCV

__all__ = [
    "DaskRegMLPClassifier",
    "DaskRegMLPClassifierCV",
    "DaskRegMLPRegressor",
    "DaskRegMLPRegressorCV",
]

for _name in __all__:
    globals()[_name].__module__ = "skreg.dask"
