"""Every scheme of the catalogue: its name, its draws through `initialize`, what they depend on and what not."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from models import MODELS
from torch import nn

import gainstage as gs
from drawing import drawn
from gainstage import schemes
from gainstage.errors import InitializationError, UnknownNameError
from gainstage.schemes import SCHEMES, LayerScheme, Site
from gainstage.schemes.catalogue import FAMILIES
from gainstage.schemes.structured import STRUCTURED
from gainstage.seeding import generator

CONSTANT = ("zeros", "identity", "dirac")


def mlp() -> tuple[nn.Module, torch.Tensor]:
    layers = [nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 48), nn.Tanh(), nn.Linear(48, 48), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(48, 10)), torch.randn(8, 24)


def cnn() -> tuple[nn.Module, torch.Tensor]:
    layers = [
        nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, groups=4), nn.Tanh(),
        nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.LeakyReLU(0.2), nn.Conv2d(16, 8, 4, stride=2), nn.SiLU(),
        nn.ConvTranspose2d(8, 8, 3, groups=2), nn.ReLU(), nn.ConvTranspose2d(8, 4, 2, stride=2), nn.Flatten(),
    ]  # fmt: skip
    return nn.Sequential(*layers, nn.LazyLinear(10)), torch.randn(4, 4, 8, 8)


def attention() -> tuple[nn.Module, torch.Tensor]:
    return nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True), torch.randn(4, 5, 16)


NETWORKS = {"mlp": mlp, "cnn": cnn, "attention": attention}


def built(name: str) -> tuple[nn.Module, torch.Tensor]:
    model, batch = NETWORKS[name]()
    model(batch)  # lazy layers get their shape
    return model, batch


@pytest.fixture
def registry() -> Iterator[dict[str, LayerScheme]]:
    """The registry, restored afterwards."""
    saved = dict(SCHEMES)
    yield SCHEMES
    SCHEMES.clear()
    SCHEMES.update(saved)


def test_a_familys_file_names_its_schemes_and_the_order_is_that_of_the_files() -> None:
    families = [max((f for f in FAMILIES if name.startswith(f)), key=len, default="") for name in SCHEMES]
    assert families == sorted(families)
    assert set(families) == set(FAMILIES)
    assert {name: entry.name for name, entry in SCHEMES.items()} == {name: name for name in SCHEMES}
    assert all(entry.source for entry in SCHEMES.values())


# Those for whole networks multiply what these draw, and have tests of their own.
LAYER_SCHEMES = [name for name in schemes.scheme_names() if name != "lsuv" and name not in STRUCTURED]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", LAYER_SCHEMES)
def test_every_scheme_initializes_every_network(name: str, network: str) -> None:
    model, batch = built(network)
    plans = {entry.layer: entry for entry in schemes.plan(gs.record(model, batch, backward=False), name)}
    report = drawn(model, batch, scheme=name, seed=1)
    parameters = dict(model.named_parameters())

    assert [row.layer for row in report.rows] == list(plans)
    assert sorted([*report.initialized, *(path for path, _ in report.untouched)]) == sorted(parameters)
    for row in report.rows:
        plan = plans[row.layer]
        weight = parameters[plan.weight].detach()
        assert torch.equal(weight, plan.scheme.draw(plan.site, generator(1, plan.weight)))
        assert row.scheme == name or name.startswith("auto") or f"{name}: " in row.note
        # The mean square that is aimed at, within five of its standard errors; exact where nothing is random.
        squares = weight.double() ** 2
        tolerance = 5 * float(squares.std() / math.sqrt(weight.numel())) if row.scheme not in CONSTANT else 1e-6
        assert float(squares.mean()) == pytest.approx(row.target**2, abs=tolerance + 1e-9)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["orthogonal", "delta_orthogonal", "identity", "dirac", "critical", "torch_default"])
def test_layouts_of_every_kind_of_model(name: str, model: str) -> None:
    torch.manual_seed(0)
    network, batch = MODELS[model]()
    report = gs.initialize(network, batch, scheme=name)
    assert all(row.scheme == name or f"{name}: " in row.note for row in report.rows)
    assert all(torch.isfinite(parameter).all() for parameter in network.parameters())


def test_a_bias_is_drawn_by_its_own_path() -> None:
    model, batch = built("mlp")
    sites = {entry.bias: entry.site for entry in schemes.plan(gs.record(model, batch), "torch_default")}
    gs.initialize(model, batch, scheme="torch_default", seed=9)
    for name, site in sites.items():
        bias = model.get_parameter(name or "")
        drawn = SCHEMES["torch_default"].draw_bias(site, tuple(bias.shape), generator(9, name or ""))
        assert torch.equal(bias, drawn)


@pytest.mark.parametrize("name", SCHEMES)
def test_the_same_seed_and_path_repeat_and_another_of_either_does_not(name: str) -> None:
    site = Site((6, 6, 3, 3), 54, 54, convolution=True) if name == "dirac" else Site((6, 6), 6, 6)
    one, again, seed, path = (
        SCHEMES[name].draw(site, generator(*key)) for key in ((3, "a"), (3, "a"), (4, "a"), (3, "b"))
    )
    assert torch.equal(one, again)
    assert torch.equal(one, seed) == torch.equal(one, path) == (name in CONSTANT)
    assert (one.dtype, one.device.type, tuple(one.shape)) == (torch.float32, "cpu", site.shape)


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_get_the_cast_of_the_float32_draw(name: str, dtype: torch.dtype) -> None:
    model, batch = built("mlp")
    other = built("mlp")[0].to(dtype)
    gs.initialize(model, batch, scheme=name)
    gs.initialize(other, batch.to(dtype), scheme=name)
    for one, cast in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.to(dtype), cast)


@pytest.mark.parametrize("name", SCHEMES)
def test_torchs_default_type_and_autocast_do_not_matter(name: str) -> None:
    site = Site((6, 6, 3, 3), 54, 54, convolution=True) if name == "dirac" else Site((200, 150), 150, 200)
    plain = SCHEMES[name].draw(site, generator(0, "w"))
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            under = SCHEMES[name].draw(site, generator(0, "w"))
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(plain, under)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("orthognal", "'orthogonal'"), ("delta-orthogonal", "'delta_orthogonal'"), ("glorot", "'glorot_normal'"),
     ("xyzzy", "Known: auto")],
)  # fmt: skip
def test_a_wrong_name_is_answered_with_the_nearest(name: str, hint: str) -> None:
    model, batch = built("mlp")
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(UnknownNameError, match=f"scheme must be a known one, got '{name}'.*{hint}"):
        gs.initialize(model, batch, scheme=name)
    assert all(torch.equal(one, now) for one, now in zip(before, model.parameters(), strict=True))


def test_what_a_scheme_cannot_draw_goes_to_its_fallback_and_the_note_says_why() -> None:
    model, batch = built("cnn")
    rows = {row.layer: row for row in gs.initialize(model, batch, scheme="delta_orthogonal").rows}
    assert {layer: row.scheme for layer, row in rows.items() if row.note} == dict.fromkeys("6", "orthogonal") | {
        "10": "orthogonal", "12": "orthogonal",
    }  # fmt: skip
    assert rows["6"].note == "delta_orthogonal: a kernel of 4 taps has none in its centre; orthogonal instead"
    assert rows["12"].note.startswith("delta_orthogonal: 10 outputs cannot keep the norm of ")
    rows = {row.layer: row for row in gs.initialize(model, batch, scheme="identity").rows}
    assert [rows[layer].scheme for layer in ("0", "6", "12")] == ["dirac", "he_normal", "identity"]
    assert rows["6"].note == "identity: a convolution has kernels; he_normal instead"


def test_a_scheme_can_be_registered_at_run_time(registry: dict[str, LayerScheme]) -> None:
    def third(site: Site, _generator: torch.Generator) -> torch.Tensor:
        return torch.full(site.shape, 1 / 3)

    schemes.register(LayerScheme("third", "nowhere", lambda _site: 1 / 9, third, bias_variance=lambda _site: 4.0))
    model = nn.Linear(8, 400)
    assert gs.initialize(model, torch.randn(4, 8), scheme="third").rows[0].scheme == "third"
    assert torch.equal(model.weight, torch.full((400, 8), 1 / 3))
    assert float(model.bias.detach().var()) == pytest.approx(4, rel=5 * math.sqrt(2 / 400))
    with pytest.raises(InitializationError, match="name must be free, got 'third' twice"):
        schemes.register(SCHEMES["third"])


@pytest.mark.parametrize("drawn", [torch.zeros(3), torch.zeros(3, 8, dtype=torch.float64), torch.zeros(1, 8)])
def test_a_draw_of_another_shape_or_type_is_refused_and_nothing_changes(
    registry: dict[str, LayerScheme], drawn: torch.Tensor
) -> None:
    schemes.register(LayerScheme("wrong", "nowhere", lambda _site: 0.0, lambda _site, _generator: drawn))
    model = nn.Linear(8, 3)
    before = model.weight.clone()
    with pytest.raises(InitializationError, match=r"scheme 'wrong' must draw float32 of shape \(3, 8\) on the CPU"):
        gs.initialize(model, torch.randn(4, 8), scheme="wrong")
    assert torch.equal(before, model.weight)
