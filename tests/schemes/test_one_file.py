"""A new scheme is one file: the one in CONTRIBUTING.md, put into a copy of the package, is found and used."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import gainstage

GUIDE = Path(__file__).parents[2] / "CONTRIBUTING.md"

USE = """
import torch, gainstage as gs
from gainstage.cli import main
from torch import nn

model = nn.Sequential(nn.Linear(50, 40), nn.ReLU(), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 4, 1, groups=4))
model.forward = lambda x: model[4](model[3](model[2](model[1](model[0](x))[:, None])))
rows = gs.initialize(model, torch.randn(4, 50), scheme="rademacher").rows
print(gs.__file__, *("rademacher" in gs.schemes.scheme_names(),), *(row.scheme for row in rows), rows[2].note, sep="|")
print(model[0].weight.detach().abs().unique().tolist(), (model[0].weight > 0).float().mean().item())
main(["init", "--help"])
try:
    gs.initialize(model, torch.randn(4, 50), scheme="rademachr")
except gs.GainstageError as error:
    print(error)
"""


@pytest.mark.skipif(not GUIDE.exists(), reason="installed without the guide")
def test_the_file_of_the_guide_is_all_that_a_scheme_needs(tmp_path: Path) -> None:
    section = GUIDE.read_text(encoding="utf-8").split("## Adding a scheme")[1].split("\n## ")[0]
    (source,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    package = tmp_path / "gainstage"
    shutil.copytree(Path(gainstage.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "schemes" / "catalogue" / "rademacher.py").write_text(source, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-c", USE], env={**os.environ, "PYTHONPATH": str(tmp_path)}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second, *rest = done.stdout.splitlines()
    refused = "rademacher: of a single input nothing averages; lecun_normal instead"
    assert first == f"{package / '__init__.py'}|True|rademacher|rademacher|lecun_normal|{refused}"
    # ±√(2/50) and nothing else, half of them up.
    sizes, share = second.rsplit(" ", 1)
    assert [round(float(size), 6) for size in sizes.strip("[]").split(",")] == [0.2]
    assert abs(float(share) - 0.5) < 4 * 0.5 / 2000**0.5
    assert "rademacher" in " ".join(rest[:-1])
    assert rest[-1].endswith("Did you mean 'rademacher'?")
