"""Send commands to one HAProxy process through its runtime API."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from surefoot.core.errors import GatewayUnavailable, OutcomeUnknown, Rejected

_CONNECT_TIMEOUT_S = 2.0
_ANSWER_TIMEOUT_S = 5.0
"""How long HAProxy may take to answer one line of commands [s]; it takes less than a millisecond."""
_MAX_ANSWER = 4 * 1024 * 1024  # a backend of ten thousand servers [bytes]
_RUNNING = 2  # value of srv_op_state
_IN_MAINTENANCE = 0b100111  # bits of srv_admin_state: by command, inherited, by configuration, by name resolution
_MAP_LINE = re.compile(r"^(?P<id>-?\d+) \((?P<file>[^)]*)\)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ServerState:
    """What HAProxy says of a server.

    Attributes:
        weight: Its part of the backend's traffic [0 to 256, beside the other servers'].
        usable: Whether it takes requests: its checks do not fail, and it is not in maintenance.
    """

    weight: int
    usable: bool


class HaproxyRuntime:
    """The runtime API of one HAProxy process.

    Attributes:
        address: unix:/path/of/socket or tcp://host:port.
    """

    def __init__(self, address: str) -> None:
        """Remember where; nothing is contacted yet."""
        self.address = address

    def servers(self, backend: str) -> dict[str, ServerState]:
        """Every server of a backend by name.

        Raises:
            Rejected: There is no such backend.
            GatewayUnavailable: HAProxy does not answer, or says something that cannot be read.
        """
        text = self._ask(f"show servers state {backend}")
        lines = [line for line in text.splitlines() if line.strip()]
        header = next((line for line in lines if line.startswith("# ")), "")
        if not header:
            raise Rejected(f"HAProxy at {self.address} has no backend '{backend}': {text.strip()[:200]}")
        columns = header[2:].split()
        found = {}
        try:
            for line in lines[lines.index(header) + 1 :]:
                told = dict(zip(columns, line.split(), strict=False))
                usable = int(told["srv_op_state"]) == _RUNNING and not int(told["srv_admin_state"]) & _IN_MAINTENANCE
                found[told["srv_name"]] = ServerState(int(told["srv_uweight"]), usable)
        except (KeyError, ValueError) as error:
            raise GatewayUnavailable(
                f"HAProxy at {self.address} tells servers that cannot be read: {error!r}"
            ) from error
        return found

    def find_map(self, name: str) -> str:
        """How commands name the map whose file has this name, such as "#3".

        Raises:
            Rejected: No part of HAProxy's configuration uses such a map.
            GatewayUnavailable: HAProxy does not answer.
        """
        for found in _MAP_LINE.finditer(self._ask("show map")):
            if found["file"].rsplit("/", 1)[-1] == name:
                return f"#{found['id']}"
        raise Rejected(
            f"HAProxy at {self.address} has no map of a file {name}, where the split's generation is kept: see"
            " docs/engines.md"
        )

    def map_entry(self, map_: str, key: str) -> str | None:
        """Value of a key in a map; None without it."""
        for line in self._ask(f"show map {map_}").splitlines():
            parts = line.split(" ", 2)
            if len(parts) == 3 and parts[1] == key:  # noqa: PLR2004 - reference, key, value
                return parts[2].strip()
        return None

    def command(self, *commands: str) -> None:
        """Carry commands out in this order, in one line: HAProxy answers each with nothing when it was done.

        Raises:
            Rejected: HAProxy refuses one of them; those before it were done.
            GatewayUnavailable: HAProxy does not answer; nothing was done.
            OutcomeUnknown: It did not say whether they were done.
        """
        said = [line.strip() for line in self._ask("; ".join(commands), writing=True).splitlines() if line.strip()]
        if said:
            raise Rejected(f"HAProxy at {self.address} refuses: {said[0][:200]}")

    def _ask(self, line: str, *, writing: bool = False) -> str:
        with self._connected() as talk:
            try:
                talk.sendall(f"{line}\n".encode())
                return _read_all(talk)
            except OSError as error:
                what = f"HAProxy at {self.address} did not answer '{line[:60]}': {error!r}"
                raise (OutcomeUnknown if writing else GatewayUnavailable)(what) from error

    @contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        kind, _, where = self.address.partition(":")
        try:
            if kind == "unix":
                talk = socket.socket(socket.AF_UNIX)
                talk.settimeout(_CONNECT_TIMEOUT_S)
                try:
                    talk.connect(where)
                except OSError:
                    talk.close()
                    raise
            else:
                host, _, port = where.removeprefix("//").rpartition(":")
                talk = socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S)
        except (OSError, ValueError) as error:
            raise GatewayUnavailable(f"HAProxy at {self.address} does not answer: {error!r}") from error
        with talk:
            yield talk


def _read_all(talk: socket.socket) -> str:
    """What HAProxy says until it closes the connection.

    Raises:
        OSError: It stays silent for too long, or says too much.
    """
    deadline = time.monotonic() + _ANSWER_TIMEOUT_S
    found = bytearray()
    while True:
        left = deadline - time.monotonic()
        if left <= 0.0:
            raise TimeoutError(f"no whole answer in {_ANSWER_TIMEOUT_S:g} s")
        talk.settimeout(left)
        part = talk.recv(65536)
        if not part:
            return found.decode("utf-8", "replace")
        found += part
        if len(found) > _MAX_ANSWER:
            raise OSError(f"an answer of more than {_MAX_ANSWER} bytes")
