"""Charts as SVG and PNG files: the one place that decides what a file's ending means and how a picture looks."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from gainstage.errors import InputError
from gainstage.report.writing import write_atomically, write_bytes_atomically

_ENDINGS = (".svg", ".png")
_INK = "#1f2933"
_CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "Helvetica, Arial, DejaVu Sans, sans-serif",
    "view": {"stroke": "#9aa5b1"},
    "axis": {"labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": 500, "gridOpacity": 0.35},
    "legend": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": 500, "symbolStrokeWidth": 3},
    "title": {"fontSize": 14, "fontWeight": 600, "anchor": "start", "color": _INK},
}


def picture_path(path: str | os.PathLike[str]) -> Path:
    """The path, if a picture can be written there by its ending.

    Raises:
        InputError: if it ends in neither .svg nor .png.
    """
    place = Path(path)
    if place.suffix.lower() not in _ENDINGS:
        raise InputError(f"--plot: file must end in .svg or .png, got {str(place)!r}. Name it so.")
    return place


def write_picture(chart: Any, path: str | os.PathLike[str]) -> Path:
    """Writes an altair chart, whole or not at all, and returns the path.

    Args:
        chart: The chart; its config is replaced by that of pictures in files.
        path: Ends in .svg or .png; the folder must exist.

    Raises:
        InputError: if the ending is another, or the file cannot be written.
    """
    place = picture_path(path)
    vl_convert: Any = importlib.import_module("vl_convert")  # slow, and only pictures need it

    specification = {**chart.to_dict(), "config": _CONFIG}
    if place.suffix.lower() == ".svg":
        return write_atomically(place, vl_convert.vegalite_to_svg(specification), "--plot")
    return write_bytes_atomically(place, vl_convert.vegalite_to_png(specification, scale=2), "--plot")
