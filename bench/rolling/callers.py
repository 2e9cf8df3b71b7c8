"""`python -m bench.rolling.callers HOST PORT PATH CONNECTIONS FILE [UNITS]`: sends requests until SIGTERM.

Every answer is kept with the moment of its arrival, the version that gave it and the moment when its prediction began
(the models of the bench answer with the monotonic clock, which all processes of a machine share; the candidate's is
negative), and so is the beginning of every acknowledged request's id. With a number of units each request names the
next one of them, and unit, version and generation of every answer are kept as well.
"""

import asyncio
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import uvloop

_BODY = b'{"instances": [{"x": 1.0}]}'
_UNIT = '{"instances": [{"x": 1.0, "unit": "%07d"}]}'
_ANSWER = re.compile(rb"([\d.eE+-]+)\s*\]")
_RETRY_S = 0.005
FAILED, OLD, NEW = 0, 1, 2


class _Caller(asyncio.Protocol):
    """One connection that asks again as soon as it is answered."""

    def __init__(self, crowd: "_Crowd") -> None:
        """Belong to the others."""
        self._crowd = crowd
        self._heard = bytearray()
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._heard.clear()
        self._waiting = True
        self._unit, request = self._crowd.following()
        self._transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        self._heard += data
        end = self._heard.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._heard[:end]).lower()
        length = re.search(rb"content-length: (\d+)", head)
        if length is None or len(self._heard) < end + 4 + int(length[1]):
            return
        self._waiting = False
        self._crowd.note(head, bytes(self._heard[end + 4 :]), self._unit)
        if self._crowd.stopping:
            self._transport.close()
        elif b"connection: close" in head:
            self._transport.close()  # it was asked to: no failure
            self._crowd.again(0.0)
        else:
            self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        """A connection that ends while it waits for its answer has failed."""
        if self._waiting:
            self._crowd.fail()
            self._crowd.again(_RETRY_S)


class _Crowd:
    """All connections together."""

    def __init__(self, host: str, port: int, path: str, units: int) -> None:
        """Know where to ask, and for how many units (0 for none)."""
        self._address = host, port
        kind = "Content-Type: application/json\r\nContent-Length: %d"
        self._head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\n\r\n"
        self._plain = (self._head % len(_BODY)).encode() + _BODY
        self._units, self._turn = units, 0
        self.routed: list[tuple[int, int, int]] = []
        self.stopping = False
        self.seen: list[tuple[float, int, float]] = []
        self.requests: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def following(self) -> tuple[int, bytes]:
        """The next unit and its request."""
        if not self._units:
            return -1, self._plain
        self._turn += 1
        unit = self._turn % self._units
        body = _UNIT % unit
        return unit, (self._head % len(body) + body).encode()

    def note(self, head: bytes, body: bytes, unit: int) -> None:
        """Keep an answer."""
        now = time.monotonic()
        began = _ANSWER.search(body)
        if not head.startswith(b"http/1.1 200") or began is None:
            self.seen.append((now, FAILED, 0.0))
        else:
            if (request := re.search(rb"x-request-id: ([0-9a-f]{16})", head)) is not None:
                self.requests.append(int(request[1], 16))
            old = float(began[1]) < 0.0  # the models say who they are, for not every server does
            if unit >= 0 and (generation := re.search(rb"x-model-generation: (\d+)", head)) is not None:
                self.routed.append((unit, 2 if old else 1, int(generation[1])))
            self.seen.append((now, OLD if old else NEW, abs(float(began[1]))))

    def fail(self) -> None:
        """Keep a failure."""
        if not self.stopping:
            self.seen.append((time.monotonic(), FAILED, 0.0))

    def again(self, pause: float) -> None:
        """Open another connection instead."""
        if not self.stopping:
            task = asyncio.get_running_loop().create_task(self.open(pause))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def open(self, pause: float = 0.0) -> None:
        """Open a connection, however often it takes; every refusal is a failed request."""
        await asyncio.sleep(pause)
        while not self.stopping:
            try:
                await asyncio.get_running_loop().create_connection(lambda: _Caller(self), *self._address)
            except OSError:
                self.fail()
                await asyncio.sleep(_RETRY_S)
            else:
                return


async def _ask_until_stopped(host: str, port: int, path: str, connections: int, file: Path, units: int) -> None:
    """Ask until SIGTERM, then write what was seen."""
    crowd = _Crowd(host, port, path, units)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await asyncio.gather(*(crowd.open() for _ in range(connections)))
    await stop.wait()
    crowd.stopping = True
    await asyncio.sleep(0.5)
    np.savez(
        file,
        seen=np.array(crowd.seen),
        requests=np.array(crowd.requests, dtype=np.uint64),
        routed=np.array(crowd.routed),
    )


if __name__ == "__main__":
    host, port, path, connections, file, *units = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            _ask_until_stopped(host, int(port), path, int(connections), Path(file), int(units[0]) if units else 0)
        )
