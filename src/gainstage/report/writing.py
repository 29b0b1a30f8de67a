"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from gainstage.errors import InputError


def write_atomically(path: str | os.PathLike[str], text: str, operation: str) -> Path:
    """The path of the file, now holding ``text`` as UTF-8.

    It is written beside its place and moved there, so that a reader never sees half of it, and an old
    file stays as it was when the disk is full.

    Args:
        path: Where to.
        text: What.
        operation: Who writes, as the user knows it, for the message.

    Raises:
        InputError: if the folder does not exist or cannot be written to.
    """
    return write_bytes_atomically(path, text.encode("utf-8"), operation)


def write_bytes_atomically(path: str | os.PathLike[str], content: bytes, operation: str) -> Path:
    """The path of the file, now holding ``content``; as `write_atomically`.

    Args:
        path: Where to.
        content: What.
        operation: Who writes, as the user knows it, for the message.

    Raises:
        InputError: if the folder does not exist or cannot be written to.
    """
    place = Path(path)
    if not place.parent.is_dir():
        raise InputError(
            f"{operation}: path must lie in a folder that exists, got {str(place)!r}. "
            f"Create {str(place.parent)!r} first."
        )
    if place.is_dir():
        raise InputError(f"{operation}: path must be a file, got the folder {str(place)!r}. Name a file inside it.")
    try:
        _replace(place, content)
    except OSError as error:
        raise InputError(
            f"{operation}: path must be writable, got {str(place)!r} ({error.strerror or error}). "
            "Choose another folder, or change its permissions."
        ) from error
    return place


def _replace(place: Path, content: bytes) -> None:
    handle, beside = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".tmp", dir=place.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        # mkstemp makes it private; a page that cannot be served or shared is no use.
        os.chmod(beside, place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask())
        os.replace(beside, place)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
