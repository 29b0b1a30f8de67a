"""Activation functions and their derivatives, in numpy, elementwise and without overflow at any finite z.

At a kink a derivative has the value of its left side; no expectation depends on it.
"""

from __future__ import annotations

import math

import numpy as np

from gainstage.numerics import FloatArray

SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805
_GELU_SLOPE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715


def normal_cdf(z: FloatArray) -> FloatArray:
    """Φ(z) = erfc(-z/√2)/2, which keeps its digits in the lower tail."""
    scaled = np.asarray(z, dtype=np.float64) * -math.sqrt(0.5)
    # math.erfc one by one: numpy has none, and this is within a factor three of a vectorised fit.
    values = np.fromiter(map(math.erfc, scaled.ravel().tolist()), dtype=np.float64, count=scaled.size)
    return values.reshape(scaled.shape) / 2


def identity(z: FloatArray) -> FloatArray:
    """φ(z) = z."""
    return np.asarray(z, dtype=np.float64)


def one(z: FloatArray) -> FloatArray:
    """The derivative of `identity`."""
    return np.ones_like(z, dtype=np.float64)


def leaky_relu(z: FloatArray, negative_slope: float) -> FloatArray:
    """φ(z) = z above 0, a·z below."""
    return np.where(z > 0, z, negative_slope * z)


def leaky_relu_derivative(z: FloatArray, negative_slope: float) -> FloatArray:
    """φ′(z) = 1 above 0, a below."""
    return np.where(z > 0, 1.0, negative_slope)


def elu(z: FloatArray, alpha: float) -> FloatArray:
    """φ(z) = z above 0, α(exp(z) - 1) below."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0)))


def elu_derivative(z: FloatArray, alpha: float) -> FloatArray:
    """φ′(z) = 1 above 0, α exp(z) below."""
    return np.where(z > 0, 1.0, alpha * np.exp(np.minimum(z, 0.0)))


def selu(z: FloatArray) -> FloatArray:
    """φ(z) = λ elu(z; α) with the constants that make (0, 1) a fixed point of mean and variance."""
    return SELU_SCALE * elu(z, SELU_ALPHA)


def selu_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = λ elu′(z; α)."""
    return SELU_SCALE * elu_derivative(z, SELU_ALPHA)


def celu(z: FloatArray, alpha: float) -> FloatArray:
    """φ(z) = z above 0, α(exp(z/α) - 1) below."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z / alpha, 0.0)))


def celu_derivative(z: FloatArray, alpha: float) -> FloatArray:
    """φ′(z) = 1 above 0, exp(z/α) below."""
    return np.where(z > 0, 1.0, np.exp(np.minimum(z / alpha, 0.0)))


def gelu(z: FloatArray) -> FloatArray:
    """φ(z) = z Φ(z)."""
    return z * normal_cdf(z)


def gelu_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = Φ(z) + z exp(-z²/2)/√(2π)."""
    return normal_cdf(z) + z * np.exp(-np.square(z) / 2) / math.sqrt(2 * math.pi)


def gelu_tanh(z: FloatArray) -> FloatArray:
    """φ(z) = z (1 + tanh(√(2/π)(z + 0.044715 z³)))/2."""
    return z * sigmoid(2 * _GELU_SLOPE * (z + _GELU_CUBIC * z**3))


def gelu_tanh_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = σ(u) + z σ′(u) u′ with u = 2√(2/π)(z + 0.044715 z³)."""
    inner = 2 * _GELU_SLOPE * (z + _GELU_CUBIC * z**3)
    slope = 2 * _GELU_SLOPE * (1 + 3 * _GELU_CUBIC * np.square(z))
    return sigmoid(inner) + z * sigmoid_derivative(inner) * slope


def sigmoid(z: FloatArray) -> FloatArray:
    """φ(z) = 1/(1 + exp(-z))."""
    tail = np.exp(-np.abs(z))
    return np.where(z > 0, 1.0, tail) / (1 + tail)


def sigmoid_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = σ(z) σ(-z)."""
    tail = np.exp(-np.abs(z))
    return tail / np.square(1 + tail)


def tanh(z: FloatArray) -> FloatArray:
    """φ(z) = tanh z."""
    return np.tanh(z)


def tanh_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = 1/cosh² z."""
    return 4 * sigmoid_derivative(2 * z)


def silu(z: FloatArray) -> FloatArray:
    """φ(z) = z σ(z)."""
    return z * sigmoid(z)


def silu_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = σ(z) + z σ′(z)."""
    return sigmoid(z) + z * sigmoid_derivative(z)


def softplus(z: FloatArray) -> FloatArray:
    """φ(z) = ln(1 + exp z)."""
    return np.logaddexp(0.0, z)


def mish(z: FloatArray) -> FloatArray:
    """φ(z) = z tanh(softplus z)."""
    return z * np.tanh(softplus(z))


def mish_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = t + z σ(z)(1 - t²) with t = tanh(softplus z)."""
    inner = softplus(z)
    return np.tanh(inner) + z * sigmoid(z) * tanh_derivative(inner)


def log_sigmoid(z: FloatArray) -> FloatArray:
    """φ(z) = ln σ(z)."""
    return -np.logaddexp(0.0, -z)


def log_sigmoid_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = σ(-z)."""
    return sigmoid(-z)


def hardtanh(z: FloatArray, min_val: float, max_val: float) -> FloatArray:
    """φ(z) = z, cut off at both values."""
    return np.clip(z, min_val, max_val)


def hardtanh_derivative(z: FloatArray, min_val: float, max_val: float) -> FloatArray:
    """φ′(z) = 1 between the values, 0 outside."""
    return np.where((z > min_val) & (z <= max_val), 1.0, 0.0)


def hardsigmoid(z: FloatArray) -> FloatArray:
    """φ(z) = (z + 3)/6, cut off at 0 and 1."""
    return np.clip(z + 3, 0.0, 6.0) / 6


def hardsigmoid_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = 1/6 for |z| < 3, 0 outside."""
    return hardtanh_derivative(z, -3.0, 3.0) / 6


def hardswish(z: FloatArray) -> FloatArray:
    """φ(z) = z hardsigmoid(z)."""
    return z * hardsigmoid(z)


def hardswish_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = (2z + 3)/6 for |z| < 3, 0 below, 1 above."""
    return np.where(z > 3, 1.0, np.where(z > -3, (2 * z + 3) / 6, 0.0))


def softsign(z: FloatArray) -> FloatArray:
    """φ(z) = z/(1 + |z|)."""
    return z / (1 + np.abs(z))


def softsign_derivative(z: FloatArray) -> FloatArray:
    """φ′(z) = 1/(1 + |z|)²."""
    return 1 / np.square(1 + np.abs(z))
