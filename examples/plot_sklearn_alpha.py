"""
==================================
From scikit-learn's alpha to our λ
==================================

Why does the batch size change how much scikit-learn's ``MLPRegressor`` is regularized?

It divides the penalty by the number of samples in the *batch*: the strength is α / B,
another model for each batch size. `reg_lambda` means the same for all of them.
``convert_lambda`` translates.
"""

# %%
# The size of the weights against the batch size
# ----------------------------------------------
# The number of steps is the same for all batch sizes, and large.
import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import scale

from skreg import RegMLPRegressor, convert_lambda

X, y = load_diabetes(return_X_y=True)
X, y = scale(X)[:400], scale(y)[:400]
batch_sizes = [10, 20, 50, 100, 200, 400]
alpha, usual_batch = 2.0, 100
reg_lambda = convert_lambda(alpha, "sklearn_mlp_minibatch", batch_size=usual_batch)
print(f"alpha = {alpha} at batch size {usual_batch} is reg_lambda = {reg_lambda}")
warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant to be used


def settings(batch_size, n_steps=2000):
    return {
        "hidden_layer_sizes": (20,),
        "activation": "tanh",
        "learning_rate_init": 0.005,
        "batch_size": batch_size,
        "max_iter": n_steps * batch_size // len(y),
        "n_iter_no_change": n_steps,
        "random_state": 0,
    }


def size(network):
    return np.sqrt(sum(np.sum(W**2) for W in network.coefs_))


# %%
# Three fits for each batch size: scikit-learn, ours at one λ, and ours at the λ that
# scikit-learn's alpha amounts to there. The last one predicts the same as scikit-learn.
norms = []
print("    B   scikit-learn   ours   ours, converted     λ     largest difference")
for batch_size in batch_sizes:
    same = settings(batch_size)
    theirs = MLPRegressor(alpha=alpha, **same).fit(X, y)
    ours = RegMLPRegressor(reg_lambda=reg_lambda, **same).fit(X, y)
    lam = convert_lambda(alpha, "sklearn_mlp_minibatch", batch_size=batch_size)
    converted = RegMLPRegressor(reg_lambda=lam, **same).fit(X, y)
    norms.append([size(theirs), size(ours), size(converted)])
    difference = np.abs(theirs.predict(X) - converted.predict(X)).max()
    print("{:5d}{:15.3f}{:7.3f}{:18.3f}".format(batch_size, *norms[-1]), end="")
    print(f"{lam:10.3g}{difference:20.1e}")
norms = np.array(norms)
for name, norm in zip(("scikit-learn", "ours"), norms.T):
    print(f"{name}: largest norm / smallest norm = {norm.max() / norm.min():.2f}")

# %%
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
curves = (
    (f"scikit-learn,\nalpha = {alpha:g}", "o-", "#D55E00", 7),
    (f"ours,\nreg_lambda = {reg_lambda:g}", "s-", "#0072B2", 7),
    ("ours, reg_lambda =\nconvert_lambda(\n  alpha, batch_size=B)", "x--", "black", 9),
)
for (label, style, color, ms), norm in zip(curves, norms.T):
    ax.plot(batch_sizes, norm, style, color=color, ms=ms, label=label)
ax.set(
    xscale="log", ylim=(0, None), xlabel="batch size B", ylabel="norm of all weights"
)
ax.set_xticks(batch_sizes, batch_sizes)
ax.minorticks_off()
ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), frameon=False, labelspacing=1)

# %%
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_sklearn_alpha.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
