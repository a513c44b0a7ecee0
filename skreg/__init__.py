"""Neural networks for scikit-learn, with regularization done right."""

from importlib.metadata import version

from skreg import penalties
from skreg._lambda import convert_lambda
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._path import RegMLPPath, reg_mlp_path
from skreg._search import RegMLPClassifierCV, RegMLPRegressorCV
from skreg._solvers._stochastic import OptimizerState

__version__ = version("skreg")

_CLASSES = (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPPath,
    RegMLPRegressor,
    RegMLPRegressorCV,
)
for _class in _CLASSES:
    _class.__module__ = "skreg"  # files of models do not depend on private modules

# Types in the files of fitted models, for ``skops.io.load(file, trusted=...)``.
TRUSTED_TYPES = (
    *(f"skreg.{_class.__name__}" for _class in _CLASSES),
    *(f"skreg.penalties.{_name}" for _name in penalties.__all__ if _name[0].isupper()),
    f"{OptimizerState.__module__}.{OptimizerState.__name__}",
)

__all__ = [
    "TRUSTED_TYPES",
    "RegMLPClassifier",
    "RegMLPClassifierCV",
    "RegMLPPath",
    "RegMLPRegressor",
    "RegMLPRegressorCV",
    "convert_lambda",
    "reg_mlp_path",
]
