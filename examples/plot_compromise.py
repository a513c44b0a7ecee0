"""
====================================
The compromise: data loss or penalty
====================================

What does a fit give up in data loss for a smaller penalty, and what is the price?

The objective is J = D + λ Ω, data loss plus λ times penalty. Each λ gives one best
compromise (Ω, D). At the minimum any further change must not pay: the slope of the
curve of compromises is dD/dΩ = -λ. λ is the price of one unit of penalty.
"""

# %%
# One fit per λ
# -------------
import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from skreg import RegMLPRegressor
from skreg.displays import LossCurveDisplay

X, y = load_diabetes(return_X_y=True)
X, y = scale(X), scale(y)
warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant to be used


def fit(reg_lambda):
    """Full batches, so that the curves are the exact terms of the objective."""
    network = RegMLPRegressor(
        (20,),
        activation="tanh",
        reg_lambda=reg_lambda,
        learning_rate="cosine",
        learning_rate_init=0.02,
        batch_size=len(y),
        max_iter=2000,
        n_iter_no_change=2000,
        random_state=0,
    )
    return network.fit(X, y)


reg_lambdas = np.logspace(-2, 0, 17)
networks = [fit(reg_lambda) for reg_lambda in reg_lambdas]
data_loss = np.array([network.data_loss_curve_[-1] for network in networks])
penalty = np.array([network.penalty_curve_[-1] for network in networks]) / reg_lambdas

# %%
# The slope between neighbors on the curve, against the λ between them. (For a much
# smaller λ the network has several minima, and the curve is no longer smooth.)
print("     λ        D        Ω     λ Ω        J")
for lam, D, omega in zip(reg_lambdas, data_loss, penalty):
    print(f"{lam:8.2g} {D:8.4f} {omega:8.3f} {lam * omega:7.4f} {D + lam * omega:8.4f}")
slopes = -np.diff(data_loss) / np.diff(penalty)
between = np.sqrt(reg_lambdas[1:] * reg_lambdas[:-1])
print("-dD/dΩ divided by λ:", (slopes / between).round(2))

# %%
# Left: during one training the data loss falls, and the penalty settles where a change
# of either would cost as much as it gains. Right: where the trainings end, with
# tangents of slope -λ.
figure = plt.figure(figsize=(9.5, 4), layout="constrained")
left, right = figure.subfigures(1, 2)
chosen = 6
display = LossCurveDisplay.from_estimator(networks[chosen], ax=left.subplots())
display.ax_.set_xscale("log")
left.suptitle(f"one training, λ = {reg_lambdas[chosen]:.2g}")

ax = right.subplots()
right.suptitle("where the trainings end")
ax.plot(penalty, data_loss, "o-", color="black", ms=4, lw=1)
for k, color, dash in (
    (2, "#009E73", "-."),
    (6, "#D55E00", "--"),
    (12, "#0072B2", ":"),
):
    omega = penalty[k] + np.array([-0.35, 0.35]) / (1 + 3 * reg_lambdas[k])
    tangent = data_loss[k] - reg_lambdas[k] * (omega - penalty[k])
    label = f"λ = {reg_lambdas[k]:.2g}"
    ax.plot(omega, tangent, dash, color=color, lw=2.5, label=label)
    ax.plot(penalty[k], data_loss[k], "o", color=color, ms=9)
ax.set_xlabel("penalty Ω = ½ Σ w²")
ax.set_ylabel("data loss D, mean per sample")
ax.legend(title="slope −λ", frameon=False, loc="upper left", bbox_to_anchor=(1, 1))

# %%
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_compromise.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
