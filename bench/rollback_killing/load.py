"""Send requests at a fixed rate, and send a request once more when it gets no answer."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from urllib.parse import urlsplit

_RATE = 20.0
"""Requests a second."""
_CALLERS = 16
_TIMEOUT_S = 30.0


@dataclass(slots=True)
class RequestLoad:
    """What callers of one model have seen.

    Attributes:
        url: Where the gateway listens.
        model: Registered model.
        answered: Begin [monotonic seconds] and version of each answer.
        cut: Requests whose first attempt got no answer [count].
        lost: Requests that got none at the second attempt either [count].
        first_loss: What the first lost request was told.
    """

    url: str
    model: str
    answered: list[tuple[float, str]] = field(default_factory=list)
    cut: int = 0
    lost: int = 0
    first_loss: str = ""

    def ask(self, name: str) -> None:
        """Send one request; send it again when it gets no answer, as a client does."""
        for attempt in ("", "-again"):
            began = time.monotonic()
            try:
                version = self._send(name + attempt)
            except (OSError, http.client.HTTPException) as error:
                if attempt:
                    self.lost += 1
                    self.first_loss = self.first_loss or repr(error)
                else:
                    self.cut += 1
                continue
            self.answered.append((began, version))
            return

    def _send(self, name: str) -> str:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=_TIMEOUT_S)
        with contextlib.closing(connection):
            headers = {"content-type": "application/json", "x-request-id": name}
            body = json.dumps({"dataframe_records": [{"x": 1.0}]})
            connection.request("POST", f"/models/{self.model}/invocations", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != http.client.OK:
                raise http.client.HTTPException(f"{answer.status} {said[:200]!r}")
            return answer.headers.get("x-model-version", "")


@contextlib.contextmanager
def running_load(url: str, model: str, name: str) -> Iterator[RequestLoad]:
    """Callers under way; every request has been answered or lost when this ends.

    Args:
        url: Where the gateway listens.
        model: Registered model.
        name: Beginning of the requests' ids.
    """
    load, enough = RequestLoad(url, model), threading.Event()

    def send() -> None:
        began = time.monotonic()
        with ThreadPoolExecutor(_CALLERS) as pool:
            for number in count():
                if enough.wait(max(began + number / _RATE - time.monotonic(), 0.0)):
                    return
                pool.submit(load.ask, f"{name}-{number}")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield load
    finally:
        enough.set()
        thread.join()
