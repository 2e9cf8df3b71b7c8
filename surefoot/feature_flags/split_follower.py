"""Keep traffic splits up to date in a thread that follows the stream of splits from the controller."""

import json
import ssl
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from surefoot.core.domain import Split
from surefoot.core.traffic_split_json import decode_traffic_split

SPLITS_PATH = "/api/splits"
"""Where the controller streams splits."""
_SILENCE_S = 5.0
"""How long a stream may say nothing before it is opened again [s]; it says something every second."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0
"""Pause before a stream is opened again: it doubles with each failure in a row [s]."""


@dataclass(frozen=True, slots=True)
class FollowedSplit:
    """The split of a model, as it was said last.

    Attributes:
        split: The split.
        is_fresh: Whether it was confirmed within the time to live.
    """

    split: Split
    is_fresh: bool


class SplitFollower:
    """Keeps the splits of some models up to date in a thread."""

    def __init__(
        self,
        page: str,
        token: str,
        models: Collection[str],
        time_to_live: float,
        on_change: Callable[[str], None] = lambda _what: None,
        tls_ca: str = "",
    ) -> None:
        """Follow nothing yet.

        Args:
            page: Address of the status page.
            token: Access token of a viewer of all these models; empty where the page asks for none.
            models: Registered models.
            time_to_live: How long a split counts after it was said last [s].
            on_change: Is told what has happened: "ready", "changed" or "stale".
            tls_ca: PEM file of the authorities that the page's certificate is verified against; those of this host
                without it.

        Raises:
            OSError: That file cannot be read.
        """
        self._url, self._token, self._models = page.rstrip("/") + SPLITS_PATH, token, sorted(models)
        self._time_to_live, self._on_change = time_to_live, on_change
        self._verify = ssl.create_default_context(cafile=tls_ca) if tls_ca else True
        self._splits: dict[str, tuple[Split, float]] = {}
        self._stopped, self._came = threading.Event(), threading.Event()
        self._was_fresh = False
        self.problem = "the controller has not answered yet"

    def start(self) -> None:
        """Follow from now on."""
        threading.Thread(target=self._run, name="surefoot splits", daemon=True).start()

    def stop(self) -> None:
        """Follow no longer."""
        self._stopped.set()

    def wait(self, patience: float) -> bool:
        """Wait until splits have come; whether they have.

        Args:
            patience: How long at most [s].
        """
        return self._came.wait(patience)

    def split(self, model: str) -> FollowedSplit | None:
        """The split of a model; None where none was ever said."""
        known = self._splits.get(model)
        if known is None:
            return None
        split, at = known
        return FollowedSplit(split, time.monotonic() - at <= self._time_to_live)

    def _run(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopped.is_set():
            try:
                self._follow()
                pause = _FIRST_PAUSE_S
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                self.problem = str(error) or repr(error)
            self._tell_if_stale()
            self._stopped.wait(pause)
            pause = min(2.0 * pause, _LONGEST_PAUSE_S)

    def _follow(self) -> None:
        """Read one stream until it ends or says nothing.

        Raises:
            HTTPError: The controller does not answer, or refuses.
            ValueError: It says what is no split.
        """
        headers = {"authorization": f"Bearer {self._token}"} if self._token else {}
        query = {"model": self._models}
        with httpx.stream(
            "GET", self._url, params=query, headers=headers, timeout=_SILENCE_S, verify=self._verify
        ) as answer:
            if answer.is_error:
                raise httpx.HTTPStatusError(
                    f"the controller answers {answer.status_code}: {answer.read().decode(errors='replace')[:200]}",
                    request=answer.request,
                    response=answer,
                )
            for line in answer.iter_lines():
                if self._stopped.is_set():
                    return
                if line.startswith("data:"):
                    self._take(json.loads(line.removeprefix("data:")))

    def _take(self, told: Mapping[str, Any]) -> None:
        """Keep what one message says: a model that it leaves out is not known at the moment."""
        now, changed = time.monotonic(), False
        for model, split in told["splits"].items():
            made, before = decode_traffic_split(split), self._splits.get(model)
            changed = changed or before is None or before[0] != made
            self._splits[model] = made, now
        self.problem = ""
        if self._splits and not self._was_fresh:
            self._was_fresh = True
            self._came.set()
            self._on_change("ready")
        elif changed:
            self._on_change("changed")

    def _tell_if_stale(self) -> None:
        """Say once that no split is confirmed any more."""
        if self._was_fresh and not any(time.monotonic() - at <= self._time_to_live for _, at in self._splits.values()):
            self._was_fresh = False
            self._on_change("stale")
