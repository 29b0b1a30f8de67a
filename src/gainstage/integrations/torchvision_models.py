"""``torchvision:NAME``: classification, segmentation, detection, video and optical flow.

Sizes and numbers of classes are those of the published weights, whose description comes with the package;
the weights themselves are not loaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from gainstage.integrations.packages import built, optional, unknown
from gainstage.integrations.wishes import Wishes
from gainstage.seeding import preserved_rng
from gainstage.trace.subject import Subject

_PIXELS, _FRAMES = 224, 16


def subject(name: str, wishes: Wishes) -> Subject:
    """The network without pretrained weights, with a batch of noise and a loss for its kind.

    Raises:
        TargetError: if torchvision is missing or broken, or the network unknown or not to be built.
    """
    models = optional("torchvision").models
    if name not in models.list_models():
        raise unknown("torchvision", name, models.list_models())
    with preserved_rng(0):
        return built(f"torchvision:{name}", lambda: _subject(models, name, wishes))


def _subject(models: Any, name: str, wishes: Wishes) -> Subject:
    builder = models.get_model_builder(name)
    weights = next(iter(models.get_model_weights(name)), None)
    named = len(weights.meta.get("categories") or ()) if weights is not None else 0
    classes = wishes.classes or named or 10
    kind = builder.__module__.removeprefix("torchvision.models.").partition(".")[0]
    make = _KINDS.get(kind, _classifier)
    model = builder(weights=None, **_options(builder, name, kind, classes))
    return make(model, weights, classes, wishes, f"torchvision:{name}")


def _options(builder: Any, name: str, kind: str, classes: int) -> dict[str, Any]:
    options: dict[str, Any] = {} if kind == "optical_flow" else {"num_classes": classes}
    if "weights_backbone" in inspect.signature(builder).parameters:
        options["weights_backbone"] = None  # they would be downloaded
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = True  # the authors' own; left open they warn that it will change
    return options


def _side(weights: Any) -> int:
    """Pixels of the crops that the published weights were made for."""
    crop = getattr(weights.transforms(), "crop_size", None) if weights is not None else None
    return crop[0] if crop else _PIXELS


def _classifier(model: nn.Module, weights: Any, classes: int, wishes: Wishes, name: str) -> Subject:
    images = torch.randn(wishes.images((3, _side(weights), _side(weights))))
    loss = cross_entropy_of_heads if getattr(model, "aux_logits", False) else None
    return Subject(model, (images, torch.randint(classes, (len(images),))), loss, name=name)


def _video(model: nn.Module, weights: Any, classes: int, wishes: Wishes, name: str) -> Subject:
    clips = torch.randn(wishes.count(2), *wishes.shape((3, _FRAMES, _side(weights), _side(weights))))
    return Subject(model, (clips, torch.randint(classes, (len(clips),))), name=name)


def _segmenter(model: nn.Module, _weights: Any, classes: int, wishes: Wishes, name: str) -> Subject:
    images = torch.randn(wishes.count(4), *wishes.shape((3, _PIXELS, _PIXELS)))
    targets = torch.randint(classes, (len(images), *images.shape[-2:]))
    return Subject(model, (images, targets), pixelwise_cross_entropy, name=name)


def _detector(model: nn.Module, _weights: Any, classes: int, wishes: Wishes, name: str) -> Subject:
    shape = wishes.shape((3, 320, 320))
    images = [torch.rand(*shape) for _ in range(wishes.count(2))]
    batch = {"images": images, "targets": [_objects(image, classes) for image in images]}
    return Subject(model, batch, name=name, forward=sum_of_losses)


def _objects(image: torch.Tensor, classes: int) -> dict[str, torch.Tensor]:
    """One object in the middle of the image, described in every way that a detector may ask for."""
    height, width = image.shape[-2:]
    left, top, right, bottom = width / 4, height / 4, 3 * width / 4, 3 * height / 4
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, int(top) : int(bottom), int(left) : int(right)] = 1
    points = torch.rand(1, 17, 2) * torch.tensor([right - left, bottom - top]) + torch.tensor([left, top])
    return {
        "boxes": torch.tensor([[left, top, right, bottom]]),
        "labels": torch.randint(1, max(2, classes), (1,)),
        "masks": mask,
        "keypoints": torch.cat([points, torch.ones(1, 17, 1)], dim=-1),
    }


def _flow(model: nn.Module, _weights: Any, _classes: int, wishes: Wishes, name: str) -> Subject:
    first, second = (torch.rand(wishes.count(2), *wishes.shape((3, 128, 128))) * 2 - 1 for _ in range(2))
    flow = torch.randn(len(first), 2, *first.shape[-2:])
    return Subject(model, ((first, second), flow), distance_of_estimates, name=name)


def cross_entropy_of_heads(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Of the outputs, and of auxiliary heads where there are some (Inception)."""
    heads = [outputs] if isinstance(outputs, torch.Tensor) else [head for head in outputs if head is not None]
    return sum((F.cross_entropy(head, targets) for head in heads[1:]), F.cross_entropy(heads[0], targets))


def pixelwise_cross_entropy(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    """Of the segmentation, without the auxiliary head."""
    return F.cross_entropy(outputs["out"], targets)


def sum_of_losses(model: nn.Module, batch: Any) -> torch.Tensor:
    """A detector's own losses."""
    losses: dict[str, torch.Tensor] = model(batch["images"], batch["targets"])
    return torch.stack(list(losses.values())).sum()


def distance_of_estimates(estimates: Any, flow: torch.Tensor) -> torch.Tensor:
    """Mean absolute error of every estimate that a recurrent estimator of flow made on its way."""
    return torch.stack([(estimate - flow).abs().mean() for estimate in estimates]).mean()


_KINDS: dict[str, Callable[[nn.Module, Any, int, Wishes, str], Subject]] = {
    "segmentation": _segmenter,
    "detection": _detector,
    "video": _video,
    "optical_flow": _flow,
}
