"""Warnings that point to the line of the caller, whatever lies between."""

import os
import sys
import warnings
from pathlib import Path

import joblib
import sklearn

# A user calls through these; what they call is not the user's line.
_PASSED_OVER = tuple(
    f"{Path(file).parent}{os.sep}"
    for file in (__file__, sklearn.__file__, joblib.__file__)
)


def warn(message, category=UserWarning):
    """Issue a warning at the innermost line outside of skreg, scikit-learn and joblib.

    Parameters
    ----------
    message : str
    category : type of Warning, default=UserWarning
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
