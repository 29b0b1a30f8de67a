"""The step that an optimizer would make, without a trace of it."""

from __future__ import annotations

import torch
from torch import nn

from gainstage.landscape import Objective
from gainstage.landscape.update import proposed_update
from gainstage.trace import Subject


class Langevin(torch.optim.SGD):
    """Adds noise to each step."""

    def step(self, closure: None = None) -> None:
        super().step(closure)
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data.add_(torch.randn_like(parameter))


def test_an_optimizer_that_draws_leaves_the_generator() -> None:
    model = nn.Linear(2, 1)
    objective = Objective(
        Subject(model, (torch.eye(2), torch.zeros(2, 1)), optimizer=Langevin(model.parameters(), 0.1))
    )
    before = torch.get_rng_state()
    update = proposed_update(objective, torch.ones(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(proposed_update(objective, torch.ones(3)), update)


def test_the_step_is_the_optimizers_with_its_state() -> None:
    model = nn.Linear(3, 1, bias=False)
    optimizer = torch.optim.Adam(model.parameters(), 0.1, weight_decay=0.01)
    given = Subject(model, (torch.eye(3), torch.zeros(3, 1)), optimizer=optimizer)
    for scale in (1.0, -2.0):
        gradient = scale * torch.tensor([1.0, 2.0, 3.0])
        update = proposed_update(Objective(given), gradient)
        before = model.weight.detach().clone()
        model.weight.grad = gradient.view(1, 3).clone()
        optimizer.step()
        torch.testing.assert_close(update.view(1, 3), model.weight.detach() - before)
