"""``transformers:PATH-TO-CONFIG.json``: the network that a configuration describes, with random weights."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gainstage.errors import TargetError
from gainstage.integrations.packages import built, first_line, optional
from gainstage.integrations.transformers_batches import batch_for
from gainstage.integrations.wishes import Wishes
from gainstage.seeding import preserved_rng
from gainstage.trace.subject import Subject

# Where a configuration does not say which, or names a body without a head; the first one that there is.
_HEADS = (
    "AutoModelForSeq2SeqLM", "AutoModelForMaskedLM", "AutoModelForCausalLM", "AutoModelForImageClassification",
    "AutoModelForCTC", "AutoModelForSpeechSeq2Seq", "AutoModelForSequenceClassification", "AutoModel",
)  # fmt: skip
_MOST_PARAMETERS = 2_000_000_000  # with their gradients 16 GB in float32


def subject(name: str, wishes: Wishes) -> Subject:
    """The network with random weights, and a batch made from its configuration.

    Raises:
        TargetError: if transformers is missing or broken, the file is none of its configurations, or the network
            cannot be built.
    """
    path = _file(Path(name))
    transformers = optional("transformers")
    transformers.logging.set_verbosity_error()
    config = _configuration(transformers, path)
    with preserved_rng(0):
        return built(f"transformers:{name}", lambda: _subject(transformers, config, wishes, path))


def _file(path: Path) -> Path:
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise TargetError(
            f"TARGET: transformers:PATH must name a configuration file that exists, got {str(path)!r}. "
            "config.save_pretrained(FOLDER) writes one; nothing is downloaded."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TargetError(f"TARGET: {str(path)!r} must be a readable JSON file, got {first_line(error)}.") from error
    if not isinstance(content, dict) or not content.get("model_type"):
        raise TargetError(
            f"TARGET: {str(path)!r} must be a configuration of transformers, got JSON without a 'model_type'. "
            "config.save_pretrained(FOLDER) writes it."
        )
    return path


def _configuration(transformers: Any, path: Path) -> Any:
    kind = json.loads(path.read_text(encoding="utf-8"))["model_type"]
    known = list(transformers.CONFIG_MAPPING)
    if kind not in known:
        near = difflib.get_close_matches(str(kind), known, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "Its own code would have to be run for it."
        raise TargetError(f"TARGET: 'model_type' must be one that transformers has, got {kind!r} in {path}. {hint}")
    return built(f"transformers:{path}", lambda: transformers.AutoConfig.from_pretrained(str(path)))


def _subject(transformers: Any, config: Any, wishes: Wishes, path: Path) -> Subject:
    if getattr(config, "use_pretrained_backbone", False):
        config.use_pretrained_backbone = False  # it would be downloaded
    if wishes.classes is not None:
        config.num_labels = wishes.classes
    if getattr(config, "pad_token_id", None) is None and hasattr(config, "vocab_size"):
        config.pad_token_id = 0  # a classifier of sequences that is given several refuses to go without
    _refuse_giants(transformers, config, path)
    model = _model(transformers, config)
    return Subject(model, batch_for(model, config, wishes), name=f"transformers:{config.model_type}")


def _model(transformers: Any, config: Any) -> nn.Module:
    """The network that the configuration names; a body alone gets the head that it is usually trained with."""
    named = str(next(iter(getattr(config, "architectures", None) or ()), ""))
    kind = getattr(transformers, named, None) if named else None
    if named and not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise TargetError(f"TARGET: 'architectures' must name a model of transformers, got {named!r}.")
    if kind is not None and not (named.endswith("Model") and hasattr(config, "vocab_size")):
        return kind(config)
    heads = (getattr(transformers, head) for head in _HEADS if hasattr(transformers, head))
    fitting = next(head for head in heads if type(config) in head._model_mapping)
    return fitting.from_config(config)


def _refuse_giants(transformers: Any, config: Any, path: Path) -> None:
    with torch.device("meta"):
        size = sum(parameter.numel() for parameter in _model(transformers, config).parameters())
    if size > _MOST_PARAMETERS:
        raise TargetError(
            f"TARGET: {path} must describe a network of at most {_MOST_PARAMETERS:.0e} parameters, got {size:.2e}. "
            "Make num_hidden_layers or hidden_size smaller: what goes wrong at the start mostly shows there too."
        )
