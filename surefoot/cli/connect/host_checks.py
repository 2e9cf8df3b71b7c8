"""Check flows, policies, home folder, address, certificate and clock of a host before a stack starts."""

import email.utils
import os
import socket
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from surefoot.core.errors import Rejected
from surefoot.settings import Settings
from surefoot.tls_files import TlsFiles, check_tls_files

_MOST_SKEW_S = 60.0
"""How far the clock of a server may be from this host's [s]: ticks come every minute."""


def check_flows(project: Path) -> str:
    """Check that a folder holds flows to deploy.

    Raises:
        Rejected: It does not.
    """
    if not (project / "prefect.yaml").is_file():
        raise Rejected(
            f"{project} has no prefect.yaml: run 'surefoot up' in the project folder, or name it with --project"
        )
    return f"project {project}"


def check_policies(project: Path) -> str:
    """Check that a project has a folder of policies.

    Raises:
        Rejected: It has none.
    """
    if not (project / "configs").is_dir():
        raise Rejected(f"{project} has no folder configs, so no model has a policy: make it, or name another --project")
    return f"policies in {project / 'configs'}"


def check_home(home: Path) -> str:
    """Check that the home folder can be written, or made.

    Raises:
        Rejected: It cannot.
    """
    folder = home
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return f"home folder {home}"
    except OSError as error:
        raise Rejected(
            f"the home folder {home} cannot be written ({error.strerror}): set SUREFOOT_HOME to one that can"
        ) from error


def check_listen_address(config: Settings) -> str:
    """Check that the gateway can listen where it shall.

    Raises:
        Rejected: The port is taken, or the address is not of this host.
    """
    host, port = config.listen_address
    try:
        with socket.create_server((host, port)):
            return f"gateway: {host}:{port} is free"
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise Rejected(
            f"the gateway cannot listen at {host}:{port} ({why}): end what holds it, or name another --listen"
        ) from error


def check_page_certificate(config: Settings, tls: TlsFiles) -> str:
    """What is to be known where the certificate is not for the status page's address; empty where it is."""
    host, _ = config.page_address
    try:
        check_tls_files(replace(tls, name=host))
    except Rejected:
        return (
            f"the certificate is not for {host}, at which the status page listens: reach the page under a name that it"
            " is for"
        )
    return ""


def check_clock(date: str, server: str, now: float | None = None) -> None:
    """Compare the clock of a server with this host's.

    Args:
        date: HTTP header Date of the server's answer, which has just come; nothing is checked without one.
        server: How messages name it.
        now: Time of this host [Unix seconds]; the present one without it.

    Raises:
        Rejected: They are too far apart: flow runs would come late or early, and look dead.
    """
    try:
        there = email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return
    skew = there - (time.time() if now is None else now)
    if abs(skew) > _MOST_SKEW_S:
        way = "ahead of" if skew > 0 else "behind"
        raise Rejected(
            f"the clock of {server} is {abs(skew):.0f} s {way} this host's: set both by NTP ({_MOST_SKEW_S:.0f} s are"
            " accepted)"
        )
