"""
============================================
Penalty, λ and decay mode in a GridSearchCV
============================================

Which penalty, in which decay mode, and how much of it?

Census data mix numbers and categories, so the network ends a pipeline, like any other
classifier. They are read from ``adult.csv.gz`` in the folder that the environment
variable ``SKREG_DATA`` names, or else fetched from OpenML; without either, the
breast-cancer data of scikit-learn stand in.
"""

# %%
# Data
# ----
import argparse
import os
import socket
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import fetch_openml, load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skreg import RegMLPClassifier

file = Path(os.environ.get("SKREG_DATA", ".")) / "adult.csv.gz"
socket.setdefaulttimeout(10)
try:
    if file.exists():
        X = pd.read_csv(file, keep_default_na=False).drop(columns="split")
        source, y = file.name, X.pop("income")
    else:
        X, y = fetch_openml("adult", version=2, return_X_y=True, n_retries=1)
        source = "adult from OpenML"
except (OSError, ValueError):
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    source = "no adult.csv.gz, no OpenML: breast cancer"
X = X.drop(columns="fnlwgt", errors="ignore")  # a sampling weight, no input
numbers = X.select_dtypes("number").columns
categories = X.columns.difference(numbers)
X = X.astype(dict.fromkeys(numbers, "float32"))  # the network trains in this precision
X_train, X_test, y_train, y_test = train_test_split(
    X, y, test_size=1 / 3, stratify=y, random_state=0
)
print(f"{source}: {len(X_train)} rows to train on, {len(X_test)} to test on")

# %%
# The search
# ----------
# A list of grids keeps to combinations that have a meaning, each over its own range of
# λ: decoupled decay under Adam does not minimize the objective, its λ is on another
# scale. Two more scorers tell how much of the first layer is left.
one_hot = OneHotEncoder(handle_unknown="ignore", dtype="float32")
columns = [("one_hot", one_hot, categories), ("scale", StandardScaler(), numbers)]
network = RegMLPClassifier(
    (50,), learning_rate_init=0.005, learning_rate="cosine", max_iter=20, random_state=0
)
pipeline = Pipeline([("columns", ColumnTransformer(columns)), ("network", network)])
grids = [{"network__penalty": [None]}]
for penalty, mode, low, high in [
    ("l2", "coupled", -4, -1),
    ("l2", "decoupled", -2, 1),
    ("l1", "coupled", -5, -2),
    ("l1", "proximal", -5, -2),
    ("group_lasso", "proximal", -5, -2),
]:
    grid = {"network__penalty": [penalty], "network__decay_mode": [mode]}
    grids.append({**grid, "network__reg_lambda": np.logspace(low, high, 7)})
scoring = {
    "log_loss": "neg_log_loss",
    "zeros": lambda model, X, y: np.mean(model[-1].coefs_[0] == 0),
    "inputs": lambda model, X, y: model[-1].selected_features_.mean(),
}
search = GridSearchCV(
    pipeline, grids, scoring=scoring, refit="log_loss", return_train_score=True, n_jobs=2
)
warnings.simplefilter("ignore", ConvergenceWarning)  # 20 epochs are the plan
start = time.perf_counter()
search.fit(X_train, y_train)
elapsed = time.perf_counter() - start

# %%
# The best λ of each combination. Coupled and proximal L1 minimize the same objective;
# only the proximal steps arrive at exact zeros.
results = pd.DataFrame(search.cv_results_).rename(columns=lambda c: c.split("__")[-1])
results = results.fillna({"penalty": "none", "decay_mode": ""})
curves = dict(list(results.groupby(["penalty", "decay_mode"])))
print("penalty      mode             λ    log loss ± std   train  zeros  inputs  fit [s]")
for (penalty, mode), curve in curves.items():
    row = curve.loc[curve["mean_test_log_loss"].idxmax()]
    print(
        f"{penalty:12} {mode:10} {row['reg_lambda']:7.1e}"
        f"   {-row['mean_test_log_loss']:.4f} ± {row['std_test_log_loss']:.4f}"
        f"  {-row['mean_train_log_loss']:.4f}  {row['mean_test_zeros']:5.0%}"
        f"  {row['mean_test_inputs']:6.0%}  {row['mean_fit_time']:7.2f}"
    )
print(f"{5 * len(results)} fits took {elapsed:.0f} s, two at a time")

# %%
# On rows that the search has not seen:
plain = pipeline.set_params(network__penalty=None).fit(X_train, y_train)
for label, model in (("no penalty", plain), ("best of the grid", search.best_estimator_)):
    loss = log_loss(y_test, model.predict_proba(X_test))
    print(f"test: log loss {loss:.4f}, accuracy {model.score(X_test, y_test):.4f}, {label}")

# %%
# Under- and overfitting
# ----------------------
# Full lines: validation folds, with standard deviations. Dashed: training folds. In
# gray, without a penalty.
figure, axes = plt.subplots(1, 3, figsize=(6, 4), sharey=True, layout="constrained")
styles = {"coupled": ("#0072B2", "o"), "decoupled": ("#D55E00", "s")}
styles["proximal"] = ("#009E73", "^")
free = -curves.pop(("none", "")).iloc[0]
