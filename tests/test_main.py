"""`python -m skreg`."""

import subprocess
import sys

import skreg
from skreg._core import instruction_level


def test_report_of_the_installation():
    command = [sys.executable, "-m", "skreg"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = dict(line.strip().split(": ", 1) for line in report.splitlines())
    assert lines["skreg"] == skreg.__version__
    assert lines["python"].startswith(sys.version.split()[0])
    assert str(instruction_level()) in lines["instruction level"]
    assert int(lines["threads of a fit"]) >= 1
    assert {"numpy", "torch", "GPU"} <= set(lines)
