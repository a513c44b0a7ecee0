"""`python -m skreg`."""

import subprocess
import sys

import skreg
from skreg._core import instruction_level

PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}


def test_report_of_the_installation():
    command = [sys.executable, "-m", "skreg"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = dict(line.strip().split(": ", 1) for line in report.splitlines())
    assert lines["skreg"] == skreg.__version__
    assert lines["python"].startswith(sys.version.split()[0])
    assert str(instruction_level()) in lines["instruction level"]
    assert int(lines["threads of a fit"]) >= 1
    assert {"numpy", "torch", "GPU"} <= set(lines)


def test_a_reader_that_leaves_early_is_no_error():
    command = [sys.executable, "-m", "skreg"]
    with subprocess.Popen(command, **PIPES, text=True) as process:
        process.stdout.close()
        _, message = process.communicate()
    assert (process.returncode, message) == (0, "")
