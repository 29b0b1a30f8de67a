"""Maps of real models: what trains where is known, nothing of the subject changes, budgets and Ctrl-C hold."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.sweep import trainability_map
from gainstage.sweep.trainability.variants import optimizer_like, variant

RATES = (1e-3, 100.0)


def quadratic(curvature: float = 10.0) -> gs.Subject:
    """L = ½·h·w²: gradient descent shrinks w for lr < 2/h, and diverges beyond."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    batch = (torch.full((4, 1), math.sqrt(curvature)), torch.zeros(4, 1))
    return gs.Subject(model, batch, lambda outputs, targets: 0.5 * ((outputs - targets) ** 2).mean(), optimizer)


def network(*norms: nn.Module) -> gs.Subject:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 32), *norms, nn.ReLU(), nn.Linear(32, 3))
    inputs = torch.randn(64, 8)
    return gs.Subject(model, (inputs, inputs[:, :3].argmax(1)), nn.CrossEntropyLoss(), name="small")


def test_the_edge_of_a_quadratic_is_two_over_its_curvature() -> None:
    found = trainability_map(quadratic(), norms=("as-is",), scales=(1.0, 10.0), rates=RATES, steps=30)
    (region,) = found.regions
    # 0.1778 < 2/10 < 0.3162 are neighbours of the finest lattice.
    assert region.lr_high == pytest.approx(10**-0.75)
    assert found.complete
    assert found.resolution == 0.25
    lost = [cell for cell in found.cells if cell.lr > 0.3]
    assert lost
    assert all(not cell.trains for cell in lost)
    assert any(cell.diverged_at is not None for cell in lost)
    assert region.recommended_lr == pytest.approx(10**-1.25)
    # It makes half of the way from ½ in thirty steps where (1 - 10·lr)^60 < ½.
    assert region.lr_low == pytest.approx(0.00178, rel=0.01)


def test_each_variant_is_mapped_and_the_batch_norm_trains_from_more_scales() -> None:
    found = trainability_map(network(), scales=(1e-2, 1e2), rates=(1e-3, 1.0), steps=30)
    assert found.norms == ("as-is", "batch", "group", "layer")
    assert dict(found.skipped) == {"none": "the model has no norm"}
    widths = {region.norm: region.area for region in found.regions}
    assert widths["batch"] > widths["as-is"] > 0
    assert {cell.norm for cell in found.cells} == set(found.norms)
    assert found.start == pytest.approx(math.log(3), abs=0.15)
    assert len({(cell.norm, cell.scale, cell.lr) for cell in found.cells}) == len(found.cells)


def test_a_model_with_norms_has_them_replaced_and_taken_out() -> None:
    subject = network(nn.BatchNorm1d(32))
    found = trainability_map(subject, scales=(0.1, 10), rates=(1e-2, 0.1), steps=5)
    assert found.norms == ("as-is", "none", "group", "layer")
    assert dict(found.skipped) == {"batch": "the model has it already"}
    made = variant(subject, "none")
    assert isinstance(made, tuple)
    assert not any(isinstance(module, nn.BatchNorm1d) for module in made[0].model.modules())


def test_the_subject_is_left_as_it_was_and_maps_are_the_same_again() -> None:
    subject = network(nn.BatchNorm1d(32))
    before, state = copy.deepcopy(subject.model.state_dict()), torch.get_rng_state()
    options = {"norms": ("as-is", "none"), "scales": (0.1, 10), "rates": (1e-2, 0.1), "steps": 5}
    first, second = (trainability_map(subject, **options) for _ in range(2))
    assert first == second
    assert torch.equal(state, torch.get_rng_state())
    for name, value in subject.model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in subject.model.parameters())


def test_ctrl_c_leaves_the_runs_so_far() -> None:
    def stop(done: int, _what: str) -> None:
        if done == 7:
            raise KeyboardInterrupt

    found = trainability_map(network(), norms=("as-is",), steps=5, on_progress=stop)
    assert found.interrupted
    assert not found.complete
    assert len(found.cells) == 7


def test_a_budget_ends_it_early_and_it_says_so() -> None:
    found = trainability_map(network(), norms=("as-is",), steps=20, budget=0.05)
    assert not found.complete
    assert 1 <= len(found.cells) < 35
    with pytest.raises(gs.GainstageError, match="steps must be at least 2 and the budget positive, got 1 and 3 s"):
        trainability_map(network(), steps=1, budget=3)


def test_unknown_and_impossible_norms_are_refused() -> None:
    with pytest.raises(gs.GainstageError, match="batch"):
        trainability_map(network(), norms=("bacth",))
    with pytest.raises(gs.GainstageError, match="one of the norms must be possible, got none: the model has no norm"):
        trainability_map(network(), norms=("none",))


def test_the_optimizer_keeps_its_type_and_options() -> None:
    model = nn.Linear(2, 2)
    given = torch.optim.AdamW(model.parameters(), lr=3.0, betas=(0.8, 0.9), weight_decay=0.3)
    made = optimizer_like(given, nn.Linear(3, 3), 0.5)
    assert type(made) is torch.optim.AdamW
    group = made.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.5, (0.8, 0.9), 0.3)
    assert type(optimizer_like(None, model, 0.1)) is torch.optim.Adam
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(gs.GainstageError, match="must have trainable parameters, got none"):
        optimizer_like(None, model, 0.1)


def test_a_model_that_cannot_train_at_all() -> None:
    subject = gs.Subject(nn.Sequential(nn.Linear(8, 3)), torch.randn(4, 8))
    with pytest.raises(gs.GainstageError, match="the batches must hold targets"):
        trainability_map(subject, norms=("as-is",))
