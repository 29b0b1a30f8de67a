"""Everything that a user reads, from records alone: text, HTML, JSON, SARIF and annotations; without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gainstage.lazy import lazy_attributes

if TYPE_CHECKING:
    from gainstage.report.document import Report
    from gainstage.report.github import github_annotations
    from gainstage.report.levels import render_levels
    from gainstage.report.text import render_text

__all__ = ["Report", "github_annotations", "render_levels", "render_text"]

__getattr__ = lazy_attributes(
    __name__,
    {
        "Report": "gainstage.report.document",
        "github_annotations": "gainstage.report.github",
        "render_levels": "gainstage.report.levels",
        "render_text": "gainstage.report.text",
    },
)
