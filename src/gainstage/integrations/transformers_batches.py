"""A batch for a network of transformers: token ids, pixels or sound, with random labels, by its configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from gainstage.errors import TargetError
from gainstage.integrations.wishes import Wishes

_LENGTH, _SAMPLE_RATE = 32, 16_000
_CHOICES = 2
Batch = dict[str, Any]


def batch_for(model: nn.Module, config: Any, wishes: Wishes) -> Batch:
    """Keyword arguments of the model, with labels where it takes some.

    Raises:
        TargetError: if its main input is of a kind for which none can be made.
    """
    taken = inspect.signature(model.forward).parameters
    main = str(getattr(model, "main_input_name", "input_ids"))
    if main not in _INPUTS:
        raise TargetError(
            f"TARGET: {type(model).__name__} must take one of {', '.join(_INPUTS)}, got {main}. "
            "Name a factory of your own as path/to/file.py:factory."
        )
    batch = _INPUTS[main](config, wishes)
    for name in ("input_ids", "pixel_values"):  # of two towers
        if name not in batch and name in taken and taken[name].default is None and "return_loss" in taken:
            batch.update(_INPUTS[name](config, wishes))
    if "return_loss" in taken and "labels" not in taken:
        batch["return_loss"] = True
    elif "start_positions" in taken:
        count, length = batch[main].shape[:2]
        batch.update({name: torch.randint(length, (count,)) for name in ("start_positions", "end_positions")})
    elif "labels" in taken:
        batch.update(_labels(type(model).__name__, batch, main, config))
    return {name: value for name, value in batch.items() if name in taken}


def _tokens(config: Any, wishes: Wishes) -> Batch:
    text = config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or 2 * _LENGTH
    (length,) = wishes.shape((min(_LENGTH, max(2, longest - 2)),))  # RoBERTa begins to count at two
    ids = _words(text, (wishes.count(), length))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _words(text: Any, shape: tuple[int, ...]) -> torch.Tensor:
    """Token ids but for those with a meaning of their own, such as padding."""
    special = {value for name, value in vars(text).items() if name.endswith("_token_id") and isinstance(value, int)}
    ordinary = torch.tensor([i for i in range(text.vocab_size) if i not in special])
    return ordinary[torch.randint(len(ordinary), shape)]


def _pixels(config: Any, wishes: Wishes) -> Batch:
    vision = getattr(config, "vision_config", None) or config
    side = getattr(vision, "image_size", None) or 224
    height, width = side if isinstance(side, (tuple, list)) else (side, side)
    shape = wishes.shape((getattr(vision, "num_channels", 3), height, width))
    return {"pixel_values": torch.randn(wishes.count(), *shape)}


def _sound(_config: Any, wishes: Wishes) -> Batch:
    return {"input_values": torch.randn(wishes.count(2), *wishes.shape((_SAMPLE_RATE,)))}


def _spectrum(config: Any, wishes: Wishes) -> Batch:
    bins = getattr(config, "num_mel_bins", None) or getattr(config, "input_feat_per_channel", 80)
    frames = 2 * getattr(config, "max_source_positions", 500)
    return {"input_features": torch.randn(wishes.count(2), *wishes.shape((bins, frames)))}


_INPUTS: dict[str, Callable[[Any, Wishes], Batch]] = {
    "input_ids": _tokens,
    "pixel_values": _pixels,
    "input_values": _sound,
    "input_features": _spectrum,
}


def _labels(kind: str, batch: Batch, main: str, config: Any) -> Batch:
    """Labels of the shape that a class of this name takes."""
    count, labels = len(batch[main]), getattr(config, "num_labels", 2)
    if kind.endswith("MultipleChoice"):
        choices = {name: value.unsqueeze(1).expand(-1, _CHOICES, -1).contiguous() for name, value in batch.items()}
        return {**choices, "labels": torch.randint(_CHOICES, (count,))}
    if kind.endswith("NextSentencePrediction"):
        return {"labels": torch.randint(2, (count,))}
    if kind.endswith("TokenClassification"):
        return {"labels": torch.randint(labels, tuple(batch["input_ids"].shape))}
    if kind.endswith("SemanticSegmentation"):
        return {"labels": torch.randint(labels, (count, *batch["pixel_values"].shape[-2:]))}
    if kind.endswith("Classification"):
        return {"labels": _classes(config, count, labels)}
    if "input_ids" in batch:
        return {"labels": batch["input_ids"]}
    if hasattr(config.get_text_config(), "vocab_size"):  # speech to text
        return {"labels": _words(config.get_text_config(), (count, 8))}
    return {}


def _classes(config: Any, count: int, labels: int) -> torch.Tensor:
    problem = getattr(config, "problem_type", None)
    if problem == "multi_label_classification":
        return torch.randint(2, (count, labels)).float()
    if problem == "regression" or labels == 1:
        return torch.randn(count, *([labels] if labels > 1 else []))
    return torch.randint(labels, (count,))
