"""Handle stop signals in commands that start servers, so that no server is left over."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S = 0.05
"""When a signal whose exception was dropped comes again [s]."""


@contextlib.contextmanager
def exit_on_stop_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that a closed terminal leaves no server running.

    Python drops an exception that a handler raises inside a finalizer or beside a fork. Such a signal comes again a
    moment later, Ctrl-C too.
    """
    dropped: list[BaseException] = []

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    def again(_number: int, _frame: object) -> None:
        raise dropped[-1]

    def watch(lost: "sys.UnraisableHookArgs") -> None:
        if not isinstance(lost.exc_value, SystemExit | KeyboardInterrupt):
            report(lost)
            return
        dropped.append(lost.exc_value)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)

    heard = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]  # as by nohup
    handlers = {number: signal.signal(number, stop) for number in heard}
    handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, again)
    blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, {*heard, signal.SIGALRM})
    report, sys.unraisablehook = sys.unraisablehook, watch
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        sys.unraisablehook = report
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


@contextlib.contextmanager
def defer_stop_signals() -> Iterator[None]:
    """Let a signal that would end this command wait: for the time between the start of a process and its note.

    A mask is not enough: another thread takes the signal, and its handler runs in the main thread all the same.
    """
    if threading.current_thread() is not threading.main_thread():  # no handler runs here
        yield
        return
    waiting: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _frame: waiting.append(number))
        for number in STOP_SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])


def reset_signal_handlers() -> None:
    """Give a new process the usual signals: one that inherits an ignored SIGINT would shrug off its first SIGTERM."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
