"""torchvision beside a torch that its compiled library does not fit: the usual state after ``pip install timm``.

It then fails to import, and timm and transformers with it, over operations that only detectors use. Declared without
a kernel they let everything else work; a detector still fails, with torchvision's own explanation.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys

import torch

_OPERATIONS = ("nms", "qnms")
_LIBRARIES: list[torch.library.Library] = []  # a library's operations live as long as it does


def declare_vision_operations() -> None:
    """Makes torchvision importable where nothing but its compiled library is missing."""
    if _LIBRARIES or "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        # What was half imported would be taken for whole the next time.
        for module in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[module]
        if "operator torchvision::" not in str(error):
            return
        library = torch.library.Library("torchvision", "DEF")
        for operation in _OPERATIONS:
            library.define(f"{operation}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _LIBRARIES.append(library)
    except Exception:  # whoever needs it says so
        return
