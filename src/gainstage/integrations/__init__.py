"""What joins gainstage to other packages: the only importer of optional models' packages.

Built-in targets (``torchvision:NAME``, ``timm:NAME``, ``transformers:CONFIG.json``) and the pytest plugin. Each is
imported when it is asked for, so that this package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gainstage.integrations.wishes import Wishes
    from gainstage.trace.subject import Subject

# The first part of a TARGET to the module that builds what the rest names.
BUILT_IN = {
    "torchvision": "gainstage.integrations.torchvision_models",
    "timm": "gainstage.integrations.timm_models",
    "transformers": "gainstage.integrations.transformers_models",
}


def built_in_subject(package: str, name: str, wishes: Wishes) -> Subject:
    """The network that a package calls by this name, without pretrained weights, with a batch for it.

    Args:
        package: One of `BUILT_IN`.
        name: As the package knows it; of transformers the path of a configuration.
        wishes: What the user asked of the batch.

    Raises:
        TargetError: if the package cannot be imported, does not know the name, or cannot build it.
    """
    return importlib.import_module(BUILT_IN[package]).subject(name, wishes)
