"""The scatter of stages in a row: the algebra, and each stage's noise against sampling."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gainstage.theory import Activate, Affine, Dropout, Norm, Signal, activation, activation_names
from gainstage.theory.scatter import Scatter, Transfer, transfer_of
from gainstage.theory.signals import passed

FACTORS = st.floats(-2, 2, allow_subnormal=False)
NOISES = st.floats(0, 1, allow_subnormal=False)
TRANSFERS = st.builds(Transfer, FACTORS, FACTORS, NOISES, FACTORS, NOISES, FACTORS, FACTORS)


@given(first=TRANSFERS, second=TRANSFERS, third=TRANSFERS)
def test_it_does_not_matter_which_two_are_joined_first(first, second, third):
    left, right = first.then(second).then(third), first.then(second.then(third))
    assert astuple(left) == pytest.approx(astuple(right), rel=1e-9, abs=1e-9)
    assert astuple(Transfer().then(first)) == astuple(first.then(Transfer())) == pytest.approx(astuple(first))


@given(first=TRANSFERS, second=TRANSFERS, drift=FACTORS, variance=NOISES)
def test_one_after_the_other_is_both_at_once(first, second, drift, variance):
    entering = Scatter(drift, variance)
    one, other = entering.after(first).after(second), entering.after(first.then(second))
    assert astuple(one) == pytest.approx(astuple(other), rel=1e-9, abs=1e-9)


WIDTH, RUNS = 200, 4000
STAGES = [
    *(pytest.param(Activate(activation(name)), id=name) for name in sorted(set(activation_names()) - {"identity"})),
    pytest.param(Dropout(0.6), id="dropout"),
]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("centred", [False, True])
def test_noise_of_a_stage_against_samples(stage, centred):
    """Twin: normal units, and a gradient on them, drawn anew; each figure to five standard errors."""
    generator = np.random.default_rng(3)
    h = generator.normal(size=(RUNS, WIDTH))
    if centred:  # as behind a layer norm
        h -= h.mean(axis=1, keepdims=True)
        h /= np.sqrt(np.mean(h**2, axis=1, keepdims=True))
    before = Signal(WIDTH, gaussian=True, centred=centred)
    gradient = generator.normal(size=h.shape)
    if isinstance(stage, Activate):
        out, below = stage.activation.function(h), stage.activation.derivative(h) * gradient
    else:
        mask = (generator.random(h.shape) < stage.keep) / stage.keep
        out, below = h * mask, mask * gradient
    transfer = transfer_of(stage, before, passed(stage, before))
    own = 0.0 if centred else 2 / WIDTH
    entering, signal, slope = (np.log(np.mean(x**2, axis=1)) for x in (h, out, below))
    growth = slope - np.log(np.mean(gradient**2, axis=1))
    expected = Scatter(0.0, own).after(transfer).variance
    tolerance = 5 * math.sqrt(2 / RUNS) + 10 / WIDTH
    assert np.var(signal) == pytest.approx(expected, rel=tolerance, abs=2e-5)
    total = transfer.grad_variance + transfer.onto_gradient**2 * own
    assert np.var(growth) == pytest.approx(total, rel=tolerance, abs=2e-5)
    both = transfer.covariance + transfer.through * transfer.onto_gradient * own
    limit = 5 * math.sqrt(expected * total / RUNS) + 10 / WIDTH * math.sqrt(expected * total) + 2e-5
    assert abs(np.cov(signal, growth)[0, 1] - both) < limit
    if not centred:
        assert np.cov(entering, signal)[0, 1] == pytest.approx(transfer.through * own, rel=tolerance, abs=2e-4)


def test_norms_forget_the_scale_and_pass_its_inverse_to_the_gradient():
    before = Signal(WIDTH, gaussian=True)
    for kind in ("layer", "rms"):
        transfer = transfer_of(Norm(kind), before, passed(Norm(kind), before))
        assert (transfer.through, transfer.onto_gradient, transfer.variance) == (0.0, -1.0, 0.0)
    batch = Norm("batch")
    assert transfer_of(batch, before, passed(batch, before)).through == 1.0


def test_biases_damp_what_scatters():
    before, stage = Signal(50, square=2.0), Affine(100, 1.0, bias_var=2.0)
    assert transfer_of(stage, before, passed(stage, before)).through == 0.5
