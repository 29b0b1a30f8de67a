"""Precision, recall and false alarms, with Wilson's intervals, from labels and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from accuracy.cases import Case, fault_named
from accuracy.checks import Alarm, Checked
from accuracy.labels import Label

Alarms = Callable[[Checked], tuple[Alarm, ...]]
MODES: dict[str, Alarms] = {"without a trial": lambda row: row.alone, "with a trial": lambda row: row.trial}


@dataclass(frozen=True)
class Rate:
    """A share of a count."""

    hits: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's score interval at 95 %."""
        if not self.total:
            return 0.0, 1.0
        z, n, share = NormalDist().inv_cdf(0.975), self.total, self.hits / self.total
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        reach = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
        # Rounding leaves the ends a hair off where no case or every case is a hit.
        low = 0.0 if self.hits == 0 else centre - reach
        return low, 1.0 if self.hits == self.total else centre + reach

    def __str__(self) -> str:
        if not self.total:
            return "-"
        low, high = self.interval
        return f"{self.hits / self.total:.3f} ({self.hits} of {self.total}; {low:.2f} to {high:.2f})"


def rate(hits: Iterable[bool]) -> Rate:
    found = list(hits)
    return Rate(sum(found), len(found))


@dataclass(frozen=True)
class Outcome:
    """One check of a case whose label is known.

    Attributes:
        state: ``twin`` and ``harmless`` train as well as the healthy network, ``fault`` trains worse; ``unclear`` is
            judged by nothing, nor is ``refused``, where the check raised an error of its own.
        alarms: Warnings and errors in the order of the report.
    """

    case: Case
    seed: int
    state: str
    alarms: tuple[Alarm, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Codes that name the cause."""
        return () if self.case.healthy else fault_named(self.case.fault).names

    @property
    def named(self) -> bool:
        """Whether any alarm names the cause."""
        return any(alarm.code in self.names for alarm in self.alarms)

    @property
    def first_named(self) -> bool:
        """Whether the first alarm does."""
        return bool(self.alarms) and self.alarms[0].code in self.names


_STATES: dict[Label, str] = {"worse": "fault", "not worse": "harmless", "unclear": "unclear"}


def outcomes(labels: Mapping[Case, Label], said: Sequence[Checked], alarms: Alarms) -> list[Outcome]:
    def state(row: Checked) -> str:
        if row.raised:
            return "refused"
        return "twin" if row.case.healthy else _STATES[labels[row.case]]

    return [Outcome(row.case, row.seed, state(row), alarms(row)) for row in said]


def of_state(found: Sequence[Outcome], state: str) -> list[Outcome]:
    return [outcome for outcome in found if outcome.state == state]


def alarmed(found: Sequence[Outcome]) -> Rate:
    return rate(bool(outcome.alarms) for outcome in found)


def precision(found: Sequence[Outcome]) -> Rate:
    """Of the networks with an alarm those that train worse."""
    return rate(o.state == "fault" for o in found if o.alarms and o.state in ("fault", "twin", "harmless"))


def first_cause(found: Sequence[Outcome]) -> Rate:
    """Of the faults with an alarm those whose first one names the cause."""
    return rate(outcome.first_named for outcome in of_state(found, "fault") if outcome.alarms)


@dataclass(frozen=True)
class RuleFigures:
    """Of one rule.

    Attributes:
        right: Of the networks that it warned of, those that train worse.
        to_the_point: Likewise, those whose fault it names, or is explained by a finding that does.
        found: Of the faults that its page describes, those that an alarm names, by this rule or another that is right.
        own: Those that this rule itself names.
    """

    code: str
    right: Rate
    to_the_point: Rate
    found: Rate
    own: Rate


def rule_figures(code: str, found: Sequence[Outcome]) -> RuleFigures:
    judged = [outcome for outcome in found if outcome.state in ("fault", "twin", "harmless")]
    warned = [outcome for outcome in judged if any(alarm.code == code for alarm in outcome.alarms)]
    described = [o for o in of_state(found, "fault") if fault_named(o.case.fault).rule == code]
    return RuleFigures(
        code,
        rate(outcome.state == "fault" for outcome in warned),
        rate(outcome.state == "fault" and _to_the_point(code, outcome) for outcome in warned),
        rate(outcome.named for outcome in described),
        rate(any(alarm.code == code for alarm in outcome.alarms) for outcome in described),
    )


def _to_the_point(code: str, outcome: Outcome) -> bool:
    return any(a.code == code and (a.code in outcome.names or a.root in outcome.names) for a in outcome.alarms)
