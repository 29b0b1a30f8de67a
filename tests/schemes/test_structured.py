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
    assert float(block.linear1.weight.std()) == pytest.approx(0.02, rel=0.05)
    for ending in (block.linear2, block.self_attn.out_proj):
        assert float(ending.weight.detach().std()) == pytest.approx(0.02 / 8**0.5, rel=0.05)


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
