"""Two runs of the lab side by side: another machine, another version, other seeds, another preset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gainstage.errors import InputError
from gainstage.lab.hearing import Hearing
from gainstage.lab.store import FILE_NAME, Store
from gainstage.lab.verdict import Verdict

_OPPOSITE = {"supported", "refuted"}


@dataclass(frozen=True)
class Pair:
    """One claim in two runs.

    Attributes:
        claim_id: Its id.
        first, second: The verdicts; None where a run lacks it.
        differs: What was different in how they were made: ``preset``, ``design``, ``versions``, ``device``, ``seeds``.
    """

    claim_id: str
    first: Verdict | None
    second: Verdict | None
    differs: tuple[str, ...]

    @property
    def agrees(self) -> bool | None:
        """Whether the outcomes are the same; None where one is missing or was not run."""
        if not self.first or not self.second or "not-run" in (self.first.outcome, self.second.outcome):
            return None
        return self.first.outcome == self.second.outcome

    @property
    def flipped(self) -> bool:
        """Whether one is supported and the other refuted."""
        return bool(self.first and self.second) and {self.first.outcome, self.second.outcome} == _OPPOSITE  # pyright: ignore[reportOptionalMemberAccess]


@dataclass(frozen=True)
class Comparison:
    """Two runs, claim by claim."""

    pairs: tuple[Pair, ...]

    @property
    def compared(self) -> int:
        """How many claims were run in both."""
        return sum(pair.agrees is not None for pair in self.pairs)

    @property
    def agreement(self) -> float | None:
        """The share of those with the same outcome; None without any."""
        return sum(bool(pair.agrees) for pair in self.pairs) / self.compared if self.compared else None

    @property
    def flips(self) -> tuple[Pair, ...]:
        """Claims that one run supports and the other refutes."""
        return tuple(pair for pair in self.pairs if pair.flipped)


def verdicts(store: str | Path) -> tuple[Verdict, ...]:
    """The last verdict of each claim and preset that a store has.

    Args:
        store: A folder of ``gainstage lab run``.

    Raises:
        InputError: if there is no such store.
        StoreError: if it cannot be read.
    """
    return tuple(Verdict.from_json(text) for text in _records(store, "verdict"))


def hearings(store: str | Path) -> tuple[Hearing, ...]:
    """The last hearing of each confrontation and preset that a store has.

    Args:
        store: A folder of ``gainstage lab run``.

    Raises:
        InputError: if there is no such store.
        StoreError: if it cannot be read.
    """
    return tuple(Hearing.from_json(text) for text in _records(store, "hearing"))


def _records(store: str | Path, kind: str) -> list[str]:
    if not (Path(store) / FILE_NAME).is_file():
        raise InputError(
            f"lab: store must be a folder that gainstage lab run wrote, got {str(store)!r} without {FILE_NAME}. "
            "Run gainstage lab run --all first, or name it with --store."
        )
    opened = Store(store)
    try:
        return opened.results(kind)
    finally:
        opened.close()


def diff(first: Sequence[Verdict], second: Sequence[Verdict]) -> Comparison:
    """The verdicts of two runs, paired by claim.

    Args:
        first, second: Of two stores. Where both have a claim at the same preset those are compared, else whatever each
            has.

    Returns:
        A pair for each claim and preset, in the order of the first.
    """
    ours, theirs = _by_claim(first), _by_claim(second)
    pairs: list[Pair] = []
    for claim_id in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(claim_id, {}), theirs.get(claim_id, {})
        common = [preset for preset in mine if preset in other]
        for preset in common:
            pairs.append(_pair(claim_id, mine[preset], other[preset]))
        if not common:
            pairs.append(_pair(claim_id, _any(mine), _any(other)))
    return Comparison(tuple(pairs))


def _by_claim(found: Sequence[Verdict]) -> dict[str, dict[str, Verdict]]:
    grouped: dict[str, dict[str, Verdict]] = {}
    for verdict in found:
        grouped.setdefault(verdict.claim_id, {})[verdict.preset] = verdict
    return grouped


def _any(by_preset: Mapping[str, Verdict]) -> Verdict | None:
    return next(iter(by_preset.values()), None)


def _pair(claim_id: str, first: Verdict | None, second: Verdict | None) -> Pair:
    if first is None or second is None:
        return Pair(claim_id, first, second, ())
    facts = {
        "preset": (first.preset, second.preset),
        "design": (first.design_hash, second.design_hash),
        "versions": (first.versions, second.versions),
        "device": (first.device, second.device),
        "seeds": (first.seeds, second.seeds),
    }
    return Pair(claim_id, first, second, tuple(name for name, (one, other) in facts.items() if one != other))
