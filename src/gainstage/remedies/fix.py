"""A `Fix`: a named remedy and its options, as data, so that it can be compared, printed and serialised."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gainstage.errors import SubjectError

if TYPE_CHECKING:
    from gainstage.trace import Subject


@dataclass(frozen=True)
class Fix:
    """What would mend a finding.

    Attributes:
        code: The rule that asks for it.
        module: Dotted path of the module that it changes; ``""`` is the root.
        summary: What it does, one imperative sentence.
        remedy: Name of the function in `gainstage.remedies` that does it.
        options: Its keyword arguments.
    """

    code: str
    module: str
    summary: str
    remedy: str
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def apply(self, subject: Subject) -> Subject:
        """A new, fixed subject; ``subject`` and everything it holds stay as they are.

        Raises:
            SubjectError: if the subject is not one that the remedy can be applied to.
        """
        remedy = getattr(importlib.import_module("gainstage.remedies"), self.remedy)
        try:
            return remedy(subject, **self.options)
        except (AttributeError, KeyError, TypeError) as error:
            raise SubjectError(
                f"Fix.apply: subject must fit the fix of {self.code} for {self.module or 'the root'!r}, "
                f"got {type(error).__name__}: {error}. Check the subject anew and take the fix from that report."
            ) from error

    def same_as(self, other: Fix) -> bool:
        """Whether both do the same thing, whatever rule asks for it."""
        return (self.remedy, self.options) == (other.remedy, other.options)
