"""Schemes for whole networks: what they ask of a residual stream, and what becomes of very deep ones."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs
from gainstage.schemes import plan
from gainstage.schemes.structured import STRUCTURED


class Deep(nn.Module):
    def __init__(self, blocks: int, width: int = 64) -> None:
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)]) for _ in range(blocks)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for inner, outer in self.blocks:
            x = x + outer(F.relu(inner(x)))
        return self.head(x)


def stream(model: nn.Module, scale_of_head: float = 1.0) -> tuple[list[float], list[float]]:
    """rms along the stream and of its gradients, each relative to its first."""
    torch.manual_seed(1)
    with torch.no_grad():
        if not model.head.weight.any():  # a read-out of zeros lets no gradient pass, until it has moved
            nn.init.normal_(model.head.weight, std=scale_of_head)
    trace = gs.record(model, (torch.randn(16, 64), torch.randint(10, (16,))))
    sums = [layer for layer in trace.layers if layer.op == "add"]
    levels, gradients = [layer.rms or 0.0 for layer in sums], [layer.grad_rms or 0.0 for layer in sums]
    return [level / levels[0] for level in levels], [gradient / gradients[-1] for gradient in gradients]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["fixup", "skipinit", "auto"])
def test_a_thousand_layers_keep_signal_and_gradient(scheme: str) -> None:
    torch.manual_seed(0)
    model = Deep(500)
    gs.initialize(model, torch.randn(16, 64), scheme=scheme)
    levels, gradients = stream(model)
    assert len(levels) == 500
    assert all(0.5 <= level <= 2 for level in levels)
    assert all(0.5 <= gradient <= 2 for gradient in gradients)


@pytest.mark.slow
def test_with_he_weights_a_thousand_layers_do_not() -> None:
    """The control; torch's default is five times smaller in each branch, and grows too."""
    torch.manual_seed(0)
    for scheme, growth in (("he_normal", 1e6), ("torch_default", 4)):
        model = Deep(500 if scheme == "torch_default" else 60)
        gs.initialize(model, torch.randn(16, 64), scheme=scheme)
        levels, gradients = stream(model)
        assert levels[-1] > growth
        assert gradients[0] > growth / 2


def test_fixup_scales_by_depth_and_ends_in_zeros() -> None:
    model = Deep(16)
    trace = gs.record(model, torch.randn(8, 64))
    he = {entry.weight: entry.variance for entry in plan(trace, "he_normal")}
    for entry in plan(trace, "fixup"):
        if entry.weight.endswith("0.weight") and entry.weight.startswith("blocks"):
            # m = 2 maps in each of L = 16 branches: L^(-1/2).
            assert entry.variance == pytest.approx(he[entry.weight] / 16)
            assert "times 0.25: Fixup" in entry.note
        elif entry.weight != "stem.weight":
            assert entry.variance == 0
    gs.initialize(model, torch.randn(8, 64), scheme="fixup")
    assert not model.head.weight.any()
    assert not model.blocks[3][1].weight.any()
    assert model.blocks[3][0].weight.any()


def test_gpt2_scales_what_is_added_to_the_stream() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
    gs.initialize(model, torch.randn(4, 6, 64), scheme="gpt2")
    block = model.layers[2]
    assert float(block.linear1.weight.detach().std()) == pytest.approx(0.02, rel=0.05)
    for ending in (block.linear2, block.self_attn.out_proj):
        assert float(ending.weight.detach().std()) == pytest.approx(0.02 / 8**0.5, rel=0.05)


class Scaled(nn.Module):
    """Fixup's and SkipInit's own scalars, and a layer scale, which is no scalar."""

    def __init__(self, *, multiplier: bool = True) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(64, 64), nn.Linear(64, 64)
        self.shift = nn.Parameter(torch.full((1,), 0.3))
        self.multiplier = nn.Parameter(torch.tensor(0.7)) if multiplier else None
        self.layer_scale = nn.Parameter(torch.full((64,), 0.1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch = self.layer_scale * self.outer(F.relu(self.inner(x + self.shift)))
        return x + (branch if self.multiplier is None else self.multiplier * branch)


def test_skipinit_sets_the_scalar_that_a_branch_has_to_zero() -> None:
    model = nn.Sequential(nn.Linear(64, 64), Scaled(), Scaled(multiplier=False), nn.Linear(64, 10))
    report = gs.initialize(model, torch.randn(16, 64), scheme="skipinit")
    assert model[1].multiplier == 0
    assert bool(model[1].outer.weight.any())
    assert not model[2].outer.weight.any()
    assert "1.multiplier" in report.initialized
    assert dict(report.untouched)["1.layer_scale"] == "a scale (layer scale, gate), as built"


def test_fixup_sets_multipliers_to_one_and_shifts_to_zero() -> None:
    model = nn.Sequential(nn.Linear(64, 64), Scaled(), nn.Linear(64, 10))
    gs.initialize(model, torch.randn(16, 64), scheme="fixup")
    assert model[1].multiplier == 1
    assert model[1].shift == 0
    assert torch.equal(model[1].layer_scale, torch.full((64,), 0.1))


def test_a_scalar_that_is_frozen_stays() -> None:
    model = nn.Sequential(nn.Linear(64, 64), Scaled(), nn.Linear(64, 10))
    model[1].multiplier.requires_grad_(False)
    gs.initialize(model, torch.randn(16, 64), scheme="skipinit")
    assert model[1].multiplier == pytest.approx(0.7)


def test_nf_resnet_adds_alpha_squared_in_each_block() -> None:
    """Brock et al. 2021, section 3: Var ← Var + α², from 1."""
    torch.manual_seed(0)

    class PreActivation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(512, 512), nn.Linear(512, 512)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.outer(F.relu(self.inner(F.relu(x))))

    model, batch = nn.Sequential(*[PreActivation() for _ in range(20)]), torch.randn(256, 512)
    gs.initialize(model, batch, scheme="nf_resnet")
    sums = [layer for layer in gs.record(model, batch).layers if layer.op == "add"]
    assert len(sums) == 20
    for block, layer in enumerate(sums, start=1):
        # LeCun's gain at the end of a branch: ReLU's second moment, not its variance, is what a linear map keeps.
        assert layer.rms**2 == pytest.approx(1 + 0.04 * block, rel=0.08)


class Translator(nn.Module):
    def __init__(self, layers: int = 2, width: int = 64) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(50, width, padding_idx=0), nn.Embedding(40, width)
        self.body = nn.Transformer(width, 4, layers, 3 * layers, 128, dropout=0.0, batch_first=True)
        self.head = nn.Linear(width, 40)

    def forward(self, src: torch.Tensor, tgt: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.source(src), self.target(tgt)))


def test_t_fixup_scales_values_outputs_feed_forward_maps_and_tables() -> None:
    """Huang et al. 2020, section 3: 0.67·N^(-1/4) in the encoder, (9N)^(-1/4) in the decoder and for embeddings."""
    torch.manual_seed(0)
    model = Translator()
    batch = {"src": torch.randint(50, (3, 7)), "tgt": torch.randint(40, (3, 5))}
    report = gs.initialize(model, batch, scheme="t_fixup")
    encoder, decoder = 0.67 * 2**-0.25, (9 * 6) ** -0.25
    xavier = (2 / 128) ** 0.5
    for layers, factor in ((model.body.encoder.layers, encoder), (model.body.decoder.layers, decoder)):
        for layer in layers:
            query, key, value = layer.self_attn.in_proj_weight.detach().chunk(3)
            assert float(query.std()) == pytest.approx(xavier, rel=0.05)
            assert float(key.std()) == pytest.approx(xavier, rel=0.05)
            assert float(value.std()) == pytest.approx(factor * xavier, rel=0.05)
            assert float(layer.self_attn.out_proj.weight.detach().std()) == pytest.approx(factor * xavier, rel=0.05)
            for feed_forward in (layer.linear1, layer.linear2):
                expected = factor * (2 / (64 + 128)) ** 0.5
                assert float(feed_forward.weight.detach().std()) == pytest.approx(expected, rel=0.05)
    crossing = model.body.decoder.layers[1].multihead_attn.in_proj_weight.detach().chunk(3)
    assert [float(part.std()) / xavier for part in crossing] == pytest.approx([1, 1, decoder], rel=0.05)
    for table in (model.source.weight.detach()[1:], model.target.weight.detach()):
        assert float(table.std()) == pytest.approx(64**-0.5 * decoder, rel=0.05)
    assert not model.source.weight[0].any()
    assert float(model.head.weight.detach().std()) == pytest.approx((2 / 104) ** 0.5, rel=0.05)
    assert {"source.weight", "target.weight"} <= set(report.initialized)


def test_t_fixup_of_an_encoder_alone_and_of_no_stream_at_all() -> None:
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True, dropout=0.0)
    model = nn.Sequential(nn.Embedding(30, 64), nn.TransformerEncoder(layer, 16, enable_nested_tensor=False))
    gs.initialize(model, torch.randint(30, (2, 5)), scheme="t_fixup")
    expected = 0.67 * 16**-0.25 * (2 / 192) ** 0.5
    assert float(model[1].layers[3].linear2.weight.detach().std()) == pytest.approx(expected, rel=0.05)
    assert float(model[0].weight.detach().std()) == pytest.approx(64**-0.5 * (9 * 16) ** -0.25, rel=0.05)
    plain = nn.Sequential(nn.Embedding(30, 64), nn.Linear(64, 64))
    table = plain[0].weight.detach().clone()
    gs.initialize(plain, torch.randint(30, (2, 5)), scheme="t_fixup")
    assert torch.equal(plain[0].weight, table)


def test_they_are_known_by_name() -> None:
    assert set(STRUCTURED) <= set(gs.schemes.scheme_names())
    with pytest.raises(gs.GainstageError, match="fixup"):
        gs.initialize(Deep(1), scheme="fixupp")


def tanh_network(depth: int) -> nn.Module:
    def layer() -> nn.Module:
        return nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular", bias=False)

    return nn.Sequential(*[module for _ in range(depth) for module in (layer(), nn.Tanh())])


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "depth"), [("delta_orthogonal", 10_000), ("torch_default", 300)])
def test_ten_thousand_convolutions_with_delta_orthogonal_weights(scheme: str, depth: int) -> None:
    """Xiao et al. 2018; at rms 0.01 tanh itself costs a factor of (1 + 2·10⁻⁴·10⁴)^(-1/2) = 0.58, and no more."""
    torch.manual_seed(0)
    model, batch = tanh_network(depth), 0.01 * torch.randn(4, 8, 4, 4)
    gs.initialize(model, batch, scheme=scheme)
    layers = [layer for layer in gs.record(model, batch).layers if layer.op == "tanh"]
    level, gradient = (layers[-1].rms or 0.0) / 0.01, (layers[0].grad_rms or 0.0) / (layers[-1].grad_rms or 1.0)
    assert len(layers) == depth
    if scheme == "delta_orthogonal":
        assert 0.5 <= level <= 2
        assert 0.5 <= gradient <= 2
    else:
        assert level < 1e-3
        assert gradient < 1e-3
