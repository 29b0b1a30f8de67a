"""Very deep residual nets trained from Fixup's start, with batch norm, and from He's."""

from __future__ import annotations

from gainstage.lab.apparatus.residual_stacks import Shape, Start, best_accuracies
from gainstage.lab.catalogue.depth.fixup import FixupDesign
from gainstage.lab.judge import Row

MAPS = 2


def measure(design: FixupDesign, seed: int) -> list[Row]:
    """Nets with Fixup, and with batch norm and He's weights."""
    return [row for blocks in design.blocks for net in ("fixup", "batch") for row in _rows(design, seed, net, blocks)]


def control(design: FixupDesign, seed: int) -> list[Row]:
    """Fixup's net with He's weights as they are, at the depth that is judged."""
    return _rows(design, seed, "he", design.blocks[-1])


def start(net: str, blocks: int, lr: float) -> Start:
    """What a kind of net starts from."""
    if net == "fixup":
        return Start(lr, first=blocks ** (-1 / (2 * MAPS - 2)), last=0.0, read_out=0.0)
    return Start(lr)


def _rows(design: FixupDesign, seed: int, net: str, blocks: int) -> list[Row]:
    shape = Shape(blocks, MAPS, design.width, normalized=net == "batch", scalar_rate=design.scalar_rate)
    nets = {net: [start(net, blocks, lr) for lr in design.lrs]}
    found = best_accuracies(
        shape, nets, data=design.data, steps=design.steps, batch_size=design.batch, seed=seed, device=design.device
    )
    return [{"kind": "net", "net": net, "blocks": blocks, **found[net]}]
