"""What a training step is made of, in plain torch operations.

Each function serves any number of networks at once, whose tensors have the networks in
the first dimension. `_triton_ops` has the same functions as one kernel each, for CUDA.
The formulas are those of the compiled core: activations.hpp, losses.hpp, update.hpp and
groups.hpp.
"""

import math

import torch

from skreg._forms import (
    COUPLED,
    COUPLED_CONCAVE,
    DECOUPLED,
    PROXIMAL,
    PROXIMAL_CONCAVE,
)

# Arguments outside of this range are clipped by exp, as in vecmath.hpp.
_EXP_RANGE = {torch.float32: (-87.33655, 88.0), torch.float64: (-708.39642, 709.0)}
NEWTON_STEPS = 20  # at most, in the prox of a group


def exp(z):
    """e^z that neither overflows nor vanishes."""
    return z.clamp(*_EXP_RANGE[z.dtype]).exp()


# Rows --------------------------------------------------------------------------------


def gather(data, tables, batch):
    """Copy the rows of this step into the batch; those beyond `count` weigh nothing."""
    rows = _now(tables.rows, tables.step)
    count = _now(tables.count, tables.step)
    batch.x.copy_(data.X[rows])
    batch.y.copy_(data.y[rows])
    is_row = torch.arange(rows.shape[1], device=rows.device) < count[:, None]
    batch.s.copy_(is_row if data.s is None else is_row * data.s[rows])


def _now(table, step):
    """The entry of a table for this step."""
    return table.index_select(0, step)[0]


# Activations -------------------------------------------------------------------------


def unsupported(parameter, value):
    """The error where a row of a table of the package is not known here."""
    return ValueError(
        f"{parameter}={value!r} has not been written for PyTorch. Use device='cpu'."
    )


def activate(activation, z, bias, slope):
    """z <- phi(z + bias); `slope` receives phi' where it does not follow from phi."""
    z += bias[:, None]
    if activation == "logistic":
        z.sigmoid_()
    elif activation == "tanh":
        z.tanh_()
    elif activation == "relu":
        z.copy_(torch.where(z < 0, 0, z))  # NaN stays NaN, here and below
    elif activation == "leaky_relu":
        z.copy_(torch.where(z < 0, 0.01 * z, z))
    elif activation == "gelu":
        c = z.clamp(-40, 40)  # beyond, the limits are reached
        cdf = 0.5 * torch.erfc(c * -math.sqrt(0.5))
        slope.copy_(cdf + c * (2 * math.pi) ** -0.5 * torch.exp(-0.5 * c * c))
        z.copy_(torch.where(z < c, 0, z * cdf))
    elif activation == "silu":
        low, high = _EXP_RANGE[z.dtype]
        c = z.clamp(low, high)
        p = torch.sigmoid(c)
        slope.copy_(p * (1 + c * (1 - p)))
        z.copy_(torch.where(z < 2 * low, 0, z * p))
    elif activation != "identity":
        raise unsupported("activation", activation)


def activate_backward(activation, delta, a, slope, bias_grad):
    """delta <- delta * phi', and its column sums."""
    if activation == "logistic":
        delta *= a * (1 - a)
    elif activation == "tanh":
        delta *= 1 - a * a
    elif activation == "relu":
        delta *= a > 0
    elif activation == "leaky_relu":
        delta.copy_(torch.where(a > 0, delta, 0.01 * delta))
    elif activation in ("gelu", "silu"):
        delta *= slope
    bias_grad.copy_(delta.sum(1))


# Losses ------------------------------------------------------------------------------


def loss_and_delta(loss, f, bias, batch, streams, tables, total, bias_grad):
    """f <- scale * s * dl/df at f + bias, its column sums, and total += sum of s * l.

    Parameters
    ----------
    loss : Loss
    f : Tensor of shape (K, B, n_outputs)
    bias, bias_grad : Tensor of shape (K, n_outputs)
    batch : Batch
    streams : Tensor of shape (K,)
        Which rows of the batch each network reads.
    tables : Tables
    total : Tensor of shape (K,), float64
    """
    f += bias[:, None]
    y, s = batch.y[streams], batch.s[streams][:, :, None]
    scale = _now(tables.scale, tables.step)[streams][:, None, None]
    if loss.code >= len(_LOSSES):
        raise unsupported("loss", loss.name)
    value, derivative = _LOSSES[loss.code](f, y, loss.param)
    total += (value.double() * s.double()).sum((1, 2))
    f.copy_(scale * s * derivative)
    bias_grad.copy_(f.sum(1))


def _binary(f, y, _):
    e = exp(-f.abs())
    far = e / (1 + e)
    return (1 + e).log() + f.clamp_min(0) - y * f, torch.where(f < 0, far, 1 - far) - y


def _multinomial(f, y, _):
    y = y.long()
    f = f - f.amax(2, keepdim=True)
    e = exp(f)
    norm = e.sum(2, keepdim=True)
    derivative = e / norm
    derivative.scatter_add_(2, y, torch.full_like(y, -1, dtype=f.dtype))
    return norm.log() - f.gather(2, y), derivative


def _squared_error(f, y, _):
    return 0.5 * (f - y) ** 2, f - y


def _absolute_error(f, y, _):
    r = f - y
    return r.abs(), torch.where(r == r, r.sign(), r)


def _huber(f, y, threshold):
    r = f - y
    a = r.abs()
    value = torch.where(a <= threshold, 0.5 * r * r, threshold * (a - 0.5 * threshold))
    return value, torch.where(a > threshold, threshold * r.sign(), r)


def _quantile(f, y, q):
    r = y - f
    derivative = torch.where(r > 0, -q, torch.where(r < 0, 1 - q, r))
    return torch.where(r >= 0, q * r, (q - 1) * r), derivative


def _poisson(f, y, _):
    mean = exp(f)
    return mean - y * f.clamp_max(_EXP_RANGE[f.dtype][1]), mean - y


def _gamma(f, y, _):
    ratio = y * exp(-f)
    return ratio + f.clamp_min(-_EXP_RANGE[f.dtype][1]), 1 - ratio


_LOSSES = (  # in the order of Loss.code
    _binary,
    _multinomial,
    _squared_error,
    _absolute_error,
    _huber,
    _quantile,
    _poisson,
    _gamma,
)


# Update ------------------------------------------------------------------------------


def update(rule, state, tables):
    """One optimizer step of all networks that take part in this step.

    Parameters
    ----------
    rule : BatchedRule
    state : State
        theta and moments are updated in place; grad is scratch afterwards.
    tables : Tables
    """
    scalars = _now(tables.scalars, tables.step)
    for group in rule.groups:
        if group.slot in (COUPLED, DECOUPLED):
            groups_before(group, state, scalars)
    for part in rule.parts:
        _update_part(rule, part, state, scalars)
    for group in rule.groups:
        if group.slot == PROXIMAL:
            groups_after(rule, group, state, scalars)


def soft_threshold(w, t):
    """sign(w) (|w| - t)_+ : exactly 0 for |w| <= t."""
    return w - torch.minimum(torch.maximum(w, -t), t)


def _update_part(rule, part, state, scalars):
    """A block of parameters of the networks that have it in one slot."""
    here = part.members, slice(part.begin, part.end)
    w, g = part.lines(state.theta), part.lines(state.grad)
    old = w.clone()
    lr, move, tau, metric_scale, active = scalars[part.members].T[..., None, None]
    l1, l2, start, stop = part.strengths[..., None].unbind(2)
    if part.slot == COUPLED:
        g = g + (l1 * w.sign() + l2 * w)
    elif part.slot == COUPLED_CONCAVE:
        g = g + l1 * w.sign() * ((stop - w.abs()) / (stop - start)).clamp(0, 1)
    elif part.slot == DECOUPLED:
        w = soft_threshold((1 - lr * l2).clamp_min(0) * w, lr * l1)
    direction, metric = _direction(rule, part, state, g, metric_scale, active)
    if part.slot == PROXIMAL and metric is not None:
        u = metric * w - move * direction
        w = soft_threshold(u, tau * l1) / (metric + tau * l2)
    elif metric is not None:
        w = w - move * direction / metric
    else:
        w = w - move * direction
        if part.slot == PROXIMAL:
            w = soft_threshold(w, tau * l1) / (1 + tau * l2)
    if part.slot == PROXIMAL_CONCAVE:
        w = _concave_prox(w, tau * l1 / (1 if metric is None else metric), start, stop)
    state.theta[here] = torch.where(active > 0, w, old).flatten(1)


def _direction(rule, part, state, g, metric_scale, active):
    """(direction, diagonal metric or None) of the optimizer; its moments move on."""
    method, (momentum, beta_1, beta_2, new_1, new_2, epsilon) = rule.method, rule.hyper

    def move_on(moment, value):
        value = torch.where(active > 0, value, part.lines(moment))
        moment[part.members, part.begin : part.end] = value.flatten(1)
        return value

    if method in ("momentum", "nesterov"):
        first = move_on(state.first, momentum * part.lines(state.first) + g)
        return (first if method == "momentum" else g + momentum * first), None
    if method == "sgd":
        return g, None
    second = move_on(state.second, beta_2 * part.lines(state.second) + new_2 * g * g)
    metric = second.sqrt() * metric_scale + epsilon
    if method == "rmsprop":
        return g, metric
    if method != "adam":
        raise unsupported("solver", method)
    first = move_on(state.first, beta_1 * part.lines(state.first) + new_1 * g)
    return first, metric


def _concave_prox(u, t, start, stop):
    """Prox of a folded concave penalty at threshold t = step * l1; see update.hpp."""
    size = u.abs()
    soft = (size - t).clamp_min(0)
    room, ends = stop - start - t, start + stop
    ramp = size - t * (stop - size) / torch.where(room > 0, room, 1)
    convex = torch.where(size <= start + t, soft, torch.where(size < stop, ramp, size))
    jump = torch.where(t < ends, 0.5 * (ends + t), (ends * t).sqrt())
    folded = torch.where(size <= jump, soft, size)
    return u.sign() * torch.where(room > 0, convex, folded)


# Groups ------------------------------------------------------------------------------


def _lines(group, matrix):
    """(members, lines, entries) of the block of a group penalty."""
    W = matrix[group.members, group.begin : group.end].view(-1, *group.shape)
    return W if group.axis == 0 else W.transpose(1, 2)


def _sum(group, A):
    """Sum over the group of each line, of shape (members, lines, 1)."""
    sums = A.sum(2)
    if group.index is not None:
        of_group = sums.new_zeros(len(sums), group.n_groups)
        sums = of_group.index_add_(1, group.index, sums)[:, group.index]
    return sums[:, :, None]


def _write_lines(group, matrix, W, active):
    """Store lines of the networks that take part."""
    old = _lines(group, matrix)
    W = torch.where(active[:, None, None] > 0, W, old)
    W = W if group.axis == 0 else W.transpose(1, 2)
    matrix[group.members, group.begin : group.end] = W.reshape(len(W), -1)


def _shrink(group, W, step):
    """(1 - step kappa / ||w||)_+ w"""
    norm = _sum(group, W * W).sqrt()
    cut = step * group.kappa[:, :, None]
    return W * torch.where(norm > cut, 1 - cut / norm, 0)


def groups_before(group, state, scalars):
    """What a group penalty does before the optimizer's move."""
    lr, active = scalars[group.members][:, 0, None, None], scalars[group.members][:, 4]
    W = _lines(group, state.theta)
    if group.slot == DECOUPLED:
        W = soft_threshold(W, lr * group.l1[:, :, None])
        _write_lines(group, state.theta, _shrink(group, W, lr), active)
    else:
        norm = _sum(group, W * W).sqrt()
        factor = torch.where(norm > 0, group.kappa[:, :, None] / norm, 0)
        grad = _lines(group, state.grad) + factor * W
        _write_lines(group, state.grad, grad, active)


def groups_after(rule, group, state, scalars):
    """The prox after the move, in the optimizer's metric."""
    here = scalars[group.members]
    tau, metric_scale, active = here[:, 2], here[:, 3], here[:, 4]
    W, tau = _lines(group, state.theta), tau[:, None, None]
    if rule.is_adaptive:
        second = _lines(group, state.second)
        epsilon = rule.hyper[-1]
        t = 1 / (second.sqrt() * metric_scale[:, None, None] + epsilon)
        W = _metric_prox(group, W, t, tau * group.kappa[:, :, None])
    else:
        W = _shrink(group, W, tau)
    _write_lines(group, state.theta, W, active)


def _metric_prox(group, W, t, c):
    """argmin_Z sum (Z - W)^2 / (2 t) + c ||Z||, by the iteration of groups.hpp."""
    epsilon, least = torch.finfo(W.dtype).eps, torch.finfo(W.dtype).tiny
    weighted = W * W * t
    square = _sum(group, W * W)
    share = torch.where(square == 0, 0, c / square)
    s = (square.sqrt() - share * _sum(group, weighted)).clamp_min(0)
    is_close = 1.5 * c * share * _sum(group, weighted * t) <= epsilon * s * s
    is_open = (square > 0) & ~is_close
    for _ in range(NEWTON_STEPS):
        # A graph cannot look at values.
        if W.device.type == "cpu" and not is_open.any():
            break
        a = 1 / (s + c * t).clamp_min(least)
        q = (W * a) ** 2
        phi, psi = _sum(group, q), _sum(group, q * a)
        excess = phi.sqrt() - 1
        mean = torch.where(psi == 0, 0, phi / psi)
        new = (s + excess * mean).clamp_min(0)
        change = new / s - 1
        error = (1 - s / mean) * change * change
        is_open = (error > epsilon) & (excess.abs() > 8 * epsilon)
        s = new
    return W * s / (s + c * t).clamp_min(least)
