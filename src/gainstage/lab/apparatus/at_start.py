"""Networks before their first update, and batches to look at them with.

Weights are drawn by torch's own functions: `gainstage.initialize` outlines each network first, which takes longer than
all that is measured on a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gainstage.lab.apparatus.imposters import without_normalization_
from gainstage.lab.catalogue.designs import Net
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep import Data
from gainstage.sweep.references import resolve

ZERO_BRANCH = "branches at zero"
SMALL_BRANCH = "branches over √blocks"
# Of the weights of two and more dimensions, the read-out's too; biases become zero.
DRAWS: Mapping[str, Callable[[Tensor], Tensor] | None] = {
    "he": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    # He's, and zeros in the last map of each residual branch, as SkipInit and Fixup start.
    ZERO_BRANCH: partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    # He's, and the last map of each of L residual branches over √L: growth by (1 + 1/L)^L < e over all of them.
    SMALL_BRANCH: partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "torch": None,
}
AFFINE = "affine"


def drawn(network: str, draws: str, norm: str = "none", **options: Any) -> nn.Module:
    """A network with weights from torch's generator; a sweep can name it.

    Args:
        network: A reference to a factory that takes ``norm``.
        draws: One of `DRAWS`; ``torch`` leaves what the layers draw.
        norm: As the factory has it, or ``affine``: its batch norms without their normalization.
        options: Other keywords of the factory.

    Example:
        >>> drawn("gainstage.lab.apparatus.networks:mlp", "he", "affine", depth=1, width=4)[1]
        Affine()
    """
    model: nn.Module = resolve(network)(norm="batch" if norm == AFFINE else norm, **options)
    if norm == AFFINE:
        without_normalization_(model)
    draw = DRAWS[draws]
    for name, parameter in model.named_parameters() if draw else ():
        if draw and parameter.dim() >= 2:
            draw(parameter)
        elif name.rpartition(".")[2] == "bias":
            nn.init.zeros_(parameter)
    if draws == ZERO_BRANCH:
        _scale_branches_(model, lambda _: 0.0)
    if draws == SMALL_BRANCH:
        _scale_branches_(model, lambda count: count**-0.5)
    return model


def at_start(net: Net, norm: str, init: str, seed: int, *, data: Data) -> nn.Module:
    """A network in training mode, of its seed alone.

    Args:
        net: Which.
        norm: As the factory has it.
        init: One of `DRAWS`.
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
    return resolve(data)().to(torch.float32, torch.device(device_of(device)))


def device_of(device: str) -> str:
    """``cuda`` for ``auto`` where there is one, else ``cpu``; any other name as it is."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _scale_branches_(model: nn.Module, factor: Callable[[int], float]) -> None:
    """Multiplies the last map of each residual branch by a factor that may depend on their number."""
    found = [vars(module)["_modules"].get("branch") for module in model.modules()]
    branches = [branch for branch in found if branch is not None]
    for branch in branches:
        *_, last = (module for module in branch.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
        with torch.no_grad():
            last.weight.mul_(factor(len(branches)))
