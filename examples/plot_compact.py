"""
===========================================
Pruning a network, and predicting faster
===========================================

How small can a network get before its accuracy suffers, and what is that worth?

A sparse group lasso on every matrix sets single weights to zero, and whole rows: inputs
and units that nothing reads. `compact` takes them out of the arrays. What is left is a
smaller dense network that takes the same X and predicts the same. (An L2 penalty sets
nothing to zero.)
"""

# %%
# One network per λ
# -----------------
# 256 and 128 units for handwritten digits of 8 x 8 pixels. A third of the images is the
# test set; λ is chosen on a third of the others. Of the networks with an L2 penalty,
# take the best; with a sparse group lasso, the smallest that loses at most half a point
# to it.
import argparse
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skreg import RegMLPClassifier

X, y = load_digits(return_X_y=True)
X /= 16
X_rest, X_test, y_rest, y_test = train_test_split(
    X, y, test_size=1 / 3, stratify=y, random_state=0
)
X_train, X_valid, y_train, y_valid = train_test_split(
    X_rest, y_rest, test_size=1 / 3, stratify=y_rest, random_state=0
)
grids = {
    "l2": [1e-5, 1e-4, 1e-3, 3e-3],
    "sparse_group_lasso": [5e-5, 1e-4, 2e-4, 3e-4, 5e-4, 1e-3, 2e-3],
}
models, accuracy = {}, {}
warnings.simplefilter("ignore", ConvergenceWarning)  # 40 epochs are the plan
print("penalty              λ        accuracy  inputs  units")
for penalty, grid in grids.items():
    for lam in grid:
        model = RegMLPClassifier(
            (256, 128),
            penalty=penalty,
            reg_lambda=lam,
            learning_rate_init=0.01,
            learning_rate="cosine",
            batch_size=50,
            max_iter=40,
            n_iter_no_change=np.inf,
            random_state=0,
        ).fit(X_train, y_train)
        models[penalty, lam] = model
        accuracy[penalty, lam] = model.score(X_valid, y_valid)
        n_inputs, *n_units = (len(W) for W in model.compact().coefs_)
        row = f"{accuracy[penalty, lam]:8.3f} {n_inputs:7d}  {n_units}"
        print(f"{penalty:18s} {lam:8.0e} {row}")

best_l2 = max((key for key in models if key[0] == "l2"), key=accuracy.get)
good = [key for key in models if accuracy[key] >= accuracy[best_l2] - 0.005]
chosen = max(key for key in good if key[0] == "sparse_group_lasso")
dense, model = models[best_l2], models[chosen]

# %%
# What is left of it
# ------------------
# Predictions are the same, and faster: the fastest of ten runs each, taking turns.
small = model.compact()
difference = np.abs(small.predict_proba(X) - model.predict_proba(X)).max()
many = np.tile(X, (10, 1))
seconds = {"L2": [], "sparse": [], "compact": []}
for _ in range(10):
    for name, network in zip(seconds, (dense, model, small)):
        start = time.perf_counter()
        network.predict(many)
        seconds[name].append(time.perf_counter() - start)
seconds = {name: min(times) for name, times in seconds.items()}

print(f"\ntest accuracy: L2 {dense.score(X_test, y_test):.3f}", end=", ")
print(f"sparse group lasso {model.score(X_test, y_test):.3f}")
for name, network in (("before", model), ("after", small)):
    shapes = " ".join(f"{len(W)}x{len(W.T)}" for W in network.coefs_)
    print(f"{name} compact: {shapes}, {sum(W.size for W in network.coefs_)} weights")
print(f"largest difference between predicted probabilities: {difference:.0e}")
print(f"predict is {seconds['sparse'] / seconds['compact']:.1f} times faster")

# %%
# The unused pixels are those of the margin, which are almost always blank.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
figure.get_layout_engine().set(wspace=0.05)
for penalty, color, marker in (
    ("l2", "#0072B2", "s"),
    ("sparse_group_lasso", "#D55E00", "o"),
):
    keys = [key for key in models if key[0] == penalty]
    sizes = [sum(W.size for W in models[key].compact().coefs_) for key in keys]
    scores = [accuracy[key] for key in keys]
    label = penalty.replace("_", " ").replace("l2", "L2")
    axes[0].plot(sizes, scores, marker, color=color, label=label)
size = sum(W.size for W in small.coefs_)
axes[0].plot(size, accuracy[chosen], "ko", ms=12, mfc="none", label="chosen")
axes[0].set(xscale="log", xlabel="weights after compact", ylabel="validation accuracy")
axes[0].set_xticks([2000, 5000, 10000, 20000, 50000], ["2k", "5k", "10k", "20k", "50k"])
axes[0].set_xticks([], minor=True)
axes[0].legend(loc="lower right")
image = axes[1].imshow(
    np.ma.masked_equal(small.feature_importances_, 0).reshape(8, 8), cmap="viridis"
)
axes[1].set(xticks=[], yticks=[], facecolor="0.85")
axes[1].set_title("pixels of the chosen network", fontsize=10)
label = "norm of weights (gray: unused)"
figure.colorbar(image, ax=axes[1], shrink=0.8, label=label)
bars = axes[2].bar(
    list(seconds),
    [1e3 * value for value in seconds.values()],
    color=["#0072B2", "#D55E00", "#009E73"],
)
axes[2].bar_label(bars, fmt="%.0f")
axes[2].set(ylabel=f"ms to predict {len(many)} images")
axes[2].spines[["top", "right"]].set_visible(False)

parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_compact.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
