"""INI009, INI010, ACT003 and GRD004: what depth does wrong, and what only looks like it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gainstage as gs

VECTORS = (torch.randn(64, 32), torch.arange(64) % 4)
IMAGES = (torch.randn(8, 3, 16, 16), torch.arange(8) % 4)


def spoken(code: str, model: nn.Module, batch: object = VECTORS) -> list[str]:
    return [finding.severity for finding in gs.check(model, batch, select=code).findings]


def plain(depth: int, bias_var: float) -> nn.Sequential:
    """ReLU layers whose level is kept, the more by the biases the larger their variance is."""
    torch.manual_seed(0)
    model = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(32, 32), nn.ReLU())], nn.Linear(32, 4))
    for linear in model[::2]:
        nn.init.normal_(linear.weight, std=((2 - 2 * bias_var) / 32) ** 0.5)
        nn.init.normal_(linear.bias, std=bias_var**0.5)
    return model


class Around(nn.Module):
    """x + scale·f(x), with or without a norm at the head of the branch."""

    def __init__(self, scale: float = 1.0, *, norm: bool = False, width: int = 32) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if norm else nn.Identity()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.kaiming_normal_(self.first.weight)
        nn.init.normal_(self.second.weight, std=scale / width**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(self.norm(x))))


class Gated(Around):
    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.alpha * self.second(F.relu(self.first(x)))


class Behind(Around):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(super().forward(x))


class ConvBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        for conv in (self.first, self.second):
            nn.init.kaiming_normal_(conv.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x)))


def stacked(block: Callable[[], nn.Module], count: int, *behind: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 32), *[block() for _ in range(count)], *behind, nn.Linear(32, 4))


def test_biases_that_keep_the_level_make_inputs_parallel() -> None:
    assert spoken("INI009", plain(30, 0.4)) == ["warning"]
    assert spoken("INI009", plain(18, 0.3)) == ["info"]
    assert spoken("INI009", plain(30, 0.0)) == []
    assert spoken("INI009", plain(6, 0.4)) == []


def test_a_collapse_says_where_and_is_mended_by_its_fix() -> None:
    subject = gs.Subject(plain(30, 0.4), VECTORS)
    (finding,) = gs.check(subject, select="INI009").findings
    assert finding.value is not None
    assert finding.value < 1e-3
    assert 0 < int(finding.module) < 58
    assert finding.fix is not None
    assert gs.check(finding.fix.apply(subject), select="INI009").findings == ()


def test_inputs_that_are_parallel_already_are_the_datas_affair() -> None:
    inputs, labels = VECTORS
    assert spoken("INI009", plain(30, 0.4), (inputs * 0.01 + 1, labels)) == []


def test_batch_norm_draws_samples_apart() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(24) for m in (nn.Linear(32, 32), nn.BatchNorm1d(32), nn.ReLU())]
    assert spoken("INI009", nn.Sequential(*layers, nn.Linear(32, 4))) == []


class ClassToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Conv2d(3, 32, 4, stride=4), nn.Parameter(torch.randn(1, 1, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
        self.body, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 32)
        self.out = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.embed(x).flatten(2).mT * 1e-3
        h = self.body(torch.cat([self.token.expand(len(x), -1, -1), h], 1))
        return self.out(F.gelu(self.head(h[:, 0])))


def test_a_class_token_is_alike_for_all_samples_at_the_start() -> None:
    torch.manual_seed(0)
    assert spoken("INI009", ClassToken(), IMAGES) == []


def test_a_mean_over_positions_makes_noise_alike() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 32), nn.ReLU(),
        nn.Linear(32, 4),
    )  # fmt: skip
    assert spoken("INI009", model, (torch.randn(8, 3, 96, 96), IMAGES[1])) == []


def test_a_single_sample_is_not_enough() -> None:
    report = gs.check(plain(30, 0.4), (torch.randn(1, 32), torch.tensor([1])), select="INI009")
    assert [entry.code for entry in report.not_assessed] == ["INI009"]


def test_branches_that_add_what_they_read_double_the_variance() -> None:
    assert spoken("INI010", stacked(Around, 16)) == ["warning"]
    assert spoken("INI010", stacked(lambda: Behind(2.0), 16)) == ["warning"]
    convs = nn.Sequential(nn.Conv2d(3, 8, 1), *[ConvBlock() for _ in range(12)], nn.Flatten(), nn.Linear(2048, 4))
    assert spoken("INI010", convs, IMAGES) == ["warning"]


@pytest.mark.parametrize(
    ("block", "count", "behind"),
    [
        (Around, 4, ()),
        (lambda: Around(0.2), 32, ()),
        (Gated, 40, ()),
        (lambda: Around(norm=True), 40, ()),
        (lambda: Around(0.0), 40, ()),
        (Around, 12, (nn.LayerNorm(32),)),
    ],
    ids=["few blocks", "small branches", "gates at zero", "pre-norm", "zero branches", "norm behind"],
)
def test_streams_that_may_grow_as_they_do(
    block: Callable[[], nn.Module], count: int, behind: tuple[nn.Module, ...]
) -> None:
    assert spoken("INI010", stacked(block, count, *behind)) == []


def test_growth_is_mended_by_its_fix_and_explains_the_gradient() -> None:
    subject = gs.Subject(stacked(Around, 40), VECTORS)
    found = {finding.code: finding for finding in gs.check(subject).findings}
    assert "GRD002" in found
    assert found["GRD002"].consequence_of == "INI010"
    fix = found["INI010"].fix
    assert fix is not None
    assert gs.check(fix.apply(subject), select=("INI010", "GRD002")).findings == ()


class Functional(nn.Module):
    """Calls its maps in a function of its own."""

    def __init__(self, forward: Callable[[nn.ModuleList, torch.Tensor], torch.Tensor], *maps: nn.Module) -> None:
        super().__init__()
        self.maps, self.calls = nn.ModuleList(maps), forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.calls(self.maps, x)


@pytest.mark.parametrize(
    "between",
    [nn.Identity(), nn.Dropout(0.1), nn.BatchNorm1d(64), nn.Sequential(nn.BatchNorm1d(64), nn.Dropout(0.1))],
)
def test_a_classifier_that_is_one_affine_map(between: nn.Module) -> None:
    assert spoken("ACT003", nn.Sequential(nn.Linear(32, 64), between, nn.Linear(64, 4))) == ["warning"]


@pytest.mark.parametrize(
    "between", [nn.ReLU(), nn.PReLU(), nn.Softmax(1), nn.LayerNorm(64), nn.RMSNorm(64), nn.Threshold(0.1, 0.0)]
)
def test_what_bends_the_signal(between: nn.Module) -> None:
    assert spoken("ACT003", nn.Sequential(nn.Linear(32, 64), between, nn.Linear(64, 4))) == []


def test_convolutions_without_an_activation() -> None:
    conv = lambda i, o, k: nn.Conv2d(i, o, k, padding=k // 2)  # noqa: E731
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    assert spoken("ACT003", nn.Sequential(conv(3, 16, 3), conv(16, 16, 3), *head), IMAGES) == ["warning"]
    assert spoken("ACT003", nn.Sequential(conv(3, 16, 3), conv(16, 16, 3), nn.ReLU(), *head), IMAGES) == ["info"]
    assert spoken("ACT003", nn.Sequential(conv(3, 16, 3), nn.MaxPool2d(2), conv(16, 16, 3), *head), IMAGES) == ["info"]
    assert spoken("ACT003", nn.Sequential(conv(3, 16, 3), nn.ReLU(), conv(16, 16, 3), nn.ReLU(), *head), IMAGES) == []


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(32, 4), nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 4)),
        Functional(lambda m, x: m[3](F.relu(m[0](x) + m[2](m[1](x)))),
                   nn.Linear(32, 32), nn.Linear(32, 4), nn.Linear(4, 32), nn.Linear(32, 4)),
        Functional(lambda m, x: (h := m[0](x)) @ m[2].weight.T + m[1](h),
                   nn.Linear(32, 32), nn.Linear(32, 4), nn.Linear(32, 4)),
        Functional(lambda m, x: m[2](m[0](x) * m[1](x)), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 4)),
        Functional(lambda m, x: m[1](m[0](x).square()), nn.Linear(32, 32), nn.Linear(32, 4)),
        Functional(lambda m, x: m[1](F.normalize(m[0](x), dim=1)), nn.Linear(32, 32), nn.Linear(32, 4)),
        Functional(lambda m, x: m[1](m[0](x).sort(1).values), nn.Linear(32, 32), nn.Linear(32, 4)),
        nn.Linear(32, 4),
    ],
    ids=["bottleneck", "low-rank adapter", "two readers", "gate", "square", "normalized", "sorted", "one map"],
)  # fmt: skip
def test_maps_that_are_meant(model: nn.Module) -> None:
    assert spoken("ACT003", model) == []


def test_convolutions_that_are_factorised() -> None:
    head = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    stem = (nn.Conv2d(3, 16, 1), nn.ReLU())
    for pair in (
        (nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 16, 1)),
        (nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 1)),
        (nn.Conv2d(16, 16, (1, 3)), nn.Conv2d(16, 16, (3, 1))),
        (nn.Conv2d(16, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 16, 1)),
    ):
        assert spoken("ACT003", nn.Sequential(*stem, *pair, *head), IMAGES) == []


def test_an_embedding_before_a_map_is_a_table_and_no_map() -> None:
    model = nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 32), nn.Flatten(), nn.ReLU(), nn.Linear(32 * 5, 4))
    assert spoken("ACT003", model, (torch.randint(50, (16, 5)), torch.arange(16) % 4)) == []


def sure(bias: float) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 4))
    with torch.no_grad():
        model[2].bias[0] = bias
    return model


def test_one_class_for_all_samples() -> None:
    assert spoken("GRD004", sure(8.0)) == ["info"]
    assert spoken("GRD004", sure(0.0)) == []
    # Slightly likelier for all is no agreement of the gradients.
    assert spoken("GRD004", sure(0.5)) == []
    mostly = torch.where(torch.arange(64) % 4 > 0, torch.zeros(64), torch.ones(64)).long()
    assert spoken("GRD004", sure(8.0), (VECTORS[0], mostly)) == []


def test_one_class_needs_labels_of_each() -> None:
    few = gs.check(sure(8.0), (VECTORS[0][:8], VECTORS[1][:8]), select="GRD004")
    regression = gs.check(nn.Linear(32, 1), (VECTORS[0], torch.randn(64, 1)), select="GRD004")
    assert [entry.code for entry in (*few.not_assessed, *regression.not_assessed)] == ["GRD004", "GRD004"]


@pytest.mark.parametrize("shape", [(64, 5), (8, 5, 6, 7)])
def test_alignment_is_that_of_the_gradients(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator) * 2 + torch.arange(5.0).view(-1, *(1,) * (len(shape) - 2))
    target = torch.randint(5, (shape[0], *shape[2:]), generator=generator)
    target.view(-1)[::7] = -100
    logits = x.clone().requires_grad_()
    F.cross_entropy(logits, target, reduction="sum").backward()
    gradient = logits.grad.movedim(1, -1).flatten(0, -2)
    trace = gs.record(Functional(lambda m, x: m[0](x), nn.Identity()), (x, target), nn.CrossEntropyLoss())
    labels = trace.loss_record.labels
    assert labels.alignment == pytest.approx(float(gradient.sum(0).abs().sum() / gradient.abs().sum()), rel=1e-4)
    predictions = x.movedim(1, -1).flatten(0, -2)[target.flatten() >= 0].argmax(1)
    assert labels.commonest_prediction == pytest.approx(float(predictions.bincount().max()) / len(predictions))
    assert labels.commonest_label == pytest.approx(float(target[target >= 0].bincount().max()) / len(predictions))


class Leaky(nn.Module):
    """A state that leaks and is fed with the input, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.feed, self.head = nn.Linear(32, 32), nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = self.feed(x)
        for _ in range(20):
            state = 0.95 * state + self.feed(x)
        return self.head(state)


class Splines(nn.Module):
    """A map of what was bent beside a small one of what was not, as a Kolmogorov-Arnold layer has them."""

    def __init__(self) -> None:
        super().__init__()
        self.base, self.small = nn.Linear(32, 32), nn.Linear(32, 32)
        nn.init.normal_(self.small.weight, std=1e-4)
        nn.init.zeros_(self.small.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.small(x) + self.base(nn.functional.silu(x))


class Shrunk(nn.Module):
    """Blocks that grow, and maps between them that take it away again."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Around() for _ in range(12))
        self.maps = nn.ModuleList(nn.Linear(32, 32) for _ in range(12))
        for layer in self.maps:
            nn.init.orthogonal_(layer.weight, 0.6)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block, layer in zip(self.blocks, self.maps, strict=True):
            x = layer(block(x))
        return self.head(x)


@pytest.mark.parametrize(
    "model",
    [Leaky(), nn.Sequential(Splines(), Splines(), nn.Linear(32, 4)), Shrunk()],
    ids=["fed", "splines", "shrunk"],
)
def test_sums_that_are_no_growing_stream(model: nn.Module) -> None:
    assert spoken("INI010", model) == []


def test_a_branch_that_comes_from_next_to_nothing_has_not_grown_too_far() -> None:
    class Wide(nn.Module):
        def __init__(self, level: float) -> None:
            super().__init__()
            self.small, self.large = nn.Linear(32, 32, bias=False), nn.Linear(32, 32, bias=False)
            nn.init.normal_(self.small.weight, std=1e-4 * level)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.small(x)
            return x + self.large(x) * 100

    assert spoken("INI010", nn.Sequential(Wide(1.0), nn.Linear(32, 4))) == []
    assert spoken("INI010", nn.Sequential(Wide(1e4), nn.Linear(32, 4))) == ["warning"]
