"""Signals that end a command which starts servers."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from surefoot.cli.local.signals import STOP_SIGNALS, defer_stop_signals, exit_on_stop_signals


@pytest.fixture(autouse=True)
def _usual_handlers() -> Iterator[None]:
    """Hear every signal, as at a terminal: who starts the tests in the background ignores some for them."""
    usual = dict.fromkeys(STOP_SIGNALS, signal.SIG_DFL) | {signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# Told to end where Python drops the exception of a handler: beside a fork, and in a finalizer.
PROGRAM = """
import os, signal, sys, time
from surefoot.cli.local.signals import exit_on_stop_signals
number, place = int(sys.argv[1]), sys.argv[2]
told = []
def once():
    if not told:
        told.append(number)
        signal.raise_signal(number)
class Finalized:
    def __del__(self):
        once()
with exit_on_stop_signals():
    print("begins", flush=True)
    if place == "fork":
        os.register_at_fork(after_in_parent=once)
        if os.fork() == 0:
            os._exit(0)
    else:
        Finalized()
    time.sleep(60)
print("goes on", flush=True)
"""


@pytest.mark.parametrize("place", ["fork", "finalizer"])
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_whose_exception_is_dropped_comes_again(number: signal.Signals, place: str) -> None:
    """A command that is told to end beside a fork or in a finalizer ends, though Python drops the first exception."""
    program = [sys.executable, "-c", PROGRAM, str(number.value), place]
    done = subprocess.run(program, capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == "begins\n"
    assert done.returncode == (-number if number == signal.SIGINT else 128 + number)


def test_other_dropped_exceptions_are_reported() -> None:
    """What a finalizer raises of another kind is told as usual, and ends nothing."""

    class Breaks:
        def __del__(self) -> None:
            raise ValueError("on the way out")

    seen: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, seen.append
    try:
        with exit_on_stop_signals():
            Breaks()
    finally:
        sys.unraisablehook = before
    assert len(seen) == 1


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_held_signal_ends_the_command_afterwards(number: signal.Signals) -> None:
    """A signal that arrives between the start of a process and its note acts once the note is written."""
    noted = []

    def start() -> None:
        with exit_on_stop_signals():
            with defer_stop_signals():
                signal.raise_signal(number)
                noted.append("process")
            time.sleep(10)
            noted.append("goes on")

    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        start()
    assert noted == ["process"]


def test_what_is_ignored_stays_ignored() -> None:
    """Under nohup a hang-up ends nothing, and every handler is what it was before afterwards."""
    before = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGALRM)}
    kept = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with exit_on_stop_signals(), defer_stop_signals():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, kept)
    assert {number: signal.getsignal(number) for number in before} == before
