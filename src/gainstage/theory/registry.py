"""The activations that are known by name, with their analytic derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from gainstage.errors import InputError, UnknownNameError
from gainstage.theory import functions
from gainstage.theory.activations import Activation


def activation(name: str, **parameters: float) -> Activation:
    """Returns a known activation, by the name of its torch function.

    identity, relu, leaky_relu(negative_slope=0.01), elu(alpha=1), selu, celu(alpha=1), gelu (with erf),
    gelu_tanh, silu, mish, softplus, sigmoid, tanh, hardsigmoid, hardswish, hardtanh(min_val=-1, max_val=1),
    relu6, softsign, log_sigmoid.

    Args:
        name: One of the above.
        parameters: Of that activation, with torch's names and defaults.

    Returns:
        The activation.

    Raises:
        UnknownNameError: if the name is not known.
        InputError: if it does not take such a parameter, or not such a value.

    Validity:
        softplus is the one with beta = 1; leaky_relu takes any slope; for a randomised one give the mean.

    Example:
        >>> leaky = activation("leaky_relu", negative_slope=0.2)
        >>> print(leaky, leaky.slopes)
        leaky_relu(negative_slope=0.2) (0.2, 1.0)

    References:
        The docstrings of `gainstage.theory.functions` give the equations.
    """
    if name in _PLAIN:
        _reject_unknown(name, parameters, {})
        return _PLAIN[name]
    if name not in _FAMILIES:
        raise UnknownNameError("activation", "name", name, activation_names())
    defaults, build = _FAMILIES[name]
    _reject_unknown(name, parameters, defaults)
    values = {key: float(parameters.get(key, default)) for key, default in defaults.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise InputError(
            f"activation: parameters of {name} must be finite, got {values}. Leave them at their defaults."
        )
    return build(**values)


def activation_names() -> tuple[str, ...]:
    """Returns the names that `activation` knows, sorted.

    Example:
        >>> activation_names()[:3]
        ('celu', 'elu', 'gelu')
    """
    return tuple(sorted((*_PLAIN, *_FAMILIES)))


def _reject_unknown(name: str, parameters: dict[str, float], known: dict[str, float]) -> None:
    extra = sorted(set(parameters) - set(known))
    if extra:
        listing = f"It takes {', '.join(known)}." if known else "It takes none."
        raise InputError(f"activation: parameters of {name} must be known ones, got {', '.join(extra)}. {listing}")


def _leaky_relu(negative_slope: float) -> Activation:
    return Activation(
        name="leaky_relu",
        function=partial(functions.leaky_relu, negative_slope=negative_slope),
        derivative=partial(functions.leaky_relu_derivative, negative_slope=negative_slope),
        kinks=(0.0,),
        lower=0.0 if negative_slope == 0 else math.copysign(math.inf, -negative_slope),
        slopes=(negative_slope, 1.0),
        parameters=(("negative_slope", negative_slope),),
    )


def _elu(alpha: float) -> Activation:
    return Activation(
        name="elu",
        function=partial(functions.elu, alpha=alpha),
        derivative=partial(functions.elu_derivative, alpha=alpha),
        kinks=(0.0,),
        lower=-alpha,
        parameters=(("alpha", alpha),),
    )


def _celu(alpha: float) -> Activation:
    if alpha == 0:
        raise InputError("activation: alpha of celu must not be 0, got 0.0. Use relu, its limit.")
    return Activation(
        name="celu",
        function=partial(functions.celu, alpha=alpha),
        derivative=partial(functions.celu_derivative, alpha=alpha),
        kinks=(0.0,),
        lower=-alpha if alpha > 0 else -math.inf,
        parameters=(("alpha", alpha),),
    )


def _hardtanh(min_val: float, max_val: float) -> Activation:
    if min_val >= max_val:
        raise InputError(f"activation: min_val must be below max_val, got {min_val:g} and {max_val:g}. Swap them.")
    return Activation(
        name="hardtanh",
        function=partial(functions.hardtanh, min_val=min_val, max_val=max_val),
        derivative=partial(functions.hardtanh_derivative, min_val=min_val, max_val=max_val),
        kinks=(min_val, max_val),
        lower=min_val,
        upper=max_val,
        parameters=(("min_val", min_val), ("max_val", max_val)),
    )


_FAMILIES: dict[str, tuple[dict[str, float], Callable[..., Activation]]] = {
    "celu": ({"alpha": 1.0}, _celu),
    "elu": ({"alpha": 1.0}, _elu),
    "hardtanh": ({"min_val": -1.0, "max_val": 1.0}, _hardtanh),
    "leaky_relu": ({"negative_slope": 0.01}, _leaky_relu),
}

_PLAIN: dict[str, Activation] = {
    entry.name: entry
    for entry in (
        Activation("identity", functions.identity, functions.one, slopes=(1.0, 1.0)),
        Activation(
            "relu",
            partial(functions.leaky_relu, negative_slope=0.0),
            partial(functions.leaky_relu_derivative, negative_slope=0.0),
            kinks=(0.0,), lower=0.0, slopes=(0.0, 1.0),
        ),
        Activation(
            "relu6",
            partial(functions.hardtanh, min_val=0.0, max_val=6.0),
            partial(functions.hardtanh_derivative, min_val=0.0, max_val=6.0),
            kinks=(0.0, 6.0), lower=0.0, upper=6.0,
        ),
        Activation(
            "selu", functions.selu, functions.selu_derivative,
            kinks=(0.0,), lower=-functions.SELU_SCALE * functions.SELU_ALPHA,
        ),
        Activation("gelu", functions.gelu, functions.gelu_derivative, lower=0.0),
        Activation("gelu_tanh", functions.gelu_tanh, functions.gelu_tanh_derivative, lower=0.0),
        Activation("silu", functions.silu, functions.silu_derivative, lower=0.0),
        Activation("mish", functions.mish, functions.mish_derivative, lower=0.0),
        Activation("softplus", functions.softplus, functions.sigmoid, lower=0.0),
        Activation("sigmoid", functions.sigmoid, functions.sigmoid_derivative, lower=0.0, upper=1.0),
        Activation("tanh", functions.tanh, functions.tanh_derivative, lower=-1.0, upper=1.0),
        Activation(
            "hardsigmoid", functions.hardsigmoid, functions.hardsigmoid_derivative,
            kinks=(-3.0, 3.0), lower=0.0, upper=1.0,
        ),
        Activation(
            "hardswish", functions.hardswish, functions.hardswish_derivative, kinks=(-3.0, 3.0), lower=0.0,
        ),
        Activation(
            "softsign", functions.softsign, functions.softsign_derivative, kinks=(0.0,), lower=-1.0, upper=1.0
        ),
        Activation("log_sigmoid", functions.log_sigmoid, functions.log_sigmoid_derivative, upper=0.0),
    )
}  # fmt: skip
