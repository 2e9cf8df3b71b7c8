"""Send OpenLineage events over HTTP, or append them to a file of JSON lines."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from surefoot.core.errors import Unavailable
from surefoot.telemetry.receiver_http import post_body

_API_KEY_VARIABLE = "OPENLINEAGE_API_KEY"
"""OpenLineage's variable for the key of the receiver."""
FILE_SCHEME = "file:"


class HttpLineageSender:
    """Sends each event in a request of its own, as the specification asks."""

    def __init__(self, url: str, environment: Mapping[str, str] | None = None) -> None:
        """Connect to nothing yet.

        Args:
            url: Where events are posted to, such as http://marquez:5000/api/v1/lineage.
            environment: Environment variables; those of this process without it.
        """
        key = (os.environ if environment is None else environment).get(_API_KEY_VARIABLE, "")
        self._url = url
        self._client = httpx.Client(headers={"authorization": f"Bearer {key}"} if key else {})

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def send(self, events: Sequence[Mapping[str, object]]) -> list[str]:
        """Send events in order.

        Returns:
            Why each of those was refused that the receiver will never take.

        Raises:
            Unavailable: The receiver does not answer, or cannot take anything now.
        """
        told = [post_body(self._client, self._url, _text(one).encode(), "application/json") for one in events]
        return [one for one in told if one]


class FileLineageSender:
    """Appends events to a file, one line each."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet; the first event creates the file."""
        self._path = path

    def close(self) -> None:
        """Leave the file as it is."""

    def send(self, events: Sequence[Mapping[str, object]]) -> list[str]:
        """Append events; they are on the disk afterwards.

        Returns:
            Nothing: a file refuses no event.

        Raises:
            Unavailable: The file cannot be written.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(f"{_text(one)}\n" for one in events))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be written: {error.strerror}") from error
        return []


def _text(event: Mapping[str, object]) -> str:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))
