"""Updates of many runs in one buffer equal torch's optimizers on each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gainstage.sweep import Settings
from gainstage.sweep.engine.stack import Stack
from gainstage.sweep.optimizers import optimizer, schedule, together, updates

STEPS = 12


def networks(count: int) -> list[nn.Module]:
    generator = torch.Generator().manual_seed(count)
    found: list[nn.Module] = [nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double() for _ in range(count)]
    with torch.no_grad():
        for network in found:
            for parameter in network.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return found


def gradients(run: int, step: int, network: nn.Module) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 * run + step)
    return [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in network.parameters()]


def alone(chosen: Settings, run: int, network: nn.Module) -> list[torch.Tensor]:
    rule, factor = optimizer(chosen, list(network.parameters())), schedule(chosen, STEPS)
    for step in range(STEPS):
        for parameter, gradient in zip(network.parameters(), gradients(run, step, network), strict=True):
            parameter.grad = gradient
        rule.param_groups[0]["lr"] = chosen.lr * factor(step)
        rule.step()
    return [parameter.detach().clone() for parameter in network.parameters()]


def all_at_once(chosen: Sequence[Settings], dropped: dict[int, int]) -> dict[int, list[torch.Tensor]]:
    """Final parameters of the runs that are left; ``dropped`` is run to step."""
    models = networks(len(chosen))
    stack = Stack(models, [name for name, _ in models[0].named_parameters()])
    rule, factor, left = updates(chosen, stack), schedule(chosen[0], STEPS), list(range(len(chosen)))
    for step in range(STEPS):
        kept = [place for place, run in enumerate(left) if dropped.get(run) != step]
        if len(kept) < len(left):
            before, stack = stack, stack.keep(kept)
            rule.keep(kept, before, stack)
            left = [left[place] for place in kept]
        for place, run in enumerate(left):
            for block, gradient in zip(stack.gradients.values(), gradients(run, step, models[run]), strict=True):
                block[place] = gradient
        rule.update(stack.values, stack.gradient, factor(step))
    return {run: [block[place] for block in stack.parameters.values()] for place, run in enumerate(left)}


SHARED = st.fixed_dictionaries({
    "optimizer": st.sampled_from(["sgd", "adam", "adamw"]), "nesterov": st.booleans(),
    "schedule": st.sampled_from(["constant", "linear", "cosine"]), "warmup": st.integers(0, STEPS + 3),
    "beta1": st.sampled_from([0.0, 0.9]), "beta2": st.sampled_from([0.5, 0.999]), "eps": st.sampled_from([1e-8, 1e-2]),
})  # fmt: skip
OWN = st.fixed_dictionaries({
    "lr": st.floats(0, 2), "momentum": st.sampled_from([0.0, 0.3, 0.99]),
    "weight_decay": st.sampled_from([0.0, 0.01, 1.0]),
})  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(SHARED, st.lists(OWN, min_size=1, max_size=4), st.dictionaries(st.integers(1, 3), st.integers(0, STEPS - 1)))
def test_the_same_as_torch_for_each_run(shared: dict, own: list[dict], dropped: dict[int, int]) -> None:
    chosen = [Settings(**shared, **entry) for entry in own]
    found = all_at_once(chosen, dropped)
    models = networks(len(chosen))
    assert set(found) == set(range(len(chosen))) - set(dropped)
    for run, parameters in found.items():
        for one, other in zip(parameters, alone(chosen[run], run, models[run]), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_schedules_closed_forms() -> None:
    linear = schedule(Settings(schedule="linear", warmup=4), 12)
    assert [linear(step) for step in (0, 1, 3, 4, 8, 11)] == [0.25, 0.5, 1.0, 1.0, 0.5, 0.125]
    cosine = schedule(Settings(schedule="cosine"), 6)
    assert [cosine(step) for step in range(6)] == pytest.approx([(1 + math.cos(math.pi * t / 6)) / 2 for t in range(6)])
    assert {schedule(Settings(), 5)(step) for step in range(5)} == {1.0}
    assert schedule(Settings(warmup=10), 5)(4) == 0.5


def test_what_may_differ_within_a_chunk() -> None:
    base = Settings()
    for name, value in (
        ("lr", 1.0),
        ("momentum", 0.5),
        ("weight_decay", 1.0),
        ("clip", 1.0),
        ("seed", 5),
        ("scale", 2.0),
    ):
        assert together(Settings(**{name: value})) == together(base)
    for name, value in (
        ("nesterov", True),
        ("schedule", "cosine"),
        ("warmup", 1),
        ("batch_size", 3),
        ("optimizer", "adam"),
    ):
        assert together(Settings(**{name: value})) != together(base)
    assert together(Settings(optimizer="adam", eps=0.1)) != together(Settings(optimizer="adam"))


def test_a_stack_keeps_runs_apart() -> None:
    models = networks(3)
    stack = Stack(models, ["0.weight", "1.bias"])
    assert stack.values.shape == (3 * (12 + 2),)
    for run, model in enumerate(models):
        for name, parameter in model.named_parameters():
            assert torch.equal(stack.parameters[name][run], parameter)
    spread = stack.blocks(stack.spread([1.0, 2.0, 3.0]))
    assert torch.equal(spread["0.weight"], torch.tensor([1.0, 2.0, 3.0]).double().view(3, 1, 1).expand(3, 4, 3))
    assert stack.spread([2.0, 2.0, 2.0]).dim() == 0
    expected = [nn.utils.parameters_to_vector(model.parameters()).norm() for model in models]
    torch.testing.assert_close(stack.norms(stack.parameters), torch.stack(expected).detach())
    stack.parameters["1.bias"][1, 0] = math.nan
    assert stack.finite().tolist() == [True, False, True]
    smaller = stack.keep([2, 0])
    assert torch.equal(smaller.parameters["0.weight"], stack.parameters["0.weight"][[2, 0]])
    assert smaller.finite().all()
    with pytest.raises(ValueError, match="shapes differ from seed to seed"):
        Stack([nn.Linear(2, 2), nn.Linear(2, 3)], ["weight"])
