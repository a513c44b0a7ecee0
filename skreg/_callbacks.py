"""Callbacks of scikit-learn, from 1.9 on, whose interface is experimental.

Nothing else knows it. Contexts are made only where callbacks are set: they cost about
as much as an epoch of a small network.
"""

from collections.abc import Callable
from typing import Any, Self, TypeVar

import sklearn

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:  # scikit-learn below 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Says what callbacks need."""

        def set_callbacks(self, *callbacks: Any) -> Self:
            """Refuse callbacks.

            Parameters
            ----------
            *callbacks : callback instances
                Of scikit-learn.

            Raises
            ------
            ImportError
                Says which version of scikit-learn has callbacks.
            """
            raise ImportError(
                "set_callbacks needs scikit-learn >= 1.9. This is scikit-learn "
                f"{sklearn.__version__}."
            )

    def _with_callbacks(method):
        return method


def with_callbacks(method: Method) -> Method:
    """Return a method whose callbacks hear of it, of the same type for checkers."""
    return _with_callbacks(method)


__all__ = ["CallbackSupportMixin", "Report", "with_callbacks"]


class Report:
    """What the callbacks of an estimator hear of one fit and the tasks in it.

    Parameters
    ----------
    estimator : estimator
        With callbacks, in a function that `with_callbacks` decorates.
    context : sklearn.callback.CallbackContext
        Of the task that this report is of.
    data : dict
        X, y and metadata, in the user's terms.
    """

    def __init__(self, estimator, context, data):
        self._estimator, self._context, self._data = estimator, context, data
        context.call_on_fit_task_begin(estimator=estimator, **data)

    @classmethod
    def of(cls, estimator, X, y, sample_weight, n_tasks):
        """Report of a fit that begins; None where the estimator has no callbacks.

        Parameters
        ----------
        estimator : estimator
        X, y, sample_weight
            As of its `fit`.
        n_tasks : int or None
            The most tasks that the fit may consist of, such as epochs; None if nobody
            knows.

        Returns
        -------
        Report or None
        """
        if not getattr(estimator, "_skl_callbacks", None):
            return None
        context = estimator._init_callback_context(max_subtasks=n_tasks)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        return cls(estimator, context, {"X": X, "y": y, "metadata": metadata})

    def task(self, name, n_tasks=0, **data):
        """Report of a task within, one after the other, that begins.

        Parameters
        ----------
        name : str
            Of the task, such as "epoch".
        n_tasks : int, default=0
            Tasks in it.
        **data : dict
            X, y or metadata in which it differs; functions are called where a callback
            asks.

        Returns
        -------
        Report
        """
        context = self._context.subcontext(name, max_subtasks=n_tasks)
        return Report(self._estimator, context, {**self._data, **data})

    def done(self, name, fitted, **params):
        """Tell of a task within, one after the other, that has begun and ended.

        Parameters
        ----------
        name : str
        fitted, **params
            As of `end`.

        Returns
        -------
        bool
            Whether a callback wants the fit to stop.
        """
        return self.task(name).end(fitted, **params)

    def end(self, fitted=None, **params):
        """Tell that the task has ended.

        Parameters
        ----------
        fitted : callable or None
            Returns the `Fitted` that there would be if the fit stopped here. It is only
            called where a callback asks. None if there is no network.
        **params : dict
            Parameters in which its estimator differs, such as `reg_lambda`.

        Returns
        -------
        bool
            Whether a callback wants the fit to stop.
        """

        def attributes():
            return {**params, **_attributes(fitted())}

        return self._context.call_on_fit_task_end(
            estimator=self._estimator,
            reconstruction_attributes=None if fitted is None else attributes,
            **self._data,
        )


def _attributes(fitted):
    attributes = {"fitted_": fitted, "n_features_in_": fitted.header.n_features}
    if fitted.header.names is not None:
        attributes["feature_names_in_"] = fitted.header.names
    return attributes
