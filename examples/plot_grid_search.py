"""
===========================================
Penalty, λ and decay mode in a GridSearchCV
===========================================

Which penalty, in which decay mode, and how much of it? The network ends a pipeline for
mixed data, the adult census, read from ``adult.csv.gz`` in the folder that the variable
``SKREG_DATA`` names, or else from OpenML. Offline, breast-cancer data stand in.
"""

# %%
import argparse
import os
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.datasets import fetch_openml, load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skreg import RegMLPClassifier

parser = argparse.ArgumentParser()
parser.add_argument("--output", default="plot_grid_search.png")
parser.add_argument("--progress", action="store_true", help="scikit-learn >= 1.9, rich")
options = parser.parse_known_args()[0]

file = Path(os.environ.get("SKREG_DATA", ".")) / "adult.csv.gz"
try:
    if file.exists():
        X = pd.read_csv(file, keep_default_na=False).drop(columns="split")
        source, y = file.name, X.pop("income")
    else:
        source = "adult, from OpenML"
        X, y = fetch_openml("adult", version=2, return_X_y=True, n_retries=0)
except (OSError, ValueError):
    source = "breast cancer, for want of adult.csv.gz and of OpenML"
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
X = X.drop(columns="fnlwgt", errors="ignore")  # a sampling weight, no input
numbers = X.select_dtypes("number").columns
categories = X.columns.difference(numbers)
X = X.astype(dict.fromkeys(numbers, "float32"))  # the network trains in this precision
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=min(5_000, len(X) // 2), stratify=y, random_state=0
)
print(f"{source}: {len(X_train)} rows to train on, {len(X_test)} to test on")

# %%
# A list of grids keeps to combinations that have a meaning, each over its own range of
# λ: decoupled decay under Adam does not minimize the objective, its λ is on another
# scale. Two more scorers tell how much of the first layer is left.
one_hot = OneHotEncoder(handle_unknown="ignore", dtype="float32")
columns = make_column_transformer((one_hot, categories), (StandardScaler(), numbers))
network = RegMLPClassifier((50,), learning_rate="cosine", max_iter=30, random_state=0)
network.set_params(learning_rate_init=0.005, batch_size=min(200, len(X_train) // 20))
pipeline = Pipeline([("columns", columns), ("network", network)])
grids = [{"network__penalty": [None]}]
for penalty, mode, low, high in (
    ("l2", "coupled", -4, -1),
    ("l2", "decoupled", -2, 1),
    ("l1", "coupled", -5, -2),
    ("l1", "proximal", -5, -2),
    ("group_lasso", "proximal", -5, -2),
):
    grid = {"network__penalty": [penalty], "network__decay_mode": [mode]}
    grids.append(grid | {"network__reg_lambda": np.logspace(low, high, 7)})
scoring = {
    "loss": "neg_log_loss",
    "zeros": lambda model, X, y: np.mean(model[-1].coefs_[0] == 0),
    "inputs": lambda model, X, y: model[-1].selected_features_.mean(),
}
search = GridSearchCV(
    pipeline, grids, scoring=scoring, refit="loss", cv=3, return_train_score=True
)
if options.progress:
    from sklearn.callback import ProgressBar

    search.set_callbacks(ProgressBar())
warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are the plan
start = time.perf_counter()
search.fit(X_train, y_train)
print(f"search: {time.perf_counter() - start:.0f} s")

# %%
# The best λ of each combination: log loss, share of zeros and of inputs in use, seconds
# per fit, all means over 3 folds ("test" are their validation parts). Coupled and
# proximal L1 minimize the same objective, but only proximal steps reach exact zeros.
results = pd.DataFrame(search.cv_results_)
results.columns = [c.split("__")[-1].removeprefix("mean_") for c in results]
results[["test_loss", "train_loss"]] *= -1
results = results.fillna({"penalty": "none", "decay_mode": ""})
curves = results.groupby(["penalty", "decay_mode"])
shown = ["penalty", "decay_mode", "reg_lambda", "test_loss", "std_test_loss"]
shown += ["train_loss", "test_zeros", "test_inputs", "fit_time"]
table = results.loc[curves["test_loss"].idxmin()].sort_values("test_loss")[shown]
print(table.to_string(index=False, na_rep="", float_format="{:.3g}".format))

# %%
# On rows that the search has not seen:
plain = pipeline.set_params(network__penalty=None).fit(X_train, y_train)
for name, model in {"no penalty": plain, "best": search.best_estimator_}.items():
    loss = log_loss(y_test, model.predict_proba(X_test))
    accuracy = model.score(X_test, y_test)
    print(f"held-out rows, {name}: log loss {loss:.4f}, {accuracy = :.4f}")

# %%
# Underfitting to the right, overfitting to the left, where the training loss (dashed)
# falls below the validation loss. Bars: standard deviation over the folds.
figure, axes = plt.subplots(1, 3, figsize=(6, 4), sharey=True, layout="constrained")
styles = {"coupled": ("#0072B2", "o", 6), "decoupled": ("#D55E00", "s", 4)}
styles["proximal"] = ("#009E73", "^", 4)
legend, free = {}, curves.get_group(("none", ""))
for ax, panel in zip(axes, ("l2", "l1", "group_lasso")):
    legend["no penalty"] = ax.axhline(free["test_loss"].item(), color="0.5")
    ax.axhline(free["train_loss"].item(), color="0.5", linestyle="--")
    for (penalty, mode), curve in curves:
        if penalty == panel:
            style = dict(zip(("color", "marker", "markersize"), styles[mode]))
            lam, std = curve["reg_lambda"], curve["std_test_loss"]
            legend[mode] = ax.errorbar(lam, curve["test_loss"], std, capsize=2, **style)
            ax.plot(lam, curve["train_loss"], "--", **style)
    ax.set(title=panel, xscale="log", xlabel="λ")
axes[0].set_ylabel("log loss, validation (dashed: training)")
figure.legend(legend.values(), legend, loc="outside lower center", ncols=4)

figure.savefig(options.output, dpi=150)
print(f"picture: {options.output}")
