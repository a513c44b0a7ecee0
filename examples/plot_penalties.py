"""
=======================================
Value, derivative and prox of penalties
=======================================

What does each penalty cost, how hard does it pull, and what does it set to zero?

A derivative that jumps at w = 0 makes exact zeros: its prox is flat around 0. One that
fades for large w leaves large weights alone: its prox joins the diagonal.
"""

# %%
# Single weights above, groups below
# ----------------------------------
# A group lasso looks at whole rows. Here the row is (w, 1.5): as long as its second
# weight is not 0, the penalty is smooth at w = 0, and w alone is not set to 0. The
# sparse group lasso does both.
import argparse

import matplotlib.pyplot as plt
import numpy as np

from skreg.displays import PenaltyDisplay
from skreg.penalties import MCP, SCAD, GroupLasso, SparseGroupLasso

figure, (above, below) = plt.subplots(2, 3, figsize=(9.5, 7), layout="constrained")
single = PenaltyDisplay.from_penalties(
    ["l1", "l2", "elasticnet", MCP(), SCAD()], ax=above
)
above[1].set_title("single weights (λ = 1, step of the prox 1)")
groups = ["l1", GroupLasso(weighted=False), SparseGroupLasso(weighted=False)]
group = PenaltyDisplay.from_penalties(groups, others=[1.5], ax=below)
below[1].set_title("groups: w in the row (w, 1.5)")

# %%
# The same in numbers: the largest ``|w|`` that the prox sets to 0, and what it takes
# off the weight 4.
for display in (single, group):
    print(f"{'penalty':34s} zero up to   off w = 4")
    for name, prox in zip(display.names, display.proxes):
        dead = np.abs(display.weights[prox == 0]).max()
        print(f"{name:34s} {dead:10.2f} {4 - prox[-1]:11.2f}")

# %%
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_penalties.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
