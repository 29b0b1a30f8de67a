"""``timm:NAME``: image classifiers, with images of the size that their configuration names."""

from __future__ import annotations

from typing import Any

import torch

from gainstage.errors import TargetError
from gainstage.integrations.packages import built, optional, unknown
from gainstage.integrations.wishes import Wishes
from gainstage.seeding import preserved_rng
from gainstage.trace.subject import Subject


def subject(name: str, wishes: Wishes) -> Subject:
    """The network without pretrained weights, and a batch of noise that it takes.

    Raises:
        TargetError: if timm is missing or broken, or the network unknown or not to be built.
    """
    timm = optional("timm")
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        raise TargetError(f"TARGET: timm:NAME must be an architecture of timm itself, got {name!r}. Nothing is loaded.")
    if not timm.is_model(name):
        raise unknown("timm", name, timm.list_models())
    with preserved_rng(0):
        return built(f"timm:{name}", lambda: _subject(timm, name, wishes))


def _subject(timm: Any, name: str, wishes: Wishes) -> Subject:
    shape, options = wishes.input_shape, {}
    if shape is not None:
        options["in_chans"] = shape[0]
    if wishes.classes is not None:
        options["num_classes"] = wishes.classes
    model = timm.create_model(name, pretrained=False, **options)
    images = torch.randn(wishes.images(model.pretrained_cfg["input_size"]))
    # 0: features, without a classifier; the model's own figure, as a tag of the name may change it.
    classes = model.num_classes
    batch = (images, torch.randint(classes, (len(images),))) if classes else images
    return Subject(model, batch, name=f"timm:{name}")
