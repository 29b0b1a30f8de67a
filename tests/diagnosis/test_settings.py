"""``[tool.gainstage]``, and rules that are ignored in some modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import gainstage as gs
from gainstage.diagnosis.selection import module_ignores
from gainstage.diagnosis.settings import Settings, settings_near
from gainstage.errors import InputError
from gainstage.rules.base import Finding


def project(folder: Path, table: str) -> Path:
    (folder / "pyproject.toml").write_text(table)
    return folder


def test_all_settings_are_read(tmp_path: Path) -> None:
    table = """
    [tool.gainstage]
    select = ["INI", "signal-vanishes"]
    ignore = "GRD001, NRM"
    fail-on = "error"
    per-module-ignores = {"backbone.*" = ["INI002"], head = "ACT"}
    """
    found = settings_near(project(tmp_path, table))
    assert found.select == ("INI", "signal-vanishes")
    assert found.ignore == ("GRD001", "NRM")
    assert found.fail_on == "error"
    assert found.per_module_ignores == {"backbone.*": ("INI002",), "head": ("ACT",)}
    assert found.source == tmp_path / "pyproject.toml"


def test_the_nearest_file_with_the_table_counts(tmp_path: Path) -> None:
    inner = tmp_path / "package" / "models"
    inner.mkdir(parents=True)
    project(tmp_path, "[tool.gainstage]\nfail-on = 'never'")
    project(inner.parent, "[tool.other]\nx = 1")
    assert settings_near(inner).fail_on == "never"
    project(inner, "[tool.gainstage]\n")
    assert settings_near(inner) == Settings(source=inner / "pyproject.toml")


def test_without_a_file_all_is_as_usual(tmp_path: Path) -> None:
    assert settings_near(tmp_path) == Settings()


@pytest.mark.parametrize(
    ("table", "messages"),
    [
        ("slect = ['INI']", ["no setting is called 'slect' (did you mean 'select'?)"]),
        ("fail_on = 'error'", ["did you mean 'fail-on'?"]),
        ("quux = 1", ["there are select, ignore, fail-on, per-module-ignores"]),
        ("select = ['INI9']", ["select: a code, prefix or name of a rule must be a known one, got 'INI9'"]),
        ("select = 3", ["select must be a list of rules' codes, got 3"]),
        ("ignore = [3]", ["ignore must hold codes as text, got 3"]),
        ("fail-on = 'wrning'", ["fail-on must be error, warning or never, got 'wrning'"]),
        ("fail-on = ['error']", ["fail-on must be error, warning or never, got ['error']"]),
        ("per-module-ignores = ['INI002']", ["per-module-ignores must be a table such as"]),
        ("per-module-ignores = {'a.*' = ['INI9']}", ['per-module-ignores."a.*": a code, prefix or name']),
        ("fail-on = 1\nselect = ['X']\nnone = 0", ["fail-on must be", "select: a code", "no setting is called 'none'"]),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line_all_at_once(table: str, messages: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\[tool\.gainstage\] in .*pyproject\.toml: .* Mend the file") as caught:
        settings_near(project(tmp_path, f"[tool.gainstage]\n{table}"))
    assert all(message in str(caught.value) for message in messages), str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[tool", "must be readable TOML"), ("[tool]\ngainstage = 1", "it must be a table, got int")],
)
def test_a_file_that_cannot_be_read_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        settings_near(project(tmp_path, text))


def finding(*layers: str, module: str = "") -> Finding:
    return Finding("INI002", "gain-mismatch", "warning", "init", module, "", layers=layers)


@pytest.mark.parametrize(
    ("about", "covered"),
    [
        (finding("backbone.0", "backbone.1.conv#2"), True),
        (finding("backbone.0", "head"), False),
        (finding("backbone"), False),
        (finding(module="backbone.3"), True),
        (finding(module="head"), False),
    ],
)
def test_a_finding_is_covered_if_all_of_its_layers_are(about: Finding, covered: bool) -> None:
    assert module_ignores({"backbone.*": ["INI"]}).cover(about) is covered
    assert not module_ignores({"backbone.*": ["GRD"]}).cover(about)
    assert module_ignores({"*": "gain-mismatch"}).cover(about)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(16, 16), nn.ReLU())])
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(x))


def test_check_ignores_by_module_before_it_ranks() -> None:
    torch.manual_seed(0)
    batch = torch.randn(64, 16), torch.randint(3, (64,))
    before = gs.check(Net(), batch)
    assert before.findings[0].code == "INI002"
    assert {f.consequence_of for f in before.findings[1:]} == {"INI002"}
    after = gs.check(Net(), batch, per_module_ignores={"backbone.*": ["INI002"]})
    assert {f.code for f in after.findings} == {f.code for f in before.findings} - {"INI002"}
    assert after.findings[0].consequence_of is None
    assert gs.check(Net(), batch, per_module_ignores={"head": ["INI002"]}).findings == before.findings


def test_bad_module_ignores_are_refused() -> None:
    with pytest.raises(InputError, match="per_module_ignores: must be a mapping"):
        gs.check(Net(), torch.randn(4, 16), per_module_ignores=["INI002"])  # type: ignore[arg-type]
    with pytest.raises(gs.GainstageError, match="'NOPE'"):
        gs.check(Net(), torch.randn(4, 16), per_module_ignores={"*": "NOPE"})


def test_assert_trainable_fails_from_a_severity_on() -> None:
    model, batch = nn.Sequential(nn.Linear(16, 3), nn.Softmax(1)), (torch.randn(64, 16), torch.randint(3, (64,)))
    with pytest.raises(gs.NotTrainable, match="ACT004"):
        gs.assert_trainable(model, batch, nn.CrossEntropyLoss(), fail_on="error")
    gs.assert_trainable(model, batch, nn.CrossEntropyLoss(), fail_on="never")
    with pytest.raises(gs.GainstageError, match="Did you mean 'warning'"):
        gs.assert_trainable(model, batch, nn.CrossEntropyLoss(), fail_on="warnings")
