"""Signals that end a command."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from calkd_edge.cli.app import main
from calkd_edge.cli.signals import Ended, ended_by_signals


@pytest.mark.parametrize(
    ("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Ended), (signal.SIGHUP, Ended)]
)
def test_end_that_an_import_swallows_is_raised_again(number, kind, monkeypatch):
    """Some libraries import their parts under a bare except."""
    monkeypatch.setattr("calkd_edge.cli.signals.AGAIN_S", 0.05)
    usual = {one: signal.getsignal(one) for one in (number, signal.SIGALRM)}
    # A shell that starts the tests in the background ignores some for all its children.
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def losing():
        with contextlib.suppress(BaseException):
            signal.raise_signal(number)
        time.sleep(10)

    with pytest.raises(kind), ended_by_signals():
        losing()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) == usual[signal.SIGALRM]
    signal.signal(number, usual[number])


def test_end_is_raised_once_while_it_is_handled(monkeypatch):
    """Folders are removed and sessions closed in peace, also in blocks within blocks."""
    monkeypatch.setattr("calkd_edge.cli.signals.AGAIN_S", 0.02)
    done = []

    def closing():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            try:
                raise ValueError
            except ValueError:
                time.sleep(0.1)
            time.sleep(0.1)
            done.append("closed")

    with pytest.raises(Ended), ended_by_signals():
        closing()
    assert done == ["closed"]


def test_compiled_module_is_loaded_to_its_end_first():
    """numpy's imports modules of Python; ended there, it would be left half made."""
    program = (
        "import os, signal, sys\n"
        "from calkd_edge.cli.signals import ended_by_signals\n"
        "class Finder:\n"
        "    sent = False\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy.exceptions' and not self.sent:\n"
        "            self.sent = True\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    with ended_by_signals():\n"
        "        import numpy, time\n"
        "        time.sleep(10)\n"
        "except KeyboardInterrupt:\n"
        "    print('numpy._core._multiarray_umath' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    # Python ends itself by SIGINT where it came in code that a library runs.
    assert done.returncode in (0, -signal.SIGINT)
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_ctrl_c_after_the_command_has_ended_is_no_traceback():
    """Libraries still have their exits to run, which would print one."""
    program = (
        "import atexit, os, signal, sys\n"
        "sys.argv = ['calkd-edge', '--version']\n"
        "from calkd_edge.cli.app import main\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
    assert done.stdout.startswith("calkd-edge ")


def test_ctrl_c_while_the_command_is_imported_is_no_traceback(tmp_path):
    """The first module of the command line that is imported sends the signal."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Sender:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'calkd_edge.cli.app':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Sender())\n"
    )
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
    }
    line = [sys.executable, "-m", "calkd_edge", "--version"]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


def test_closed_streams_are_no_traceback(tmp_path):
    line = f"{sys.executable} -m calkd_edge list losses <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], check=False).returncode == 0


def test_a_lack_of_memory_is_called_that(monkeypatch, capsys):
    def fails(*_, **__):
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")

    monkeypatch.setattr("calkd_edge.cli.app.app", fails)
    assert main(["list", "losses"]) == 6
    assert "error: not enough memory" in capsys.readouterr().err


def test_end_that_a_library_replaces_by_an_error_of_its_own_is_still_the_end():
    """As torch's exporter does: "cannot export", where a person pressed Ctrl-C."""

    def exporting():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as cause:
            raise RuntimeError("cannot export") from cause

    with pytest.raises(Ended) as ended, ended_by_signals():
        exporting()
    assert str(ended.value.__cause__) == "cannot export"
    with pytest.raises(RuntimeError, match="an error without a signal"), ended_by_signals():
        raise RuntimeError("an error without a signal")
