"""What needs no torch answers without it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from gainstage.rules import RULES

Outcome = tuple[int, str, str]

HEAVY = ("torch", "matplotlib", "plotly", "ray", "lightning", "transformers", "timm", "torchvision", "altair")


def imported_by(code: str) -> set[str]:
    probe = f"import sys\n{code}\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()) & set(HEAVY)


@pytest.mark.parametrize(
    "code",
    [
        "import gainstage",
        "from gainstage.cli import main; main(['--help'])",
        "from gainstage.cli import main; main(['init', '--help'])",
        "from gainstage.cli import main; main(['rules'])",
        "from gainstage.cli import main; main(['rules', '--format', 'json'])",
        "from gainstage.cli import main; main(['explain', 'INI002'])",
        "from gainstage.cli import main; main(['explain', 'he-variance'])",
        "from gainstage.cli import main; main(['explain', 'edge-of-chaos'])",
        "from gainstage.cli import main; main(['lab', 'list'])",
    ],
)
def test_does_not_import_torch(code: str) -> None:
    assert imported_by(code) == set()


def test_measuring_imports_torch_alone() -> None:
    assert imported_by("import gainstage; gainstage.check; gainstage.Report") == {"torch"}


def test_rules_lists_every_rule(run: Callable[..., Outcome]) -> None:
    _, out, _ = run("rules")
    assert all(rule.code in out and rule.name in out for rule in RULES)


def test_rules_as_json(run: Callable[..., Outcome]) -> None:
    status, out, _ = run("rules", "--format", "json")
    assert status == 0
    assert [rule["code"] for rule in json.loads(out)["rules"]] == [rule.code for rule in RULES]
    status, _, err = run("rules", "--format", "yaml")
    assert (status, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
def test_explains_every_rule_by_code_and_by_name(rule, run: Callable[..., Outcome]) -> None:
    status, out, _ = run("explain", rule.code.lower())
    assert status == 0
    assert all(part in out for part in ("Why it hurts", "When it is a false alarm", "It fires on", "References"))
    assert run("explain", rule.name)[1] == out


def test_explains_a_claim_with_the_rules_that_rest_on_it(run: Callable[..., Outcome]) -> None:
    _, out, _ = run("explain", "he-variance")
    assert "INI002" in out
    assert "Control" in out
