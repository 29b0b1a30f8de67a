"""An outline has the layers of a recording without their figures, mostly without computing anything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import MODELS, vectors
from torch import nn

import gainstage as gs
from gainstage.trace.outline import outline
from gainstage.trace.records import LayerRecord
from zoo.case import SMALL
from zoo.cases import CASES
from zoo.fingerprint import unchanged

# Torch runs these layers by other operations where nothing is computed.
UNROLLED = ("lstm", "gru", "elman", "rnn", "packed-sequence", "attention")
OF_TORCH = [name for name in CASES if name.startswith("torch:") and not any(word in name for word in UNROLLED)]


def kind_of(layer: LayerRecord) -> tuple[Any, ...]:
    return (layer.name, layer.kind, layer.op, layer.shape, layer.inputs, layer.via, layer.parameters, layer.fan_in,
            layer.fan_out, layer.computed)  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OF_TORCH)
def test_has_the_layers_of_a_recording_and_changes_nothing(name: str) -> None:
    parts = CASES[name].parts(SMALL)
    with unchanged(parts.model, parts.batch):
        found = outline(parts.subject())
    assert [kind_of(layer) for layer in found.layers] == [kind_of(la) for la in gs.record(parts.subject()).layers]
    assert all(layer.rms is None for layer in found.layers)


@pytest.mark.parametrize("name", ["lstm", "gru", "attention", "transformer layer"])
def test_names_every_parameter_also_where_torch_unrolls(name: str) -> None:
    model, batch = MODELS[name]()
    found = outline(gs.Subject(model, batch))
    named = {parameter for layer in found.layers for parameter in layer.parameters}
    assert named >= {name for name, parameter in model.named_parameters() if parameter.ndim >= 2}


def test_computes_nothing_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(1 << 16, 1 << 16, device="meta"), nn.ReLU(), nn.Linear(1 << 16, 4, device="meta"))
    found = outline(gs.Subject(model, torch.randn(2, 1 << 16)))
    assert [(layer.op, layer.fan_in) for layer in found.layers] == [
        ("linear", 65536),
        ("relu", None),
        ("linear", 65536),
    ]
    assert all(parameter.is_meta for parameter in model.parameters())

    computed = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3))
    seen: list[str] = []
    computed[0].register_forward_hook(lambda _m, _i, out: seen.append(out.device.type))
    outline(gs.Subject(computed, vectors()))
    assert seen == ["meta"]


def test_a_batch_that_does_not_fit_is_said() -> None:
    with pytest.raises(gs.GainstageError, match="the model must accept the batch"):
        outline(gs.Subject(nn.Linear(4, 3), vectors()))
