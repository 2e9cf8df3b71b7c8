"""`status` and `verify` name what is wrong, each in one line, and say so by their exit codes."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest

from surefoot.adapters import flow_progress
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.cli.local import prefect_server
from surefoot.cli.local.signals import reset_signal_handlers
from surefoot.core.domain import RolloutKind
from surefoot.core.journal.events import DriftFound, RolloutOpened
from tests.integration.emergency import MODEL, Emergency
from tests.integration.waiting import wait_for

Capture = pytest.CaptureFixture[str]


def _trouble(emergency: Emergency, capfd: Capture) -> str:
    """Everything that `status --json` says is wrong; its exit code agrees with it."""
    capfd.readouterr()
    code = emergency.command("status", "--json")
    told = json.loads(capfd.readouterr().out)
    lines = [*told["trouble"], *(line for model in told["models"] for line in model["trouble"])]
    assert (code, told["ok"]) == ((1, False) if lines else (0, True))
    capfd.readouterr()
    assert emergency.command("status") == code
    shown = capfd.readouterr().out
    assert all(line in shown for line in lines)
    return "\n".join(lines)


def test_a_killed_switch_is_said(emergency: Emergency, capfd: Capture) -> None:
    """While the kill switch is set, `status` says so and how to lift it."""
    emergency.ramp()
    assert emergency.command("kill", "-m", "alerts") == 0
    assert "the kill switch is set (alerts)" in _trouble(emergency, capfd)


def test_an_open_drift_is_said(emergency: Emergency, capfd: Capture) -> None:
    """A registry change that could not be made is told until it is resolved."""
    drift = DriftFound("", "alias champion", "1", "403: you may not", "champion", "1", "2", repeat=True)
    emergency.append(drift)
    assert "alias champion should be 1: 403: you may not" in _trouble(emergency, capfd)


@pytest.mark.parametrize("lose", ["all", "the end"])
def test_a_journal_that_is_behind_the_gateway_is_an_alarm(emergency: Emergency, capfd: Capture, lose: str) -> None:
    """Entries that the gateway knows of and the journal does not have are named by `status`, `verify` and `promote`."""
    emergency.ramp()
    emergency.journal.close()
    path = emergency.home / "journal.db"
    if lose == "all":
        path.unlink()
    else:
        whole = SqlJournal(f"sqlite:///{path}", SystemClock())
        entries = whole.read(MODEL)
        whole.close()
        path.unlink()
        cut = SqlJournal(f"sqlite:///{path}", SystemClock())
        for entry in entries[:2]:
            cut.append(MODEL, entry.seq - 1, entry.at, entry.actor, entry.kind, entry.data)
        cut.close()
    says = f"the journal of {MODEL} has {0 if lose == 'all' else 2} entries, but the gateway serves what entry"
    assert says in _trouble(emergency, capfd)
    assert emergency.command("verify") == 5
    assert says in capfd.readouterr().err
    assert emergency.live().weight == 50.0  # nothing was begun anew


def test_a_look_that_is_overdue_is_said(emergency: Emergency, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollout that was not looked at for twice its interval is named, with both times."""
    emergency.ramp()
    assert "the last look was" not in _trouble(emergency, capfd)
    now = time.time() + 3 * 3600.0
    monkeypatch.setattr("surefoot.adapters.clock.SystemClock.now", lambda _self: now)
    assert "the last look was 3 h ago, and one is due every 50 s: nothing is judged meanwhile" in _trouble(
        emergency, capfd
    )


def _down(emergency: Emergency) -> None:
    pid = os.getpid()
    emergency.processes({"prefect": (pid, 1.0)})


def _silent(emergency: Emergency) -> None:
    flow_progress.record_heartbeat(emergency.home, "watch")
    long_ago = time.time() - 3600.0
    os.utime(emergency.home / "ticks" / "watch", (long_ago, long_ago))
    emergency.processes({"gateway": (os.getpid(), long_ago - 3600.0 - psutil.boot_time())})


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_down, "prefect is not running: 'surefoot up' starts it"),
        (_silent, f"is due): {prefect_server.PAUSED_FLOW_EFFECTS['watch']}"),
    ],
)
def test_parts_and_ticks_that_do_not_come_are_said(
    emergency: Emergency, capfd: Capture, spoil: Callable[[Emergency], None], says: str
) -> None:
    """A part that is down, and a scheduled flow that has not come for two ticks, are named with what is missed."""
    spoil(emergency)
    assert says in _trouble(emergency, capfd)


def test_a_policy_of_another_edition_stops_no_status(emergency: Emergency, capfd: Capture) -> None:
    """A rollout whose journalled policy this edition cannot read is told like any other."""
    version, champion = emergency.candidate, emergency.champion
    old = {"model": MODEL, "words": "of another edition"}
    opened = RolloutOpened("r", RolloutKind.PROMOTION, version, champion, old, "", "", "salt", 1, "test")
    emergency.append(opened)
    capfd.readouterr()
    assert emergency.command("status", "--json") in {0, 1}
    (model,) = json.loads(capfd.readouterr().out)["models"]
    assert model["rollout"]["id"] == "r"


def test_watch_shows_it_again_in_eighty_columns(emergency: Emergency) -> None:
    """`status --watch` follows what changes, in lines of at most 80 columns, and Ctrl-C ends it alone."""
    emergency.ramp()
    columns = {**os.environ, "SUREFOOT_HOME": str(emergency.home), "COLUMNS": "80", "TERM": "xterm", "LINES": "60"}
    shown, terminal = pty.openpty()
    command = [sys.executable, "-m", "surefoot", "status", MODEL, "--watch"]
    # A test run in the background ignores Ctrl-C, and its children would inherit that.
    usual = reset_signal_handlers
    watching = subprocess.Popen(command, env=columns, stdout=terminal, stderr=terminal, preexec_fn=usual)  # noqa: PLW1509
    os.close(terminal)
    text = ""

    def read() -> str:
        """What was shown so far; a terminal that is not read from would hold the command up."""
        nonlocal text
        with contextlib.suppress(OSError):  # the command has ended
            if select.select([shown], [], [], 0.1)[0]:
                text += os.read(shown, 65536).decode(errors="replace")
        return text

    try:
        wait_for(lambda: "Ramping" in read())
        assert emergency.command("abort", MODEL, "-m", "test of the watch") == 0
        wait_for(lambda: "Aborted" in read())
        watching.send_signal(signal.SIGINT)
        wait_for(lambda: bool(read()) and watching.poll() is not None)
    finally:
        watching.kill()
        watching.wait()
        os.close(shown)
    assert watching.returncode in {0, 1}
    # Each frame begins where the cursor goes home.
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.replace("\x1b[H", "\n"))
    assert max(len(line) for line in plain.replace("\r", "").splitlines()) <= 80
    assert emergency.live().weight == 0.0
