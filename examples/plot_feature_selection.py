"""
===========================================
Finding the few inputs that tell the class
===========================================

Can a network tell 20 useful inputs from 480 useless ones?

In the madelon data set each class is made of clusters on the corners of a cube in five
dimensions. Linear models see little of this; a network without penalty learns the
training set by heart from the 480 inputs that are noise. A group lasso removes inputs
one by one as λ rises, and what is left can be trained anew.

The data set is madelon itself if `SKREG_DATA` names a folder with madelon.npz, and
otherwise drawn by scikit-learn's ``make_classification`` in the same way.
"""

# %%
# Data
# ----
import argparse
import os
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from skreg import RegMLPClassifier

if "SKREG_DATA" in os.environ:
    source = "madelon"
    data = np.load(Path(os.environ["SKREG_DATA"]) / "madelon.npz")
    X_train, y_train = data["X_train"], data["y_train"]
    X_valid, y_valid = data["X_valid"], data["y_valid"]
else:
    source = "a simulation of madelon"
    X, y = make_classification(
        2600,
        500,
        n_informative=5,
        n_redundant=15,
        n_clusters_per_class=8,
        class_sep=1.0,
        flip_y=0.01,
        shuffle=False,
        random_state=0,
    )
    order = np.random.default_rng(0).permutation(len(X))
    X_train, X_valid = X[order[:2000]], X[order[2000:]]
    y_train, y_valid = y[order[:2000]], y[order[2000:]]
scaler = StandardScaler().fit(X_train.astype(np.float32))
X_train, X_valid = (scaler.transform(X.astype(np.float32)) for X in (X_train, X_valid))
print(f"data: {source}, {X_train.shape} for training, {X_valid.shape} for validation")

# %%
# From dense to sparse
# --------------------
# The string "group_lasso" penalizes the rows of both matrices. (With a free second
# layer, the first could shrink without dropping anything.) Each fit starts from the one
# before and is short; the path ends where no more than 30 inputs are left. Nothing is
# chosen on the validation set.
warnings.simplefilter("ignore", ConvergenceWarning)  # few epochs are the plan
start = time.perf_counter()
network = RegMLPClassifier(
    (32,),
    penalty="group_lasso",
    batch_size=100,
    max_iter=10,
    n_iter_no_change=np.inf,
    warm_start=True,
    random_state=0,
)
lambdas, inputs, accuracy = [], [], []
for lam in np.geomspace(5e-4, 0.05, 40):
    network.set_params(reg_lambda=lam).fit(X_train, y_train)
    lambdas.append(lam)
    inputs.append(network.selected_features_.sum())
    accuracy.append(network.score(X_valid, y_valid))
    if inputs[-1] <= 30:
        break
print(f"path of {len(lambdas)} networks: {time.perf_counter() - start:.1f} s")

# %%
# The surviving inputs, in a network of the same size with a light L2 penalty:
refit = network.refit_on_support(
    X_train, y_train, penalty="l2", reg_lambda=0.01, max_iter=200
)
free = RegMLPClassifier(
    (32,), penalty=None, batch_size=100, max_iter=200, random_state=0
).fit(X_train, y_train)
print("accuracy                   inputs  training  validation")
models = {"no penalty": free, "group lasso": network, "trained anew": refit}
for name, model in models.items():
    scores = (model.score(*part) for part in ((X_train, y_train), (X_valid, y_valid)))
    row = "".join(f"{score:11.3f}" for score in scores)
    print(f"{name:27s}{model.selected_features_.sum():6d}{row}")

# %%
# Shrinkage costs the last networks of the path accuracy: they are for selecting, the
# new one is for predicting. In the simulation the first 20 inputs are the useful ones.
# Of the inputs that are left, all with large norms are among them; but others of small
# norm are noise, and some useful ones are gone, as they say the same as those kept.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.plot(inputs, accuracy, "o-", color="#0072B2", label="path of the group lasso")
baseline = free.score(X_valid, y_valid)
left.axhline(baseline, color="0.5", linestyle="--", label="no penalty, 500 inputs")
score = refit.score(X_valid, y_valid)
left.plot(inputs[-1], score, "*", color="#D55E00", markersize=14, label="trained anew")
left.set(xscale="log", xlabel="inputs in use", ylabel="validation accuracy")
left.set_xticks([20, 50, 100, 200, 500], [20, 50, 100, 200, 500])
left.set_xticks([], minor=True)
left.invert_xaxis()
norms = network.feature_importances_
kept = np.flatnonzero(norms)
groups = {"left": kept}
if source != "madelon":
    groups = {"left, useful": kept[kept < 20], "left, noise": kept[kept >= 20]}
for (name, group), color, marker in zip(groups.items(), ("#009E73", "black"), "ox"):
    right.semilogy(group, norms[group], marker, color=color, label=name)
    print(f"{name}: {len(group)} of the {len(kept)} inputs")
right.set(xlim=(-10, 510), xlabel="input", ylabel="norm of its weights")
right.set_title(f"the {len(kept)} inputs that are left of 500", fontsize=10)
figure.legend(loc="outside lower center", ncols=5)
figure.suptitle(source)

parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_feature_selection.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
