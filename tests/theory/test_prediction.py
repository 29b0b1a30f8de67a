"""`predict` against random torch networks of every kind of stage, with the controls that must fail."""

import math
from dataclasses import replace

import numpy as np
import pytest
from stage_networks import flat, measured

from gainstage.errors import InputError, UnknownNameError
from gainstage.theory import (
    Activate,
    Affine,
    Dropout,
    Layer,
    Norm,
    Residual,
    Signal,
    activation,
    batch_norm_gradient_factor,
    gradient_band,
    nf_gain,
    predict,
    propagate,
)

RELU, TANH, GELU = (activation(name) for name in ("relu", "tanh", "gelu"))
INPUTS, WIDTH, NETWORKS = 64, 100, 120
START = Signal(INPUTS)


def affine(weight_var=2.0, **options):
    return Affine(WIDTH, weight_var, **options)


def block(*branch, scale=1.0):
    return Residual(branch, scale=scale)


BATCH = Norm("batch", batch_size=16)
NETS = {
    "plain": [affine(), Activate(RELU)] * 6,
    "biases": [affine(1.5, bias_var=0.1), Activate(GELU)] * 4,
    "residual": [affine(1.0), *[block(Activate(RELU), affine(), scale=0.5)] * 8],
    "residual-tanh": [affine(1.0), *[block(Activate(TANH), affine(2.0, bias_var=0.1), scale=0.7)] * 6],
    "residual-nested": [
        affine(1.0),
        *[block(block(Activate(RELU), affine(), scale=0.5), Activate(TANH), affine(1.0), scale=0.7)] * 3,
    ],
    "residual-post-activation": [
        affine(), Activate(RELU), *[block(affine(), Activate(RELU), scale=0.5), affine(1.0), Activate(RELU)] * 3,
    ],
    "pre-layer-norm": [affine(1.0), *[block(Norm("layer"), affine(1.0), Activate(GELU), affine())] * 4],
    "pre-rms-norm": [affine(1.0), *[block(Norm("rms"), affine(), Activate(RELU), affine())] * 4],
    "post-layer-norm": [affine(1.0), *[block(affine(), Activate(TANH), affine()), Norm("layer")] * 4],
    "norms-of-activations": [affine(), Activate(RELU), Norm("layer"), affine(), Activate(RELU), Norm("rms"), affine()],
    "group-norm": [affine(1.0), *[Norm("group", groups=10), Activate(RELU), affine()] * 5],
    "batch-norm": [affine(1.0), *[BATCH, Activate(RELU), affine(1.0)] * 8],
    "batch-norm-residual": [affine(1.0), *[block(BATCH, Activate(RELU), affine())] * 5],
    "dropout": [affine(), *[Activate(RELU), Dropout(0.7), affine()] * 5],
    "dropout-batch-norm": [affine(1.0), *[BATCH, Activate(RELU), Dropout(0.8), affine(1.0)] * 4],
    "weight-standardization": [
        affine(1.0), *[Activate(RELU), affine(nf_gain(RELU) ** 2, standardized=True)] * 5,
    ],
    "normalizer-free": [
        affine(1.0), *[block(Activate(RELU), affine(nf_gain(RELU) ** 2, standardized=True), scale=0.4)] * 5,
    ],
}  # fmt: skip


def batch_of(stages):
    sizes = [batch_of(s.branch) if isinstance(s, Residual) else getattr(s, "batch_size", None) for s in stages]
    return max((size for size in sizes if size), default=4)


@pytest.fixture(scope="module", params=sorted(NETS))
def compared(request):
    """Predicted and measured, for one kind of network."""
    stages = NETS[request.param]
    levels = flat(predict(stages, START))
    return levels, measured(stages, inputs=INPUTS, networks=NETWORKS, batch=batch_of(stages))


def inside(levels, logs):
    """Share of the measured mean squares that lie in the band."""
    low, high = (np.array([2 * math.log(getattr(level, end)) for level in levels]) for end in ("low", "high"))
    return np.mean((logs > low - 1e-5) & (logs < high + 1e-5))


@pytest.mark.parametrize("side", ["forward", "gradient"])
def test_networks_lie_in_the_band(compared, side):
    levels, found = compared
    # 99.7 % of a normal variable; gradients on residual streams scatter up to a fifth more than predicted.
    assert inside([getattr(level, side) for level in levels], getattr(found, side)) >= 0.97


@pytest.mark.parametrize("side", ["forward", "gradient"])
def test_the_band_is_as_wide_as_the_scatter_and_in_the_middle_of_it(compared, side):
    levels, found = compared
    for level, logs in zip([getattr(level, side) for level in levels], getattr(found, side).T, strict=True):
        width = math.log(level.high / level.low) / 3
        if width < 1e-6:
            assert np.std(logs) < 1e-3  # fixed: behind a norm of the sample, or the gradient that was put in
            continue
        # Four standard errors of a variance, and a half for what is left out: slopes that successive branches
        # share, finite batches, orders beyond 1/width.
        assert (np.std(logs) / width) ** 2 == pytest.approx(1, rel=0.5 + 4 * math.sqrt(2 / NETWORKS)), level
        middle = math.log(level.high * level.low)
        assert abs(np.mean(logs) - middle) < 4 * width / math.sqrt(NETWORKS) + 0.05, level


def test_branches_that_draw_on_the_same_units_scatter_together():
    """The next branch draws what the one before drew, unless an affine map has mixed the units in between."""
    net = [affine(1.0), *[block(Activate(RELU), affine())] * 8]
    mixed = [affine(1.0), *[block(affine(1.0), Activate(RELU), affine())] * 8]
    found = [np.var(measured(stages, inputs=INPUTS, networks=400).forward[:, -1]) for stages in (net, mixed)]
    levels = [predict(stages, START)[-1].forward for stages in (net, mixed)]
    predicted = [(math.log(level.high / level.low) / 3) ** 2 for level in levels]
    assert found == pytest.approx(predicted, rel=4 * math.sqrt(2 / 400) + 0.1)
    alone = sum(share**2 * 5 + 4 * share * (1 - share) for share in [0.5] * 8) / WIDTH  # each branch for itself
    assert min(predicted[0], found[0]) > 1.2 * alone + 2 / WIDTH


# What each control leaves out of the prediction: the networks must then lie outside of the band.
CONTROLS = {
    "dropout": lambda s: Dropout(1.0) if isinstance(s, Dropout) else s,
    "weight-standardization": lambda s: replace(s, standardized=False) if isinstance(s, Affine) else s,
    "batch-norm": lambda s: replace(s, kind="rms", batch_size=None) if isinstance(s, Norm) else s,
    "pre-layer-norm": lambda s: replace(s, branch=s.branch[1:]) if isinstance(s, Residual) else s,
    "residual": lambda s: replace(s, scale=0.8) if isinstance(s, Residual) else s,
}


@pytest.mark.parametrize("name", sorted(CONTROLS))
def test_without_the_effect_the_prediction_fails(name):
    wrong = predict([CONTROLS[name](stage) for stage in NETS[name]], START)
    found = measured(NETS[name], inputs=INPUTS, networks=30, batch=batch_of(NETS[name]))
    right = flat(predict(NETS[name], START))
    top = [index for index, level in enumerate(right) if any(level.stage is stage for stage in NETS[name])]
    last, first = top[-1], top[0]
    share = min(
        inside([wrong[-1].forward], found.forward[:, [last]]), inside([wrong[0].gradient], found.gradient[:, [first]])
    )
    assert share < 0.6
    assert inside([right[-1].forward], found.forward[:, [last]]) > 0.95
    assert inside([right[first].gradient], found.gradient[:, [first]]) > 0.95


@pytest.mark.parametrize("act", [RELU, TANH, GELU, activation("sigmoid")], ids=str)
def test_is_propagate_and_gradient_band_for_plain_layers(act):
    layers = [Layer(width, act, 1.7, bias_var=0.1) for width in (64, 100, 30, 80)]
    stages = [s for layer in layers for s in (Affine(layer.width, 1.7, bias_var=0.1), Activate(act))][:-1]
    levels = predict(stages, START)[::2]
    for level, forward, gradient in zip(levels, propagate(1.0, layers), gradient_band(1.0, layers), strict=True):
        for one, other in ((level.forward, forward), (level.gradient, gradient)):
            assert (one.rms, one.low, one.high) == pytest.approx((other.rms, other.low, other.high), rel=1e-9)


# kind, batch size: growth of the squared gradient in a deep network of linear map, batch norm and ReLU
@pytest.mark.parametrize(("kind", "batch"), [("paper", None), ("closed_form", 8), ("closed_form", 64)])
def test_batch_norm_networks_reach_the_factor_of_the_literature(kind, batch):
    assert kind in ("paper", "closed_form")
    layer = [Norm("batch", batch_size=batch), Activate(RELU), Affine(400, 1.0)]
    levels = predict([Affine(400, 1.0), *layer * 12], Signal(400))
    squares = [level.gradient.rms**2 for level in levels if isinstance(level.stage, Affine)]
    assert squares[4] / squares[5] == pytest.approx(batch_norm_gradient_factor(RELU, batch), rel=1e-9)


def test_the_bottom_layer_of_a_batch_norm_network_has_the_factor_one_half():
    # Its inputs were not rectified: their variance is 1, not the (1 - 1/π)/2 of rectified ones.
    levels = predict([Affine(400, 1.0), *[Norm("batch"), Activate(RELU), Affine(400, 1.0)] * 6], Signal(400))
    squares = [level.gradient.rms**2 for level in levels if isinstance(level.stage, Affine)]
    assert squares[0] / squares[1] == pytest.approx(0.5, rel=1e-12)


def test_a_linear_batch_norm_network_in_closed_form():
    levels = predict([Affine(99, 1.0), *[Norm("batch", batch_size=7), Affine(99, 1.0)] * 6], Signal(99))
    squares = [level.gradient.rms**2 for level in levels if isinstance(level.stage, Affine)]
    assert squares[2] / squares[3] == pytest.approx((7 - 2) / (7 - 3), rel=1e-12)


def test_scale_zero_is_the_identity_and_nothing_overflows_into_nan():
    net = [affine(1.0), *[block(Activate(RELU), affine(), scale=0.0)] * 3]
    levels = predict(net, START)
    assert levels[-1].forward == levels[0].forward
    assert levels[0].gradient == levels[-1].gradient
    assert all(inner.gradient.rms == 0 for inner in levels[1].branch)
    for weight_var in (1e-80, 1e80):
        stages = [affine(weight_var), Activate(TANH), *[block(affine(weight_var), Activate(RELU), affine())] * 3]
        for level in flat(predict(stages, START)):
            figures = (*vars(level.forward).values(), *vars(level.gradient).values())
            assert not any(math.isnan(figure) for figure in figures)


def test_positions_enlarge_a_group():
    def factor(positions):
        stages = [Norm("group", groups=16, positions=positions), affine(1.0, fan_ratio=1.0)]
        return predict([affine(1.0), *stages], START)[0].gradient.rms ** 2

    # (m - 2)/(m - 3) of m = 100/16 values a group and position
    assert [factor(1), factor(64)] == pytest.approx([4.25 / 3.25, 398 / 397], rel=1e-12)


def test_correlations_of_inputs_follow_the_c_map_and_batch_norm_takes_them_away():
    levels = predict([affine(), Activate(RELU), affine(), Norm("batch")], Signal(INPUTS, cross=0.5))
    c = 0.5
    exact = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
    assert [level.signal.correlation for level in levels] == pytest.approx([0.5, exact, exact, 0.0])


def test_refuses():
    with pytest.raises(InputError, match=r"^predict: stages must have at least one entry, got none\. "):
        predict([], START)
    with pytest.raises(InputError, match=r"^Activate: signal of relu must be normal with mean 0"):
        predict([affine(), Activate(RELU), Activate(RELU)], START)
    with pytest.raises(InputError, match=r"^Residual: branch must have an Affine map in it, got 1 stages"):
        Residual((Activate(RELU),))
    with pytest.raises(InputError, match=r"^Residual: branch must end with the width .* got 50 and 64\. "):
        predict([Residual((Affine(50, 1.0),))], START)
    with pytest.raises(InputError, match=r"^Norm: signal of a batch norm must vary, got variance 0 "):
        predict([Norm("batch")], Signal(64, cross=1.0))
    with pytest.raises(InputError, match=r"^Norm: groups must leave at least 6 values in each, got 16 of 64 units"):
        predict([Norm("group", groups=16)], START)
    with pytest.raises(InputError, match=r"^Norm: batch_size must be at least 6, got 5\. "):
        Norm("batch", batch_size=5)
    with pytest.raises(InputError, match=r"^Norm: batch_size must go with kind 'batch', groups with 'group'"):
        Norm("layer", batch_size=8)
    with pytest.raises(InputError, match=r"and positions with any but 'batch', got Norm\(kind='batch'"):
        Norm("batch", positions=4)
    with pytest.raises(UnknownNameError, match=r"^Norm: kind must be a known one, got 'lyaer'\. Did you mean 'layer'"):
        Norm("lyaer")
    with pytest.raises(InputError, match=r"^Dropout: keep must be positive and finite, got 0\. "):
        Dropout(0)
    with pytest.raises(InputError, match=r"^Signal: cross and mean² must not exceed square, got 2, "):
        Signal(64, cross=2)
