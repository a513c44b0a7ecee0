"""Slow, obviously right NumPy twins of the compiled core.

Nothing here is shared with the library: every formula is written out once, in float64,
for one array at a time. Parameters are a list of arrays, W_1..W_L and then b_1..b_L.
"""

from itertools import pairwise

import numpy as np
from scipy.special import expit, logsumexp, ndtr, softmax, xlogy

# phi(z) and phi'(z).
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (expit, lambda z: expit(z) * expit(-z)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.where(z > 0, 1.0, 0.0)),
    "leaky_relu": (
        lambda z: np.where(z > 0, z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
    ),
    "gelu": (
        lambda z: z * ndtr(z),
        lambda z: ndtr(z) + z * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi),
    ),
    "silu": (
        lambda z: z * expit(z),
        lambda z: expit(z) + z * expit(z) * expit(-z),
    ),
}


def multinomial_loss(y, f, _):
    """logsumexp(f) - f_y, with y of shape (n, 1) holding class indices."""
    one_hot = (y == np.arange(f.shape[1])).astype(float)
    value = logsumexp(f, axis=1, keepdims=True) - (one_hot * f).sum(axis=1)[:, None]
    return value, softmax(f, axis=1) - one_hot


def huber_loss(y, f, threshold):
    r = f - y
    near = np.abs(r) <= threshold
    value = np.where(near, r**2 / 2, threshold * (np.abs(r) - threshold / 2))
    return value, np.where(near, r, threshold * np.sign(r))


# l(y, f) and dl/df of a third argument, the loss's parameter.
LOSSES = {
    "binary": lambda y, f, _: (np.logaddexp(0, f) - y * f, expit(f) - y),
    "multiclass": multinomial_loss,
    "squared_error": lambda y, f, _: ((y - f) ** 2 / 2, f - y),
    "absolute_error": lambda y, f, _: (np.abs(y - f), np.sign(f - y)),
    "huber": huber_loss,
    "quantile": lambda y, f, q: (
        np.maximum(q * (y - f), (q - 1) * (y - f)),
        np.where(y > f, -q, 1 - q),
    ),
    "poisson": lambda y, f, _: (
        xlogy(y, y) - y * f - y + np.exp(f),
        np.exp(f) - y,
    ),
    "gamma": lambda y, f, _: (
        y / np.exp(f) - 1 - np.log(y) + f,
        1 - y / np.exp(f),
    ),
}


def forward(params, X, activation):
    """Return the inputs A_0..A_(L-1) and the sums Z_1..Z_L of all layers."""
    n_layers = len(params) // 2
    phi = ACTIVATIONS[activation][0]
    inputs, sums = [np.asarray(X, float)], []
    for W, b in zip(params[:n_layers], params[n_layers:]):
        sums.append(inputs[-1] @ W + b)
        inputs.append(phi(sums[-1]))
    return inputs[:-1], sums


def loss_and_gradient(params, X, y, weight, *, activation, loss, loss_parameter=0.0):
    """Return sum_i weight_i l(y_i, f(x_i)) and its gradient, a list like params."""
    n_layers = len(params) // 2
    slope = ACTIVATIONS[activation][1]
    inputs, sums = forward(params, X, activation)
    value, delta = LOSSES[loss](y, sums[-1], loss_parameter)
    delta = weight[:, None] * delta
    grads = [None] * len(params)
    for layer in reversed(range(n_layers)):
        grads[layer] = inputs[layer].T @ delta
        grads[n_layers + layer] = delta.sum(axis=0)
        if layer > 0:
            delta = (delta @ params[layer].T) * slope(sums[layer - 1])
    return float(weight @ value.sum(axis=1)), grads


def soft_threshold(u, t):
    return np.sign(u) * np.maximum(np.abs(u) - t, 0)


def subgradient(w, l1, l2):
    """Of the penalty l1 |w| + l2 / 2 w^2."""
    return l1 * np.sign(w) + l2 * w


def shrink(w, lr, l1, l2):
    """Decoupled decay: first the ridge part, then the soft threshold."""
    return soft_threshold(max(1 - lr * l2, 0) * w, lr * l1)


def prox(u, t, l1, l2):
    return soft_threshold(u, t * l1) / (1 + t * l2)


def optimizer_move(method, g, state, lr, t, hyper):
    """Return (move, metric D, step tau) of one step; `state` is updated.

    The weights change by -move, and tau / D is the step with which a proximal penalty
    acts: lr / (1 - momentum), with D = 1, for heavy-ball momentum.
    """
    if method == "sgd":
        return lr * g, 1.0, lr
    if method in ("momentum", "nesterov"):
        mu = hyper["momentum"]
        state["b"] = b = mu * state.get("b", 0.0) + g
        direction = b if method == "momentum" else g + mu * b
        return lr * direction, 1.0, lr / (1 - mu)
    if method == "rmsprop":
        rho = hyper["rho"]
        state["v"] = v = rho * state.get("v", 0.0) + (1 - rho) * g**2
        D = np.sqrt(v) + hyper["epsilon"]
        return lr * g / D, D, lr
    if method == "adam":
        beta_1, beta_2 = hyper["beta_1"], hyper["beta_2"]
        state["m"] = m = beta_1 * state.get("m", 0.0) + (1 - beta_1) * g
        state["v"] = v = beta_2 * state.get("v", 0.0) + (1 - beta_2) * g**2
        m_hat, v_hat = m / (1 - beta_1**t), v / (1 - beta_2**t)
        D = np.sqrt(v_hat) + hyper["epsilon"]
        return lr * m_hat / D, D, lr
    raise ValueError(method)


def step(method, mode, w, g, state, lr, t, hyper, l1, l2):
    """Return w after step number t (from 1) with data gradient g."""
    if mode == "coupled":
        g = g + subgradient(w, l1, l2)
    move, D, tau = optimizer_move(method, g, state, lr, t, hyper)
    if mode == "decoupled":
        return shrink(w, lr, l1, l2) - move
    if mode == "proximal":
        return prox(w - move, tau / D, l1, l2)
    return w - move


def strengths(penalty, lam, l1_ratio):
    """(l1, l2) of a penalty by name, for l1 |w| + l2 / 2 w^2."""
    share = {None: (0, 0), "l1": (1, 0), "l2": (0, 1)}
    share["elasticnet"] = (l1_ratio, 1 - l1_ratio)
    l1, l2 = share[penalty]
    return lam * l1, lam * l2


def initial_params(rng, units, activation):
    """Glorot's uniform distribution, layer by layer: weights, then intercepts."""
    coefs, intercepts = [], []
    for n_in, n_out in pairwise(units):
        bound = np.sqrt((2 if activation == "logistic" else 6) / (n_in + n_out))
        coefs.append(rng.uniform(-bound, bound, (n_in, n_out)))
        intercepts.append(rng.uniform(-bound, bound, n_out))
    return coefs + intercepts


def shuffled_batches(rng, n_samples, batch_size, n_epochs):
    """Yield (epoch, rows) of each mini-batch; one array is shuffled over and over."""
    order = np.arange(n_samples)
    for epoch in range(n_epochs):
        rng.shuffle(order)
        for start in range(0, n_samples, batch_size):
            yield epoch, order[start : start + batch_size].copy()


def fit(
    params,
    X,
    y,
    sample_weight,
    *,
    batches,
    rates,
    method,
    modes,
    penalties,
    hyper,
    activation,
    loss,
    loss_parameter=0.0,
):
    """Train on given batches of rows with given rates, one of each per step.

    `modes` and `penalties` hold one entry per array of params, the latter (l1, l2).
    """
    params = [np.array(p, float) for p in params]
    states = [{} for _ in params]
    n = len(X)
    for t, (rows, lr) in enumerate(zip(batches, rates, strict=True), start=1):
        weight = n / (len(rows) * sample_weight.sum()) * sample_weight[rows]
        grads = loss_and_gradient(
            params,
            X[rows],
            y[rows],
            weight,
            activation=activation,
            loss=loss,
            loss_parameter=loss_parameter,
        )[1]
        for k, (w, g) in enumerate(zip(params, grads)):
            params[k] = step(
                method, modes[k], w, g, states[k], lr, t, hyper, *penalties[k]
            )
    return params
