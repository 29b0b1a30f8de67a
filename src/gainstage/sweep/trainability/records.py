"""What a map of trainability is made of: immutable records, without torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from gainstage.sweep.trainability.lattice import Axis, Point
from gainstage.trace import serialization

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class MapCell:
    """One short training run.

    Attributes:
        norm: The variant of the model.
        scale: What its initial weights of two dimensions and more were multiplied with.
        lr: The learning rate.
        initial, final: Loss of the first step, and median of the last tenth; None if it was not finite.
        diverged_at: The step at which the loss was not finite, or far above all initial ones; else None.
        progress: (start - final)/(start - best) within the map: 1 for its best run, 0 for none, negative below.
        trains: Whether the progress is at least a half.
    """

    norm: str
    scale: float
    lr: float
    initial: float | None
    final: float | None
    diverged_at: int | None = None
    progress: float = 0.0
    trains: bool = False


@dataclass(frozen=True)
class Region:
    """Where one variant trains.

    Attributes:
        norm: The variant.
        lr_low, lr_high: The range of learning rates without a gap that train at the model's own scale, around the
            best; None where none does.
        lr_decades: Its width; 0 if a single one trains.
        scale_low, scale_high, scale_decades: The range of initial scales at the recommended learning rate.
        area: Of all that trains, in decades of scale times decades of learning rate.
        best: The scale, learning rate and loss of the best run; None where nothing trains.
        recommended_lr: At the model's own scale; None where nothing trains there.
        margin: The factor from it to the largest learning rate that trains.
        to_edge: Whether the range of learning rates reaches the end of the map: it may be wider.
    """

    norm: str
    lr_low: float | None = None
    lr_high: float | None = None
    lr_decades: float = 0.0
    scale_low: float | None = None
    scale_high: float | None = None
    scale_decades: float = 0.0
    area: float = 0.0
    best: tuple[float, float, float] | None = None
    recommended_lr: float | None = None
    margin: float | None = None
    to_edge: bool = False


@dataclass(frozen=True)
class TrainabilityMap:
    """Where a model trains: over initial scale, learning rate and normalization.

    Attributes:
        name: Of the model.
        optimizer: Its type, with what else it was given.
        steps: Of each run.
        scales, rates: The axes.
        cells: The runs, in order of their making.
        regions: One for each variant.
        skipped: Variants that were asked for and not made, with the reason.
        notes: What holds for variants or for the whole, one line each.
        start, best: The lowest loss that a run begins with, which a model has that knows nothing, and the lowest
            that one ends with.
        resolution: Decades to which the boundary was followed.
        complete: Whether it was followed to the end, within the budget.
        interrupted: Whether Ctrl-C ended it.
    """

    name: str
    optimizer: str
    steps: int
    scales: Axis
    rates: Axis
    cells: tuple[MapCell, ...]
    regions: tuple[Region, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    start: float | None = None
    best: float | None = None
    resolution: float = 1.0
    complete: bool = True
    interrupted: bool = False
    schema_version: int = SCHEMA_VERSION

    @property
    def norms(self) -> tuple[str, ...]:
        """The variants, in the order in which they were asked for."""
        return tuple(region.norm for region in self.regions)

    def point(self, cell: MapCell) -> Point:
        """Where a run stands on the axes."""
        return self.scales.nearest(cell.scale), self.rates.nearest(cell.lr)

    def filled(self, norm: str) -> dict[Point, MapCell]:
        """Every point of the finest lattice with the run nearest to it; points between equals were not run."""
        runs = {self.point(cell): cell for cell in self.cells if cell.norm == norm}
        if not runs:
            return {}
        points = [(row, column) for row in range(len(self.scales.values))
                  for column in range(len(self.rates.values))]  # fmt: skip
        return {point: runs[min(runs, key=lambda run: (_distance(run, point), run))] for point in points}

    def to_rows(self) -> list[dict[str, object]]:
        """One flat dict a run, ready for ``pandas.DataFrame`` or ``polars.DataFrame``."""
        return [asdict(cell) for cell in self.cells]

    def to_json(self) -> str:
        """Lossless JSON; figures that are None are left out."""
        return serialization.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> TrainabilityMap:
        """The inverse of `to_json`.

        Raises:
            InputError: if the text is not a map, or one of another schema version.
        """
        return serialization.from_json(text, cls, SCHEMA_VERSION)


def _distance(one: Point, other: Point) -> int:
    return (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
