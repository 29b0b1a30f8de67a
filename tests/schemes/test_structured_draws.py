"""Schemes with a structure: orthogonal by every group and part, norms that convolutions keep, inputs that pass."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import gainstage as gs
from gainstage import theory
from gainstage.schemes import SCHEMES, Site
from gainstage.schemes.haar import haar
from gainstage.seeding import generator


def deviation(matrix: torch.Tensor, gain: float = 1.0) -> float:
    """Largest entry of Q Qᵀ/gain² - I, of the side with fewer rows."""
    q = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T).double() / gain
    return float((q @ q.T - torch.eye(len(q), dtype=torch.float64)).abs().max())


@settings(deadline=None, max_examples=40)
@given(
    blocks=st.integers(1, 3), rows=st.integers(1, 150), columns=st.integers(1, 150), gain=st.floats(0.1, 3),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_haar_matrices_are_orthogonal(blocks: int, rows: int, columns: int, gain: float, seed: int) -> None:
    drawn = haar(blocks, rows, columns, gain, generator(seed, "w"))
    assert drawn.shape == (blocks, rows, columns)
    assert drawn.is_contiguous()
    assert max(deviation(matrix, gain) for matrix in drawn) < 1e-5


@pytest.mark.parametrize("shape", [(300, 300), (300, 400), (129, 128), (1, 7), (7, 1), (1, 1)])
def test_the_product_of_blocks_is_that_of_single_reflections(shape: tuple[int, int]) -> None:
    rows, columns = shape
    few, many = min(shape), max(shape)
    fast = haar(1, rows, columns, 1.0, generator(5, "w"))[0]
    x = torch.randn(1, few, many, generator=generator(5, "w"))[0].double()
    slow = torch.eye(many, dtype=torch.float64)
    for k in range(few):
        # Householder: (I - 2uuᵀ) takes x to -sign·‖x‖·e_k; multiplied by that sign, R's diagonal is positive.
        v = torch.zeros(many, dtype=torch.float64)
        v[k:] = x[k, k:]
        sign = -1.0 if v[k] < 0 else 1.0
        v[k] += sign * torch.linalg.vector_norm(x[k, k:])
        slow = slow - 2 * torch.outer(slow @ v, v) / (v @ v)
    signs = torch.tensor([1.0 if x[k, k] < 0 else -1.0 for k in range(few)], dtype=torch.float64)
    slow = slow[:, :few] * signs
    assert torch.allclose(fast.double(), slow.T if rows <= columns else slow, atol=2e-6)
    # The first vector is the first Gaussian one, scaled to length 1, as in QR with a positive diagonal.
    assert torch.allclose(slow[:, 0], x[0] / torch.linalg.vector_norm(x[0]))


def test_haar_matrices_are_uniformly_distributed() -> None:
    # Of O(n), n > 2: E tr Q = 0, E (tr Q)² = 1, E tr Q² = 1, det = ±1 alike (Diaconis and Shahshahani 1994).
    n = 20_000
    q = haar(n, 4, 4, 1.0, generator(0, "w")).double()
    trace, square = (m.diagonal(dim1=-2, dim2=-1).sum(-1) for m in (q, q @ q))
    for values, expected in ((trace, 0.0), (trace**2, 1.0), (square, 1.0), (torch.linalg.det(q), 0.0)):
        assert float(values.mean()) == pytest.approx(expected, abs=4 * float(values.std()) / math.sqrt(n))
    entry = q[:, 1, 2] ** 2
    assert float(entry.mean()) == pytest.approx(1 / 4, abs=4 * float(entry.std()) / math.sqrt(n))


def test_orthogonal_of_groups_transposed_and_packed_weights_each_for_itself() -> None:
    draw = SCHEMES["orthogonal"].draw
    grouped = draw(Site((12, 5, 3), 15, 18, 1.5, groups=2, convolution=True), generator(0))
    assert max(deviation(part.flatten(1), 1.5) for part in grouped.chunk(2)) < 1e-5
    assert deviation(grouped.flatten(1), 1.5) > 0.1
    transposed = draw(Site((12, 5, 3, 3), 108, 45, groups=3, transposed=True, convolution=True), generator(0))
    assert max(deviation(part.flatten(1)) for part in transposed.chunk(3)) < 1e-5
    packed = draw(Site((48, 16), 16, 16, parts=3), generator(0))
    assert max(deviation(part) for part in packed.chunk(3)) < 1e-5
    assert deviation(packed) > 0.1
    across = draw(Site((16, 48), 16, 16, parts=3), generator(0))
    assert max(deviation(part) for part in across.chunk(3, 1)) < 1e-5
    assert not torch.allclose(*packed.chunk(3)[:2], atol=0.1)


def test_orthogonal_through_initialize_with_the_gain_that_preserves_depth() -> None:
    layers = [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 16), nn.LeakyReLU(0.2)]
    model = nn.Sequential(*layers, nn.Linear(16, 3))
    gs.initialize(model, torch.randn(4, 8), scheme="orthogonal")
    # Golden: closed form; √2, 1 and √(2/(1 + a²)).
    gains = [math.sqrt(2), 1.0, math.sqrt(2 / 1.04), 1.0]
    assert [deviation(layer.weight.detach(), g) < 1e-5 for layer, g in zip(model[::2], gains, strict=True)] == [
        True
    ] * 4


def test_orthogonal_projections_of_attention() -> None:
    model = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    gs.initialize(model, torch.randn(4, 5, 16), scheme="orthogonal")
    assert max(deviation(part) for part in model.self_attn.in_proj_weight.detach().chunk(3)) < 1e-5


def test_a_deep_linear_network_of_orthogonal_weights_keeps_every_norm() -> None:
    model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(50)])
    inputs = torch.randn(16, 64)
    gs.initialize(model, inputs, scheme="orthogonal")
    assert torch.allclose(model(inputs).norm(dim=1), inputs.norm(dim=1), rtol=1e-4)


CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


@pytest.mark.parametrize(("groups", "outputs"), [(1, 8), (1, 12), (4, 8), (8, 16)])
@pytest.mark.parametrize("dimensions", CONVOLUTIONS)
def test_a_delta_orthogonal_convolution_keeps_the_norm_of_every_input(
    dimensions: int, groups: int, outputs: int
) -> None:
    sizes = (5, 3, 1)[:dimensions]
    padding = tuple(size // 2 for size in sizes)
    layer = CONVOLUTIONS[dimensions](
        8, outputs, sizes, padding=padding, padding_mode="circular", groups=groups, bias=False
    )
    inputs = torch.randn(5, 8, *(7, 6, 5)[:dimensions])
    row = gs.initialize(layer, inputs, scheme="delta_orthogonal").rows[0]
    assert (row.scheme, row.note) == ("delta_orthogonal", "")
    assert torch.allclose(layer(inputs).flatten(1).norm(dim=1), inputs.flatten(1).norm(dim=1), rtol=1e-5)
    # Not so a flattened kernel: overlapping patches add up.
    gs.initialize(layer, inputs, scheme="orthogonal")
    assert not torch.allclose(layer(inputs).flatten(1).norm(dim=1), inputs.flatten(1).norm(dim=1), rtol=1e-2)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_delta_orthogonal_transposed_convolution_keeps_the_norm_at_any_stride(groups: int) -> None:
    for stride in (1, 2):
        layer = nn.ConvTranspose2d(4, 8, 3, stride=stride, padding=1, groups=groups, bias=False)
        inputs = torch.randn(5, 4, 6, 6)
        assert gs.initialize(layer, inputs, scheme="delta_orthogonal").rows[0].scheme == "delta_orthogonal"
        assert torch.allclose(layer(inputs).flatten(1).norm(dim=1), inputs.flatten(1).norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "site", "reason"),
    [
        ("delta_orthogonal", Site((8, 4, 3, 2), 24, 48, convolution=True), "a kernel of 2 taps has none in its centre"),
        ("delta_orthogonal", Site((4, 8, 3), 24, 12, convolution=True), "4 outputs cannot keep the norm of 8 inputs"),
        ("delta_orthogonal", Site((8, 4, 3), 24, 12, transposed=True, convolution=True), "4 outputs cannot keep"),
        ("delta_orthogonal", Site((8, 8, 3), 24, 6, groups=4, convolution=True), "2 outputs of a group cannot keep"),
        ("delta_orthogonal", Site((3, 8), 8, 3), "3 outputs cannot keep the norm of 8 inputs"),
        ("orthogonal", Site((2, 8, 3), 8, 3), r"a parameter of shape \(2, 8, 3\) is no matrix"),
        ("orthogonal", Site((8, 3), 8, 3, convolution=True), r"a parameter of shape \(8, 3\) is no kernel"),
        ("dirac", Site((8, 8), 8, 8), "a matrix has no kernel"),
        ("dirac", Site((8, 8, 4), 32, 32, convolution=True), "a kernel of 4 taps has none in its centre"),
        ("identity", Site((8, 8, 3), 24, 24, convolution=True), "a convolution has kernels"),
        ("critical", Site((8, 8), 8, 8, activation=theory.activation("log_sigmoid")), "log_sigmoid has no edge"),
    ],
)
def test_why_a_scheme_cannot_draw_a_weight(name: str, site: Site, reason: str) -> None:
    assert re.match(reason, SCHEMES[name].refusal(site) or "")


@pytest.mark.parametrize("outputs", [6, 9, 4])
def test_identity_passes_the_input_through(outputs: int) -> None:
    layer, inputs = nn.Linear(6, outputs), torch.randn(5, 6)
    gs.initialize(layer, inputs, scheme="identity")
    passed = min(6, outputs)
    assert torch.equal(layer(inputs)[:, :passed], inputs[:, :passed])
    assert not layer(inputs)[:, passed:].any()


def test_a_deep_relu_network_of_identities_does_not_grow() -> None:
    model = nn.Sequential(*[layer for _ in range(20) for layer in (nn.Linear(8, 8), nn.ReLU())])
    inputs = torch.randn(5, 8)
    gs.initialize(model, inputs, scheme="identity")
    assert torch.equal(model(inputs), inputs.relu())


def test_identity_with_a_gain_in_each_packed_projection() -> None:
    packed = SCHEMES["identity"].draw(Site((12, 4), 4, 4, gain=0.5, parts=3), generator(0))
    assert torch.equal(packed, 0.5 * torch.eye(4).repeat(3, 1))


@pytest.mark.parametrize("dimensions", CONVOLUTIONS)
@pytest.mark.parametrize(("groups", "outputs"), [(1, 4), (2, 4), (1, 6)])
def test_dirac_passes_images_through(dimensions: int, groups: int, outputs: int) -> None:
    layer = CONVOLUTIONS[dimensions](4, outputs, 3, padding=1, groups=groups)
    inputs = torch.randn(2, 4, *(6, 5, 4)[:dimensions])
    gs.initialize(layer, inputs, scheme="dirac")
    assert torch.equal(layer(inputs)[:, :4], inputs)
    assert not layer(inputs)[:, 4:].any()
    site = Site((4, 4 // groups, 3), 12, 12, gain=2.0, groups=groups, convolution=True)
    twice = SCHEMES["dirac"].draw(site, generator(0))
    assert torch.equal(twice.sum(dim=(1, 2)), torch.full((4,), 2.0))
    assert float((twice**2).mean()) == pytest.approx(SCHEMES["dirac"].variance(site))


NF_SITES = {
    "matrix": (Site((30, 50), 50, 30, 1.7, theory.activation("relu")), lambda w: w),
    "other way round": (Site((50, 30), 50, 30, 1.7, theory.activation("relu")), lambda w: w.T),
    "grouped": (Site((12, 4, 3, 3), 36, 36, 1.0, groups=3, convolution=True), lambda w: w.flatten(1)),
    # Each of the two groups makes 5 of the 10 outputs from 4 of the 8 inputs.
    "transposed": (
        Site((8, 5, 2, 2), 16, 20, 1.0, groups=2, transposed=True, convolution=True),
        lambda w: w.unflatten(0, (2, 4)).transpose(1, 2).flatten(2).flatten(0, 1),
    ),
}


@pytest.mark.parametrize("name", NF_SITES)
def test_nf_weights_of_each_unit_are_centred_and_of_exact_variance(name: str) -> None:
    site, units_of = NF_SITES[name]
    units = units_of(SCHEMES["nf_normal"].draw(site, generator(0, name)).double())
    assert units.mean(1).abs().max() < 1e-7
    expected = torch.full((len(units),), site.gain**2 / site.fan_in, dtype=torch.float64)
    assert torch.allclose(units.var(1, correction=0), expected, rtol=1e-5)
    assert units.unique().numel() == units.numel()


def test_nf_weights_keep_the_variance_where_he_keeps_the_second_moment() -> None:
    """Brock et al. 2021: with centred weights ReLU's mean does not reach the next layer."""
    torch.manual_seed(0)
    layers = [part for _ in range(6) for part in (nn.Linear(512, 512, bias=False), nn.ReLU())]
    model, batch = nn.Sequential(*layers), torch.randn(256, 512)
    shifts = {}
    for scheme in ("nf_normal", "he_normal"):
        gs.initialize(model, batch, scheme=scheme)
        layer = next(record for record in gs.record(model, batch).layers if record.name == "10")
        # He's gain belongs to the layer before the activation, NF's to the one behind it.
        assert layer.rms == pytest.approx(1 if scheme == "nf_normal" else math.sqrt(2), rel=0.15)
        shifts[scheme] = layer.channel_mean_rms / layer.rms
    assert shifts["nf_normal"] < 0.12  # 1/√256 of sampling, and what five layers add to it
    assert shifts["he_normal"] > 0.8


def test_of_one_weight_nothing_is_centred() -> None:
    assert "nothing can be centred" in (SCHEMES["nf_normal"].refusal(Site((3, 1), 1, 3)) or "")
