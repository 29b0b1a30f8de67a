"""``gainstage explain TOPIC``: the formula, where it holds, computed figures, the sources, and a chart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gainstage.theory.topics import TOPICS

Outcome = tuple[int, str, str]
Run = Callable[..., Outcome]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
def test_explains_every_topic(run: Run, topic) -> None:
    status, out, err = run("explain", topic.name.upper())

    assert (status, err) == (0, "")
    for line in (*topic.formula, *topic.references, "What it says", "Where it holds", topic.table().caption):
        assert line in out
    assert "\x1b[" not in out
    assert "…" not in out  # no cell is cut off at 80 columns


def test_help_names_the_topics(run: Run) -> None:
    out = "".join(run("explain", "--help")[1].split())
    assert all(topic.name in out for topic in TOPICS)


def test_prints_the_computed_figures(run: Run) -> None:
    _, out, _ = run("explain", "edge-of-chaos")
    assert ["tanh", "0.05", "1.761", "0.57"] in [line.split() for line in out.splitlines()]
    assert "gainstage explain edge-of-chaos --plot edge-of-chaos.svg" in out


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_draws_the_chart(run: Run, tmp_path: Path, ending: str) -> None:
    place = tmp_path / f"q.{ending}"
    status, out, _ = run("explain", "q-map", "--plot", str(place), "--activation", "gelu")

    assert status == 0
    assert f"Chart written: {place}" in out
    assert place.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("explain", "edge-of-chaso"), "Did you mean 'edge-of-chaos'"),
        (("explain", "xyzzy"), "a rule, claim, confrontation or topic must be a known one"),
        (("explain", "INI002", "--plot", "x.svg"), "--plot must go with a topic that has a chart, got 'INI002'"),
        (("explain", "fans", "--plot", "x.svg"), "topic must be one with a chart, got 'fans'"),
        (("explain", "q-map", "--plot", "x.pdf"), "file must end in .svg or .png"),
        (("explain", "q-map", "--plot", "x.svg", "--activation", "gleu"), "Did you mean 'gelu'"),
    ],
)
def test_errors_are_one_line_and_write_nothing(run: Run, arguments: tuple[str, ...], message: str) -> None:
    status, _, err = run(*arguments)

    assert (status, err.count("\n")) == (2, 1)
    assert message in err
    assert not Path("x.svg").exists()
