"""What a network of the zoo does when it is trained: whether an alarm at it is a true one.

A classifier of pictures is given pictures of digits, a detector scenes of digits with their boxes, and whatever takes
numbers and tells classes numbers with a pattern for each class. Anything else learns its own batch by heart. Detectors
run at the rate that their authors' 0.01 for 16 scenes is for two.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import gainstage as gs
from accuracy.store import Row
from gainstage.diagnosis.suspicions import BATCH_NORMS

BATCHES, STEPS, SEEDS, MOMENTUM = 50, 100, 2, 0.9
RATE, SCENE_RATE = 0.01, 0.00125
# Less than this share of the first loss, and of one that knows nothing, over the last tenth of the steps: it trains.
TRAINS = 0.9
DATA = {
    "scenes": "scenes of digits", "pictures": "pictures of digits", "patterns": "a pattern for each class in noise",
    "own": "one batch",
}  # fmt: skip
# How far a pattern stands out of noise of variance 1, and how many digits at most there are in a scene.
CONTRAST, CROWD = 2.0, 3


def trained(parts: Any, findings: Sequence[gs.Finding]) -> Row:
    """What a run came to, as it is and with the fixes.

    Also what became of the layers of which no loss is made (GRD003), and what the loss is with batch norms in eval
    mode, where they were said to take too few values (NRM003).
    """
    torch.manual_seed(0)
    batches = list(_batches(parts))
    rate = SCENE_RATE if _kind(parts) == "scenes" else RATE
    optimizer = _optimizer(parts.model, rate)
    subject = gs.Subject(parts.model, batches, parts.loss or _first_output, optimizer, forward=parts.forward)
    ignorant = _ignorant(subject) if _kind(parts) in ("pictures", "patterns") else math.inf
    losses, still, in_eval = _run(subject, rate, findings)
    found: Row = {
        "data": DATA[_kind(parts)], "rate": rate,
        "first": losses[0], "last": median(losses[-STEPS // 10 :]), "ignorant": min(ignorant, losses[0]),
    }  # fmt: skip
    if still is not None:
        found["still"] = still
    if in_eval is not None:
        found["in eval"] = in_eval
    fixes = [finding.fix for finding in findings if finding.fix is not None and finding.severity != "info"]
    if fixes:
        found["improved"] = gs.verify(subject, fixes, steps=STEPS, seeds=SEEDS).improved
    return found


def verdict(row: Mapping[str, Any]) -> str:
    """In words, with what it rests on."""
    first, last = row["first"], row["last"]
    ran = f"On {row['data']} its loss goes from {first:.2f} to {last:.2f} in {STEPS} steps (SGD, {row['rate']:g}, "
    ran += f"momentum {MOMENTUM:g})"
    if row["ignorant"] < first:
        ran += f", where {row['ignorant']:.2f} is that of equal outputs for all"
    if row.get("still"):
        return f"{ran}, and the layers named have not moved at all: a true alarm."
    if "in eval" in row:
        ran += f", and is {row['in eval']:.2f} then with batch norms in eval mode"
    if row.get("improved"):
        return f"{ran}; with the fix it ends lower, by a paired trial: a true alarm."
    return f"{ran}: {'it does not train, a true alarm' if is_true(row) else 'a false alarm'}."


def is_true(row: Mapping[str, Any]) -> bool:
    """Whether the run bears the alarm out."""
    trains = max(row["last"], row.get("in eval", 0.0)) < TRAINS * row["ignorant"]  # not where it is nan
    return bool(row.get("still") or row.get("improved")) or not trains


def _ignorant(subject: gs.Subject) -> float:
    """The loss of outputs that are zero for all samples."""
    inputs, targets = subject.batches.take(1)[0]
    with torch.no_grad():
        outputs = copy.deepcopy(subject.model)(inputs)
        nothing = outputs * 0 if isinstance(outputs, torch.Tensor) else type(outputs)(*(o * 0 for o in outputs))
        return float(subject.loss(nothing, targets))


def _run(
    subject: gs.Subject, rate: float, findings: Sequence[gs.Finding]
) -> tuple[list[float], bool | None, float | None]:
    """Losses on a copy; whether GRD003's layers stood still; the loss with batch norms in eval mode, for NRM003."""
    model = copy.deepcopy(subject.model).train()
    optimizer = _optimizer(model, rate)
    unreached = [finding for finding in findings if finding.code == "GRD003"]
    watched = [model.get_submodule(name) for finding in unreached for name in finding.layers]
    before = [parameter.detach().clone() for module in watched for parameter in module.parameters()]
    losses: list[float] = []
    for _, batch in zip(range(STEPS), itertools.cycle(subject.batches.take(BATCHES)), strict=False):
        optimizer.zero_grad(set_to_none=True)
        loss = _loss(subject, model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    after = [parameter for module in watched for parameter in module.parameters()]
    still = all(map(torch.equal, before, after)) if unreached else None
    if not any(finding.code == "NRM003" and finding.severity != "info" for finding in findings):
        return losses, still, None
    for module in model.modules():
        if isinstance(module, BATCH_NORMS):
            module.eval()
    with torch.no_grad():
        in_eval = fmean(float(_loss(subject, model, batch)) for batch in subject.batches.take(STEPS // 10))
    return losses, still, in_eval


def _loss(subject: gs.Subject, model: nn.Module, batch: Any) -> torch.Tensor:
    if subject.forward is not None:
        return subject.forward(model, batch)
    assert subject.loss is not None
    return subject.loss(model(batch[0]), batch[1])


def _optimizer(model: nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM)


def _first_output(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Of a model with heads for training alone, the first."""
    return F.cross_entropy(outputs if isinstance(outputs, torch.Tensor) else outputs[0], targets)


def _kind(parts: Any) -> str:
    if isinstance(parts.batch, dict) and {"images", "targets"} <= parts.batch.keys():
        return "scenes"
    inputs, targets = parts.batch if isinstance(parts.batch, tuple) and len(parts.batch) == 2 else (None, None)
    plain = isinstance(inputs, torch.Tensor) and isinstance(targets, torch.Tensor) and parts.forward is None
    if not plain or not inputs.is_floating_point() or targets.ndim != 1 or targets.is_floating_point():
        return "own"
    return "pictures" if inputs.ndim == 4 else "patterns"


def _batches(parts: Any) -> Iterator[Any]:
    match _kind(parts):
        case "scenes":
            yield from scenes(len(parts.batch["images"]), parts.batch["images"][0].shape[-1])
        case "pictures":
            yield from _pictures(parts.batch[0].shape)
        case "patterns":
            yield from _patterns(*parts.batch)
        case _:
            yield parts.batch


def _digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Standardized images of 8 by 8 pixels, in random order."""
    flat, labels = load_digits(return_X_y=True)
    images = torch.tensor(flat, dtype=torch.float32).view(-1, 1, 8, 8)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    return ((images - images.mean()) / images.std())[order], torch.tensor(labels)[order]


def _pictures(shape: torch.Size) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    images, labels = _digits()
    for chosen in torch.arange(min(len(images), shape[0] * BATCHES)).split(shape[0]):
        pictures = F.interpolate(images[chosen], size=shape[2:], mode="nearest")
        yield pictures.expand(-1, shape[1], -1, -1).contiguous(), labels[chosen]


def _patterns(inputs: torch.Tensor, targets: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    classes = int(targets.max()) + 1
    patterns = torch.randn(classes, *inputs.shape[1:])
    for _ in range(BATCHES):
        labels = torch.randint(classes, targets.shape)
        yield torch.randn_like(inputs) + CONTRAST * patterns[labels], labels


def scenes(count: int, pixels: int) -> Iterator[dict[str, Any]]:
    """One to three digits of 1 to 4 in dark noise, where they may overlap, and the boxes around them."""
    images, labels = _digits()
    wanted = ((labels >= 1) & (labels <= 4)).nonzero().flatten()
    for _ in range(BATCHES):
        pictures: list[torch.Tensor] = []
        boxes: list[dict[str, torch.Tensor]] = []
        for _ in range(count):
            scene, found, names = 0.1 * torch.rand(3, pixels, pixels), [], []
            for index in wanted[torch.randint(len(wanted), (int(torch.randint(1, CROWD + 1, ())),))].tolist():
                side = int(torch.randint(pixels // 4, pixels // 2, ()))
                x, y = torch.randint(pixels - side, (2,)).tolist()
                digit = F.interpolate(images[index : index + 1], size=(side, side), mode="bilinear")[0]
                scene[:, y : y + side, x : x + side] = (0.3 * (digit + 1)).clamp(0, 1)
                found.append([x, y, x + side, y + side])
                names.append(int(labels[index]))
            pictures.append(scene)
            boxes.append({"boxes": torch.tensor(found, dtype=torch.float32), "labels": torch.tensor(names)})
        yield {"images": pictures, "targets": boxes}
