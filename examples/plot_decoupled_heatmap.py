"""
======================================================
Coupled or decoupled: does the best λ follow the rate?
======================================================

With Adam, is the best λ less dependent on the learning rate when it is decoupled?

Loshchilov and Hutter [1]_ found so for image classification (their figures 1 and 2).
Their λ is not ours: AdamW there shrinks by 1 - λ' per step at full rate, here, as in
PyTorch, by 1 - ηλ, so that λ' = ηλ. "Independent of the rate" can be true of λ or of
λ', but not of both. The picture shows both.
"""

# %%
# Test error over a grid of learning rates and λ
# ----------------------------------------------
# Digits, 600 of them for training, 30 % of their labels random: a network that is not
# regularized learns the noise. Mean of three splits.
import argparse
import warnings
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from skreg import RegMLPClassifier

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs are meant to be used


@cache
def noisy_split(seed, n_train=600, noise=0.3):
    """Training rows with wrong labels, test rows with the right ones."""
    rows = train_test_split(X, y, train_size=n_train, stratify=y, random_state=seed)
    rng = np.random.RandomState(seed)
    is_noise = rng.uniform(size=n_train) < noise
    rows[2] = np.where(is_noise, rng.randint(10, size=n_train), rows[2])
    return rows


def test_error(seed, decay_mode, rate, reg_lambda):
    """Share of errors on the test rows, in percent."""
    X_train, X_test, y_train, y_test = noisy_split(seed)
    network = RegMLPClassifier(
        (32,),
        reg_lambda=reg_lambda,
        decay_mode=decay_mode,
        learning_rate="cosine",
        learning_rate_init=rate,
        batch_size=50,
        max_iter=60,
        n_iter_no_change=60,
        random_state=seed,
    )
    return 100 * (1 - network.fit(X_train, y_train).score(X_test, y_test))


rates = np.logspace(-2.5, -1, 4)
grids = {"coupled": np.logspace(-3.5, -1, 6), "decoupled": np.logspace(-2, 1, 7)}
errors = {
    mode: np.array(
        [
            [
                np.mean([test_error(s, mode, rate, lam) for s in range(3)])
                for lam in grid
            ]
            for rate in rates
        ]
    )
    for mode, grid in grids.items()
}

# %%
# How the best λ moves
# --------------------
# Slope: by how many decades the best λ rises per decade of the rate, 0 if it does not
# depend on it. Correlation: of the two logarithms. Ratio: largest to smallest. (Rates
# are left out that are too low to train the network in 60 epochs: there is nothing to
# regularize there, and the best λ of both modes falls.)


def best_lambda(grid, error):
    """Vertex of the parabola through the lowest point and its two neighbors."""
    k = int(np.clip(np.argmin(error), 1, len(grid) - 2))
    log_grid = np.log10(grid[k - 1 : k + 2])
    a, b, _ = np.polyfit(log_grid, error[k - 1 : k + 2], 2)
    vertex = -b / (2 * a) if a > 0 else np.log10(grid[np.argmin(error)])
    return 10 ** np.clip(vertex, *log_grid[[0, -1]])


def report(name, best):
    x, y = np.log10(rates), np.log10(best)
    slope, correlation = np.polyfit(x, y, 1)[0], np.corrcoef(x, y)[0, 1]
    print(f"{name:14s}", " ".join(f"{lam:.1e}" for lam in best), end="")
    print(f"{slope:8.2f}{correlation:12.2f}{best.max() / best.min():10.1f}")


best = {
    mode: np.array([best_lambda(grids[mode], row) for row in error])
    for mode, error in errors.items()
}
print("               best λ (or ηλ) at each rate")
print(f"{'rate η':14s}", " ".join(f"{rate:.1e}" for rate in rates), end="")
print("   slope correlation     ratio")
report("coupled", best["coupled"])
report("decoupled", best["decoupled"])
report("decoupled, ηλ", best["decoupled"] * rates)

# %%
# Regret: what it costs, in points of error and on average over the rates, to use one λ
# for all rates in place of the best one for each.
for mode, error in errors.items():
    excess = error - error.min(axis=1, keepdims=True)
    lam = grids[mode][excess.mean(axis=0).argmin()]
    regret = excess.mean(axis=0).min()
    print(f"{mode}: lowest error at each rate, %: {error.min(axis=1).round(1)}")
    print(f"{'':10s} one λ = {lam:.2g} for all rates: regret {regret:.2f} points")

# %%
# The picture
# -----------
# The best λ hardly depends on the rate in either mode: while the rate rises 30-fold, it
# moves by a factor of about 1.6 if coupled, 2.3 if decoupled. What does follow the rate
# is the product ηλ, the λ of [1]_. So decoupling brings no gain here that one could
# see, and at the highest rate it costs much. This is one small problem with noisy
# labels: no evidence against the finding elsewhere.
figure, axes = plt.subplots(1, 3, figsize=(10, 3.8), layout="constrained", sharey=True)
lowest = min(error.min() for error in errors.values())
quarter = 10**0.25  # half the distance of neighbors on the grids
panels = (
    ("coupled", "λ", 1 + 0 * rates),
    ("decoupled", "λ", 1 + 0 * rates),
    ("decoupled", "ηλ", rates),
)
for ax, (mode, name, factor) in zip(axes, panels):
    edges = np.append(grids[mode] / quarter, grids[mode][-1] * quarter)
    for i, rate in enumerate(rates):
        image = ax.pcolormesh(
            edges * factor[i],
            [rate / quarter, rate * quarter],
            errors[mode][i : i + 1],
            cmap="cividis_r",
            vmin=lowest,
            vmax=30,
        )
    style = {"color": "#D55E00", "mfc": "white", "ms": 8, "lw": 2.5}
    ax.plot(best[mode] * factor, rates, "o-", label="best at each rate", **style)
    ax.set(xscale="log", yscale="log", title=f"{mode}, against {name}")
axes[0].set_xlabel("λ (reg_lambda)")
axes[1].set_xlabel("λ (reg_lambda)")
axes[2].set_xlabel("ηλ (the λ of the paper)")
axes[0].set_ylabel("learning rate η")
figure.colorbar(image, ax=axes, extend="max", label="test error, %")
ax.fill([], [], fc="white", ec="black", lw=0.8, label="not computed")
legend = {"loc": "outside upper left", "ncols": 2, "frameon": False}
figure.legend(*ax.get_legend_handles_labels(), **legend)

# %%
# References
# ----------
# .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR
#    2019.
parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_decoupled_heatmap.png")
output = parser.parse_known_args()[0].output
figure.savefig(output, dpi=120)
print(f"picture: {output}")
