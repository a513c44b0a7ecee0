"""Compile all kernels of CUDA for a card that need not be there.

Run by a test in a process of its own, since Triton is told once whether to interpret.
A step on the processor meets each kernel with all its constants; in place of its launch
it is compiled, down to the machine code of the card.
"""

import importlib
import os
import sys
import warnings

os.environ.pop("TRITON_INTERPRET", None)

import numpy as np
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from skreg._solvers._stopping import Monitor
from skreg._solvers._together import Member, solve_together
from tests import test_torch_engine as cases

CAPABILITY = 90  # of an H100 or H200
TYPES = {"float32": "fp32", "float64": "fp64", "int32": "i32", "int64": "i64"}


class Compiled:
    """Stands for a kernel: compiles where that would be launched."""

    known = set()

    def __init__(self, kernel):
        self.kernel = kernel

    def __getitem__(self, grid):
        return self.compile

    def compile(self, *arguments, num_warps=4, **constants):
        signature = {}
        for name, value in zip(self.kernel.arg_names, arguments):
            if isinstance(value, torch.Tensor):
                signature[name] = f"*{TYPES[str(value.dtype).removeprefix('torch.')]}"
            elif value is None or value == 1:  # as Triton specializes them
                constants[name] = value
            else:
                signature[name] = "i32" if isinstance(value, int | np.integer) else None
        key = self.kernel, *signature.values(), *constants.items(), num_warps
        if key in self.known:
            return
        self.known.add(key)
        places = {(self.kernel.arg_names.index(n),): v for n, v in constants.items()}
        signature |= dict.fromkeys(constants, "constexpr")
        triton.compile(
            ASTSource(self.kernel, signature, places),
            target=GPUTarget("cuda", CAPABILITY, 32),
            options={"num_warps": num_warps},
        )


def train(task, activation, optimizer, dtype, combinations):
    case = cases.case_of(task)
    network = cases.network_of(case, activation)
    weights = np.ones(cases.N_SAMPLES)
    order, theta = cases.start(network, dtype)
    members = [
        Member(
            order,
            theta,
            cases.terms_of(network, cases.PENALTIES[name], mode),
            Monitor(0, 10**6),
        )
        for name, mode in combinations
    ]
    solve_together(
        cases.settings_of(cases.optimizer_of(optimizer), max_iter=1),
        cases.rows_of(case, dtype, weights=weights),
        network,
        members,
    )


def main(dtype):
    warnings.simplefilter("ignore")
    kernels = importlib.import_module("skreg._engines._triton_ops")
    for name, value in list(vars(kernels).items()):
        if isinstance(value, triton.JITFunction) and name in LAUNCHED:
            setattr(kernels, name, Compiled(value))
    passes = importlib.import_module("skreg._engines._torch_passes")
    passes.operations = lambda device: kernels
    for task in cases.TASKS:
        train(task, "relu", "adam", dtype, cases.COMBINATIONS[:1])
    for activation in cases.ACTIVATIONS:
        train("multiclass", activation, "adam", dtype, cases.COMBINATIONS[:1])
    for optimizer in cases.OPTIMIZERS:
        train("multiclass", "tanh", optimizer, dtype, cases.COMBINATIONS)
        plain = [c for c in cases.COMBINATIONS if "concave" not in c[0]]
        train("multiclass", "tanh", optimizer, dtype, plain)
    print(*sorted({key[0].__name__ for key in Compiled.known}), len(Compiled.known))


LAUNCHED = (
    "_gather",
    "_activate",
    "_activate_backward",
    "_loss_and_delta",
    "_update",
    "_group_kernel",
)

if __name__ == "__main__":
    main(sys.argv[1])
