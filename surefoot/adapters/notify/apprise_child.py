"""Run as the child process that sends messages with the Apprise library or to PagerDuty.

Reads one JSON object from standard input: `{"kind": ..., "address": ..., "patience": <seconds>, "messages": [...]}`,
each message with `id`, `title`, `body`, `type`, `incident`, `topic` and `over`. Writes one JSON line a message, as soon
as it is known what became of it:
`{"id": ..., "problem": ...}`; an empty problem means that the receiver has confirmed it.
"""

import json
import logging
import signal
import sys
from typing import Any


class _Collector(logging.Handler):
    """Keeps what Apprise warns of: it says why a message was refused, and only there."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self.lines.append(record.getMessage())


def main() -> None:
    """Send what standard input asks for."""
    asked = json.loads(sys.stdin.read())
    signal.alarm(int(asked["patience"]) + 5)  # where the parent was killed, this process ends by itself
    if asked["kind"] == "pagerduty":
        _send_events(asked)
    else:
        _send_by_apprise(asked)


def _send_events(asked: dict[str, Any]) -> None:
    """Send messages to PagerDuty."""
    from surefoot.adapters.notify import pagerduty_events  # noqa: PLC0415 - after the secret has been read

    service = pagerduty_events.read_pagerduty_address(asked["address"])
    for one in asked["messages"]:
        problem = "this is no address of PagerDuty" if service is None else pagerduty_events.send_event(service, one)
        _tell(one["id"], problem)


def _send_by_apprise(asked: dict[str, Any]) -> None:
    """Send messages to a service that Apprise knows."""
    import apprise  # noqa: PLC0415 - after the secret has been read: an import that fails must not print it

    collector = _Collector()
    logging.getLogger("apprise").addHandler(collector)
    service = apprise.Apprise.instantiate(asked["address"], suppress_exceptions=True)
    for one in asked["messages"]:
        collector.lines.clear()
        if service is None:
            problem = "no service of Apprise reads this address"
        else:
            headers = getattr(service, "headers", None)  # services that speak plain HTTP have them
            if isinstance(headers, dict):
                headers["Idempotency-Key"] = one["id"]
            kind = apprise.NotifyType(one["type"])
            try:
                done = service.notify(body=one["body"], title=one["title"], notify_type=kind)
            except Exception as error:  # noqa: BLE001 - a service that fails must not keep the next message back
                done, collector.lines = False, [f"the service has failed: {type(error).__name__}"]
            problem = "" if done else ("; ".join(collector.lines) or "it was not confirmed")
        _tell(one["id"], problem)


def _tell(message: str, problem: str) -> None:
    """Say what became of a message."""
    sys.stdout.write(json.dumps({"id": message, "problem": problem}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
