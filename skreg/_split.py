"""The split of early stopping into training and validation rows."""

import numpy as np
from sklearn.model_selection import train_test_split


def split_rows(n_rows, sample_weight, validation_fraction, strata, rng):
    """Draw the training and validation rows of early stopping.

    The draw is `train_test_split` on the rows as they lie, as in scikit-learn's
    `MLPClassifier`: the same seed holds out the same rows. A weight goes with its row,
    whatever its size, so equal weights are no weights, and a row of weight 0 is not
    there: it is never held out and does not change the draw.

    Parameters
    ----------
    n_rows : int
    sample_weight : ndarray of shape (n_rows,) or None
    validation_fraction : float
        In (0, 1), of the rows of positive weight.
    strata : ndarray of shape (n_rows,) or None
        Labels whose shares both sides keep, as the user knows them: messages name them.
    rng : RandomState

    Returns
    -------
    train, validation : ndarrays of intp
        Row indices, in the order of the draw; rows of weight 0 are in neither.

    Raises
    ------
    ValueError
        If fewer than 2 rows are left for validation, none for training, or a class is
        too rare to be on both sides.

    Notes
    -----
    A row of weight 2 is one row here, while the same row twice may end on both sides.
    Drawing copies of weighted rows would make these two the same, but only for integer
    weights, and would hold out rows that are also trained on.
    """
    rows = np.arange(n_rows)
    if sample_weight is not None:
        rows = np.flatnonzero(sample_weight > 0)
    try:
        train, validation = train_test_split(
            rows,
            test_size=validation_fraction,
            stratify=None if strata is None else strata[rows],
            random_state=rng,
        )
    except ValueError as error:
        raise ValueError(
            "The data cannot be split for early_stopping with "
            f"validation_fraction={validation_fraction}: {error}"
        ) from error
    if validation.size < 2:
        raise ValueError(
            f"The validation set is too small: {validation.size} of {rows.size} rows, "
            "where early_stopping needs 2. Increase 'validation_fraction', here "
            f"{validation_fraction}, or the size of your dataset."
        )
    return train, validation
