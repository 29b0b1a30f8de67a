"""The one exception tree.

    GainstageError
    ├── InputError            what was handed in cannot be used as it is        (also a ValueError)
    │   ├── SubjectError      the model, batch, loss or optimizer do not fit together
    │   ├── TargetError       a command-line TARGET cannot be loaded
    │   ├── SpecError         a sweep's specification cannot be used
    │   ├── MissingDataError  a data set that must be installed, or lie in a local folder
    │   └── UnknownNameError  a name that is not in a registry; suggests the nearest one
    ├── InitializationError   a model that cannot be initialized as asked
    ├── SweepError            a sweep that cannot go on; what it has done is kept
    ├── NotTrainable          raised by `assert_trainable`                      (also an AssertionError)
    └── StoreError            a result store that cannot be read or written     (also an OSError)

Every message is one line: *operation: argument must constraint, got value (where). Next step.*
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class GainstageError(Exception):
    """Base of everything that gainstage raises on purpose."""


class InputError(GainstageError, ValueError):
    """What was handed in cannot be used as it is."""


class SubjectError(InputError):
    """The model, its batch, its loss or its optimizer do not fit together."""


class TargetError(InputError):
    """A command-line TARGET cannot be loaded."""


class SpecError(InputError):
    """A sweep's specification, or what it refers to, cannot be used."""


class MissingDataError(InputError):
    """A data set that must be installed, or lie in a local folder."""


class UnknownNameError(InputError):
    """A name that is not in a registry.

    Args:
        operation: Who looked it up, as the user knows it (``"explain"``).
        what: What kind of name it is (``"rule or claim"``).
        name: What was asked for.
        known: What there is; the nearest is suggested.
    """

    def __init__(self, operation: str, what: str, name: str, known: Iterable[str]) -> None:
        self.known = tuple(known)
        folded = {entry.lower(): entry for entry in self.known}
        near = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
        # A first part ("he" of "he_normal") may be too short to count as close.
        near = near or [entry for entry in folded if name and entry.startswith(f"{name.lower()}_")]
        listing = ", ".join(self.known[:12]) + (", ..." if len(self.known) > 12 else "")
        hint = f"Did you mean {folded[near[0]]!r}?" if near else f"Known: {listing}."
        super().__init__(f"{operation}: {what} must be a known one, got {name!r}. {hint}")


class InitializationError(GainstageError):
    """A model that cannot be initialized as asked."""


class SweepError(GainstageError):
    """A sweep that cannot go on, such as one whose workers do not start; what it has done is kept."""


class NotTrainable(GainstageError, AssertionError):  # noqa: N818 - the contract's name
    """The model has findings that stand in the way of training; the message lists them."""


class StoreError(GainstageError, OSError):
    """A result store that cannot be read or written."""
