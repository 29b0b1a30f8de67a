"""Where chunks are computed: in this process, in workers on this machine, or on a Ray cluster."""

from __future__ import annotations

from gainstage.sweep.backends.base import Backend, Job, Outcome, Work
from gainstage.sweep.backends.inline import Inline
from gainstage.sweep.backends.local import Local
from gainstage.sweep.backends.ray import Ray

__all__ = ["Backend", "Inline", "Job", "Local", "Outcome", "Ray", "Work"]
