"""Networks before their first update, and batches to look at them with."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.devices import device_of
from gainstage.lab.apparatus.draws import drawn
from gainstage.lab.catalogue.designs import Net
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.references import resolve


def at_start(net: Net, norm: str, init: str, seed: int, *, data: Data) -> nn.Module:
    """A network in training mode, of its seed alone.

    Args:
        net: Which.
        norm: As the factory has it.
        init: One of `gainstage.lab.apparatus.draws.DRAWS`.
        seed: Of the weights.
        data: On whose device it is to be.
    """
    device = data.train_inputs.device
    with preserved_rng(generator(seed, "weights", init).initial_seed()):
        model = drawn(net.factory, init, norm, **dict(net.options)).train()
    return model.to(device)


def batches(data: Data, count: int, size: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Random batches of the training set that have no sample in common.

    Args:
        data: Where from; with at least ``count`` × ``size`` training samples.
        count: How many.
        size: Samples of each.
        seed: Of the choice.
    """
    order = torch.randperm(data.samples, generator=generator(seed, "batches")).to(data.train_inputs.device)
    chosen = order[: count * size].split(size)
    return [(data.train_inputs[some], data.train_targets[some]) for some in chosen]


def placed(data: str, device: str) -> Data:
    """The data that a reference names, on a device.

    Args:
        data: A reference.
        device: ``cpu``, or ``auto`` for a GPU where there is one.
    """
    return resolve(data)().to(torch.float32, device_of(device))
