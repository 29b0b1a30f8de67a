"""One run after another, with torch's own modules and optimizers: what every other mode must equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import nn

from gainstage.seeding import preserved_rng
from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.data import Batches, loaded
from gainstage.sweep.engine.evaluation import evaluated
from gainstage.sweep.engine.initial import built, drawing_seed
from gainstage.sweep.engine.watching import Watch, failed
from gainstage.sweep.losses import loss_function
from gainstage.sweep.optimizers import optimizer, schedule
from gainstage.sweep.settings import settings
from gainstage.sweep.spec import Spec

MODE = "looped"

# Samples that are evaluated at once: many, as there is one network.
_PIECE = 512


def run_looped(spec: Spec, cells: Sequence[Cell], progress: Callable[[int], None] | None = None) -> tuple[Row, ...]:
    """Trains each cell by itself.

    Args:
        spec: What they share.
        cells: Of any kinds.
        progress: Called with 1 after each cell.

    Returns:
        A row for each; one that raised has its error.
    """
    rows: list[Row] = []
    for cell in cells:
        try:
            rows.append(_trained(spec, cell))
        except Exception as error:
            rows.append(failed(cell, error, MODE))
        if progress:
            progress(1)
    return tuple(rows)


def _trained(spec: Spec, cell: Cell) -> Row:
    trial = Trial(spec, cell, built(spec, cell, loaded(spec)))
    with preserved_rng(drawing_seed(settings(cell.values).seed)):
        trial.train()
    return trial.watch.rows(MODE)[0]


class Trial:
    """One run.

    Args:
        spec: What it shares with others.
        cell: Its settings.
        model: As built.
    """

    def __init__(self, spec: Spec, cell: Cell, model: nn.Module) -> None:
        self._spec, self._model, self._settings = spec, model, settings(cell.values)
        self._data = loaded(spec)
        self._function = loss_function(spec, self._data)
        self._factor = schedule(self._settings, spec.steps)
        self._batches = Batches(self._data, [self._settings.order_seed], self._settings.batch_size)
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self._updates = optimizer(self._settings, self._trained)
        self.watch = Watch(spec, [cell])

    def train(self) -> None:
        """All steps, or those until it diverges."""
        for step in range(self._spec.steps + 1):
            measured = self.watch.measures(step)
            if measured:
                for metric, values in self.measure():
                    self.watch.note(step, metric, [0], values)
            if step == self._spec.steps and not (measured and self.watch.sees_batches):
                break
            loss = self._batch(step)
            if measured:
                self.watch.note(step, "batch_loss", [0], loss[None])
                self.watch.note(step, "grad_norm", [0], self._norm()[None])
            if not self.watch.sound(loss[None]).item():
                return self.watch.diverge(0, step)
            if step < self._spec.steps:
                self._update(step)
        if not all(bool(parameter.isfinite().all()) for parameter in self._trained):
            self.watch.diverge(0, self._spec.steps)
        return None

    def step(self, step: int) -> None:
        """A batch and an update, and a look at the loss: for measuring speed."""
        self.watch.sound(self._batch(step)[None]).item()
        self._update(step)

    def measure(self) -> list[tuple[str, torch.Tensor]]:
        """The metrics that need no batch."""
        self._model.eval()
        found = [*evaluated(self._spec, self._data, self._outputs, self._function, _PIECE)]
        self._model.train()
        if "weight_norm" in self._spec.metrics:
            found.append(("weight_norm", _norm(self._model.parameters())[None]))
        return found

    def _outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._model(inputs)[None]

    def _batch(self, step: int) -> torch.Tensor:
        inputs, targets = self._batches.at(step)
        self._updates.zero_grad()
        loss = self._function(self._model(inputs), targets)
        loss.backward()
        return loss.detach()

    def _update(self, step: int) -> None:
        if self._settings.clip < math.inf:
            nn.utils.clip_grad_norm_(self._trained, self._settings.clip)
        for group in self._updates.param_groups:
            group["lr"] = self._settings.lr * self._factor(step)
        self._updates.step()

    def _norm(self) -> torch.Tensor:
        return _norm(parameter.grad for parameter in self._trained if parameter.grad is not None)


@torch.no_grad()
def _norm(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(tensor) for tensor in tensors]))
