"""The network that a cell starts from: of its own seed alone, whatever is computed beside it."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from gainstage import schemes
from gainstage.errors import SpecError
from gainstage.seeding import generator, preserved_rng
from gainstage.sweep.cells import Cell
from gainstage.sweep.data import Data
from gainstage.sweep.references import resolve
from gainstage.sweep.settings import model_options, settings
from gainstage.sweep.spec import Spec

# Enough for a scheme that is driven by data; the first ones, so that it does not depend on the order.
_SCHEME_SAMPLES = 256


def built(spec: Spec, cell: Cell, data: Data) -> nn.Module:
    """A cell's network before its first update, in training mode, on the sweep's device.

    Args:
        spec: Whose factory builds it.
        cell: Its seed draws the weights; then its scheme, if any, and its scale set them.
        data: For schemes that are driven by data.

    Returns:
        A new module.

    Raises:
        SpecError: if the factory does not return a module whose parameters have their shapes.
        InitializationError: if the scheme cannot initialize it.
    """
    chosen = settings(cell.values)
    with preserved_rng(chosen.seed):
        model = resolve(str(spec.model))(**model_options(cell.values))
    _require_module(model, spec)
    # Drawn in the factory's type on the CPU, and cast: the same weights for every type and device.
    model = model.to("cpu", getattr(torch, spec.dtype)).train()
    if chosen.init is not None:
        with preserved_rng(chosen.seed):
            batch = data.train_inputs[:_SCHEME_SAMPLES].cpu()
            schemes.initialize(model, batch, scheme=chosen.init, seed=chosen.seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and chosen.scale != 1:
                parameter.mul_(chosen.scale)
    return model.to(spec.device)


def drawing_seed(seed: int) -> int:
    """Of what a model draws while it trains, such as dropout's masks: another stream than its weights'."""
    return generator(seed, "training").initial_seed()


def _require_module(model: object, spec: Spec) -> None:
    if not isinstance(model, nn.Module):
        raise SpecError(
            f"Spec: model {spec.model!r} must return a module, got {type(model).__name__}. Return the network itself."
        )
    lazy = [name for name, parameter in model.named_parameters() if isinstance(parameter, UninitializedParameter)]
    if lazy:
        raise SpecError(
            f"Spec: model {spec.model!r} must give its parameters their shapes, got {lazy[0]!r} without. "
            "Name its sizes, or run it once in the factory."
        )
