"""Consoles, and writing what was asked for to where it was asked for."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from gainstage.report.writing import write_atomically


def stdout() -> Console:
    """For what the user asked for."""
    return Console(file=sys.stdout, highlight=False)


def stderr() -> Console:
    """For progress: it must not end up in a pipe."""
    return Console(file=sys.stderr, highlight=False)


def deliver(text: str, output: Path | None) -> None:
    """Writes to the file, whole or not at all, or to standard output.

    Raises:
        InputError: if the file cannot be written.
    """
    text = text if text.endswith("\n") else text + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        write_atomically(output, text, "--output")
