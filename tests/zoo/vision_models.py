"""torchvision: classification, segmentation, detection, video, optical flow."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from zoo.case import Case, Parts, Size
from zoo.packages import package

CLASSIFIERS = {
    "alexnet": 64, "vgg11": 32, "vgg16_bn": 32, "googlenet": 75, "inception_v3": 299, "squeezenet1_0": 32,
    "shufflenet_v2_x0_5": 32, "mnasnet0_5": 32, "mobilenet_v2": 32, "mobilenet_v3_small": 32, "resnet18": 32,
    "resnext50_32x4d": 32, "wide_resnet50_2": 32, "densenet121": 32, "efficientnet_b0": 32, "efficientnet_v2_s": 32,
    "regnet_y_400mf": 32, "convnext_tiny": 32, "swin_t": 32, "swin_v2_t": 32,
}  # fmt: skip
FIXED = {"vit_b_32": 224, "maxvit_t": 224}
SEGMENTERS = ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large")
DETECTORS = ("retinanet_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large")
VIDEO = ("r3d_18", "mc3_18", "r2plus1d_18")


def cases() -> list[Case]:
    vision = package("torchvision")
    if vision is None:
        return []
    models = vision.models
    found: dict[str, Callable[[Size], Parts]] = {}
    for name, least in CLASSIFIERS.items():
        found[name] = partial(_classifier, getattr(models, name), least, None)
    for name, side in FIXED.items():
        found[name] = partial(_classifier, getattr(models, name), side, side)
    for name in SEGMENTERS:
        found[name] = partial(_segmenter, getattr(models.segmentation, name))
    for name in DETECTORS:
        found[name] = partial(_detector, getattr(models.detection, name))
    for name in VIDEO:
        found[name] = partial(_video, getattr(models.video, name))
    return [Case(f"torchvision:{name}", build) for name, build in found.items()]


def large_cases() -> list[Case]:
    """Too large to be tested at every change; benchmarks name them."""
    vision = package("torchvision")
    return [] if vision is None else [
        Case("torchvision:vit_b_16", partial(_classifier, vision.models.vit_b_16, 224, 224))
    ]  # fmt: skip


def _classifier(create: Any, least: int, fixed: int | None, size: Size) -> Parts:
    arguments = {"init_weights": True} if create.__name__ in ("googlenet", "inception_v3") else {}
    side = fixed or max(least, size.pixels)
    count = max(2, size.batch // 2)
    batch = torch.randn(count, 3, side, side), torch.randint(10, (count,))
    return Parts(create(num_classes=10, **arguments), batch, _with_auxiliary_heads)


def _with_auxiliary_heads(outputs: Any, targets: torch.Tensor) -> torch.Tensor:
    heads = [outputs] if isinstance(outputs, torch.Tensor) else [head for head in outputs if head is not None]
    return sum((F.cross_entropy(head, targets) for head in heads[1:]), F.cross_entropy(heads[0], targets))


def _segmenter(create: Any, size: Size) -> Parts:
    model = create(weights=None, weights_backbone=None, num_classes=5)
    batch = torch.randn(size.batch, 3, size.pixels, size.pixels), torch.randint(5, (size.batch, *[size.pixels] * 2))
    return Parts(model, batch, lambda outputs, targets: F.cross_entropy(outputs["out"], targets))


def _detector(create: Any, size: Size) -> Parts:
    model = create(weights=None, weights_backbone=None, num_classes=5)
    if create.__name__ != "ssdlite320_mobilenet_v3_large":  # that one is for images of 320 pixels
        model.transform.min_size, model.transform.max_size = (size.pixels,), 2 * size.pixels
    images = [torch.rand(3, size.pixels, size.pixels) for _ in range(2)]
    boxes = [{"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])} for _ in images]
    batch = {"images": images, "targets": boxes}
    return Parts(model, batch, forward=lambda m, b: sum(m(b["images"], b["targets"]).values()))


def _video(create: Any, size: Size) -> Parts:
    side = max(32, size.pixels // 4)
    batch = torch.randn(size.batch, 3, 8, side, side), torch.randint(10, (size.batch,))
    return Parts(create(num_classes=10), batch)
