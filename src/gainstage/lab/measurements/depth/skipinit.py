"""Residual nets without norm, trained with branches that start at several factors."""

from __future__ import annotations

from gainstage.lab.apparatus.residual_stacks import Shape, Start, best_accuracies
from gainstage.lab.catalogue.depth.skipinit import SkipInitDesign
from gainstage.lab.judge import Row


def measure(design: SkipInitDesign, seed: int) -> list[Row]:
    """Nets with α = 0 and α = 1/√blocks."""
    return _rows(design, seed, ("zero", "root"))


def control(design: SkipInitDesign, seed: int) -> list[Row]:
    """Nets with α = 1."""
    return _rows(design, seed, ("one",))


def alpha(start: str, blocks: int) -> float:
    """Of a kind of start at a depth."""
    return {"zero": 0.0, "root": blocks**-0.5, "one": 1.0}[start]


def _rows(design: SkipInitDesign, seed: int, starts: tuple[str, ...]) -> list[Row]:
    rows: list[Row] = []
    for blocks in design.blocks:
        nets = {name: [Start(lr, multiplier=alpha(name, blocks)) for lr in design.lrs] for name in starts}
        shape = Shape(blocks, maps=2, width=design.width, scalar_rate=design.scalar_rate)
        found = best_accuracies(
            shape, nets, data=design.data, steps=design.steps, batch_size=design.batch, seed=seed,
            device=design.device,
        )  # fmt: skip
        for name, best in found.items():
            row: Row = {"kind": "net", "start": name, "blocks": blocks, **best}
            rows.append(row)
    return rows
