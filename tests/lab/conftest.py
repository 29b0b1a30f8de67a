from collections.abc import Callable
from dataclasses import replace

import pytest

from gainstage import lab
from gainstage.lab.catalogue import find
from gainstage.lab.judge import Row
from gainstage.lab.runner import run_claim


class _Verdicts(dict[str, lab.Verdict]):
    """Runs a claim at its quick preset when it is first asked for; for those that take a second or two."""

    def __missing__(self, claim_id: str) -> lab.Verdict:
        self[claim_id] = lab.run(claim_id)
        return self[claim_id]


class _Smoke(dict[str, lab.Verdict]):
    """Runs a claim at its smoke design: every line of it, at a size that proves nothing."""

    def __missing__(self, claim_id: str) -> lab.Verdict:
        claim = find(claim_id, "test")
        self[claim_id] = run_claim(replace(claim, designs={"quick": claim.smoke}))
        return self[claim_id]


@pytest.fixture(scope="session")
def verdicts() -> _Verdicts:
    return _Verdicts()


@pytest.fixture(scope="session")
def smoke() -> _Smoke:
    return _Smoke()


@pytest.fixture(scope="session")
def smoke_rows(smoke) -> Callable[..., list[Row]]:
    """The rows of a claim's smoke run: of the claim, or of its ``control``."""
    return lambda claim_id, part="claim": [row for row in smoke[claim_id].rows if row["part"] == part]
