"""The lab's results as a site: an index, a page for each claim and each confrontation, their rows as CSV.

Every page stands alone: its style and figure are in it, and it asks for nothing.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from gainstage.errors import GainstageError, InputError
from gainstage.lab.catalogue import CLAIMS
from gainstage.lab.catalogue.confrontations import CONFRONTATIONS
from gainstage.lab.claim import Citation
from gainstage.lab.fingerprint import fingerprint
from gainstage.lab.hearing import Hearing
from gainstage.lab.judge import Row
from gainstage.lab.verdict import Verdict
from gainstage.report.charts import chart_svg
from gainstage.report.html.templates import resource, template
from gainstage.report.wording import figure
from gainstage.report.writing import write_atomically
from gainstage.rules import RULES
from gainstage.version import __version__

# A sign beside each word: outcomes are never told apart by colour alone.
WORDS = {
    "supported": "✓ SUPPORTED", "refuted": "✗ REFUTED", "inconclusive": "? INCONCLUSIVE", "not-run": "– NOT RUN",
}  # fmt: skip
_STATES = {"supported": "ok", "refuted": "error", "inconclusive": "warning", "not-run": ""}
GROUPS = {
    "initialization": "How weights are drawn",
    "normalization": "Normalization, initial scale and learning rate",
    "how-it-helps": "How does normalization help?",
    "depth": "Depth, residual branches, rank",
    "numbers": "Batch size, inference, numbers",
}
CITATIONS: Mapping[Citation, str] = {
    "read": "the statement was compared with the source",
    "quoted": "after a secondary note that quotes the source",
    "unread": "commonly quoted; the source was not read",
    "informal": "informal: it reports no experiment",
}
_SHOWN_ROWS = 60


@dataclass(frozen=True)
class RowsView:
    """The rows of a result, the first of them on the page."""

    caption: str
    file: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]


def write_site(folder: str | os.PathLike[str], verdicts: Sequence[Verdict], hearings: Sequence[Hearing]) -> Path:
    """Writes the pages, each whole or not at all; other files in the folder are left as they are.

    Args:
        folder: Made if it is missing.
        verdicts, hearings: Of a store.

    Returns:
        The path of the index.

    Raises:
        InputError: if there is nothing to show, or the folder cannot be written.
    """
    if not verdicts and not hearings:
        raise InputError("lab report: store must have results, got none. Run gainstage lab run --all first.")
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"lab report: output must be a folder, got {str(place)!r} ({error}). Name another.") from error
    known = {claim.id: number for number, claim in enumerate(CLAIMS)}
    shown = sorted((v for v in verdicts if v.claim_id in known), key=lambda v: (known[v.claim_id], v.preset != "quick"))
    order = {entry.id: number for number, entry in enumerate(CONFRONTATIONS)}
    heard = sorted((h for h in hearings if h.id in order), key=lambda h: (order[h.id], h.preset != "quick"))
    for number, verdict in enumerate(shown):
        write_atomically(place / page_of(verdict), _claim_page(verdict, heard, f"v{number}"), "lab report")
        if verdict.rows:
            write_atomically(place / _rows_file(verdict), rows_csv(verdict.rows), "lab report")
    for number, hearing in enumerate(heard):
        write_atomically(place / page_of(hearing), _hearing_page(hearing, shown, f"h{number}"), "lab report")
        if hearing.rows:
            write_atomically(place / _rows_file(hearing), rows_csv(hearing.rows), "lab report")
    return write_atomically(place / "index.html", _index(shown, heard), "lab report")


def page_of(result: Verdict | Hearing) -> str:
    """The name of a result's page."""
    return f"{result.id}.html" if result.preset == "quick" else f"{result.id}-{result.preset}.html"


def rows_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV, with every column that one of them has; None is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def measured(effect: float | None, interval: tuple[float, float] | None, n: int) -> str:
    """An effect with its interval and what it rests on."""
    if effect is None:
        return ""
    between = (
        "" if interval is None or interval[0] == interval[1] else f" [{figure(interval[0])}, {figure(interval[1])}]"
    )
    return f"{figure(effect)}{between}, n = {n}"


def _index(verdicts: Sequence[Verdict], hearings: Sequence[Hearing]) -> str:
    counts = {word: sum(v.outcome == name for v in verdicts) for name, word in WORDS.items()}
    groups = [
        {"id": name, "title": title, "entries": [_entry(v) for v in verdicts if v.claim.group == name]}
        for name, title in GROUPS.items()
    ]
    presets = ", ".join(sorted({result.preset for result in (*verdicts, *hearings)}))
    return _rendered(
        "lab_index.html.j2",
        "Every claim, measured again",
        [*verdicts, *hearings],
        headline=", ".join(f"{count} {word[2:].lower()}" for word, count in counts.items() if count),
        facts=[
            ("claims", len(verdicts)), ("confrontations", len(hearings)), ("preset", presets),
            ("against the prediction", sum(verdict.surprises for verdict in verdicts)),
        ],
        groups=[group for group in groups if group["entries"]],
        hearings=[{"href": page_of(h), "title": h.title, "reading": h.reading or h.why} for h in hearings],
    )  # fmt: skip


def _entry(verdict: Verdict) -> dict[str, str]:
    return {
        "href": page_of(verdict),
        "label": verdict.claim_id if verdict.preset == "quick" else f"{verdict.claim_id} ({verdict.preset})",
        "statement": verdict.statement,
        "outcome": verdict.outcome,
        "word": WORDS[verdict.outcome],
        "note": verdict.prediction_note,
        "measured": measured(verdict.effect, verdict.interval, verdict.n),
    }


def _claim_page(verdict: Verdict, hearings: Sequence[Hearing], prefix: str) -> str:
    claim = verdict.claim
    confronted = [
        (hearing.title, page_of(hearing))
        for hearing in hearings
        if any(claim.id in side.claims for side in hearing.sides)
    ]
    facts = [
        ("effect", "" if verdict.effect is None else figure(verdict.effect)),
        ("95 % interval", "" if verdict.interval is None else " to ".join(figure(end) for end in verdict.interval)),
        ("n", verdict.n or ""),
        ("predicted", verdict.predicted or "no direction"),
        ("preset", verdict.preset),
    ]
    return _rendered(
        "lab_claim.html.j2",
        claim.id,
        [verdict],
        group=GROUPS[claim.group],
        claim=claim,
        preset=verdict.preset,
        word=WORDS[verdict.outcome],
        state=_STATES[verdict.outcome],
        facts=[(label, value) for label, value in facts if value != ""],
        why=verdict.why,
        control=verdict.control,
        svg=_svg(verdict, prefix),
        citation=CITATIONS[claim.citation],
        scope=verdict.scope,
        caveats=verdict.caveats,
        rules=", ".join(f"{rule.code} {rule.name}" for rule in RULES if claim.id in rule.claims),
        confronted=confronted,
        provenance=_provenance(verdict),
        numbers=_numbers(verdict),
        rows=_rows_view(verdict),
    )


def _hearing_page(hearing: Hearing, verdicts: Sequence[Verdict], prefix: str) -> str:
    pages = {verdict.claim_id: verdict for verdict in reversed(verdicts)}
    sides = [
        {
            "label": side.label, "statement": side.statement, "source": side.source, "outcome": side.outcome,
            "word": WORDS[side.outcome], "why": side.why, "measured": measured(side.effect, side.interval, side.n),
            "claims": [
                (name, page_of(pages[name]), WORDS[pages[name].outcome]) if name in pages else (name, "", "")
                for name in side.claims
            ],
        }
        for side in hearing.sides
    ]  # fmt: skip
    return _rendered(
        "lab_confrontation.html.j2", hearing.title, [hearing], hearing=hearing, svg=_svg(hearing, prefix), sides=sides,
        provenance=_provenance(hearing),
    )  # fmt: skip


def _rendered(name: str, title: str, results: Sequence[Verdict | Hearing], **values: Any) -> str:
    devices = ", ".join(sorted({result.device for result in results if result.device}))
    packages = sorted({f"{name} {number}" for result in results for name, number in result.versions.items()})
    made = f"Measured on {devices} with {', '.join(packages)}." if devices else ""
    css = Markup(resource("page.css"))
    return template(name).render(title=title, css=css, version=__version__, made=made, **values)


def _svg(result: Verdict | Hearing, prefix: str) -> Markup | None:
    if not result.rows:
        return None
    try:
        return Markup(chart_svg(result.figure(), prefix=prefix))
    except GainstageError:  # rows of another version, which this one can no longer draw
        return None


def _provenance(result: Verdict | Hearing) -> list[tuple[str, str]]:
    if not result.seeds:
        return []
    seeds = ", ".join(map(str, result.seeds))
    return [
        ("Seeds", seeds),
        ("Design", result.design_hash),
        ("Versions", ", ".join(f"{name} {number}" for name, number in sorted(result.versions.items()))),
        ("Device", result.device),
        ("Time", f"{result.seconds:.1f} s on one core"),
    ]


def _numbers(verdict: Verdict) -> list[tuple[str, str]]:
    design = verdict.claim.designs.get(verdict.preset)
    # A claim that was changed since has other numbers than those that were run.
    if design is None or fingerprint(verdict.claim, design) != verdict.design_hash:
        return []
    return [(name, str(value)) for name, value in asdict(design).items()]


def _rows_file(result: Verdict | Hearing) -> str:
    return page_of(result).removesuffix(".html") + ".csv"


def _rows_view(result: Verdict | Hearing) -> RowsView | None:
    if not result.rows:
        return None
    columns = tuple(dict.fromkeys(name for row in result.rows for name in row))
    cells = tuple(tuple(_cell(row.get(name, "")) for name in columns) for row in result.rows[:_SHOWN_ROWS])
    first = "" if len(result.rows) <= _SHOWN_ROWS else f", the first {_SHOWN_ROWS} here"
    return RowsView(f"{len(result.rows):,} rows{first}", _rows_file(result), columns, cells)


def _cell(value: Any) -> str:
    return figure(value) if isinstance(value, float) else "" if value is None else str(value)
