"""No test waits for ever."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("options", [{}, {"capture_output": True}], ids=["its end", "its output"])
def test_a_process_that_hangs_fails_the_test_and_is_named(options, monkeypatch):
    conftest = sys.modules[subprocess.Popen.wait.__module__]
    monkeypatch.setattr(conftest, "_LONGEST", 0.1)

    with pytest.raises(subprocess.TimeoutExpired, match="time.sleep"):
        subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"], **options)
