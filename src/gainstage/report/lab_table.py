"""The lab's results as one page of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from gainstage.lab.hearing import Hearing
from gainstage.lab.verdict import Verdict
from gainstage.report.html.lab_site import GROUPS, WORDS, measured

_HEAD = """# The claims, measured again

Made by `gainstage lab run --all` at the quick preset (digits and generated data, two cores, minutes); not written by
hand. A verdict says nothing beyond its scope, which `gainstage explain ID` shows with source, control and caveats;
[lab.md](lab.md) says how verdicts are reached. What was not run at the papers' scale is not claimed.

"""


def verdict_page(verdicts: Sequence[Verdict], hearings: Sequence[Hearing]) -> str:
    """The page.

    Args:
        verdicts: In the order in which they are shown within their groups.
        hearings: Of the confrontations.
    """
    counts = [(sum(v.outcome == name for v in verdicts), word[2:].lower()) for name, word in WORDS.items()]
    lines = [_HEAD + f"{len(verdicts)} claims: " + ", ".join(f"{count} {word}" for count, word in counts) + ".", ""]
    for group, title in GROUPS.items():
        lines += [
            f"## {title}",
            "",
            "| claim | statement | verdict | effect [95 % interval] |",
            "| --- | --- | --- | --- |",
        ]
        lines += [_line(verdict) for verdict in verdicts if verdict.claim.group == group]
        lines.append("")
    lines += ["## Where the literature contradicts itself", ""]
    for hearing in hearings:
        lines += [f"**{hearing.title}** (`{hearing.id}`) {hearing.reading or hearing.why}", ""]
        lines += [
            f"- {side.label}: {WORDS[side.outcome]}. {side.statement} ({side.source}); "
            f"{measured(side.effect, side.interval, side.n)}"
            for side in hearing.sides
        ]
        lines.append("")
    return "\n".join(lines)


def _line(verdict: Verdict) -> str:
    note = f"; {verdict.prediction_note}" if verdict.prediction_note else ""
    effect = measured(verdict.effect, verdict.interval, verdict.n)
    # A bar would end the cell.
    statement = verdict.statement.replace("|", "\\|")
    return f"| `{verdict.claim_id}` | {statement} | {WORDS[verdict.outcome]}{note} | {effect} |"
