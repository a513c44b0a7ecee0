"""Compiled core: forward, backward, loss and update for runs of mini-batches.

Design
------
a. One flat vector ``theta`` holds all weight matrices (row-major, ``(n_in, n_out)``),
   then all intercepts, so that the penalized part is a contiguous prefix and solvers
   need no packing. Gradients and the optimizer's moments share that layout.
b. Nothing of Python runs inside a mini-batch. A call trains over a slice of an index
   array; the order, learning rates, stopping and interrupts belong to Python, between
   calls. Training and passes over data release the GIL.
c. Matrix products, with the bias added, are our own (``matmul.hpp``) where they are
   small, and at all sizes with AVX-512; else they go to BLAS through ``_blas.pxd``, as
   nothing else does. Everything elementwise is a plain loop in a ``.hpp`` header that
   the compiler vectorizes: activation; derivative times delta together with the
   intercepts' gradient in one pass; loss and output delta in one pass; optimizer
   direction, decay slots and prox in one pass over all parameters (``update.hpp``);
   group penalties, all groups together, before or after it (``groups.hpp``).
d. What varies (activation, loss, method, slot) is an integer code, switched once per
   layer or segment and resolved by templates, never per element. float32 and float64
   come from the same source.
e. Scratch is allocated by Python once per fit; ``Net`` says where each piece lies.

Entry points: `Net`, `Data`, `Rule`, `raw_predictions`, `loss_sum`, `loss_gradient`,
`step`, `train`, `write_metric`; `MersenneTwister`, which shuffles as NumPy does;
`LBFGSMemory` for the deterministic solver.
"""

from skreg._core._kernels import (
    Data,
    LBFGSMemory,
    MersenneTwister,
    Net,
    Rule,
    loss_gradient,
    loss_sum,
    raw_predictions,
    step,
    train,
    write_metric,
)

__all__ = [
    "Data",
    "LBFGSMemory",
    "MersenneTwister",
    "Net",
    "Rule",
    "loss_gradient",
    "loss_sum",
    "raw_predictions",
    "step",
    "train",
    "write_metric",
]
