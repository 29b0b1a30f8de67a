"""Networks whose weights are drawn by a rule, from torch's generator, with a norm or what stands in its place.

Weights are drawn by torch's own functions: `gainstage.initialize` outlines each network first, which takes longer than
a short training of a small one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gainstage.errors import UnknownNameError
from gainstage.lab.apparatus.imposters import Affine, in_place_of_batch_norms_
from gainstage.norm.layers import MeanOnlyBatchNorm
from gainstage.sweep.references import resolve

ZERO_BRANCH = "branches at zero"
SMALL_BRANCH = "branches over √blocks"
_HE = partial(nn.init.kaiming_normal_, nonlinearity="relu")
# Of the weights of two and more dimensions, the read-out's too; biases become zero. He 2015 and Glorot 2010, normal.
DRAWS: Mapping[str, Callable[[Tensor], Tensor] | None] = {
    "he": _HE,
    "glorot": nn.init.xavier_normal_,
    # He's, and zeros in the last map of each residual branch, as SkipInit and Fixup start.
    ZERO_BRANCH: _HE,
    # He's, and the last map of each of L residual branches over √L: growth by (1 + 1/L)^L < e over all of them.
    SMALL_BRANCH: _HE,
    "torch": None,
}
AFFINE, CENTERED = "affine", "centered"
# Names of norms that no factory has: batch norms with something else in their place.
IMPOSTERS: Mapping[str, Callable[[int], nn.Module]] = {AFFINE: Affine, CENTERED: MeanOnlyBatchNorm}


def drawn(network: str, draws: str, norm: str = "none", **options: Any) -> nn.Module:
    """A network with weights from torch's generator; a sweep can name it.

    Args:
        network: A reference to a factory that takes ``norm`` (`gainstage.lab.apparatus.networks:mlp`).
        draws: One of `DRAWS`; ``torch`` leaves what the layers draw.
        norm: As the factory has it; ``affine``: its batch norms without their normalization; ``centered``: without
            their division.
        options: Other keywords of the factory.

    Raises:
        UnknownNameError: if there are no such draws.

    Example:
        >>> drawn("gainstage.lab.apparatus.networks:mlp", "he", "affine", depth=1, width=4)[1]
        Affine()
    """
    if draws not in DRAWS:
        raise UnknownNameError("lab networks", "draws", draws, DRAWS)
    model: nn.Module = resolve(network)(norm="batch" if norm in IMPOSTERS else norm, **options)
    if norm in IMPOSTERS:
        in_place_of_batch_norms_(model, IMPOSTERS[norm])
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


def _scale_branches_(model: nn.Module, factor: Callable[[int], float]) -> None:
    """Multiplies the last map of each residual branch by a factor that may depend on their number."""
    found = [vars(module)["_modules"].get("branch") for module in model.modules()]
    branches = [branch for branch in found if branch is not None]
    for branch in branches:
        *_, last = (module for module in branch.modules() if isinstance(module, (nn.Linear, nn.Conv2d)))
        with torch.no_grad():
            last.weight.mul_(factor(len(branches)))
