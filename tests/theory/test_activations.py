import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.errors import InputError, UnknownNameError
from gainstage.theory import activation, activation_names, activation_of

ALL = [activation(name) for name in activation_names()] + [
    activation("leaky_relu", negative_slope=0.2),
    activation("elu", alpha=0.5),
    activation("celu", alpha=2.0),
    activation("hardtanh", min_val=-2.0, max_val=0.5),
]
RECTIFIERS = {
    "relu", "leaky_relu", "relu6", "elu", "celu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus",
    "hardswish", "log_sigmoid",
}  # fmt: skip
BOUNDED = {"sigmoid", "tanh", "hardsigmoid", "hardtanh", "relu6", "softsign"}


@pytest.mark.parametrize("act", ALL, ids=str)
@given(z=st.floats(-8, 8, allow_subnormal=False))
def test_derivative_is_the_slope(act, z):
    if any(abs(z - kink) < 0.05 for kink in act.kinks):
        return
    numeric = activation_of(act.function, act.kinks).derivative(np.array([z]))
    assert act.derivative(np.array([z])) == pytest.approx(numeric, abs=1e-8)


@pytest.mark.parametrize("act", ALL, ids=str)
def test_large_arguments_are_finite_and_reach_the_plateaus(act):
    far = np.array([-1e5, 1e5])
    values, slopes = act.function(far), act.derivative(far)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(slopes))
    for value, plateau in zip(values, (act.lower, act.upper), strict=True):
        assert abs(value - plateau) < 1e-4 if math.isfinite(plateau) else abs(value) > 100


@pytest.mark.parametrize("act", ALL, ids=str)
def test_kind(act):
    assert act.is_rectifier == (act.name in RECTIFIERS)
    assert act.is_bounded == (act.name in BOUNDED)
    assert math.isfinite(act.saturation_point) == act.is_bounded


@pytest.mark.parametrize("act", ALL, ids=str)
def test_a_bare_callable_is_recognised_alike(act):
    bare = activation_of(act.function, act.kinks)
    assert (bare.is_rectifier, bare.is_bounded) == (act.is_rectifier, act.is_bounded)
    assert bare.slope_at_zero == pytest.approx(act.slope_at_zero, abs=1e-7)
    assert bare.saturation_point == pytest.approx(act.saturation_point, rel=0.02)


# kind, name, parameters, the |z| beyond which the slope is below 5 % of its maximum
SATURATION = [
    ("closed_form", "tanh", {}, math.acosh(math.sqrt(20))),
    ("closed_form", "sigmoid", {}, 2 * math.acosh(math.sqrt(20))),
    ("closed_form", "softsign", {}, math.sqrt(20) - 1),
    ("closed_form", "hardsigmoid", {}, 3.0),
    ("closed_form", "hardtanh", {"min_val": -1.0, "max_val": 2.0}, 2.0),
    ("closed_form", "relu6", {}, 6.0),
]


@pytest.mark.parametrize(("kind", "name", "parameters", "point"), SATURATION)
def test_saturation_point(kind, name, parameters, point):
    assert kind == "closed_form"
    assert activation(name, **parameters).saturation_point == pytest.approx(point, rel=1e-9)


@pytest.mark.parametrize("name", activation_names())
def test_agrees_with_torch(name):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    renamed = {"identity": lambda z: z, "gelu_tanh": lambda z: functional.gelu(z, approximate="tanh")}
    known = renamed.get(name) or getattr(functional, "logsigmoid" if name == "log_sigmoid" else name)
    z = np.linspace(-9, 9, 181)
    assert activation(name).function(z) == pytest.approx(known(torch.from_numpy(z)).numpy(), abs=1e-9)


def test_names_and_parameters():
    assert str(activation("elu", alpha=0.5)) == "elu(alpha=0.5)"
    assert str(activation("relu")) == "relu"
    with pytest.raises(
        UnknownNameError, match=r"^activation: name must be a known one, got 'tahn'\. Did you mean 'tanh'"
    ):
        activation("tahn")
    with pytest.raises(
        InputError, match=r"^activation: parameters of relu must be known ones, got alpha\. It takes none"
    ):
        activation("relu", alpha=1.0)
    with pytest.raises(InputError, match=r"^activation: parameters of elu must be finite, got"):
        activation("elu", alpha=math.inf)
    with pytest.raises(InputError, match=r"^activation: min_val must be below max_val, got 1 and 1\. Swap them"):
        activation("hardtanh", min_val=1.0)
    with pytest.raises(InputError, match=r"^activation: alpha of celu must not be 0"):
        activation("celu", alpha=0.0)


def test_activation_of_refuses():
    with pytest.raises(InputError, match=r"^activation_of: function must be elementwise, got shape \(\) for \(2, 2\)"):
        activation_of(np.sum)
    with pytest.raises(InputError, match=r"^activation_of: kinks must be finite, got \(nan,\)"):
        activation_of(np.tanh, [math.nan])
