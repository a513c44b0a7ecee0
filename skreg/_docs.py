"""Docstrings of the estimators: what several of them share is written once, here.

Each class says in its own docstring what it is, with an example, which editors show.
`documented` adds the sections between these: four estimators share most parameters, and
descriptions that are written once cannot disagree.
"""

from collections.abc import Callable
from inspect import cleandoc
from typing import TypeVar

Class = TypeVar("Class", bound=type)


def documented(
    *,
    parameters: dict[str, str],
    attributes: dict[str, str],
    see_also: str,
    notes: str,
    references: str = "",
) -> Callable[[Class], Class]:
    """Decorator that completes the docstring of a class: summary and examples.

    Parameters
    ----------
    parameters, attributes : dict
        Entries of these sections by name, in their order.
    see_also, notes, references : str
        Bodies of these sections.
    """
    sections = {
        "Parameters": "\n".join(parameters.values()),
        "Attributes": "\n".join(attributes.values()),
        "See Also": see_also,
        "Notes": notes,
        "References": references,
    }
    body = "\n\n".join(
        f"{title}\n{'-' * len(title)}\n{text}"
        for title, text in sections.items()
        if text
    )

    def complete(cls: Class) -> Class:
        if cls.__doc__ is not None:  # it is under python -OO
            summary, title, examples = cleandoc(cls.__doc__).partition("Examples\n")
            cls.__doc__ = f"{summary}{_OBJECTIVE}\n\n{body}\n\n{title}{examples}\n"
        return cls

    return complete


def _entries(text):
    """Entries of a section by name: each begins with a line that is not indented."""
    entries = {}
    for line in text.splitlines():
        if not line.startswith(" "):
            name = line.partition(" :")[0]
            entries[name] = line
        else:
            entries[name] += f"\n{line}"
    return entries


_OBJECTIVE = """\
Minimizes, over weight matrices W_l of shape (n_in, n_out) and intercepts b_l,

    J(W, b) = 1 / sum(s) * sum_i s_i l(y_i, f(x_i)) + sum_l lambda_l Omega_l(W_l)

with sample weights s. lambda (`reg_lambda`) means the same for every solver, batch
size, sample size and scale of the sample weights: the data term is a mean, and the
penalty enters every step at full strength."""

# Networks ----------------------------------------------------------------------------

# What is minimized; parameters of the task come next.
_MODEL = """\
hidden_layer_sizes : int or sequence of int >= 1, default=(100,)
    Units of each hidden layer; ``()`` is a generalized linear model.
activation : {"identity", "logistic", "tanh", "relu", "leaky_relu", "gelu", "silu"}, \
default="relu"
    Of the hidden layers. leaky_relu has slope 0.01; gelu is exact.
penalty : None, str, Penalty or sequence of these, default="l2"
    Omega. "l2": ``sum w^2 / 2``; "l1": ``sum |w|``; "elasticnet": ``r * l1 + (1 - r) *
    l2`` with r = `l1_ratio`; "group_lasso": the sum over the rows of W_l of
    ``sqrt(n_out) * norm``, so that whole inputs and units vanish; "sparse_group_lasso":
    ``r * l1 + (1 - r) * group_lasso``. A `skreg.penalties.Penalty` gives more. A
    sequence holds one penalty per layer.
reg_lambda : float >= 0 or sequence of float, default=1e-4
    lambda, one value or one per layer.
l1_ratio : float in [0, 1], default=0.5
    r of "elasticnet" and "sparse_group_lasso".
decay_mode : {"auto", "coupled", "decoupled", "proximal"}, default="auto"
    Where the penalty acts in an update. "coupled": added to the gradient, before the
    optimizer's statistics. "decoupled": shrinks the weights by ``learning_rate *
    lambda`` outside the statistics (SGDW, AdamW; soft threshold for l1).
    "proximal": prox after the move, in the optimizer's metric, which gives exact
    zeros. "auto": coupled for smooth penalties, proximal for nonsmooth ones; both
    minimize J, decoupled does so only with plain SGD. With momentum mu, the fixed point
    of decoupled decay is the one of ``lambda * (1 - mu)``.
penalize_intercepts : bool, default=False
    Whether the penalty of a layer also acts on its intercepts."""

_CLASS_WEIGHT = """\
class_weight : dict, "balanced" or None, default=None
    Weights of the classes, multiplied with the sample weights in the data term."""

_LOSS = """\
loss : {"squared_error", "absolute_error", "huber", "quantile", "poisson", "gamma"}, \
default="squared_error"
    Data loss l, summed over outputs: ``(y - f)^2 / 2``; ``|y - f|``; Huber's with
    threshold 1 in units of y; pinball at `quantile`; half the Poisson or Gamma deviance
    of e^f. absolute_error and quantile have a kink and need a mini-batch solver.
quantile : float in [0, 1], default=0.5
    Level of ``loss="quantile"``."""

# How it is minimized.
_TRAINING = """\
solver : {"sgd", "rmsprop", "adam", "lbfgs"}, default="adam"
    "adam", "rmsprop" and "sgd" train on mini-batches. "lbfgs" is deterministic and
    works in float64 on all data at once: a proximal quasi-Newton method for every
    penalty, the choice for small and medium data.
learning_rate_init : float > 0, default=0.001
    Learning rate, at the start where a schedule changes it. Not for lbfgs.
learning_rate : {"constant", "invscaling", "adaptive", "cosine"}, default="constant"
    Schedule. "invscaling": ``learning_rate_init / (t_ + 1) ** power_t`` per epoch.
    "adaptive": divided by 5 whenever improvement ceases, until below 1e-6. "cosine":
    from `learning_rate_init` to 0 over `max_iter` epochs, step by step. Not for lbfgs.
power_t : float >= 0, default=0.5
    Exponent of "invscaling".
momentum : float in [0, 1), default=0.9
    mu of ``b <- mu b + g, w <- w - learning_rate * b``. For sgd.
nesterovs_momentum : bool, default=True
    Use g + mu b in place of b. For sgd with momentum > 0.
beta_1 : float in [0, 1), default=0.9
    Decay rate of Adam's first moment.
beta_2 : float in [0, 1), default=0.999
    Decay rate of Adam's second moment.
rho : float in [0, 1), default=0.9
    Decay rate of RMSProp's second moment.
epsilon : float > 0, default=1e-8
    Added to the square root of the second moment, for adam (after bias correction) and
    rmsprop.
batch_size : int >= 1 or "auto", default="auto"
    Samples per step; "auto" is min(200, n_samples). Not for lbfgs.
max_iter : int >= 1, default=200
    Epochs, or iterations of lbfgs.
max_fun : int >= 1, default=15000
    Evaluations of the objective. For lbfgs.
tol : float >= 0, default=1e-4
    Mini-batch solvers: smallest improvement of the objective (or validation score) that
    counts. lbfgs: bound on `optimality_`; it also stops where J falls by less than
    ``tol ** 2`` of itself in 10 iterations. A watched loss has to improve by `tol`
    times the loss of a constant there.
shuffle : bool, default=True
    Whether to shuffle the samples in each epoch. Not for lbfgs.
random_state : int, RandomState or None, default=None
    Draws initial weights, validation split and shuffles, in that order; one seed gives
    one network, whatever the number of threads or jobs. lbfgs takes the weights as
    those of standardized inputs and targets, and starts at the mean target. None takes
    a seed from NumPy's global generator.
early_stopping : bool, default=False
    Stop when a validation score has not improved by `tol` for `n_iter_no_change`
    epochs, and keep the network of the best score. R2 cannot tell networks apart on
    validation targets that are constant: there minus the data loss is watched, and if
    other targets vary, a warning says so.
validation_fraction : float in (0, 1), default=0.1
    Share of the samples that are held out, unless `fit` is given X_val and y_val. They
    are drawn as in scikit-learn, two classes with their shares. A weighted sample is
    drawn as one; one of weight 0 is left out.
n_iter_no_change : int >= 1 or np.inf, default=10
    Epochs without improvement after which training ends. lbfgs: iterations, with
    `early_stopping` only.
ema : float in [0, 1), default=0.0
    Decay per epoch of an exponential moving average of the weights, which predicts in
    their place and is what `early_stopping` watches and keeps; ``ema=0.9`` averages
    over about 10 epochs. The first epoch starts it. Weights that are 0 after the last
    epoch are 0 in the network, too. Training does not see the average, and warm starts
    and `partial_fit` go on with both; after early stopping a warm start begins at the
    network that is kept, with a new average. Not for lbfgs.
scoring : None, "loss", str or callable, default=None
    Validation score: `score`, minus the data loss, or any scikit-learn scorer.
warm_start : bool, default=False
    Whether `fit` starts from the fitted weights and the state of the optimizer.
verbose : bool or int, default=False
    1 prints lines of epochs 1 to 10, then 20, 30, ..., 100, 200, ..., and why training
    ends; 2 a line per epoch.
device : str, default="cpu"
    Where to train: "cpu" is the compiled core; "cuda", "cuda:1", or any device of
    PyTorch as "torch:cpu", runs on PyTorch, with the same weights up to `precision`.
    See :ref:`devices`. Predictions of many rows are computed there, too.
precision : {"exact", "tf32"}, default="exact"
    Of products of float32 matrices where mini-batches train on CUDA; all else is exact.
    "tf32" rounds what is multiplied to 10 bits of mantissa, as tensor cores do in half
    the time of large networks: weights differ in their third digit. See :ref:`devices`.
n_jobs : int or None, default=None
    Threads of one fit and of its predictions, on which no result depends, bit by bit.
    None: the physical cores, within the affinity of the process, the quota of its
    cgroup and OMP_NUM_THREADS; one inside workers of joblib. -1: all processors. Steps
    below about 100 microseconds use one thread whatever is asked for, and so do
    processors without AVX2."""

_WEIGHTS = """\
coefs_ : list of ndarray of shape (n_in, n_out)
    Weight matrices.
intercepts_ : list of ndarray of shape (n_out,)
    Intercepts.
coef_, intercept_ : ndarray, or float for `intercept_`
    The same in the shapes of scikit-learn's linear models; only with
    ``hidden_layer_sizes=()``."""

_CLASSES = """\
classes_ : ndarray of shape (n_classes,)
    Class labels; for multilabel, the column numbers."""

_RECORD = """\
n_iter_ : int
    Epochs or iterations of the last call.
t_ : int
    Training samples seen, counted over all epochs.
loss_ : float
    Objective J of the last epoch; last entry of `loss_curve_`. With `ema`, this and the
    curves are of the weights that train, and `validation_scores_` of their average.
best_loss_ : float or None
    Smallest J; None with early stopping.
loss_curve_ : list of float
    J per epoch: `data_loss_curve_` plus `penalty_curve_`. Continued by warm starts.
data_loss_curve_ : list of float
    Data term per epoch, a mean over batches each taken just before its step; for lbfgs,
    at the iterate.
penalty_curve_ : list of float
    Penalty term at the start of each epoch; for lbfgs, at the iterate.
validation_scores_ : list of float or None
    Score per epoch, with early stopping.
best_validation_score_ : float or None
    Score of the network that is kept, with early stopping.
decay_mode_ : str or list of str
    Resolved `decay_mode`, per layer where layers differ.
optimality_ : float or None
    lbfgs: largest violation of the first-order optimality conditions of J, in units of
    the largest gradient entry at a constant network: the initial one, with no weights
    in the last layer and the mean target as prediction. Both are taken as if X and y
    were standardized. It is of the last iterate, which early stopping may not keep.
    None for other solvers.
fitted_ : Fitted
    The fitted network as one value, of which the other attributes are readings.
n_layers_ : int
    Layers, input and output included.
n_outputs_ : int
    Output units.
out_activation_ : {"identity", "logistic", "softmax", "exp"}
    Output activation.
n_features_in_ : int
    Inputs.
feature_names_in_ : ndarray of shape (n_features,)
    Names of the inputs, where X had string column names.
selected_features_ : ndarray of bool, shape (n_features,)
    Inputs in use: those from which a path of non-zero weights leads to an output.
feature_importances_ : ndarray of shape (n_features,)
    Euclidean norm of the weights that lead from each input to units in use; 0 for an
    input that is not selected.
sparsity_ : ndarray of shape (n_hidden_layers + 1,)
    Share of exact zeros in each weight matrix."""

_SEE_ALSO = """\
skreg.penalties : Penalties as objects.
skreg.convert_lambda : lambda in the conventions of other libraries."""

_NOTES = """\
A mini-batch B estimates the data term by ``n / (|B| sum(s)) * sum_B s_i l_i``, which
is unbiased and not divided by the weights of the batch. Small networks are best fitted
several at once (``n_jobs`` of the model selection tools); the core releases the GIL.
Adam is that of [1]_, decoupled decay that of [2]_, the prox in the metric of an
optimizer that of [3]_, and the average of weights that of [4]_."""

_REFERENCES = """\
.. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015,
   algorithm 1.
.. [2] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019,
   algorithms 1 and 2.
.. [3] J. Yun, A. C. Lozano and E. Yang, "Adaptive proximal gradient methods for
   structured neural networks", NeurIPS 2021, algorithm 1.
.. [4] B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by
   averaging", SIAM J. Control Optim. 30(4), 1992; here exponential, per epoch."""

CLASSIFIER = {
    "parameters": _entries(_MODEL) | _entries(_CLASS_WEIGHT) | _entries(_TRAINING),
    "attributes": _entries(_WEIGHTS) | _entries(_CLASSES) | _entries(_RECORD),
    "see_also": f"RegMLPRegressor : The same for real targets.\n{_SEE_ALSO}",
    "notes": _NOTES,
    "references": _REFERENCES,
}
REGRESSOR = {
    "parameters": _entries(_MODEL) | _entries(_LOSS) | _entries(_TRAINING),
    "attributes": _entries(_WEIGHTS) | _entries(_RECORD),
    "see_also": f"RegMLPClassifier : The same for class labels.\n{_SEE_ALSO}",
    "notes": _NOTES,
    "references": _REFERENCES,
}

# Cross-validation --------------------------------------------------------------------

# Parameters of the network that the search sets itself or has no use for.
_LEFT_OUT = {"reg_lambda", "warm_start", "n_jobs"}

_OWN_PARAMETERS = """\
precision : {"exact", "tf32"}, default="tf32"
    Of products of float32 matrices where mini-batches train on CUDA from cold starts;
    all else is exact. "tf32" rounds what is multiplied to 10 bits of mantissa, as
    tensor cores do in half the time of large networks: weights differ in their third
    digit. Lambdas whose scores are close to the best are trained again in float32, and
    so is the choice. See :ref:`devices`.
param_grid : None, "auto", dict or list of dict, default=None
    Parameters of the network to choose as well, with GridSearchCV's meaning: lists of
    values by name (``penalty__gamma`` included), each combination with its own path of
    lambda. "auto": a portfolio of five to seven networks with 10 lambdas each, in
    standard units inside (see Notes); for prediction, best with ``refit="stack"``.
reg_lambdas : int >= 2, array-like of float >= 0 or None, default=None
    The grid. An int is the number of values of an automatic one, as in `reg_mlp_path`;
    with hidden layers its upper end, and with it the number, depend on the data. It is
    extended at the end where the best lambda lies, as long as that improves the score.
    None is 20, with "auto" 10. With ``start="cold"`` also a table of shape (n_lambdas,
    n_layers), strengths layer by layer; "largest" is then by the mean over layers.
eps : float in (0, 1) or None, default=None
    Length of the automatic grid: its smallest lambda as a share of lambda_ref. None is
    1e-3, with "auto" 1e-4.
cv : int, splitter, iterable, "loo" or None, default=None
    Folds, as in scikit-learn; None is 5. With "auto", None is 5 shuffled folds, which
    keep `groups` together. "loo": leave-one-out, approximated by a Newton step from the
    network on all rows, without a fit on folds; for lbfgs, ``scoring="loss"`` and
    penalties of all layers that make zeros. Networks with more than a third of a degree
    of freedom per row, with a row that alone decides its prediction, or with 3000
    weights have no score (NaN).
n_jobs : int or None, default=None
    Threads that share folds and candidates, as in joblib; where there are more cores
    than these, or None, also threads inside of each. The results do not depend on it.
selection : {"best", "1se"}, default="best"
    "best": the lambda of the best mean score, the largest one of equals; "1se": the
    largest one, of the same candidate, whose mean score is within one standard error
    of it, for the simplest network that is not clearly worse.
start : {"warm", "cold"}, default="warm"
    Whether each network of a path starts from the one before, or all from the same
    initial weights, as in GridSearchCV. On a GPU, "cold" is far faster: all folds and
    lambdas of one architecture train together, see :ref:`devices`.
max_features : int >= 1 or None, default=None
    Choose the best network with at most this many inputs, k. A path of short fits
    selects them, with the penalty of the network if that removes inputs, else a group
    lasso: of the sparsest network on that path with at least k inputs, the k inputs
    with the largest weights are kept. On them a new network is chosen and fitted: from
    `param_grid`, or, where that is None, this network with penalties l2 and l1 and
    those of "auto". Each fold selects its own inputs, so that scores are honest; the
    network on all rows has those on which the folds agree most.
adaptive : float in [0, 20] or sequence of them, default=0.0
    Exponent gamma of adaptive factors ([1]_; of networks, [2]_), by which a sparse
    penalty keeps fewer inputs; 0 is none, several are candidates. In a
    pilot network, input j has outgoing weights of norm r_j, in units of the largest
    one; its factor in the penalty of the first layer is
    ``((r_j + 0.001) / 1.001)^-gamma``, times the one that it has there. Inputs that
    form a group share the root mean square of their r_j. Pilots are networks on the
    paths without these factors, at the least lambda whose mean score is within a
    standard error of the best: they shall not miss an input. Each fold has one of its
    own training rows, the final network one of all rows. Not with `max_features` or
    "auto".
refit : bool, "folds" or "stack", default=True
    True: fit the chosen network on all data, along the whole path, from which the one
    at the chosen lambda is taken. "folds": predict the mean of the networks of the
    folds at the choice, without training again. "stack": of the networks of all
    candidates and lambdas, with weights of the least out-of-fold loss (squared error
    or log-loss); a mean of probabilities is then sharpened by one factor of log-odds
    (the inverse of a temperature), if that lowers the loss. False: scores alone."""

_SCORING = """\
scoring : None, "loss", str or callable, default=None
    By what the choice is made, and what `score` computes: accuracy or R2, minus the
    data loss, or any scikit-learn scorer. Also the validation score of
    `early_stopping`. With ``param_grid="auto"``, None chooses by the loss."""

_VERBOSE = """\
verbose : bool or int, default=False
    Whether to print a line for each path that is done."""

_OWN_ATTRIBUTES = """\
best_params_ : dict
    The choice: values from `param_grid`, `reg_lambda`, and, unless that is 0 alone,
    `adaptive`; the factors are in the `penalty` of `best_estimator_`. With "auto", also
    `max_features` where the choice does not read all inputs.
reg_lambda_ : float or tuple of float
    The chosen lambda, or one per layer from a table. With "auto", in standard units.
best_score_ : float
    Mean score of the choice over the folds. With "auto", losses of regressors are in
    standard units.
best_index_ : int
    Row of the choice in `cv_results_`.
cv_results_ : dict of ndarray
    The columns of GridSearchCV, one row per candidate and lambda, and ``n_features``
    and ``n_units``, the mean numbers over the folds. With ``cv="loo"`` the columns of
    single splits are left out, as there is one split per row of X. Times are processor
    times in seconds, that of a path shared equally by its networks.
reg_lambdas_ : ndarray of shape (n_lambdas,) or (n_lambdas, n_layers)
    The grid of the chosen candidate, in the order of the path: increasing with hidden
    layers, else decreasing; that of a table.
scores_, train_scores_ : ndarray of shape (n_folds, n_lambdas)
    Its scores on the rows held out of each fold, and on those trained on.
mean_scores_, std_errors_ : ndarray of shape (n_lambdas,)
    Mean of `scores_` over the folds, and its standard error.
race_ : dict
    With "auto": each candidate's loss above the best (``difference``), its standard
    error (``error``), whether it was ``dropped``, and ``n_rows`` that raced.
estimators_ : list of networks
    The networks of the folds at the choice; with ``refit="stack"``, for each fold those
    that have weight. Unless ``refit=False``, as `folds_` and `oof_predictions_`.
folds_ : Ensemble
    The same as one value, with ``weights`` and ``folds`` of the networks, and the
    ``sharpness`` of a stack.
oof_predictions_ : ndarray of shape (n_samples,) or (n_samples, n_columns)
    Mean prediction of each row by networks that have not seen it: probabilities, or
    values; NaN for rows that are in no fold.
oof_residuals_, oof_folds_ : ndarray of shape (n_pairs, n_outputs), (n_pairs,)
    Of regressors: absolute errors of these predictions, fold by fold, and the folds.
path_ : RegMLPPath
    Networks along the grid on all data; see `reg_mlp_path`. With ``refit=True``, as
    `best_estimator_`, and the attributes below that describe one network.
best_estimator_ : RegMLPClassifier or RegMLPRegressor
    The fitted network alone."""

_SEARCH_NOTES = """\
Each fold is a path of warm starts, see `reg_mlp_path`, with one seed for all. The
network is the one at the chosen lambda of the path on all data; with lbfgs and hidden
layers, fitted from there to the full tolerance. Its curves start where the fit at that
lambda has started, on the path, and go on through the second fit; `n_iter_` counts
both, and `path_.n_iter` all that the path has spent there. Folds run in threads with
one BLAS thread each. A piece by which a grid is extended is a path of its own.

``param_grid="auto"`` compares, in inputs and targets of mean 0 and variance 1 (sparse
inputs are not centered; the result is that of the data as they are):

====  ==============  ========  =======  ===================================
      hidden layers   units     penalty  solver
====  ==============  ========  =======  ===================================
1     (64, 64)        silu      l1       adam, batches of 32, rate 3e-3, 60
                                         epochs; not below 100 rows
2     (64, 64)        relu      l1       the same
3     (32,) or (16,)  tanh      l2       lbfgs; 32 units for classes
4     ()                        l2       lbfgs
5     ()                        l1       lbfgs
6, 7  (64, 64)        silu      l1       as 1, on some inputs
====  ==============  ========  =======  ===================================

The last two are there where X has at least 20 columns, and as many as the root of the
number of rows, but at most 10 per row: they read that many inputs (at most half of
all), and half as many, which are selected as by `max_features`, in each fold its own.

After the first fold it drops candidates whose loss on the held-out rows, each at its
best lambda, exceeds the best one's by more than 2 standard errors of the paired
difference, and of the last two the worse one. With more than 5000 rows, the race is on
all folds of 5000 of them, spread as the targets are, and what is left of it is fitted
to all rows at the 5 lambdas around its best. Losses with a kink have adam for all."""


_SEARCH_REFERENCES = """\
.. [1] H. Zou, "The adaptive lasso and its oracle properties", J. Am. Stat. Assoc.
   101(476), 2006.
.. [2] V. C. Dinh and L. S. Ho, "Consistent feature selection for analytic deep neural
   networks", NeurIPS 2020."""


def of_search(network, name):
    """Sections of a search, for `documented`.

    Parameters
    ----------
    network : dict
        Sections of the network whose lambda is chosen.
    name : str
        Its class.
    """
    parameters = network["parameters"] | _entries(_SCORING) | _entries(_VERBOSE)
    for left_out in _LEFT_OUT:
        del parameters[left_out]
    return {
        "parameters": parameters | _entries(_OWN_PARAMETERS),
        "attributes": _entries(_OWN_ATTRIBUTES) | network["attributes"],
        "see_also": f"{name} : The network with a given lambda.\n"
        "reg_mlp_path : The path alone.",
        "notes": _SEARCH_NOTES,
        "references": _SEARCH_REFERENCES,
    }
