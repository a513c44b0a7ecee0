"""Neural networks for scikit-learn, with regularization done right."""

from importlib.metadata import version

from skreg._lambda import convert_lambda
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._path import RegMLPPath, reg_mlp_path
from skreg._search import RegMLPClassifierCV, RegMLPRegressorCV

__version__ = version("skreg")

__all__ = [
    "RegMLPClassifier",
    "RegMLPClassifierCV",
    "RegMLPPath",
    "RegMLPRegressor",
    "RegMLPRegressorCV",
    "convert_lambda",
    "reg_mlp_path",
]
