from dataclasses import replace

import pytest
import torch

from gainstage.lab.catalogue.normalization.scale_invariance import CLAIM
from gainstage.lab.measurements.normalization import scale_invariance
from gainstage.seeding import generator

QUICK = CLAIM.designs["quick"]


def draws(seed=0):
    source = generator(seed)
    return [torch.randn(*shape, generator=source, dtype=torch.float64) for shape in ((32, 8), (4, 8), (32, 4))]


def by_hand(inputs, weight, target):
    z = inputs @ weight.T
    output = (z - z.mean(0)) / z.std(0, correction=0)
    return output, 0.5 * (output - target).square().sum()


def test_the_pass_is_the_formula():
    inputs, weight, target = draws()
    u, w = inputs.clone().requires_grad_(), weight.clone().requires_grad_()
    output, loss = by_hand(u, w, target)
    loss.backward()
    found = scale_invariance.normalized_pass(inputs, weight, target, 1e-30)
    torch.testing.assert_close(found.output, output.detach())
    torch.testing.assert_close(found.input_gradient, u.grad)
    torch.testing.assert_close(found.weight_gradient, w.grad)


def test_without_normalization_the_output_scales():
    inputs, weight, target = draws()
    one = scale_invariance.normalized_pass(inputs, weight, target, None)
    ten = scale_invariance.normalized_pass(inputs, 10 * weight, target, None)
    torch.testing.assert_close(ten.output, 10 * one.output)
    assert float(one.alignment) > 0.01


def test_scales_have_both_ends_and_one():
    assert scale_invariance.scales(1) == pytest.approx([0.1, 10**-0.5, 1.0, 10**0.5, 10.0])
    assert 1.0 in scale_invariance.scales(6)


def test_half_precision_is_reported_where_asked_for():
    rows = scale_invariance.measure(replace(QUICK, low_precision=True), 0)
    largest = {
        dtype: max(row["output_error"] for row in rows if row["dtype"] == dtype and 0.1 < row["scale"] < 100)
        for dtype in ("float16", "bfloat16")
    }
    # Rounding units 2^-11 and 2^-8: the identity holds to a few of them.
    assert 0 < largest["float16"] < 8 * 2**-11
    assert 0 < largest["bfloat16"] < 8 * 2**-8
