from __future__ import annotations

import subprocess
import sys


def test_reading_a_report_needs_neither_torch_nor_a_chart_library() -> None:
    code = (
        "import sys, gainstage.report as r; assert all(callable(getattr(r, name)) for name in r.__all__);"
        "print(sorted({'torch', 'altair', 'vl_convert', 'matplotlib'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
