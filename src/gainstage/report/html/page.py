"""The page: records into the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from gainstage.diagnosis.records import Diagnosis, Trial
from gainstage.report.html.meter import Bands, meter
from gainstage.report.html.templates import resource, template
from gainstage.report.html.trial import trial_view
from gainstage.report.html.verdicts import VerdictLike, verdict_views
from gainstage.report.outline import facts, gravest, roots
from gainstage.report.text import by_reason
from gainstage.report.wording import (
    any_figure,
    figure,
    module_label,
    tally,
    verdict,
)
from gainstage.rules.base import Finding
from gainstage.trace.records import Trace
from gainstage.version import __version__

_TEXT_COLUMNS = ("name", "kind", "op", "module")


@dataclass(frozen=True)
class Card:
    """A finding as the page shows it.

    Attributes:
        measured: Label and figure of value, limit and evidence.
        claims: Id, and the anchor of its verdict in this page or "".
        follows: How grave the consequences are, in words: one may be graver than its cause.
    """

    finding: Finding
    anchor: str
    measured: tuple[tuple[str, str], ...]
    claims: tuple[tuple[str, str], ...]
    consequences: tuple[Card, ...] = ()
    follows: str = ""


@dataclass(frozen=True)
class LayerTable:
    """Every figure of every layer; columns without any are left out."""

    columns: tuple[str, ...]
    numeric: tuple[bool, ...]
    rows: tuple[tuple[str, ...], ...]


def render_page(
    diagnosis: Diagnosis,
    *,
    trial: Trial | None = None,
    verdicts: Sequence[VerdictLike] = (),
    bands: Bands | None = None,
    title: str | None = None,
) -> str:
    """The page as one string of HTML.

    Args:
        diagnosis: What was found.
        trial: A paired trial of its fixes.
        verdicts: What the lab measured on the claims.
        bands: Layer name to the (low, high) in which theory expects its forward rms.
        title: The model's name by default.
    """
    anchors = {position: f"f{position + 1}" for position in range(len(diagnosis.findings))}
    claims = verdict_views(verdicts)
    cards = _cards(diagnosis.findings, anchors, {view.claim.id: view.anchor for view in claims})
    heading = title or diagnosis.trace.name or "Model"
    return template("page.html.j2").render(
        title=heading,
        css=Markup(resource("page.css")),
        verdict=verdict(diagnosis.findings),
        state="ok" if diagnosis.ok else gravest(diagnosis.findings),
        facts=[(label, value) for label, value in facts(diagnosis.trace) if value != heading],
        trace=diagnosis.trace,
        cards=cards,
        not_assessed=by_reason(diagnosis.not_assessed),
        meter=meter(diagnosis.trace, diagnosis.findings, anchors, bands),
        trial=trial_view(trial) if trial else None,
        claims=claims,
        table=_layer_table(diagnosis.trace),
        version=__version__,
    )


def _cards(findings: Sequence[Finding], anchors: Mapping[int, str], claims: Mapping[str, str]) -> tuple[Card, ...]:
    anchor_of = {id(finding): anchors[position] for position, finding in enumerate(findings)}

    def card(finding: Finding, consequences: Sequence[Finding] = ()) -> Card:
        named = tuple((claim, claims.get(claim, "")) for claim in finding.claims)
        folded = tuple(card(consequence) for consequence in consequences)
        return Card(finding, anchor_of[id(finding)], _measured(finding), named, folded, tally(consequences))

    return tuple(card(root.finding, root.consequences) for root in roots(findings))


def _measured(finding: Finding) -> tuple[tuple[str, str], ...]:
    """Value, limit and evidence as rows of a table."""
    rows = [("measured", finding.value), ("limit", finding.threshold)]
    figures = [(label, figure(value)) for label, value in rows if value is not None]
    evidence = [(str(key).replace("_", " "), any_figure(value)) for key, value in finding.evidence.items()]
    return (*figures, *evidence)


def _layer_table(trace: Trace) -> LayerTable:
    rows = trace.to_rows()
    seen = dict.fromkeys(key for row in rows for key, value in row.items() if not _empty(value))
    columns = tuple(seen)
    cells = tuple(tuple(_cell(column, row.get(column)) for column in columns) for row in rows)
    numeric = tuple(all(isinstance(row.get(c), (int, float, type(None))) for row in rows) for c in columns)
    return LayerTable(tuple(column.replace("_", " ") for column in columns), numeric, cells)


def _empty(value: object) -> bool:
    return value is None or (isinstance(value, (list, tuple)) and not value)


def _cell(column: str, value: object) -> str:
    if column in _TEXT_COLUMNS:
        return module_label(str(value)) if column in ("name", "module") else str(value)
    return any_figure(value)
