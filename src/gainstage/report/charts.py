"""An altair chart as an SVG string that fits the page in light and dark; no browser, no network."""

from __future__ import annotations

import re
from typing import Any, Protocol

_FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
# Text and lines take the page's own colour, so that a dark page needs no second chart.
_CONFIG: dict[str, Any] = {
    "background": None,
    "font": _FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "tickColor": "currentColor",
        "domainColor": "currentColor",
        "gridColor": "currentColor",
        "gridOpacity": 0.12,
        "domainOpacity": 0.4,
        "tickOpacity": 0.4,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": 500,
        "titlePadding": 9,
    },
    "legend": {"labelColor": "currentColor", "titleColor": "currentColor", "titleFontWeight": 500},
    "header": {"labelColor": "currentColor", "titleColor": "currentColor"},
    "title": {"color": "currentColor", "subtitleColor": "currentColor", "fontSize": 12, "fontWeight": 600},
    "text": {"color": "currentColor"},
    "rule": {"color": "currentColor"},
    "tick": {"color": "currentColor"},
}
_BLACK = re.compile(r'\b(fill|stroke)="(?:black|#000|#000000)"')
_ID = re.compile(r'\bid="([^"]+)"')


class Chart(Protocol):
    """What is needed of an altair chart."""

    def to_dict(self) -> dict[str, Any]:
        """The Vega-Lite specification."""
        ...


def chart_svg(chart: Chart, *, prefix: str = "chart") -> str:
    """The chart as one ``<svg>`` element; the same chart gives the same string.

    Args:
        chart: An altair chart, or whatever gives a Vega-Lite specification by ``to_dict``.
        prefix: Distinguishes the ids of several charts in one page.
    """
    import vl_convert  # slow to import, and only pages need it

    spec = dict(chart.to_dict())
    spec["config"] = _merged(_CONFIG, spec.get("config") or {})
    # A chart's own background would be a bright box on a dark page.
    spec["background"] = spec["config"]["background"] = None
    svg: str = vl_convert.vegalite_to_svg(spec)
    return _with_own_ids(_BLACK.sub(r'\1="currentColor"', svg), prefix)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` on top of ``base``, dict by dict."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _with_own_ids(svg: str, prefix: str) -> str:
    """Ids numbered in order of appearance: two charts in one page would else clip each other."""
    for number, old in enumerate(dict.fromkeys(_ID.findall(svg))):
        new = f"{prefix}-{number}"
        svg = svg.replace(f'id="{old}"', f'id="{new}"')
        svg = svg.replace(f"url(#{old})", f"url(#{new})").replace(f'href="#{old}"', f'href="#{new}"')
    return svg
