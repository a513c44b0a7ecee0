"""Neural networks for scikit-learn, with regularization done right."""

from importlib.metadata import version

from skreg._lambda import convert_lambda
from skreg._mlp import RegMLPClassifier, RegMLPRegressor

__version__ = version("skreg")

__all__ = ["RegMLPClassifier", "RegMLPRegressor", "convert_lambda"]
