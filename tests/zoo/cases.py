"""All networks of the zoo."""

from __future__ import annotations

from zoo import language_models, timm_models, torch_models, vision_models
from zoo.case import Case
from zoo.packages import MISSING

__all__ = ["CASES", "MISSING"]

CASES: dict[str, Case] = {
    case.name: case for source in (torch_models, timm_models, vision_models, language_models) for case in source.cases()
}
