"""The proof finds what is computed wrongly."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gainstage.sweep.data import loaded
from gainstage.sweep.engine import batch_norm, layers, stack
from gainstage.sweep.engine.proof import Refusal, provable
from gainstage.sweep.engine.vectorised import Kind
from sweep_twins import spec_of


def wrong_momentum(monkeypatch: pytest.MonkeyPatch) -> None:
    right = batch_norm.BatchNorm.__init__

    def changed(self: batch_norm.BatchNorm, *args: object, **options: object) -> None:
        right(self, *args, **options)  # pyright: ignore
        self.momentum = 0.11

    monkeypatch.setattr(batch_norm.BatchNorm, "__init__", changed)


def wrong_eps(monkeypatch: pytest.MonkeyPatch) -> None:
    right = batch_norm.BatchNorm.__init__

    def changed(self: batch_norm.BatchNorm, *args: object, **options: object) -> None:
        right(self, *args, **options)  # pyright: ignore
        self._eps = 2e-3

    monkeypatch.setattr(batch_norm.BatchNorm, "__init__", changed)


def no_bias_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    right = layers.Bound.trains
    monkeypatch.setattr(layers.Bound, "trains", lambda self, own: own != "bias" and right(self, own))


def wrong_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers.Relu, "backward", lambda _self, gradient, *, wanted: (gradient,) if wanted else ())


def neighbours_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    right = stack.Stack.blocks
    monkeypatch.setattr(
        stack.Stack, "blocks", lambda self, flat: {name: b.flip(0).clone() for name, b in right(self, flat).items()}
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mistake", [wrong_momentum, wrong_eps, no_bias_gradient, wrong_derivative])
def test_a_mistake_in_a_layer_is_found_and_vmap_takes_its_place(
    monkeypatch: pytest.MonkeyPatch, mistake: Callable[[pytest.MonkeyPatch], None], dtype: str
) -> None:
    spec = spec_of("mlp", axes={"seed": (0, 1)}, fixed={"norm": "batch"}, dtype=dtype)
    assert provable(spec, spec.cells(), loaded(spec)) == Kind("stacked", _names(spec))
    mistake(monkeypatch)
    assert provable(spec, spec.cells(), loaded(spec)) == Kind("vmap", _names(spec))


def test_a_mistake_in_both_ways_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of("mlp", axes={"seed": (0, 1)})
    neighbours_weights(monkeypatch)
    found = provable(spec, spec.cells(), loaded(spec))
    assert isinstance(found, Refusal)
    assert "stacked: loss of batch 0 differs from one by one; vmap: loss of batch 0 differs" in found.why


def test_scales_that_overflow_do_not_stand_in_the_way() -> None:
    spec = spec_of("mlp", axes={"scale": (1e200, 1e300)})
    assert isinstance(provable(spec, spec.cells(), loaded(spec)), Kind)


def _names(spec: object) -> tuple[str, ...]:
    from gainstage.sweep.examples import mlp

    return tuple(name for name, _ in mlp(norm="batch").named_parameters())


def test_the_proof_leaves_the_generators_alone() -> None:
    spec = spec_of("mlp", axes={"seed": (0, 1)}, fixed={"dropout": 0.5})
    before = torch.get_rng_state()
    provable(spec, spec.cells(), loaded(spec))
    assert torch.equal(torch.get_rng_state(), before)
