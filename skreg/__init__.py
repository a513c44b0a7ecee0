"""Neural networks for scikit-learn, with regularization done right."""

from importlib.metadata import version

try:
    from skreg import _core as _core
except ModuleNotFoundError as error:
    if error.name != "skreg._core._kernels":
        raise
    raise ImportError(
        "skreg is not built here: this is its source folder, which Python finds before "
        "an installed package. Build it in place with `pip install -e .`, or start "
        "Python in another folder."
    ) from error

from skreg import displays, losses, penalties
from skreg._cv._recommended import recommended
from skreg._cv._search import RegMLPClassifierCV, RegMLPRegressorCV
from skreg._cv._stability import StabilitySelection, stability_selection
from skreg._lambda import convert_lambda
from skreg._mlp import RegMLPClassifier, RegMLPRegressor
from skreg._paths._path import RegMLPPath, reg_mlp_path

__version__ = version("skreg")

_CLASSES = (
    RegMLPClassifier,
    RegMLPClassifierCV,
    RegMLPPath,
    RegMLPRegressor,
    RegMLPRegressorCV,
    StabilitySelection,
)
for _class in _CLASSES:
    _class.__module__ = "skreg"  # files of models do not depend on private modules

# Types in the files of fitted models, for ``skops.io.load(file, trusted=...)``.
TRUSTED_TYPES = (
    *(f"skreg.{_class.__name__}" for _class in _CLASSES),
    *(f"skreg.penalties.{_name}" for _name in penalties.__all__ if _name[0].isupper()),
)

__all__ = [
    "TRUSTED_TYPES",
    "RegMLPClassifier",
    "RegMLPClassifierCV",
    "RegMLPPath",
    "RegMLPRegressor",
    "RegMLPRegressorCV",
    "StabilitySelection",
    "convert_lambda",
    "displays",
    "losses",
    "penalties",
    "recommended",
    "reg_mlp_path",
    "stability_selection",
]
