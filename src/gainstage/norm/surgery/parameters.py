"""Parameters split into those that weight decay is for, and the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from gainstage.errors import InputError
from gainstage.norm.surgery.maps import is_map
from gainstage.norm.surgery.records import grouped, listed
from gainstage.norm.surgery.sites import norm_sites
from gainstage.trace.outline import outline
from gainstage.trace.subject import Subject

# What tables and tokens are called that a model adds to its signal; asked only where no batch shows their use.
_TABLES = ("embed", "token", "table", "position", "pos_", "_pos", "relative", "query_", "latent", "codebook")
_GATES = ("gamma", "gain", "scale", "gate", "alpha", "temperature", "lambda")
_RECURRENT = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)


@dataclass(frozen=True, eq=False, repr=False)
class ParameterGroups:
    """Every trainable parameter, in one of two groups.

    Attributes:
        decay, no_decay: Parameters by the first of their paths.
        reasons: Why each is where it is, by path.
    """

    decay: Mapping[str, nn.Parameter]
    no_decay: Mapping[str, nn.Parameter]
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])

    def groups(self, weight_decay: float = 0.01) -> list[dict[str, Any]]:
        """Ready for ``torch.optim``: the second with a weight decay of 0; empty groups are left out.

        Raises:
            InputError: if the weight decay is negative.
        """
        if not weight_decay >= 0:
            raise InputError(
                f"split_parameters: weight_decay must not be negative, got {weight_decay}. Pass 0 for none."
            )
        made = [(self.decay, weight_decay), (self.no_decay, 0.0)]
        return [{"params": list(part.values()), "weight_decay": decay} for part, decay in made if part]

    def __str__(self) -> str:
        lines = [f"split_parameters: {len(self.decay)} decayed, {len(self.no_decay)} not"]
        for what, part in (("decay", self.decay), ("no decay", self.no_decay)):
            for (_, reason), names in grouped(("", self.reasons[name], name) for name in part):
                lines.append(f"  {what}: {listed(names)}: {reason}")
        return "\n".join(lines)

    __repr__ = __str__


def split_parameters(model: nn.Module, batch: Any = None) -> ParameterGroups:
    """Splits the trainable parameters into those that multiply a signal as matrices, and all others.

    Decayed are weights of linear, convolutional, recurrent and attention layers. Not decayed: scales and shifts of
    norms, biases, gates and whatever else has one dimension that counts; embeddings, tokens and position tables. A
    table that is tied to a layer's weight is a matrix.

    Args:
        model: Any module; frozen parameters are in no group.
        batch: One batch, as in `Subject`. With it, what no layer of a known class owns is judged by what it does in
            the forward pass; without, by its name.

    Returns:
        `ParameterGroups`; ``.groups(weight_decay)`` is what an optimizer takes.

    Raises:
        SubjectError: if the batch does not fit the model.

    Validity:
        Norms' scales matter for what follows only if the norm has a scale; decaying a weight before a norm changes
        its effective learning rate, not what it computes (van Laarhoven 2017).

    Example:
        >>> net = nn.Sequential(nn.Embedding(5, 8), nn.Linear(8, 8), nn.LayerNorm(8))
        >>> split = split_parameters(net)
        >>> list(split.decay), len(split.no_decay)
        (['1.weight'], 4)
        >>> [group["weight_decay"] for group in split.groups(0.1)]
        [0.1, 0.0]

    References:
        Loshchilov and Hutter 2019, Decoupled Weight Decay Regularization; van Laarhoven 2017, L2 Regularization
        versus Batch and Weight Normalization.
    """
    kinds = {} if batch is None else _kinds(model, batch)
    owned = _owned(model)
    decay: dict[str, nn.Parameter] = {}
    no_decay: dict[str, nn.Parameter] = {}
    reasons: dict[str, str] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decayed, reasons[name] = _judged(name, parameter, owned.get(id(parameter), ""), kinds.get(name))
            (decay if decayed else no_decay)[name] = parameter
    return ParameterGroups(decay, no_decay, reasons)


def _owned(model: nn.Module) -> dict[int, str]:
    """What the classes of the owners say each parameter is; a matrix if one of them does."""
    found: dict[int, str] = {}
    norms = {id(site.module) for site in norm_sites(model)}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            role = _role(module, name, is_norm=id(module) in norms)
            if role and found.get(id(parameter)) != "matrix":
                found[id(parameter)] = role
    return found


def _role(module: nn.Module, name: str, *, is_norm: bool) -> str:
    if is_norm:
        return "norm"
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        return "table"
    if name == "bias" or name.startswith("bias_") or name.endswith("_bias"):
        return "bias"
    return "matrix" if is_map(module) or isinstance(module, _RECURRENT) else ""


def _kinds(model: nn.Module, batch: Any) -> dict[str, str]:
    """What the forward pass does with each parameter: a matrix if it ever multiplies as one."""
    found: dict[str, str] = {}
    for layer in outline(Subject(model, [batch])).layers:
        for name in layer.parameters:
            if found.get(name) not in ("linear", "conv"):
                found[name] = layer.kind
    return found


def _judged(name: str, parameter: nn.Parameter, role: str, kind: str | None) -> tuple[bool, str]:
    """Whether it decays, and the reason."""
    last = name.rpartition(".")[2].lower()
    if role == "norm":
        return False, "scale or shift of a norm"
    if role == "bias":
        return False, "bias"
    if sum(size > 1 for size in parameter.shape) <= 1 and role != "matrix":
        return False, "one dimension: a scale, a shift or a gate"
    if role == "matrix":
        matrix = parameter.ndim >= 2
        return matrix, "matrix" if matrix else "one dimension: a scale, a shift or a gate"
    if kind is not None:
        matrix = kind in ("linear", "conv")
        return matrix, "matrix, by its use" if matrix else "table, token or scale, by its use"
    if role == "table" or any(word in last for word in _TABLES):
        return False, "table or token"
    gate = any(word in last for word in _GATES) and not last.startswith("weight")
    return not gate, "scale or gate, by its name" if gate else "matrix"
