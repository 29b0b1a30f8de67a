"""`Report`: a diagnosis that can be read, by people and by programs."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gainstage.diagnosis.records import Diagnosis, Trial
from gainstage.report.html.page import render_page
from gainstage.report.html.verdicts import VerdictLike
from gainstage.report.json_report import report_json
from gainstage.report.sarif import sarif_json
from gainstage.report.text import plain_text
from gainstage.report.wording import counted, verdict
from gainstage.report.writing import write_atomically
from gainstage.rules import prediction


@dataclass(frozen=True, repr=False)
class Report(Diagnosis):
    """What `gainstage.check` gives: the findings, and every way to read them.

    Attributes:
        findings: Root causes before their consequences, then by severity.
        not_assessed: Rules that could not judge, with the reason.
        trace: The measurement that all rests on.
        ok: Whether there is no error and no warning.
    """

    @classmethod
    def from_diagnosis(cls, diagnosis: Diagnosis) -> Report:
        """The same findings as a report."""
        return cls(findings=diagnosis.findings, not_assessed=diagnosis.not_assessed, trace=diagnosis.trace)

    def to_json(self) -> str:
        """JSON with a ``schema_version``; its JSON Schema is ``report/schemas/report.schema.json``."""
        return report_json(self)

    def to_sarif(self, *, artifact: str | None = None) -> str:
        """A SARIF 2.1.0 log.

        Args:
            artifact: URI of the file that the model comes from, for scanners that show results beside code.
        """
        return sarif_json(self, artifact=artifact)

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        trial: Trial | None = None,
        verdicts: Sequence[VerdictLike] = (),
        bands: Mapping[str, tuple[float, float]] | None = None,
        title: str | None = None,
    ) -> Path:
        """Writes one self-contained page, whole or not at all, and returns its path.

        Args:
            path: Where to; the folder must exist.
            trial: A paired trial of the fixes, to be shown with its curves.
            verdicts: What the lab measured on the claims that the findings rest on.
            bands: Layer name to the (low, high) in which theory expects its forward rms at unit gain; by default
                `gainstage.rules.prediction.bands`.
            title: Of the page; the model's name and the verdict by default.

        Raises:
            InputError: if the folder does not exist or cannot be written to.
        """
        bands = prediction.bands(self.trace) if bands is None else bands
        page = render_page(self, trial=trial, verdicts=verdicts, bands=bands, title=title)
        return write_atomically(path, page, "Report.to_html")

    def _repr_html_(self) -> str:
        """The page in a frame of its own, so that neither its style nor the notebook's reaches the other."""
        page = html.escape(render_page(self, bands=prediction.bands(self.trace)), quote=True)
        return (
            f'<iframe srcdoc="{page}" sandbox="" title="gainstage report" loading="lazy" '
            'style="width:100%;height:640px;border:1px solid #8884;border-radius:6px"></iframe>'
        )

    def __str__(self) -> str:
        return plain_text(self)

    def __repr__(self) -> str:
        return f"<Report: {verdict(self.findings)}; {counted(len(self.trace.layers), 'layer')}>"
