"""
===============================
L1 against L2 on digits weights
===============================

What do the weights look like that L1 and L2 leave, at about the same accuracy?

L2 makes all weights small and none of them zero. L1 sets most of them to exactly 0:
pixels and units that are not needed can be seen as gray lines.
"""

# %%
# Two networks that differ in the penalty only
# --------------------------------------------
import argparse
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skreg import RegMLPClassifier
from skreg.displays import WeightsDisplay

X, y = load_digits(return_X_y=True)
data = train_test_split(X / 16, y, test_size=0.5, stratify=y, random_state=0)
X_train, X_test, y_train, y_test = data

# The learning rate falls to 0 over a fixed number of epochs, which is meant to be used.
warnings.simplefilter("ignore", ConvergenceWarning)
settings = {
    "hidden_layer_sizes": (30,),
    "learning_rate": "cosine",
    "learning_rate_init": 0.01,
    "batch_size": 50,
    "max_iter": 300,
    "n_iter_no_change": 300,
    "random_state": 0,
}
networks = {
    "L1": RegMLPClassifier(penalty="l1", reg_lambda=0.0005, **settings),
    "L2": RegMLPClassifier(penalty="l2", reg_lambda=0.003, **settings),
}
for network in networks.values():
    network.fit(X_train, y_train)

# %%
# Images of the matrices, and histograms
# --------------------------------------
# The colors of each row of panels have a scale of their own.
figure = plt.figure(figsize=(10, 8), layout="constrained")
rows = figure.subfigures(2, 1)
for row, (name, network) in zip(rows, networks.items()):
    row.suptitle(f"{name}, λ = {network.reg_lambda:g}")
    images, histograms = row.subfigures(1, 2, width_ratios=[1, 1.15])
    WeightsDisplay.from_estimator(network, ax=images.subplots(1, 2))
    WeightsDisplay.from_estimator(
        network, kind="histogram", ax=histograms.subplots(1, 2)
    )

# %%
# In numbers. A pixel is used if a weight leaves it, a unit if a weight enters it and
# one leaves it. Some pixels are 0 in all images: L2 shrinks their weights forever, but
# L1 removes them.
constant = np.ptp(X_train, axis=0) == 0
print(f"{constant.sum()} of 64 pixels are the same in all training images")
print("     train  test   exact zeros          pixels  units")
for name, network in networks.items():
    first, second = network.coefs_
    zeros = [np.mean(W == 0) for W in network.coefs_]
    pixels = np.any(first != 0, axis=1).sum()
    units = (np.any(first != 0, axis=0) & np.any(second != 0, axis=1)).sum()
    scores = network.score(X_train, y_train), network.score(X_test, y_test)
    print(
        f"{name}   {scores[0]:.3f}  {scores[1]:.3f}  {zeros[0]:.1%} and {zeros[1]:.1%}"
        f"{pixels:10d}{units:7d}"
    )

# %%
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_l1_vs_l2_weights.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
