"""
===========================================
One weight under each penalty, mode by mode
===========================================

How does a penalty shrink a weight, and what does the decay mode change?

A single weight starts at w = 5, without any data. Learning rate η = 0.5, λ = 1. What
is drawn are the steps of the solvers that also train networks.
"""

# %%
# Plain SGD above, Adam below
# ---------------------------
# coupled: the penalty joins the gradient. decoupled: it shrinks the weight outside the
# optimizer's statistics. proximal: its prox follows the move.
import argparse

import matplotlib.pyplot as plt

from skreg.displays import ShrinkageDisplay

penalties = ["l1", "l2", "elasticnet"]
figure, (above, below) = plt.subplots(
    2, 3, figsize=(9, 6), sharex=True, sharey=True, layout="constrained"
)
sgd = ShrinkageDisplay.from_penalties(penalties, ax=above)
adam = ShrinkageDisplay.from_penalties(penalties, solver="adam", ax=below)
above[0].set_ylabel("weight, plain SGD")
below[0].set_ylabel("weight, Adam")
for ax in above:
    ax.set_xlabel(None)
for ax in below:
    ax.set_title(None)
below[-1].get_legend().remove()

# %%
# L1 takes a constant step and arrives at exactly 0 after w / (ηλ) = 10 steps. L2 takes
# a share of what is left, and never arrives. With SGD, coupled and decoupled L2 are the
# same. The elastic net overshoots where it is coupled: sign(w) has no zero to stop at.
#
# Adam divides the gradient by its own size. Without data the coupled penalty *is* the
# gradient, so its size cancels: L2 no longer shrinks in proportion to the weight. The
# proximal steps use Adam's metric, which is all but 0 here (no gradient was ever seen),
# so that their step is huge. Decoupled decay is the same under every optimizer.
for name, display in (("SGD", sgd), ("Adam", adam)):
    print(f"{name}: first step with w = 0 exactly, and w after 3 and after 12 steps")
    for k, penalty in enumerate(display.penalties):
        for m, mode in enumerate(display.modes):
            w = display.weights[k, m]
            print(
                f"  {penalty:11s}{mode:10s} {display.zero_steps[k, m]:4.0f}"
                f" {w[3]:8.4f} {w[12]:9.1e}"
            )

# %%
# A learning rate that does not divide the weight
# -----------------------------------------------
# With η = 0.3 coupled L1 oscillates around 0. Decoupled and proximal L1 stop there.
uneven = ShrinkageDisplay.from_penalties(["l1"], learning_rate=0.3, n_steps=20)
print("η = 0.3, L1, steps 16 to 20:")
for mode, w in zip(uneven.modes, uneven.weights[0]):
    print(f"  {mode:10s}", " ".join(f"{value:5.2f}" for value in w[16:]))
assert (sgd.zero_steps[0] == 10).all()

# %%
# The pictures are saved.
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_one_weight.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
