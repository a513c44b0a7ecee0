"""The functions of `_torch_ops` as one Triton kernel each, for CUDA.

The formulas are the same; a program works on a tile of one network. Products of
matrices are torch's. Import this module where there is a GPU: it needs triton.
"""

import numpy as np
import torch
import triton
import triton.language as tl

from skreg._engines import _torch_ops
from skreg._forms import COUPLED, DECOUPLED, PROXIMAL
from skreg._network import ACTIVATIONS

_CHUNK = 1024  # parameters per program of the update
_TILE = 2048  # entries per program elsewhere
_LONGEST_LINE = 4096  # of a group that a program holds in registers
_SQRT_TWO_PI = tl.constexpr(2.5066282746310002)

_METHODS = {"sgd": 0, "momentum": 1, "nesterov": 2, "rmsprop": 3, "adam": 4}


# Elementary functions ----------------------------------------------------------------


@triton.jit
def _exp(z):
    if z.dtype == tl.float64:
        z = tl.where(z < -708.39642, -708.39642, tl.where(z > 709.0, 709.0, z))
    else:
        z = tl.where(z < -87.33655, -87.33655, tl.where(z > 88.0, 88.0, z))
    return tl.exp(z)


@triton.jit
def _sign(x):
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, 0.0)).to(x.dtype)


@triton.jit
def _soft_threshold(x, t):
    return x - tl.where(x > t, t, tl.where(x < -t, -t, x))


@triton.jit
def _tanh(x):
    e = tl.exp(-2.0 * tl.abs(x))
    return _sign(x) * (1.0 - e) / (1.0 + e)


# Rows --------------------------------------------------------------------------------


@triton.jit
def _gather(
    X, y, s, rows, count, step, x_out, y_out, s_out, n_streams, size, n_inputs,
    n_targets, x_row, HAS_WEIGHTS: tl.constexpr, TARGETS: tl.constexpr,
    TILE: tl.constexpr,
):  # fmt: skip
    place = tl.program_id(0).to(tl.int64)  # of the row in the batches of all streams
    now = tl.load(step) * n_streams + place // size
    row = tl.load(rows + tl.load(step) * n_streams * size + place)
    for begin in range(0, n_inputs, TILE):
        col = begin + tl.arange(0, TILE)
        inside = col < n_inputs
        x = tl.load(X + row * n_inputs + col, inside)
        tl.store(x_out + place * x_row + col, x.to(x_out.dtype.element_ty), inside)
    target = tl.arange(0, TARGETS)
    value = tl.load(y + row * n_targets + target, target < n_targets)
    tl.store(y_out + place * n_targets + target, value, target < n_targets)
    weight = (place % size < tl.load(count + now)).to(s_out.dtype.element_ty)
    if HAS_WEIGHTS:
        weight *= tl.load(s + row)
    tl.store(s_out + place, weight)


def gather(data, tables, batch):
    n_streams, size, n_inputs = batch.x.shape
    n_targets = batch.y.shape[2]
    _gather[(n_streams * size,)](
        data.X,
        data.y,
        data.s,
        tables.rows,
        tables.count,
        tables.step,
        batch.x,
        batch.y,
        batch.s,
        n_streams,
        size,
        n_inputs,
        n_targets,
        batch.x.stride(1),
        HAS_WEIGHTS=data.s is not None,
        TARGETS=triton.next_power_of_2(n_targets),
        TILE=min(1024, triton.next_power_of_2(n_inputs)),
    )


# Activations -------------------------------------------------------------------------


@triton.jit
def _activate(
    z, bias, slope, n_rows, n_cols, z_network, z_row, bias_network,
    LOGISTIC: tl.constexpr, TANH: tl.constexpr, RELU: tl.constexpr,
    LEAKY_RELU: tl.constexpr, GELU: tl.constexpr, SILU: tl.constexpr,
    ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    col = tl.program_id(1) * COLS + tl.arange(0, COLS)[None, :]
    inside = (row < n_rows) & (col < n_cols)
    at = k * z_network + row * z_row + col
    v = tl.load(z + at, inside)
    v += tl.load(bias + k * bias_network + col, col < n_cols)
    if LOGISTIC:
        v = 1.0 / (1.0 + _exp(-v))
    if TANH:
        v = _tanh(v)
    if RELU:
        v = tl.where(v < 0, 0.0, v)
    if LEAKY_RELU:
        v = tl.where(v < 0, 0.01 * v, v)
    if GELU:
        c = tl.where(v < -40.0, -40.0, tl.where(v > 40.0, 40.0, v))
        cdf = 0.5 * (1.0 + tl.erf(c * 0.7071067811865476))
        tl.store(slope + at, cdf + c * tl.exp(-0.5 * c * c) / _SQRT_TWO_PI, inside)
        v = tl.where(v < c, 0.0, v * cdf)
    if SILU:
        p = 1.0 / (1.0 + _exp(-v))
        tl.store(slope + at, p * (1.0 + v * (1.0 - p)), inside)
        v = v * p
    tl.store(z + at, v, inside)


def _tile(n_cols):
    cols = min(128, triton.next_power_of_2(n_cols))
    return _TILE // cols, cols


def _flags(activation):
    return {name.upper(): activation == name for name in ACTIVATIONS[1:]}


def activate(activation, z, bias, slope):
    n_networks, n_rows, n_cols = z.shape
    rows, cols = _tile(n_cols)
    grid = triton.cdiv(n_rows, rows), triton.cdiv(n_cols, cols), n_networks
    _activate[grid](
        z,
        bias,
        z if slope is None else slope,
        n_rows,
        n_cols,
        z.stride(0),
        z.stride(1),
        bias.stride(0),
        **_flags(activation),
        ROWS=rows,
        COLS=cols,
    )


@triton.jit
def _activate_backward(
    delta, a, slope, bias_grad, n_rows, n_cols, delta_network, delta_row, a_network,
    a_row, bias_network, LOGISTIC: tl.constexpr, TANH: tl.constexpr,
    RELU: tl.constexpr, LEAKY_RELU: tl.constexpr, GELU: tl.constexpr,
    SILU: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(1).to(tl.int64)
    col = tl.program_id(0) * COLS + tl.arange(0, COLS)
    sums = tl.zeros((COLS,), delta.dtype.element_ty)
    for begin in range(0, n_rows, ROWS):
        row = begin + tl.arange(0, ROWS)[:, None]
        inside = (row < n_rows) & (col < n_cols)[None, :]
        at = delta + k * delta_network + row * delta_row + col[None, :]
        below = k * a_network + row * a_row + col[None, :]
        d = tl.load(at, inside, other=0.0)
        v = tl.load((slope if GELU or SILU else a) + below, inside, other=0.0)
        if LOGISTIC:
            d *= v * (1.0 - v)
        if TANH:
            d *= 1.0 - v * v
        if RELU:
            d = tl.where(v > 0, d, 0.0 * d)
        if LEAKY_RELU:
            d = tl.where(v > 0, d, 0.01 * d)
        if GELU or SILU:
            d *= v
        tl.store(at, d, inside)
        sums += tl.sum(d, 0)
    tl.store(bias_grad + k * bias_network + col, sums, col < n_cols)


def activate_backward(activation, delta, a, slope, bias_grad):
    n_networks, n_rows, n_cols = delta.shape
    cols = min(32, triton.next_power_of_2(n_cols))
    _activate_backward[(triton.cdiv(n_cols, cols), n_networks)](
        delta,
        a,
        a if slope is None else slope,
        bias_grad,
        n_rows,
        n_cols,
        delta.stride(0),
        delta.stride(1),
        a.stride(0),
        a.stride(1),
        bias_grad.stride(0),
        **_flags(activation),
        ROWS=_TILE // cols,
        COLS=cols,
    )


# Losses ------------------------------------------------------------------------------


@triton.jit
def _pointwise(f, y, p, LOSS: tl.constexpr):
    """l(y, f) and dl/df; LOSS is the code of the loss."""
    if LOSS == 0:  # binary log-loss
        e = _exp(-tl.abs(f))
        far = e / (1.0 + e)
        value = tl.log(1.0 + e) + tl.where(f > 0, f, 0.0) - y * f
        derivative = tl.where(f < 0, far, 1.0 - far) - y
    elif LOSS == 2:  # squared error
        derivative = f - y
        value = 0.5 * derivative * derivative
    elif LOSS == 3:  # absolute error
        r = f - y
        derivative = tl.where(r == r, _sign(r), r)
        value = tl.abs(r)
    elif LOSS == 4:  # Huber
        r = f - y
        a = tl.abs(r)
        derivative = tl.where(a > p, p * _sign(r), r)
        value = tl.where(a <= p, 0.5 * r * r, p * (a - 0.5 * p))
    elif LOSS == 5:  # quantile
        r = y - f
        derivative = tl.where(r > 0, -p, tl.where(r < 0, 1.0 - p, r))
        value = tl.where(r >= 0, p * r, (p - 1.0) * r)
    elif LOSS == 6:  # Poisson
        mean = _exp(f)
        derivative = mean - y
        largest = 709.0 if f.dtype == tl.float64 else 88.0
        value = mean - y * tl.where(f > largest, largest, f)
    else:  # Gamma
        ratio = y * _exp(-f)
        derivative = 1.0 - ratio
        largest = 709.0 if f.dtype == tl.float64 else 88.0
        value = ratio + tl.where(f < -largest, -largest, f)
    return value, derivative


@triton.jit
def _loss_and_delta(
    f, bias, y, s, streams, scale, step, total, bias_grad, param, n_streams, n_rows,
    n_cols, n_targets, f_network, f_row, bias_network, grad_network,
    LOSS: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    k = tl.program_id(0).to(tl.int64)
    stream = tl.load(streams + k)
    factor = tl.load(scale + tl.load(step) * n_streams + stream)
    p = tl.load(param)
    col = tl.arange(0, COLS)[None, :]
    b = tl.load(bias + k * bias_network + col, col < n_cols, other=0.0)
    sums = tl.zeros((COLS,), f.dtype.element_ty)
    values = tl.zeros((ROWS,), tl.float64)
    for begin in range(0, n_rows, ROWS):
        row = begin + tl.arange(0, ROWS)
        inside = (row < n_rows)[:, None] & (col < n_cols)
        at = f + k * f_network + row[:, None] * f_row + col
        raw = tl.load(at, inside, other=0.0) + b
        place = stream * n_rows + row
        weight = tl.load(s + place, row < n_rows, other=0.0)
        if LOSS == 1:  # multinomial log-loss
            label = tl.load(y + place, row < n_rows, other=0.0).to(tl.int32)
            raw = tl.where(col < n_cols, raw, float("-inf"))
            raw -= tl.max(raw, 1)[:, None]
            is_label = col == label[:, None]
            e = tl.where(col < n_cols, _exp(raw), 0.0)
            norm = tl.sum(e, 1)
            value = tl.log(norm) - tl.sum(tl.where(is_label, raw, 0.0), 1)
            derivative = e / norm[:, None] - tl.where(is_label, 1.0, 0.0)
        else:
            target = y + place[:, None] * n_targets + col
            goal = tl.load(target, inside, other=1.0)
            each, derivative = _pointwise(raw, goal, p, LOSS)
            value = tl.sum(tl.where(inside, each, 0.0), 1)
        d = factor * weight[:, None] * derivative
        tl.store(at, d.to(f.dtype.element_ty), inside)
        sums += tl.sum(tl.where(inside, d, 0.0), 0).to(f.dtype.element_ty)
        seen = value.to(tl.float64) * weight.to(tl.float64)
        values += tl.where(row < n_rows, seen, 0.0)
    out = tl.arange(0, COLS)
    tl.store(bias_grad + k * grad_network + out, sums, out < n_cols)
    tl.store(total + k, tl.load(total + k) + tl.sum(values, 0))


def loss_and_delta(loss, f, bias, batch, streams, tables, total, bias_grad):
    n_networks, n_rows, n_cols = f.shape
    cols = triton.next_power_of_2(n_cols)
    rows = min(triton.next_power_of_2(n_rows), max(1, 2 * _TILE // cols))
    _loss_and_delta[(n_networks,)](
        f,
        bias,
        batch.y,
        batch.s,
        streams,
        tables.scale,
        tables.step,
        total,
        bias_grad,
        _constants(loss.param, f),
        tables.scale.shape[1],
        n_rows,
        n_cols,
        batch.y.shape[2],
        f.stride(0),
        f.stride(1),
        bias.stride(0),
        bias_grad.stride(0),
        LOSS=loss.code,
        ROWS=rows,
        COLS=cols,
        num_warps=8,
    )


_KNOWN_CONSTANTS: dict = {}


def _constants(values, like):
    """Numbers on the device; as arguments of a kernel they would be float32."""
    key = values, like.dtype, like.device
    if key not in _KNOWN_CONSTANTS:
        tensor = torch.tensor(values, dtype=like.dtype, device=like.device)
        _KNOWN_CONSTANTS[key] = tensor
    return _KNOWN_CONSTANTS[key]


# Update ------------------------------------------------------------------------------


@triton.jit
def _concave_prox(u, t, start, stop):
    size = tl.abs(u)
    soft = tl.where(size > t, size - t, 0.0)
    room = stop - start - t
    ends = start + stop
    ramp = size - t * (stop - size) / tl.where(room > 0, room, 1.0)
    convex = tl.where(size <= start + t, soft, tl.where(size < stop, ramp, size))
    jump = tl.where(t < ends, 0.5 * (ends + t), tl.sqrt(ends * t))
    folded = tl.where(size <= jump, soft, size)
    return _sign(u) * tl.where(room > 0, convex, folded)


@triton.jit
def _before_move(w, g, slot, lr, l1, l2, start, stop, CONCAVE: tl.constexpr):
    """Weights and gradient after the coupled and the decoupled slot."""
    if slot == 1:  # coupled
        g += l1 * _sign(w) + l2 * w
    if CONCAVE:
        if slot == 4:  # coupled, concave
            left = (stop - tl.abs(w)) / (stop - start)
            left = tl.where(left > 1.0, 1.0, tl.where(left > 0, left, 0.0))
            g += l1 * _sign(w) * left
    if slot == 2:  # decoupled
        keep = 1.0 - lr * l2
        w = _soft_threshold(tl.where(keep > 0, keep, 0.0) * w, lr * l1)
    return w, g


@triton.jit
def _plain_prox(w, slot, tau, l1, l2, start, stop, CONCAVE: tl.constexpr):
    """Weights after the proximal slot, without a metric."""
    if slot == 3:
        w = _soft_threshold(w, tau * l1) / (1.0 + tau * l2)
    if CONCAVE:
        if slot == 5:
            w = _concave_prox(w, tau * l1, start, stop)
    return w


@triton.jit
def _update(
    theta, grad, first, second, chunks, slots, strengths, scalars, step, hyper,
    n_networks, n_blocks, n_lines, stride, METHOD: tl.constexpr,
    CONCAVE: tl.constexpr, BY_LINE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    # What is long comes first, so that no load waits for a branch or another load.
    k = tl.program_id(1).to(tl.int64)
    chunk = chunks + 6 * tl.program_id(0)
    i = tl.multiple_of(tl.load(chunk), 32) + tl.arange(0, CHUNK)
    inside = i < tl.load(chunk + 1)
    at = k * stride + i
    w = tl.load(theta + at, inside, other=0.0)
    g = tl.load(grad + at, inside, other=0.0)
    m, v = g, g
    if METHOD == 1 or METHOD == 2 or METHOD == 4:
        m = tl.load(first + at, inside, other=0.0)
    if METHOD == 3 or METHOD == 4:
        v = tl.load(second + at, inside, other=0.0)
    now = scalars + (tl.load(step) * n_networks + k) * 5
    lr, move, tau = tl.load(now), tl.load(now + 1), tl.load(now + 2)
    metric_scale = tl.load(now + 3)
    takes_part = i < tl.where(tl.load(now + 4) > 0, tl.load(chunk + 1), 0)
    slot = tl.load(slots + k * n_blocks + tl.load(chunk + 2))
    line = tl.load(chunk + 3)
    if BY_LINE:  # lanes beyond the end read the strengths of the last line
        last = tl.load(chunk + 1) - 1
        line += (tl.where(inside, i, last) - tl.load(chunk + 4)) // tl.load(chunk + 5)
    strength = strengths + (k * n_lines + line) * 4
    l1, l2 = tl.load(strength), tl.load(strength + 1)
    start, stop = tl.load(strength + 2), tl.load(strength + 3)
    w, g = _before_move(w, g, slot, lr, l1, l2, start, stop, CONCAVE)
    if METHOD == 0:
        w = _plain_prox(w - move * g, slot, tau, l1, l2, start, stop, CONCAVE)
    elif METHOD == 1 or METHOD == 2:
        momentum = tl.load(hyper)
        m = momentum * m + g
        direction = m if METHOD == 1 else g + momentum * m
        w = _plain_prox(w - move * direction, slot, tau, l1, l2, start, stop, CONCAVE)
        tl.store(first + at, m, takes_part)
    else:
        direction = g
        v = tl.load(hyper + 2) * v + tl.load(hyper + 4) * g * g
        metric = tl.sqrt(v) * metric_scale + tl.load(hyper + 5)
        tl.store(second + at, v, takes_part)
        if METHOD == 4:
            direction = tl.load(hyper + 1) * m + tl.load(hyper + 3) * g
            tl.store(first + at, direction, takes_part)
        if slot == 3:  # proximal
            u = metric * w - move * direction
            w = _soft_threshold(u, tau * l1) / (metric + tau * l2)
        else:
            w -= move * direction / metric
        if CONCAVE:
            if slot == 5:  # proximal, concave
                w = _concave_prox(w, tau * l1 / metric, start, stop)
    tl.store(theta + at, w, takes_part)


def update(rule, state, tables):
    for group in rule.groups:
        if group.slot in (COUPLED, DECOUPLED):
            _groups(rule, group, state, tables)
    known = _tables_of(rule, state.theta)
    n_networks, stride = state.theta.shape
    moments = [state.theta if a is None else a for a in (state.first, state.second)]
    _update[(len(known["chunks"]), n_networks)](
        state.theta,
        state.grad,
        *moments,
        known["chunks"],
        known["slots"],
        known["strengths"],
        tables.scalars,
        tables.step,
        _constants(rule.hyper, state.theta),
        n_networks,
        known["slots"].shape[1],
        known["strengths"].shape[1],
        stride,
        METHOD=_METHODS[rule.method],
        CONCAVE=known["is_concave"],
        BY_LINE=known["by_line"],
        CHUNK=_CHUNK,
    )
    for group in rule.groups:
        if group.slot == PROXIMAL:
            _groups(rule, group, state, tables)


def _tables_of(rule, theta):
    """Chunks of parameters, and the penalty of each block of each network."""
    if "chunks" not in rule.cache:
        device = theta.device
        # The most lines that a network has in each block, and the first of them.
        n_lines = [max(len(rows) for _, rows in of) for of in rule.elementwise]
        firsts = np.cumsum([0, *n_lines])
        chunks = [
            (begin, end, block, firsts[block], first, (end - first) // n_lines[block])
            for block, (first, end) in enumerate(rule.spans)
            for begin in range(first, end, _CHUNK)
        ]
        slots = [[slot for slot, _ in of_one] for of_one in zip(*rule.elementwise)]
        strengths = np.concatenate(
            [
                np.array([np.broadcast_to(rows, (n, 4)) for _, rows in of])
                for n, of in zip(n_lines, rule.elementwise)
            ],
            axis=1,
        )
        rule.cache.update(
            chunks=torch.tensor(chunks, dtype=torch.int32, device=device),
            slots=torch.tensor(slots, dtype=torch.int32, device=device),
            strengths=torch.tensor(strengths, dtype=theta.dtype, device=device),
            is_concave=any(slot > PROXIMAL for of_one in slots for slot in of_one),
            by_line=max(n_lines) > 1,
        )
    return rule.cache


# Groups ------------------------------------------------------------------------------


@triton.jit
def _norms_after_prox(
    w, t, c, EPSILON: tl.constexpr, LEAST: tl.constexpr, NEWTON_STEPS: tl.constexpr
):
    """Norm of each line after its prox with steps t: see groups.hpp."""
    weighted = w * w * t
    square = tl.sum(w * w, 1)
    share = tl.where(square == 0, 0.0, c / square)
    s = tl.sqrt(square) - share * tl.sum(weighted, 1)
    s = tl.where(s > 0, s, 0.0)
    bound = 1.5 * c * share * tl.sum(weighted * t, 1)
    is_open = (square > 0) & (bound > EPSILON * s * s)
    n_open = tl.sum(is_open.to(tl.int32), 0)
    n_steps = 0
    while (n_open > 0) & (n_steps < NEWTON_STEPS):
        a = s[:, None] + c[:, None] * t
        a = 1.0 / tl.where(a > LEAST, a, LEAST)
        q = w * a
        q = q * q
        phi, psi = tl.sum(q, 1), tl.sum(q * a, 1)
        excess = tl.sqrt(phi) - 1.0
        mean = tl.where(psi == 0, 0.0, phi / psi)
        new = s + excess * mean
        new = tl.where(new > 0, new, 0.0)
        change = new / s - 1.0
        error = (1.0 - s / mean) * change * change
        is_open = (error > EPSILON) & (tl.abs(excess) > 8 * EPSILON)
        n_open = tl.sum(is_open.to(tl.int32), 0)
        n_steps += 1
        s = new
    return s


@triton.jit
def _group_kernel(
    theta, grad, second, members, kappa, l1, scalars, step, hyper, begin, n_networks,
    n_lines, length, line_stride, entry_stride, stride, SLOT: tl.constexpr,
    ADAPTIVE: tl.constexpr, LINES: tl.constexpr, LENGTH: tl.constexpr,
    EPSILON: tl.constexpr, LEAST: tl.constexpr, NEWTON_STEPS: tl.constexpr,
):  # fmt: skip
    member = tl.program_id(1).to(tl.int64)
    k = tl.load(members + member)
    now = scalars + (tl.load(step) * n_networks + k) * 5
    if tl.load(now + 4) > 0:
        line = tl.program_id(0) * LINES + tl.arange(0, LINES)
        entry = tl.arange(0, LENGTH)[None, :]
        inside = (line < n_lines)[:, None] & (entry < length)
        at = k * stride + begin + line[:, None] * line_stride + entry * entry_stride
        c = tl.load(kappa + member * n_lines + line, line < n_lines, other=0.0)
        w = tl.load(theta + at, inside, other=0.0)
        if SLOT == 1:  # coupled
            square = tl.sum(w * w, 1)
            factor = tl.where(square > 0, c / tl.sqrt(square), 0.0)
            g = tl.load(grad + at, inside, other=0.0)
            tl.store(grad + at, g + factor[:, None] * w, inside)
        elif SLOT == 3 and ADAPTIVE:
            scale, epsilon = tl.load(now + 3), tl.load(hyper + 5)
            v = tl.load(second + at, inside, other=0.0)
            t = 1.0 / (tl.sqrt(v) * scale + epsilon)
            c *= tl.load(now + 2)
            s = _norms_after_prox(w, t, c, EPSILON, LEAST, NEWTON_STEPS)
            a = s[:, None] + c[:, None] * t
            w = w * s[:, None] / tl.where(a > LEAST, a, LEAST)
            tl.store(theta + at, w, inside)
        else:
            width = tl.load(now + 2)
            if SLOT == 2:  # decoupled
                width = tl.load(now)
                soft = tl.load(l1 + member * n_lines + line, line < n_lines, other=0.0)
                w = _soft_threshold(w, width * soft[:, None])
            norm, cut = tl.sqrt(tl.sum(w * w, 1)), width * c
            factor = tl.where(norm > cut, 1.0 - cut / norm, 0.0)
            tl.store(theta + at, w * factor[:, None], inside)


def _groups(rule, group, state, tables):
    """One slot of a group penalty."""
    rows, cols = group.shape
    is_row = group.axis == 0
    n_lines, length = group.shape if is_row else (cols, rows)
    if group.index is not None or length > _LONGEST_LINE:
        scalars = tables.scalars.index_select(0, tables.step)[0]
        if group.slot == PROXIMAL:
            _torch_ops.groups_after(rule, group, state, scalars)
        else:
            _torch_ops.groups_before(group, state, scalars)
        return
    theta = state.theta
    width = triton.next_power_of_2(length)
    # Columns lie side by side: at least eight of them make a full sector.
    lines = max(1 if is_row else 8, min(64, 4096 // width))
    finite = torch.finfo(theta.dtype)
    _group_kernel[(triton.cdiv(n_lines, lines), len(group.kappa))](
        theta,
        state.grad,
        theta if state.second is None else state.second,
        group.numbers,
        group.kappa,
        group.l1,
        tables.scalars,
        tables.step,
        _constants(rule.hyper, theta),
        group.begin,
        len(theta),
        n_lines,
        length,
        cols if is_row else 1,
        1 if is_row else cols,
        theta.shape[1],
        SLOT=group.slot,
        ADAPTIVE=rule.is_adaptive,
        LINES=lines,
        LENGTH=width,
        EPSILON=finite.eps,
        LEAST=finite.tiny,
        NEWTON_STEPS=_torch_ops.NEWTON_STEPS,
        num_warps=8 if lines * width >= 8192 else 4,
    )
