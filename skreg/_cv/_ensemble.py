"""Means of networks: predictions, and the weights of a stack."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solve_triangular
from scipy.optimize import minimize_scalar, nnls
from scipy.special import log_expit, log_softmax, logsumexp

from skreg._fitted import Fitted
from skreg._rows import Header
from skreg._task import Task

# Relative excess of the stacking loss over its minimum, and the most iterations.
_GAP, _MAX_ITER = 1e-8, 500
_SHARPEST = 10.0
_RIDGE = 1e-10  # share of the largest curvature that makes a Newton system regular


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Weighted mean of the predictions of fitted networks.

    It stands where a single `Fitted` would. What only one network has, such as weight
    matrices, is not there.

    Parameters
    ----------
    networks : tuple of Fitted
        Of one task and header.
    weights : ndarray of shape (n_networks,)
        Positive, of sum 1.
    params : tuple of dict
        Parameters in which the estimator of each network differs from the search.
    folds : ndarray of int, shape (n_networks,)
        On which fold each network has not been trained.
    sharpness : float, default=1.0
        Factor of the raw predictions of the mean; see `sharpness_of`.
    """

    networks: tuple[Fitted, ...]
    weights: np.ndarray
    params: tuple[dict, ...]
    folds: np.ndarray
    sharpness: float = 1.0

    def __getattr__(self, name):
        raise AttributeError(
            f"A mean of {len(vars(self).get('networks', ()))} networks has no "
            f"{name!r}: see estimators_, or fit with refit=True for one network."
        )

    @property
    def task(self) -> Task:
        """Task of the networks."""
        return self.networks[0].task

    @property
    def header(self) -> Header:
        """Columns of X."""
        return self.networks[0].header

    @property
    def is_constant(self):
        """Whether every network predicts a constant."""
        return all(network.is_constant for network in self.networks)

    @property
    def dtype(self):
        """Precision of the weights."""
        return self.networks[0].dtype

    def raw(self, X, device="cpu", n_jobs=1):
        """Raw predictions of shape (n, n_outputs) of the mean, sharpened."""
        raws = [network.raw(X, device, n_jobs) for network in self.networks]
        raw = self.sharpness * mean_raw(self.task.loss, raws, self.weights)
        return raw.astype(self.dtype)

    @property
    def selected(self):
        """Mask of the columns of X that any network uses."""
        return np.any([network.selected for network in self.networks], axis=0)

    @property
    def importances(self):
        """Weighted mean of the importances of the columns of X."""
        return self.weights @ np.array([n.importances for n in self.networks])

    def compact(self):
        """The same function, of networks without unused inputs and dead units."""
        return replace(self, networks=tuple(n.compact() for n in self.networks))

    def of_fold(self, k):
        """The part of the networks that has not been trained on fold k."""
        own = self.folds == k
        return replace(
            self,
            networks=tuple(n for n, is_own in zip(self.networks, own) if is_own),
            weights=self.weights[own] / self.weights[own].sum(),
            params=tuple(p for p, is_own in zip(self.params, own) if is_own),
            folds=self.folds[own],
        )

    def to_plain(self):
        """Dictionary of plain data; see `Fitted.to_plain`."""
        return {
            **vars(self),
            "networks": [network.to_plain() for network in self.networks],
        }

    @classmethod
    def from_plain(cls, plain):
        """Inverse of `to_plain`."""
        networks = tuple(Fitted.from_plain(network) for network in plain["networks"])
        return cls(**{**plain, "networks": networks})


def mean_raw(loss, raws, weights):
    """Raw prediction of the weighted mean of predictions.

    Means of probabilities and of exponentials are taken of logarithms, so that none
    becomes 0 or infinite.

    Parameters
    ----------
    loss : Loss
        Its output activation makes predictions of raw ones.
    raws : sequence of ndarray of shape (n, n_outputs)
    weights : ndarray of shape (n_networks,)
        Of sum 1.

    Returns
    -------
    ndarray of shape (n, n_outputs), float64
    """
    raws = np.asarray(raws, dtype=np.float64)
    if loss.out_activation == "identity":
        return np.tensordot(weights, raws, 1)
    weights = np.reshape(weights, (-1, 1, 1))

    def log_mean(logs):
        return logsumexp(logs, axis=0, b=weights)

    if loss.out_activation == "exp":
        return log_mean(raws)
    if loss.out_activation == "softmax":
        return log_mean(log_softmax(raws, axis=2))
    return log_mean(log_expit(raws)) - log_mean(log_expit(-raws))


def stacking_weights(loss, targets, raws, sample_weight=None):
    """Weights of the least mean loss of a mean of predictions: w >= 0, sum 1.

    Parameters
    ----------
    loss : Loss
        Squared error, or log-loss of classes or labels.
    targets : ndarray of shape (n, n_targets)
    raws : sequence of m ndarrays of shape (n, n_outputs)
        Out-of-fold raw predictions of the candidates.
    sample_weight : ndarray of shape (n,) or None

    Returns
    -------
    ndarray of shape (m,)

    Notes
    -----
    Wolpert (1992), "Stacked generalization"; Breiman (1996), "Stacked regressions".
    """
    s = np.ones(len(targets)) if sample_weight is None else sample_weight
    if loss.name == "squared_error":
        residuals = np.array([(raw - targets).ravel() for raw in raws]).T
        return _least_squares(residuals, np.repeat(s, targets.shape[1]))
    if loss.out_activation == "softmax":
        rows = np.arange(len(targets)), targets[:, 0].astype(int)
        logs = np.array([log_softmax(raw, axis=1)[rows] for raw in raws]).T
    else:
        signs = np.where(targets > 0, 1.0, -1.0)
        logs = np.array([log_expit(signs * raw).ravel() for raw in raws]).T
        s = np.repeat(s, targets.shape[1])
    return _most_likely(logs.astype(np.float64), s)


def sharpness_of(loss, targets, raw, sample_weight=None):
    """Factor of raw predictions of classes or labels that lowers their log-loss.

    A mean of networks is less sure than each of them, and a penalty keeps each from
    being sure. The weights of a stack can make it less sure, by those of larger
    lambdas, but not surer; this factor can. One row more, of all classes in equal
    parts and predicted as the others are on average, keeps it finite where all rows are
    predicted right.

    Parameters
    ----------
    loss : Loss
    targets : ndarray of shape (n, n_targets)
    raw : ndarray of shape (n, n_outputs)
        Out-of-fold raw predictions of the mean.
    sample_weight : ndarray of shape (n,) or None

    Returns
    -------
    float
        From 1, where values are predicted or nothing is gained, to 10; the inverse of
        a temperature.

    Notes
    -----
    Guo, Pleiss, Sun and Weinberger (2017), "On calibration of modern neural networks".
    """
    if loss.name != "log_loss":
        return 1.0
    s = np.ones(len(raw)) if sample_weight is None else sample_weight
    n_rows = np.count_nonzero(s)

    def objective(factor):
        own = loss.per_row(targets, factor * raw)
        if loss.out_activation == "softmax":
            any_class = -log_softmax(factor * raw, axis=1).mean(axis=1)
        else:
            logs = log_expit(factor * raw) + log_expit(-factor * raw)
            any_class = -logs.sum(axis=1) / 2
        return np.average(own + any_class / n_rows, weights=s)

    found = minimize_scalar(objective, bounds=(1.0, _SHARPEST), method="bounded")
    return float(found.x) if found.fun < objective(1.0) else 1.0


def _least_squares(residuals, s):
    """Minimize sum_i s_i (sum_j w_j r_ij)^2 over the simplex.

    With w = t v and v in the simplex, |R w|^2 + c (sum w - 1)^2 is t^2 |R v|^2 + c (t -
    1)^2: whatever c > 0, non-negative least squares finds the v of the least |R v|.
    """
    R = np.linalg.qr(np.sqrt(s)[:, None] * residuals, mode="r")
    scale = np.abs(R).max() or 1.0
    A = np.vstack([R / scale, np.ones(R.shape[1])])
    w, _ = nnls(A, np.append(np.zeros(len(R)), 1.0))
    return w / w.sum()


def _most_likely(logs, s):
    """Maximize sum_i s_i log(sum_j w_j exp(logs_ij)) over the simplex.

    A step of EM (w_j times its gradient), then one of sequential quadratic programming
    as in Kim, Carbonetto, Stephens and Anitescu (2020), J. Comput. Graph. Stat. 29(2):
    EM alone is slow to take weight from bad networks. The largest gradient entry minus
    1 bounds the distance from the maximum.
    """
    rows = s > 0
    # A factor for each row changes nothing, and leaves no row without a probability.
    Q = np.exp(logs[rows] - logs[rows].max(axis=1, keepdims=True))
    s = s[rows] / s[rows].sum()
    w = np.full(Q.shape[1], 1.0 / Q.shape[1])
    for _ in range(_MAX_ITER):
        gradient = Q.T @ (s / (Q @ w))
        if gradient.max() - 1.0 <= _GAP:
            break
        w = w * gradient
        w = _newton_step(Q, s, w / w.sum())
    return w


def _newton_step(Q, s, w):
    """A w of no smaller likelihood, from a quadratic model of it at w."""

    def value(w):
        return s @ np.log(Q @ w)

    A = np.sqrt(s)[:, None] * Q / (Q @ w)[:, None]
    H = A.T @ A
    ridge = _RIDGE * H.max()
    R = np.linalg.cholesky(H + ridge * np.eye(len(H))).T
    linear = 2.0 * (A.T @ np.sqrt(s)) + ridge * w - 1.0
    new, _ = nnls(R, solve_triangular(R, linear, trans=1))
    if not new.sum() > 0:
        return w
    direction, before, step = new / new.sum() - w, value(w), 1.0
    while step > 1e-4:
        if value(w + step * direction) > before:
            return w + step * direction
        step /= 2
    return w
