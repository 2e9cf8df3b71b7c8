"""Send requests, which a fault may change, and labels to a drill's copy of production (its twin)."""

import http.client
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import local
from urllib.parse import urlsplit

import orjson
import pandas as pd

from surefoot.demo.traffic_replay import CallerCounts
from surefoot.drills.staging_twin import StagingTwin

_CALLERS = 4
"""Callers that ask at the same time [count]."""
_TIMEOUT_S = 30.0
"""How long a caller waits for an answer [seconds]."""
_LABELS_AT_ONCE = 500
ChangeRow = Callable[[dict[str, object], int], dict[str, object]]
"""Changes what is sent: the row, and how many requests were changed before."""


class TwinCallers:
    """Plays a table of requests again and again; the clock of the twin follows them.

    Attributes:
        seen: What the callers saw.
        change: Changes each row before it is sent; None sends it as it is.
        labels: Whether labels are delivered.
    """

    def __init__(self, twin: StagingTwin, traffic: pd.DataFrame, place: int = 0) -> None:
        """Know what is sent and where.

        Args:
            twin: Whose gateway is asked.
            traffic: Requests in order of `at`: `id`, `at`, `label`, `label_at`, and the columns of a row.
            place: Requests that were sent before [count].
        """
        self.seen = CallerCounts()
        self.change: ChangeRow | None = None
        self.labels = True
        self.place = place
        self._twin = twin
        self._clock = twin.clock
        self._traffic = traffic
        self._length = float(traffic["at"].iloc[-1] - traffic["at"].iloc[0]) + 60.0
        self._changed = 0
        self._due: list[tuple[float, str, object]] = []
        self._pool = ThreadPoolExecutor(_CALLERS, thread_name_prefix="callers")
        self._own = local()
        self._connections: list[http.client.HTTPConnection] = []
        self._address = urlsplit(twin.config.gateway)

    def close(self) -> None:
        """End the callers."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        for connection in self._connections:
            connection.close()

    def send(self, count: int) -> None:
        """Send the next requests, then the labels that are known by then; the clock stands at the last request."""
        chunk = [self._at(place) for place in range(self.place, self.place + count)]
        self.place += count
        futures = []
        for at, name, row, label, known in chunk:
            if self.change is not None:
                row = self.change(row, self._changed)  # noqa: PLW2901 - the row that is sent
                self._changed += 1
            futures.append(self._pool.submit(self._ask, at, name, orjson.dumps({"dataframe_records": [row]})))
            if known is not None:
                self._due.append((max(known, at), name, label))
        for future in futures:
            future.result()
        if chunk:
            self._clock.set(max(self._clock.now(), chunk[-1][0]))
        self.send_labels()

    def send_labels(self) -> None:
        """Send the labels that are known by now."""
        now = self._clock.now()
        known = [one for one in self._due if one[0] <= now]
        self._due = [one for one in self._due if one[0] > now]
        for start in range(0, len(known), _LABELS_AT_ONCE):
            part = known[start : start + _LABELS_AT_ONCE]
            body = orjson.dumps([{"request": name, "label": label, "at": at} for at, name, label in part])
            if self.labels:
                self._post(f"/models/{self._twin.model}/labels", body, {})

    def _at(self, place: int) -> tuple[float, str, dict[str, object], object, float | None]:
        """Time, id, row, label and the time it is known, of a request; the table begins anew at its end."""
        turn, index = divmod(place, len(self._traffic))
        row: dict[str, object] = {str(key): _plain(value) for key, value in self._traffic.iloc[index].items()}
        at, name = float(str(row.pop("at"))) + turn * self._length, f"{row.pop('id')}-{turn}"
        label, known = row.pop("label"), row.pop("label_at")
        told = label is not None and known is not None
        return at, name, row, label, float(str(known)) + turn * self._length if told else None

    def _ask(self, at: float, name: str, body: bytes) -> None:
        self._clock.set(max(self._clock.now(), at))
        status, text, version = self._post(f"/models/{self._twin.model}/invocations", body, {"x-request-id": name})
        self.seen.sent += 1
        if status == http.client.OK and _is_answer(text):
            self.seen.by_version[version] += 1
        else:
            self.seen.failed += 1
            self.seen.first_failure = self.seen.first_failure or f"{status} {text[:200]!r}"

    def _post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, str]:
        """Status, body and version of an answer; status 0 and the error where there is none."""
        try:
            connection = self._connection()
            connection.request("POST", path, body, {"content-type": "application/json", **headers})
            reply = connection.getresponse()
            return reply.status, reply.read(), reply.headers.get("x-model-version", "?")
        except (OSError, http.client.HTTPException) as error:
            with suppress(AttributeError):
                self._own.connection.close()
                del self._own.connection
            return 0, f"{type(error).__name__}: {error}".encode(), ""

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._own, "connection"):
            self._own.connection = http.client.HTTPConnection(
                str(self._address.hostname), self._address.port or 80, timeout=_TIMEOUT_S
            )
            self._connections.append(self._own.connection)
        connection: http.client.HTTPConnection = self._own.connection
        return connection


def _is_answer(text: bytes) -> bool:
    """Whether a body holds one prediction that is no missing value."""
    try:
        (answer,) = orjson.loads(text)["predictions"]
    except (ValueError, KeyError, TypeError):
        return False
    return all(value is not None for value in _values(answer))


def _values(answer: object) -> Iterator[object]:
    yield from answer if isinstance(answer, list) else [answer]


def _plain(value: object) -> object:
    """A cell as JSON has it: a gap is null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    item = getattr(value, "item", None)
    return item() if item is not None else value
