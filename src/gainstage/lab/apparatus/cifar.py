"""CIFAR-10 from a local folder, in either layout in which it is published. Nothing in a file is ever run.

The python layout consists of pickles, which can call any function that they name. The unpickler here knows those
names alone with which numpy writes an array, and answers each with a record of its own that only keeps what it is
given; what else a file names is refused.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from gainstage.errors import InputError, MissingDataError
from gainstage.sweep import Data

VARIABLE = "GAINSTAGE_CIFAR10"
ROWS = 10_000  # pictures in each of the six files
PIXELS = 3 * 32 * 32
TRAIN, TEST = tuple(f"data_batch_{index}" for index in range(1, 6)), "test_batch"
# The folders that the published archives unpack to; the variable may name one of them, or what they lie in.
_FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")

Bytes = NDArray[np.uint8]
Samples = tuple[Bytes, Bytes]  # pictures (n, 3072) and labels (n,)


def read_cifar10(folder: str | Path | None = None, *, rows: int = ROWS) -> Data:
    """CIFAR-10: 50,000 pictures (3, 32, 32) to train and 10,000 to test, standardised by the training ones' channels.

    Args:
        folder: Where it lies; None: what the environment variable GAINSTAGE_CIFAR10 says.
        rows: Pictures in each file; another number than 10,000 is for tests.

    Returns:
        Inputs as float32 with mean 0 and standard deviation 1 in each channel, targets 0 to 9.

    Raises:
        MissingDataError: if the variable is not set, or a file is missing or has another size.
        InputError: if a file is none of CIFAR-10, or names anything that a plain array does not need.
    """
    place, ending = _found(Path(folder or _folder()))
    read = _binary if ending else _pickled
    parts = [read(place / f"{name}{ending}", rows) for name in (*TRAIN, TEST)]
    train, test = [np.concatenate(column) for column in zip(*parts[:-1], strict=True)], parts[-1]
    inputs, held_out = _pictures(train[0]), _pictures(test[0])
    mean = inputs.mean((0, 2, 3), keepdim=True)
    std = inputs.std((0, 2, 3), correction=0, keepdim=True).clamp(min=1.0)  # of 255 grey levels
    for pictures in (inputs, held_out):
        pictures.sub_(mean).div_(std)
    return Data(inputs, torch.tensor(train[1]).long(), held_out, torch.tensor(test[1]).long())


def _folder() -> str:
    found = os.environ.get(VARIABLE, "")
    if not found:
        raise _missing(f"the environment variable {VARIABLE} must name a folder", "got none")
    return found


def _found(folder: Path) -> tuple[Path, str]:
    """The folder with the files, and how their names end."""
    for ending in (".bin", ""):
        for place in (folder / name for name in _FOLDERS):
            absent = [name for name in (*TRAIN, TEST) if not (place / f"{name}{ending}").is_file()]
            if not absent:
                return place, ending
            if len(absent) <= len(TRAIN):
                raise _missing("all six files must be there", f"got no {absent[0]}{ending} in {place}")
    raise _missing("data_batch_1 to 5 and test_batch (or .bin) must be there", f"got none in {folder}")


def _binary(path: Path, rows: int) -> Samples:
    """Rows of one label and 3072 pixels, a byte each."""
    _require_size(path, rows * (1 + PIXELS), exact=True)
    table = np.frombuffer(path.read_bytes(), np.uint8).reshape(rows, 1 + PIXELS)
    return table[:, 1:], _classes(table[:, 0], rows, path)


def _pickled(path: Path, rows: int) -> Samples:
    """A dictionary with an array ``data`` and a list ``labels``."""
    _require_size(path, rows * PIXELS, exact=False)
    with path.open("rb") as stream:
        try:
            content: Any = _ArraysOnly(stream, encoding="bytes").load()
        except InputError:
            raise
        except Exception as error:  # a broken pickle raises almost anything
            raise _unusable(path, f"a {type(error).__name__} while reading it") from error
    if not isinstance(content, dict):
        raise _unusable(path, f"a {type(content).__name__}")
    entries = {_text(key): value for key, value in cast("dict[Any, Any]", content).items()}
    pictures = entries.get("data")
    if not isinstance(pictures, _Array):
        raise _unusable(path, f"data as {type(pictures).__name__}")
    return pictures.table((rows, PIXELS), path), _classes(entries.get("labels"), rows, path)


# Each answer to a name is a class with a __setstate__ of its own, so that a pickle cannot change the class itself.
class _Array:
    """What a pickle says about an array: its state is (version, shape, type, column by column, bytes)."""

    def __init__(self, *_arguments: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def table(self, shape: tuple[int, int], path: Path) -> Bytes:
        """The array, if it is one of bytes of that shape."""
        match self.state:
            case (_, found, _Type(code="u1"), order, bytes(raw)) if found == shape and len(raw) == shape[0] * shape[1]:
                # The published files are row by row; numpy writes what was transposed column by column.
                return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if order else "C")
            case _:
                raise _unusable(path, f"data that is no array of bytes of shape {shape}")


class _Type:
    """What a pickle says about an array's type."""

    def __init__(self, code: object, *_options: object) -> None:
        self.code = _text(code)

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: one byte has none."""


class _Latin1(bytes):
    """Bytes as Python 3 writes them for protocol 2: as text with this encoding, and no other has business here."""

    def __new__(cls, text: object, encoding: object) -> _Latin1:
        if not isinstance(text, str) or _text(encoding) != "latin1":
            raise pickle.UnpicklingError("bytes must be written as latin1")
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("bytes have no state")


_KNOWN: Mapping[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _Latin1,
}


class _ArraysOnly(pickle.Unpickler):
    """Knows the names with which numpy writes an array, and calls none of them."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        found = _KNOWN.get((module_name, global_name))
        if found is None:
            raise InputError(
                f"lab run: a CIFAR-10 file must hold plain arrays, got the name {module_name}.{global_name} in it; "
                "nothing was run. Get the file anew from its source."
            )
        return found


def _classes(labels: object, rows: int, path: Path) -> Bytes:
    values = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not isinstance(values, list) or len(cast("list[object]", values)) != rows:
        raise _unusable(path, f"labels that are no list of {rows}")
    if not all(type(value) is int and 0 <= value < 10 for value in cast("list[object]", values)):
        raise _unusable(path, "a label that is not one of 0 to 9")
    return np.array(values, np.uint8)


def _pictures(pixels: Bytes) -> torch.Tensor:
    return torch.tensor(pixels, dtype=torch.float32).view(-1, 3, 32, 32)


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _require_size(path: Path, size: int, *, exact: bool) -> None:
    found = path.stat().st_size
    if found < size or (exact and found > size):
        raise _missing(f"{path.name} must have {'' if exact else 'at least '}{size} bytes", f"got {found} in {path}")


def _missing(constraint: str, got: str) -> MissingDataError:
    return MissingDataError(
        f"lab run: CIFAR-10: {constraint}, {got}. Unpack its binary or python version, set {VARIABLE} to the folder."
    )


def _unusable(path: Path, got: str) -> InputError:
    return InputError(
        f"lab run: a CIFAR-10 file must hold pictures and labels, got {got} ({path}). Get it anew from its source."
    )
