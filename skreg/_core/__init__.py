"""Compiled core: forward, backward, loss and update for runs of mini-batches.

Design
------
a. One flat vector ``theta`` holds all weight matrices (row-major, ``(n_in, n_out)``),
   then all intercepts, so that the penalized part is a contiguous prefix and solvers
   need no packing. Gradients and the optimizer's moments share that layout.
b. Nothing of Python runs inside a mini-batch. A call trains over a slice of an index
   array; the order, learning rates, stopping and interrupts belong to Python, between
   calls. Training and passes over data release the GIL.
c. Matrix products, with the bias added, are our own (``matmul.hpp``) with AVX2 or
   AVX-512, and elsewhere where they are small; else they go to SciPy's BLAS, which
   ``_blas.pxd`` hands over. Everything elementwise is a plain loop in a header
   that the compiler vectorizes: activation; derivative times delta together with the
   intercepts' gradient in one pass; loss and output delta in one pass; optimizer
   direction, decay slots and prox in one pass over all parameters (``update.hpp``);
   group penalties, all groups together, before or after it (``groups.hpp``).
d. A network is a list of layers (``network.hpp``). What varies (activation, loss,
   method, slot) is an integer code, switched once per layer or segment and resolved by
   templates, never per element. float32 and float64 come from the same source.
e. Scratch is allocated by Python once per fit; ``Net`` says how much a pass needs.
f. With ``n_threads``, long steps, full batches and predictions are shared by a team of
   threads that lives for one call (``team.hpp``, ``training.hpp``). Every number has
   one owner and one order of terms: results have the same bits for any number of
   threads. Steps below about 100 microseconds, and processors without AVX2, whose large
   products go to BLAS, use one thread.
g. Nothing is trusted: sizes, dtypes, rows and the places of CSR entries are checked
   when an object is made or a function called, at a cost that is small beside the work.

Entry points: `Net`, `Data`, `Rule`, `raw_predictions`, `loss_sum`, `loss_gradient`,
`step`, `train`, `write_metric`, `most_threads`; `MersenneTwister`, which shuffles as
NumPy does; `LBFGSMemory` for the deterministic solver.
"""

from skreg._core._kernels import (
    Data,
    LBFGSMemory,
    MersenneTwister,
    Net,
    Rule,
    instruction_level,
    loss_gradient,
    loss_sum,
    most_threads,
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
    "instruction_level",
    "loss_gradient",
    "loss_sum",
    "most_threads",
    "raw_predictions",
    "step",
    "train",
    "write_metric",
]
