"""The notebooks run from top to bottom, show what they say, and hold nothing but text and code."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "examples" / "notebooks"
# What each notebook teaches, in its own variables: if it does not hold, the text around it misleads.
LESSONS = {
    "xavier_or_he": """
assert min(gains("relu")) > 0 > max(gains("tanh"))
assert {pair for pair, report in reports.items() if report.ok} == {("relu", "He"), ("tanh", "Xavier")}
assert verdict.outcome == "supported"
""",
    "why_batch_norm": """
assert regions["batch norm"].lr_decades > regions["plain"].lr_decades + 0.5
assert best["batch norm"][0] < best["plain"][0] and best["batch norm"][1] > best["plain"][1]
assert difference < 1e-3 and 95 < rate_before / rate_after < 105
""",
    "loss_does_not_move": """
assert abs(as_it_was[-1] - math.log(10)) < 0.05
assert max(share for *_, share in tried) < 0.3 < 0.6 < final["the suggested rate"][1]
assert [each.code for each in report.findings][0] == "INI002" and trials["all"].improved and after.ok
""",
}
# Paths of somebody's machine, and what only a password, a key or an address would look like.
FOREIGN = re.compile(
    r"(?<![\w.:/])/(?:home|Users|root|tmp|var|opt|mnt|srv|work|workspace|content)\b|\b[A-Za-z]:\\"
    r"|(?i:api[_-]?key|passw(?:or)?d|secret|bearer |private key|\b[\w.]+@[\w.]+\.\w{2,})|\b\d{1,3}(?:\.\d{1,3}){3}\b"
)
# A percentage or a decimal: a figure that only a cell may state, for it would be out of date in prose.
MEASURED = re.compile(r"\d\s*%|\d\.\d")


def notebook(name: str) -> nbformat.NotebookNode:
    """The notebook as it is stored."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def source(name: str, kind: str) -> str:
    """All cells of one kind."""
    return "\n".join(cell.source for cell in notebook(name).cells if cell.cell_type == kind)


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_runs_and_shows_what_it_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The kernel of this interpreter, whatever kernels and settings the user has.
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    lesson = nbformat.v4.new_code_cell(LESSONS[name])
    ran = notebook(name)
    ran.cells.append(lesson)

    NotebookClient(ran, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()

    outputs = [output for cell in ran.cells if cell.cell_type == "code" for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"execute_result", "display_data"}, outputs
    shown = [kind for output in outputs for kind in output.data]
    assert shown.count("image/svg+xml") >= 3
    assert shown.count("text/markdown") >= 4
    told = next(cell for cell in ran.cells if cell.id == "end-read").outputs[0].data["text/markdown"]
    assert re.search(r"\d", told)
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b|not known", told)


@pytest.mark.parametrize("name", LESSONS)
def test_is_stored_without_outputs(name: str) -> None:
    stored = notebook(name)

    nbformat.validate(stored)
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert all(cell.metadata == {} for cell in stored.cells)
    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 200_000


@pytest.mark.parametrize("name", LESSONS)
def test_tells_a_story_in_order(name: str) -> None:
    cells = notebook(name).cells
    first, last = cells[0], cells[-1]

    assert first.cell_type == last.cell_type == "markdown"
    assert first.source.startswith("# ")
    assert [cell.id for cell in cells if cell.source.startswith("# ")] == [first.id]
    # What was seen comes last, before where to go on.
    assert [cell.id for cell in cells[-3:]] == ["end", "end-read", "more"]
    assert all(cell.source.strip() for cell in cells)


@pytest.mark.parametrize("name", LESSONS)
def test_names_no_machine_no_secret_and_no_internals(name: str) -> None:
    everything = source(name, "code") + source(name, "markdown")

    assert not FOREIGN.findall(everything)
    assert not re.findall(r"gainstage\.\w+|from gainstage", everything)
    assert not re.findall(r"\bgs(?:\.\w+)*\._\w+", everything)


@pytest.mark.parametrize("name", LESSONS)
def test_prose_states_no_figures_that_a_cell_should_show(name: str) -> None:
    assert not MEASURED.findall(source(name, "markdown"))


@pytest.mark.parametrize(
    "text", ["/home/somebody/data", "see /tmp/x", r"C:\data", "PASSWORD=1", "a@example.org", "10.0.0.1"]
)
def test_foreign_things_would_be_seen(text: str) -> None:
    assert FOREIGN.search(text)


def test_every_notebook_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(LESSONS)
