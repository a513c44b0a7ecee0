"""Coordinates in which inputs far from 0 do not hurt: intercepts at the mean input."""

import numpy as np


class Centered:
    """A composite objective in other coordinates of the first layer's intercepts.

    With inputs of mean m, the first layer is x'W + b = (x - m)'W + c, so that W and
    c = b + m'W see centered inputs, which stay as they are. Where b is free of
    penalties this changes the problem's condition and nothing else: columns far from 0,
    such as pixels, would make b compensate for every change of W.

    Parameters
    ----------
    composite : Composite
        Objective of theta = (W, ..., b, ...). Its kinks do not act on b.
    network : Network
    mean : ndarray of shape (n_inputs,)
        Any point is correct; zeros change nothing.
    """

    def __init__(self, composite, network, mean):
        self._composite, self._mean = composite, mean
        self._weights, self._shape = network.slices[0], network.shapes[0]
        self._intercepts = network.slices[network.n_layers]
        self.has_kink, self.penalized = composite.has_kink, composite.penalized
        self.has_ridge = composite.has_ridge
        self.kink_value = composite.kink_value
        self.kink_prox = composite.kink_prox
        self.kink_cross = composite.kink_cross

    def enter(self, theta):
        """Return theta in the new coordinates."""
        return self._shift(theta, self._mean)

    def leave(self, theta):
        """Return theta in the old coordinates."""
        return self._shift(theta, -self._mean)

    def _shift(self, theta, by):
        theta = theta.astype(np.float64)
        theta[self._intercepts] += by @ theta[self._weights].reshape(self._shape)
        return theta

    def smooth_value_grad(self, theta):
        """Return f(theta) and its gradient."""
        value, grad = self._composite.smooth_value_grad(self.leave(theta))
        self._shift_gradient(grad, -self._mean)
        return value, grad

    def original_gradient(self, grad):
        """Return a gradient in the old coordinates."""
        grad = grad.copy()
        self._shift_gradient(grad, self._mean)
        return grad

    def _shift_gradient(self, grad, by):
        weights = grad[self._weights].reshape(self._shape)  # a view
        weights += by[:, None] * grad[self._intercepts]

    def penalty_value(self, theta, kink):
        """Return all penalties at theta, where h is `kink`."""
        return self._composite.penalty_value(theta, kink)  # which leave b alone
