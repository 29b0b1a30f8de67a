"""Faults of the optimizer and of the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from accuracy.fault import fault
from accuracy.setup import Setup, Weights, read_out, swapped


@fault("lr-too-high", "OPT001 OPT003 OPT004 OPT005", mild=10.0, moderate=50.0, gross=1000.0)
def lr_too_high(setup: Setup, factor: float) -> Setup | None:
    return replace(setup, recipe=replace(setup.recipe, lr=setup.recipe.lr * factor))


@fault("lr-too-low", "OPT002 OPT003", mild=0.03, moderate=0.003, gross=1e-5)
def lr_too_low(setup: Setup, factor: float) -> Setup | None:
    return replace(setup, recipe=replace(setup.recipe, lr=setup.recipe.lr * factor))


@fault("strong-decay", "OPT007 OPT003", mild=0.03, moderate=0.1, gross=1.0)
def strong_decay(setup: Setup, decay: float) -> Setup | None:
    return replace(setup, recipe=replace(setup.recipe, weight_decay=decay))


@fault("heavy-dropout", "ACT005", mild=0.7, moderate=0.9, gross=0.97)
def heavy_dropout(setup: Setup, share: float) -> Setup | None:
    """Dropout in front of the read-out, and of every map but the first that stands in a row of modules."""
    model, last = setup.model, read_out(setup.model)
    maps = [(path, module) for path, module in model.named_modules() if isinstance(module, (nn.Linear, nn.Conv2d))]
    for path, module in maps[1:]:
        row = model.get_submodule(path.rpartition(".")[0])
        if module is last or isinstance(row, nn.Sequential):
            swapped(model, path, nn.Sequential(nn.Dropout(share), module))
    return setup if len(maps) > 1 else None


@fault("summed-loss", "OPT001 OPT003 OPT004 OPT005 GRD002", moderate="sum")
def summed_loss(setup: Setup, _: str) -> Setup | None:
    """The loss is summed over the batch, the learning rate is one for its mean."""
    mean = setup.loss
    return replace(setup, loss=lambda outputs, targets: mean(outputs, targets) * len(outputs))


@fault(
    "missing-parameters",
    "OPT006",
    mild="one",
    moderate="half",
    gross="all but the read-out",
)
def missing_parameters(setup: Setup, level: str) -> Setup | None:
    def held(model: nn.Module) -> Weights:
        parameters = list(model.parameters())
        if level == "one":
            return [p for place, p in enumerate(parameters) if place != len(parameters) // 2]
        return parameters[len(parameters) // 2 :] if level == "half" else list(read_out(model).parameters())

    return replace(setup, held=held)


@fault("optimizer-of-another-model", "OPT006", gross="copy")
def optimizer_of_another(setup: Setup, _: str) -> Setup | None:
    """The optimizer was built over the model before it was loaded, copied or moved."""
    return replace(setup, held=lambda model: [nn.Parameter(p.detach().clone()) for p in model.parameters()])


@fault("labels-from-one", "DAT002", gross="one")
def labels_from_one(setup: Setup, _: str) -> Setup | None:
    if setup.kind != "classes":
        return None
    return setup.with_targets(lambda targets: targets + 1, held_out=True)


@fault("one-label", "DAT002", gross="one")
def one_label(setup: Setup, _: str) -> Setup | None:
    """Every sample of the training set has the first one's target."""
    return setup.with_targets(lambda targets: targets[:1].expand_as(targets).clone(), held_out=False)


@fault("targets-not-a-number", "DAT002 NUM001", mild=0.001, gross=0.1)
def targets_not_a_number(setup: Setup, share: float) -> Setup | None:
    if setup.kind == "classes":
        return None

    def spoilt(targets: torch.Tensor) -> torch.Tensor:
        picked = torch.rand(len(targets)) < share
        targets = targets.clone()
        targets[picked] = torch.nan
        return targets

    return setup.with_targets(spoilt, held_out=False)


@fault("targets-broadcast", "DAT002", gross="flat")
def targets_broadcast(setup: Setup, _: str) -> Setup | None:
    """Targets of shape (N,) against outputs of shape (N, 1)."""
    if setup.kind != "values" or setup.data.train_targets.shape[1:] != (1,):
        return None
    return setup.with_targets(lambda targets: targets[:, 0], held_out=True)


@fault("target-scale", "DAT003 INI006", mild=100.0, moderate=1000.0, gross=1e5)
def target_scale(setup: Setup, factor: float) -> Setup | None:
    if setup.kind != "values":
        return None
    return setup.with_targets(lambda targets: targets * factor, held_out=True)


@fault("small-targets", "DAT003 INI006", mild=0.01, moderate=0.001, gross=1e-5)
def small_targets(setup: Setup, factor: float) -> Setup | None:
    if setup.kind != "values":
        return None
    return setup.with_targets(lambda targets: targets * factor, held_out=True)


@fault("target-offset", "DAT003 INI006", mild=30.0, moderate=100.0, gross=1000.0)
def target_offset(setup: Setup, offset: float) -> Setup | None:
    if setup.kind != "values":
        return None
    return setup.with_targets(lambda targets: targets + offset, held_out=True)


def _real(setup: Setup) -> bool:
    return setup.data.train_inputs.is_floating_point()


@fault("input-scale-up", "DAT001", mild=30.0, moderate=255.0, gross=1e4)
def input_scale_up(setup: Setup, factor: float) -> Setup | None:
    return setup.with_inputs(lambda inputs: inputs * factor) if _real(setup) else None


@fault("input-scale-down", "DAT001", mild=0.03, moderate=0.003, gross=1e-4)
def input_scale_down(setup: Setup, factor: float) -> Setup | None:
    return setup.with_inputs(lambda inputs: inputs * factor) if _real(setup) else None


@fault("input-offset", "DAT001", mild=5.0, moderate=20.0, gross=300.0)
def input_offset(setup: Setup, offset: float) -> Setup | None:
    return setup.with_inputs(lambda inputs: inputs + offset) if _real(setup) else None


@fault("one-loud-feature", "DAT001", mild=30.0, moderate=300.0, gross=1e4)
def one_loud_feature(setup: Setup, factor: float) -> Setup | None:
    """One column of a table is in other units."""
    if not _real(setup) or setup.data.train_inputs.dim() != 2:
        return None
    scale = torch.ones(setup.data.train_inputs.shape[1])
    scale[int(setup.data.train_inputs.std(0).argmax())] = factor
    return setup.with_inputs(lambda inputs: inputs * scale)


@fault("one-sample", "DAT004", gross="same")
def one_sample(setup: Setup, _: Any) -> Setup | None:
    """Every sample of the training set has the first one's inputs."""
    inputs = setup.data.train_inputs
    same = inputs[:1].expand_as(inputs).clone()
    return replace(setup, data=replace(setup.data, train_inputs=same))


@fault("inputs-not-a-number", "NUM001 DAT001", mild=0.001, gross=0.1)
def inputs_not_a_number(setup: Setup, share: float) -> Setup | None:
    if not _real(setup):
        return None
    inputs = setup.data.train_inputs.clone()
    inputs[torch.rand(len(inputs)) < share] = torch.nan
    return replace(setup, data=replace(setup.data, train_inputs=inputs))


TRAINING_FAULTS = (
    lr_too_high, lr_too_low, strong_decay, heavy_dropout, summed_loss, missing_parameters, optimizer_of_another,
    labels_from_one, one_label, targets_not_a_number, targets_broadcast, target_scale, small_targets,
    target_offset, input_scale_up, input_scale_down, input_offset, one_loud_feature, one_sample,
    inputs_not_a_number,
)  # fmt: skip
