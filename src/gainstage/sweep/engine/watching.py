"""What is noted of a run while it trains, by the same rules however it is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.spec import Spec

BATCH_METRICS = ("batch_loss", "grad_norm")


class Watch:
    """The curves of some runs, and which of them have diverged.

    At each step the order is: metrics, the next batch's loss and gradient, the stop rule, the update.

    Args:
        spec: Whose metrics are taken and whose rule stops.
        cells: Of the runs.
    """

    def __init__(self, spec: Spec, cells: Sequence[Cell]) -> None:
        self._spec, self._cells, self._rule = spec, cells, spec.rule
        self._places = {step: place for place, step in enumerate(spec.measured)}
        blank = [math.nan] * len(spec.measured)
        self._curves = [{metric: list(blank) for metric in spec.metrics} for _ in cells]
        self._diverged: list[int | None] = [None] * len(cells)
        self._limits: torch.Tensor | None = None

    def measures(self, step: int) -> bool:
        """Whether metrics are taken after this many updates."""
        return step in self._places

    @property
    def sees_batches(self) -> bool:
        """Whether a metric is of the next batch, which the last measurement then needs too."""
        return any(metric in BATCH_METRICS for metric in self._spec.metrics)

    def note(self, step: int, metric: str, runs: Sequence[int], values: torch.Tensor) -> None:
        """Notes a metric of these runs, of shape (runs,), if it is asked for."""
        if metric in self._spec.metrics:
            for run, value in zip(runs, values.tolist(), strict=True):
                self._curves[run][metric][self._places[step]] = value

    def sound(self, losses: torch.Tensor) -> torch.Tensor:
        """Whether each run goes on by its loss on the next batch; the first call sets what the factor is of.

        Args:
            losses: Of shape (runs,), of the runs that are left.
        """
        if self._limits is None:
            most = min(self._rule.above, torch.finfo(losses.dtype).max)
            # Of a first loss of zero, or of none that is finite, no factor can be taken.
            self._limits = (losses.abs() * self._rule.factor).nan_to_num(nan=most).clamp(max=most)
        return losses <= self._limits

    def keep(self, kept: Sequence[int]) -> None:
        """Drops the limits of all runs but these."""
        if self._limits is not None:
            self._limits = self._limits[torch.tensor(kept, device=self._limits.device)]

    def diverge(self, run: int, step: int) -> None:
        """Notes that a run diverged after this many updates; what was measured later is blanked."""
        self._diverged[run] = step
        for curve in self._curves[run].values():
            for at, place in self._places.items():
                if at > step:
                    curve[place] = math.nan

    def rows(self, mode: str) -> tuple[Row, ...]:
        """What came of the cells, in their order."""
        return tuple(
            Row(
                cell.key, cell.values, self._spec.measured,
                {metric: tuple(values) for metric, values in curves.items()}, diverged, None, mode,
            )
            for cell, curves, diverged in zip(self._cells, self._curves, self._diverged, strict=True)
        )  # fmt: skip


def failed(cell: Cell, error: BaseException, mode: str) -> Row:
    """The row of a cell that could not be run: the error in one line."""
    line = (str(error).strip().splitlines() or [""])[0]
    return Row(cell.key, cell.values, error=f"{type(error).__name__}: {line}"[:500], mode=mode)
