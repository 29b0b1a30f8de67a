"""Many runs in one: stacked parameters, one batched step for all, each run with its own settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from gainstage.sweep.cells import Cell, Row
from gainstage.sweep.data import Batches, Data
from gainstage.sweep.engine.evaluation import evaluated
from gainstage.sweep.engine.initial import drawing_seed
from gainstage.sweep.engine.stack import Stack
from gainstage.sweep.engine.tape import Tape
from gainstage.sweep.engine.vmapped import Vmapped
from gainstage.sweep.engine.watching import Watch
from gainstage.sweep.losses import LossFunction, loss_function
from gainstage.sweep.optimizers import schedule, updates
from gainstage.sweep.settings import settings
from gainstage.sweep.spec import Spec

MODE = "vectorised"

# Samples that are evaluated at once: few, as there are many networks.
_PIECE = 128

# A GPU waits for the host at each look; losses of some steps are looked at together, and nothing else changes.
_LOOKS = {"cpu": 1}
_SELDOM = 16


class Program(Protocol):
    """Forward and backward of all runs of a stack."""

    stack: Stack

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor, *, shared: bool) -> torch.Tensor:
        """Fills the stack's gradient; the losses, of shape (runs,)."""
        ...

    def outputs(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs in evaluation mode, of shape (runs, batch, ...)."""
        ...

    def keep(self, stack: Stack, kept: Sequence[int]) -> None:
        """Goes on with a smaller stack."""
        ...


@dataclass(frozen=True)
class Kind:
    """How networks of one structure are computed many at once.

    Attributes:
        way: ``stacked`` (`Tape`) or ``vmap``.
        trained: Names of the parameters that have gradients.
    """

    way: str
    trained: tuple[str, ...]


def program(spec: Spec, kind: Kind, models: Sequence[nn.Module], cells: Sequence[Cell], data: Data) -> Program:
    """The program of some networks.

    Args:
        spec: What they share.
        kind: As `gainstage.sweep.engine.proof.provable` found it.
        models: One for each cell, as built.
        cells: Theirs.
        data: For the loss.

    Raises:
        NotDense: if the first is no dense network and the way is ``stacked``.
    """
    stack, function = Stack(models, kind.trained), loss_function(spec, data)
    if kind.way == "vmap":
        return Vmapped(models[0], stack, function)
    seeds = [drawing_seed(settings(cell.values).seed) for cell in cells]
    generators = [torch.Generator(spec.device).manual_seed(seed) for seed in seeds]
    return Tape(models[0], stack, function, generators)


class Chunk:
    """Runs that are trained together.

    Args:
        spec: What they share.
        cells: Alike in their structure.
        made: Their program.
        data: What they learn.
    """

    def __init__(self, spec: Spec, cells: Sequence[Cell], made: Program, data: Data) -> None:
        self._spec, self._data, self._program = spec, data, made
        chosen = [settings(cell.values) for cell in cells]
        self._function: LossFunction = loss_function(spec, data)
        self._factor = schedule(chosen[0], spec.steps)
        self._batches = Batches(data, [entry.order_seed for entry in chosen], chosen[0].batch_size)
        self._updates = updates(chosen, made.stack)
        self._clips = _clips([entry.clip for entry in chosen], made.stack)
        self.watch = Watch(spec, cells)
        self.left = list(range(len(cells)))
        self._unseen: list[tuple[int, torch.Tensor]] = []
        self._patience = _LOOKS.get(torch.device(spec.device).type, _SELDOM)

    def train(self, progress: Callable[[int], None] | None = None) -> tuple[Row, ...]:
        """All steps of all runs.

        Args:
            progress: Called with the number of runs that are done, as they are.
        """
        for step in range(self._spec.steps + 1):
            if self.watch.measures(step):
                for metric, values in self.measure():
                    self.watch.note(step, metric, self.left, values)
            if step == self._spec.steps and not (self.watch.measures(step) and self.watch.sees_batches):
                break
            self._batch(step)
            self._look(progress)
            if not self.left:
                break
            if step < self._spec.steps:
                self._update(step)
        self._look(progress, at_last=True)
        self._end()
        if progress and self.left:
            progress(len(self.left))
        return self.watch.rows(MODE)

    def _batch(self, step: int) -> None:
        """The next batch: loss and gradient of every run, and whether it goes on."""
        inputs, targets = self._batches.at(step)
        found = self._program.gradients(inputs, targets, shared=self._batches.shared)
        if self.watch.measures(step) and self.watch.sees_batches:
            self.watch.note(step, "batch_loss", self.left, found)
            self.watch.note(step, "grad_norm", self.left, self._stack.norms(self._stack.gradients))
        self._unseen.append((step, self.watch.sound(found)))

    @property
    def _stack(self) -> Stack:
        return self._program.stack

    def _update(self, step: int) -> None:
        if self._clips is not None:
            norms = self._stack.norms(self._stack.gradients)
            shares = torch.where(self._clips.isinf(), 1.0, (self._clips / (norms + 1e-6)).clamp(max=1.0))
            self._stack.gradient.mul_(self._stack.spread_tensor(shares))
        self._updates.update(self._stack.values, self._stack.gradient, self._factor(step))

    def step(self, step: int) -> None:
        """A batch and an update, whatever the losses are: for measuring speed."""
        self._batch(step)
        if self._patience == 1:
            bool(self._unseen[0][1].all())
        self._unseen.clear()
        self._update(step)

    def _look(self, progress: Callable[[int], None] | None, *, at_last: bool = False) -> None:
        """Drops runs that diverged at one of the steps since the last look."""
        if not self._unseen or (len(self._unseen) < self._patience and not at_last):
            return
        unseen, self._unseen = self._unseen, []
        sound = torch.stack([sound for _, sound in unseen]) if len(unseen) > 1 else unseen[0][1].unsqueeze(0)
        if bool(sound.all()):
            return
        ended = sound.logical_not().long().argmax(0).tolist()
        good = sound.all(0).tolist()
        for place, run in enumerate(self.left):
            if not good[place]:
                self.watch.diverge(run, unseen[ended[place]][0])
        if progress:
            progress(good.count(False))
        self._keep([place for place, fine in enumerate(good) if fine])

    def _keep(self, kept: Sequence[int]) -> None:
        self.left = [self.left[place] for place in kept]
        if not kept:
            return
        before, after = self._stack, self._stack.keep(kept)
        # The gradient of this step is still to be used.
        after.gradient.copy_(before.shrunk(before.gradient, kept))
        self._program.keep(after, kept)
        self._updates.keep(kept, before, after)
        self._batches.keep(kept)
        self.watch.keep(kept)
        self._clips = None if self._clips is None else self._clips[torch.tensor(kept, device=self._clips.device)]

    def measure(self) -> list[tuple[str, torch.Tensor]]:
        """The metrics that need no batch, of the runs that are left."""
        found = [*evaluated(self._spec, self._data, self._program.outputs, self._function, _PIECE)]
        if "weight_norm" in self._spec.metrics:
            found.append(("weight_norm", self._stack.norms(self._stack.parameters)))
        return found

    def _end(self) -> None:
        if self.left:
            for run, fine in zip(self.left, self._stack.finite().tolist(), strict=True):
                if not fine:
                    self.watch.diverge(run, self._spec.steps)


def _clips(clips: Sequence[float], stack: Stack) -> torch.Tensor | None:
    if all(clip == float("inf") for clip in clips):
        return None
    return torch.tensor(clips, dtype=stack.values.dtype, device=stack.values.device)
