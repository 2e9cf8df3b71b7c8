"""Send messages through an Apprise child process, within a time limit, and check receivers' addresses."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from surefoot.adapters.notify.secret_address import redact_address
from surefoot.core.notify.message import Severity
from surefoot.core.policy.recovery.notify_config import ReceiverKind

_START_S = 20.0
_MESSAGE_S = 8.0
"""How long a message may take, and how long the process may take to start on a busy machine [seconds]."""
MAX_BATCH_MESSAGES = 10
"""Most messages that one process sends [count]."""
_TYPES = {Severity.PAGE: "failure", Severity.WARNING: "warning", Severity.INFO: "info"}
_MAX_PROBLEM_LENGTH = 300


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """One message for a receiver.

    Attributes:
        id: The same whenever it is sent again, so that a receiver can leave out what it has had.
        severity: How soon a person has to read it.
        title: One line.
        body: The text.
        incident: Incident that it belongs to; empty without one.
        topic: What it is about.
        over: Whether the receiver has been told already that the incident is closed.
    """

    id: str
    severity: Severity
    title: str
    body: str
    incident: str = ""
    topic: str = ""
    over: bool = False


def send_messages(
    address: str,
    messages: Sequence[OutgoingMessage],
    patience_s: float | None = None,
    kind: ReceiverKind = ReceiverKind.APPRISE,
) -> dict[str, str]:
    """Send messages to one receiver; returns when each is confirmed, refused, or has waited too long.

    Args:
        address: Address of Apprise with its secrets; it is given over a pipe, so that no list of processes shows it.
        messages: At most `MAX_BATCH_MESSAGES`.
        patience_s: How long all of them may take [seconds]; by default in proportion to their number.
        kind: Who reads the address.

    Returns:
        Why each was not delivered, without secrets, by id; empty for one that the receiver has confirmed.
    """
    lines = [
        {
            "id": one.id,
            "title": one.title,
            "body": f"{one.body}\n\nmessage {one.id}",
            "type": _TYPES[one.severity],
            "incident": one.incident,
            "topic": one.topic,
            "over": one.over,
        }
        for one in messages
    ]
    patience = _START_S + _MESSAGE_S * len(messages) if patience_s is None else patience_s
    asked = json.dumps({"kind": kind.value, "address": address, "patience": patience, "messages": lines}).encode()
    command = [sys.executable, "-m", "surefoot.adapters.notify.apprise_child"]
    try:
        done = subprocess.run(  # noqa: S603 - ours
            command, input=asked, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=patience, check=False
        )
        said, otherwise = done.stdout, f"the process that sends has ended (exit code {done.returncode})"
    except subprocess.TimeoutExpired as error:
        said, otherwise = error.stdout or b"", f"no answer within {patience:.0f} s"
    except OSError as error:
        said, otherwise = b"", f"no process can be started: {error.strerror}"
    found = {one.id: otherwise for one in messages}
    for line in said.decode("utf-8", "replace").splitlines():
        try:
            result = json.loads(line)
            problem = redact_address(str(result["problem"]), address)[:_MAX_PROBLEM_LENGTH].rstrip(".")
        except (ValueError, TypeError, KeyError):  # cut off in the middle
            continue
        if result["id"] in found:
            found[result["id"]] = problem
    return found


@lru_cache(maxsize=64)
def find_address_problem(written: str, *, secret: bool) -> str:
    """Why an address cannot stand in the file as it is written; empty where it can.

    Args:
        written: The address as the file holds it, where it holds no placeholder; otherwise with its values.
        secret: Whether it may hold a secret, because that is not in the file.
    """
    if "://" not in written:
        return "is no address such as json://host/path: see the list of services of Apprise"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports a module that Python 3.13 no longer has, where that is there
        import apprise  # noqa: PLC0415 - it costs half a second, and few commands need it

        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        service = apprise.Apprise.instantiate(written, suppress_exceptions=True)
    if service is None:
        scheme = written.partition("://")[0]
        return f"is no address that Apprise reads for {scheme if len(scheme) < 20 else 'its scheme'}://"  # noqa: PLR2004
    # Apprise has no types here.
    if not secret and service.url(privacy=True) != service.url(privacy=False):  # type: ignore[no-untyped-call]
        return "holds a secret: write ${NAME} for it, and set the environment variable NAME, or use url_file"
    return ""
