"""A subject's loss as a function of its trainable parameters: what every probe evaluates.

All probes work on a copy of the model and through `torch.autograd.grad`: the subject's parameters, gradients, buffers,
modes and hooks are never written to, so there is nothing to put back when something fails. Equal arguments give equal
values: random numbers (dropout) are drawn from one seed at every evaluation, and buffers are those of the beginning.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from gainstage.errors import GainstageError, InputError, SubjectError
from gainstage.landscape.double_backward import ADVICE, require_whole, twice_differentiable
from gainstage.landscape.precision import cast_batch, cast_model_
from gainstage.seeding import generator, preserved_rng
from gainstage.trace.call import batch_loss, choose_loss, scalar_loss, to_device, unpack
from gainstage.trace.copies import copied
from gainstage.trace.lazy_layers import built
from gainstage.trace.preserve import accumulated_gradients, has_reentrant_checkpoint, leaves_of
from gainstage.trace.subject import Subject

Norms = Literal["as is", "train", "eval"]
NORMS: tuple[Norms, ...] = ("as is", "train", "eval")

# In forward and backward passes: a backward pass takes twice as long as a forward pass, and a product with the Hessian
# goes back through both.
_FORWARD, _BACKWARD, _PRODUCT = 1 / 3, 2 / 3, 2.0

_TRAINS = "Check that it trains outside of gainstage."


@dataclass
class Cost:
    """What was computed so far.

    Attributes:
        forwards: Passes without gradients.
        gradients: Forward and backward passes.
        products: Products with a Hessian by automatic differentiation.
    """

    forwards: int = 0
    gradients: int = 0
    products: int = 0

    @property
    def equivalents(self) -> float:
        """In forward and backward passes: a forward pass is a third of one, a product two."""
        return _FORWARD * self.forwards + (_FORWARD + _BACKWARD) * self.gradients + _PRODUCT * self.products


class Objective:
    """The loss of a subject on its batches, on a copy of its model.

    Vectors over the parameters are flat, in the order of `names`, of the parameters' type and on their device.

    Args:
        subject: Whose loss it is; stays as it is.
        batches: How many of its batches to hold; fewer if there are not so many.
        norms: ``train`` and ``eval`` set the mode of the layers with running statistics, and of these alone.
        dtype: Of parameters, buffers and inputs; None: as they are.
        seed: Of the random numbers at each evaluation.

    Attributes:
        subject: The copy; its optimizer is the copied one.
        batches: What the losses are of.
        names: Of the trainable parameters.
        parameters: The copy's.
        cost: What was computed so far.

    Validity:
        What a loss reads of the subject's own model by a closure (a penalty on its weights) is a constant here, for
        the copy is what moves: pass ``forward`` and use the model that it is given.

    Raises:
        InputError: if an argument is out of its range.
        SubjectError: if there are no batches or no real trainable parameters, or the model cannot be copied.

    Example:
        >>> model = nn.Linear(3, 1, bias=False)
        >>> objective = Objective(Subject(model, (torch.eye(3), torch.zeros(3, 1)), loss=lambda y, t: (y - t).sum()))
        >>> loss, gradient = objective.gradient(objective.batches[0])
        >>> gradient
        tensor([1., 1., 1.])
    """

    def __init__(
        self,
        subject: Subject,
        *,
        batches: int = 1,
        norms: Norms = "as is",
        dtype: torch.dtype | None = None,
        seed: int = 0,
    ) -> None:
        if norms not in NORMS:
            raise InputError(f"landscape: norms must be one of {', '.join(NORMS)}, got {norms!r}. Leave it out.")
        if batches < 1:
            raise InputError(f"landscape: batches must be at least 1, got {batches}. One is enough for a first look.")
        with preserved_rng(seed):
            first = subject.batches.first()
            subject = built(subject, first)
            found = subject.batches.take(batches)
        self._foreign = {id(parameter): parameter for parameter in subject.model.parameters()}
        self.subject = copied(subject).replace(batches=found)
        model = self.subject.model
        _set_norms_(model, norms)
        if dtype is not None:
            cast_model_(model, dtype)
            found = [cast_batch(batch, dtype) for batch in found]
        self.batches: list[Any] = [to_device(batch, model) for batch in found]
        trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        if not trained:
            raise SubjectError("landscape: the model must have trainable parameters, got none. Unfreeze some.")
        if any(parameter.is_complex() for _, parameter in trained):
            raise SubjectError(
                "landscape: the trainable parameters must be real, got complex ones. Hold their two parts apart."
            )
        self.names = tuple(name for name, _ in trained)
        self.parameters = tuple(parameter for _, parameter in trained)
        self.cost = Cost()
        self._seed = seed
        # A tensor that the model makes by itself may have another type.
        self._advice = _TRAINS if dtype is None else f"Check that it trains in {dtype}; pass another dtype= if not."

    @property
    def model(self) -> nn.Module:
        """The copy."""
        return self.subject.model

    @property
    def size(self) -> int:
        """Of a vector over all trainable parameters."""
        return sum(parameter.numel() for parameter in self.parameters)

    def point(self) -> torch.Tensor:
        """Where the parameters are now."""
        return self.flat([parameter.detach() for parameter in self.parameters])

    def flat(self, tensors: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """One tensor for each parameter as one vector, zeros for None."""
        pairs = zip(tensors, self.parameters, strict=True)
        full = [torch.zeros_like(parameter) if tensor is None else tensor for tensor, parameter in pairs]
        # A sparse gradient, of an embedding, is one of zeros elsewhere.
        return torch.cat([(tensor.to_dense() if tensor.is_sparse else tensor).reshape(-1) for tensor in full])

    def split(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """A vector's part for each parameter, in its shape and type, by name."""
        parts = vector.split([parameter.numel() for parameter in self.parameters])
        shaped = zip(self.names, parts, self.parameters, strict=True)
        return {name: part.view(parameter.shape).to(parameter.dtype) for name, part, parameter in shaped}

    def loss(self, batch: Any) -> float:
        """The loss of a batch."""
        self.cost.forwards += 1
        try:
            with torch.no_grad(), self._scene():
                return float(self._loss(batch))
        except SubjectError:
            # A loss that differentiates something on its way (by the inputs, in physics) needs gradients.
            with torch.enable_grad(), self._scene():
                return float(self._loss(batch).detach())

    def seed_of(self, draw: int) -> int:
        """The seed of the random numbers of one draw; draw 0 is what all evaluations have that name none."""
        return generator(self._seed, "draw", str(draw)).initial_seed() if draw else self._seed

    def gradient(self, batch: Any, *, draw: int = 0) -> tuple[float, torch.Tensor]:
        """The loss of a batch and its gradient.

        Args:
            batch: Of the loss.
            draw: Which random numbers (dropout): the same for an equal number, independent for another.

        Raises:
            SubjectError: if the loss does not depend on any parameter.
        """
        self.cost.gradients += 1
        with torch.enable_grad(), self._scene(draw=draw):
            loss = self._loss(batch)
            self._require_history(loss)
            gradients = self._gradients(loss)
            self._require_reached(gradients)
            return float(loss.detach()), self.flat(gradients)

    def product(self, batch: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        """The product of the loss's Hessian with a vector, exactly; one pass forward and back serves all products.

        Returns:
            A function of a vector. Valid until the parameters are moved.

        Raises:
            SubjectError: if the model cannot be differentiated twice.
        """
        self.cost.gradients += 1
        with torch.enable_grad(), self._scene(ADVICE), twice_differentiable(self.model):
            loss = self._loss(batch)
            self._require_history(loss)
            first = torch.autograd.grad(loss, self.parameters, create_graph=True, allow_unused=True)
            gradient = self.flat(first)
            require_whole(gradient)

        def times(vector: torch.Tensor) -> torch.Tensor:
            self.cost.products += 1
            if not gradient.requires_grad:  # a loss that is linear in the parameters
                return torch.zeros_like(vector)
            with self.explained(ADVICE), torch.enable_grad():
                second = torch.autograd.grad(gradient, self.parameters, vector, retain_graph=True, allow_unused=True)
            return self.flat(second)

        return times

    def difference(
        self, batch: Any, *, base: torch.Tensor | None = None, centred: bool = False
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        """The product of the loss's Hessian with a vector by a difference of gradients: for any model that trains.

        H v ≈ (∇L(w + εv) - ∇L(w)) / ε, one gradient for each product, or with both sides two, and
        H v ≈ (∇L(w + εv) - ∇L(w - εv)) / 2ε. The gradient's rounding, of u relative to what it is summed from, is
        divided by ε, and the third derivative is multiplied by ε (by ε² on both sides): they balance at
        ε‖v‖ = √u ‖w‖, or ∛u ‖w‖, where a change of the weights by their own length is one of order one.

        Args:
            batch: Of the loss.
            base: The batch's gradient, if it is known.
            centred: Use both sides.

        Returns:
            A function of a vector. Valid until the parameters are moved.

        Validity:
            About three digits in float32, for a smooth loss. Where a unit crosses a kink (ReLU) within ε its gradient
            jumps, by an amount that does not shrink with ε: for few samples the quotient is then far off.
        """
        point = self.point()
        unit = float(torch.finfo(point.dtype).eps) / 2
        scale = float(point.norm()) or 1.0
        reach = scale * (unit ** (1 / 3) if centred else unit ** (1 / 2))
        if base is None and not centred:
            base = self.gradient(batch)[1]

        def gradient_at(vector: torch.Tensor, step: float) -> torch.Tensor:
            with self.moved(vector, step):
                return self.gradient(batch)[1]

        def times(vector: torch.Tensor) -> torch.Tensor:
            length = float(vector.norm())
            if length == 0:
                return torch.zeros_like(vector)
            step = reach / length
            ahead = gradient_at(vector, step)
            if base is None or centred:
                return (ahead - gradient_at(vector, -step)) / (2 * step)
            return (ahead - base) / step

        return times

    def outputs(self, batch: Any, *, twice: bool = False) -> tuple[Any, Callable[[Any], torch.Tensor]]:
        """The model's outputs, with their history, and the function of outputs that gives the loss.

        Args:
            batch: What goes in.
            twice: Whether the history is to be differentiated twice.

        Raises:
            SubjectError: if the subject computes its loss by a ``forward``, or the model by itself.
        """
        if self.subject.forward is not None:
            raise SubjectError(
                "landscape: outputs must be apart from the loss, got a subject with forward=. Pass loss= instead."
            )
        self.cost.gradients += 1
        with torch.enable_grad(), self._scene(), ExitStack() as stack:
            if twice:
                stack.enter_context(twice_differentiable(self.model))
            unpacked = unpack(copy.deepcopy(batch))
            outputs = self.model(*unpacked.args, **unpacked.kwargs)
            name, _, _ = choose_loss(self.subject, outputs, unpacked.targets)
        if name == "model":
            raise SubjectError("landscape: outputs must be apart from the loss, got a model's own loss. Pass loss=.")

        def loss_of(value: Any) -> torch.Tensor:
            _, _, compute = choose_loss(self.subject, value, unpacked.targets)
            return scalar_loss(compute(), "loss")

        return outputs, loss_of

    @contextmanager
    def moved(self, direction: torch.Tensor, step: float) -> Generator[None]:
        """The parameters at w + step * direction inside, and afterwards bit for bit where they were.

        Args:
            direction: A vector over the parameters.
            step: How far.
        """
        before = [parameter.detach().clone() for parameter in self.parameters]
        try:
            with torch.no_grad():
                for parameter, part in zip(self.parameters, self.split(direction).values(), strict=True):
                    parameter.add_(part, alpha=step)
            yield
        finally:
            with torch.no_grad():
                for parameter, old in zip(self.parameters, before, strict=True):
                    parameter.copy_(old)

    def _loss(self, batch: Any) -> torch.Tensor:
        # A model that writes to its input writes to a copy: the next evaluation must see the same batch.
        return batch_loss(self.subject, self.model, copy.deepcopy(batch))

    def _gradients(self, loss: torch.Tensor) -> list[torch.Tensor | None]:
        if has_reentrant_checkpoint(loss):
            found = accumulated_gradients(loss, dict(self.model.named_parameters()))
            return [found[name] for name in self.names]
        return list(torch.autograd.grad(loss, self.parameters, allow_unused=True))

    def _require_history(self, loss: torch.Tensor) -> None:
        if not loss.requires_grad:
            raise SubjectError(
                "landscape: the loss must depend on the model's parameters, got one without a history. "
                "Remove detach() or no_grad() between model and loss."
            )
        leaves = {id(leaf) for leaf in leaves_of(loss)} if self._foreign else set[int]()
        if not leaves.isdisjoint(self._foreign) and leaves.isdisjoint(map(id, self.parameters)):
            raise SubjectError(
                "landscape: the loss must be of the model that it is given, a copy, got one of the original's "
                "parameters alone. In forward= use the argument: lambda model, batch: ..."
            )
        self._foreign = {}  # looked at once

    def _require_reached(self, gradients: list[torch.Tensor | None]) -> None:
        if all(gradient is None for gradient in gradients):
            raise SubjectError(
                "landscape: the loss must depend on the trainable parameters of the model that is called, got one that "
                "reaches none of them. In loss= and forward= use what is passed in, not a model from outside."
            )

    @contextmanager
    def _scene(self, advice: str = "", *, draw: int = 0) -> Generator[None]:
        """The same random numbers and the same buffers for every evaluation; errors in one line."""
        tables = [vars(module)["_buffers"] for module in self.model.modules()]
        kept = [(table, dict(table)) for table in tables if table]
        try:
            # Clones in their place: a graph that outlives this scene keeps those that it has read.
            for table, buffers in kept:
                table.update({name: buffer.clone() for name, buffer in buffers.items() if buffer is not None})
            with preserved_rng(self.seed_of(draw)), self.explained(advice or self._advice):
                yield
        finally:
            for table, buffers in kept:
                table.clear()
                table.update(buffers)

    @contextmanager
    def explained(self, advice: str = _TRAINS) -> Generator[None]:
        """Whatever fails inside is a `SubjectError` in one line that ends in the advice."""
        try:
            yield
        except GainstageError:
            raise
        except Exception as error:
            detail = " ".join(str(error).split())[:300].rstrip(".")
            raise SubjectError(
                f"landscape: the subject must be differentiable, got {type(error).__name__}: {detail}. {advice}"
            ) from error


def _set_norms_(model: nn.Module, norms: Norms) -> None:
    if norms != "as is":
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.train(norms == "train")
