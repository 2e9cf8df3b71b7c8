"""Read and write route files, so that a restarted gateway keeps its routes."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from surefoot.core.naming.model_names import find_model_of_file_name, model_file_name
from surefoot.core.traffic_split_json import (
    decode_traffic_split,
    decode_version,
    encode_traffic_split,
    encode_version,
)
from surefoot.gateway.inference.routes.entry_fields import (
    FALLBACK_KEY,
    ROLLING_BACK_KEY,
    STANDBY_KEY,
    UNBATCHABLE_KEY,
    read_fallback,
    read_standby,
)
from surefoot.gateway.inference.routes.request_policy import RequestPolicy, list_or_empty

_log = logging.getLogger(__name__)
_ENTRY_KEYS = {"warm", "cut", "unit", "kept", STANDBY_KEY, ROLLING_BACK_KEY, FALLBACK_KEY}
"""Keys of a route file that are not keys of its split."""
_MODEL_KEY = "model"
"""Names the model in a route file whose own name cannot."""


@contextlib.contextmanager
def hold_route_file_lock(root: Path) -> Iterator[None]:
    """Hold the lock of the route files; only one worker writes at a time."""
    descriptor = os.open(root / "routes.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _file_content(model: str, entry: Mapping[str, object]) -> bytes:
    """Give the bytes of the route file for an entry of the route table."""
    split = entry["route"]
    extra = {key: value for key, value in entry.items() if key not in {"route", UNBATCHABLE_KEY}}
    if (
        find_model_of_file_name(model_file_name(model)) is None
    ):  # the name of the file is too short to hold that of the model
        extra[_MODEL_KEY] = model
    return orjson.dumps({**(split if isinstance(split, Mapping) else {}), **extra}, option=orjson.OPT_INDENT_2)


def is_route_saved(root: Path, model: str, entry: Mapping[str, object]) -> bool:
    """Whether the route file is that of an entry."""
    with contextlib.suppress(OSError):
        return (root / "routes" / f"{model_file_name(model)}.json").read_bytes() == _file_content(model, entry)
    return False


def save_route(root: Path, model: str, entry: Mapping[str, object]) -> None:
    """Write the route file so that a crash leaves the old or the new one; call it inside `hold_route_file_lock`.

    Raises:
        OSError: The disk refuses; the old file stands.
    """
    folder = root / "routes"
    folder.mkdir(parents=True, exist_ok=True)
    name = model_file_name(model)
    draft = folder / f".{name}.tmp"
    with contextlib.ExitStack() as undo:
        undo.callback(draft.unlink, missing_ok=True)
        with draft.open("wb") as file:
            file.write(_file_content(model, entry))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(folder / f"{name}.json")
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        undo.callback(os.close, directory)
        os.fsync(directory)


def read_routes(root: Path) -> dict[str, dict[str, object]]:
    """Read every route file.

    Returns:
        The entry of each model, as the route table holds it; {"broken": sentence} where the file cannot be used.
    """
    found: dict[str, dict[str, object]] = {}
    for file in sorted((root / "routes").glob("*.json")):
        model = find_model_of_file_name(file.stem)
        try:
            value = orjson.loads(file.read_bytes())
            if isinstance(value, dict):
                named = str(value.pop(_MODEL_KEY, ""))
                model = find_model_of_file_name(file.stem, [named])
            if model is not None:
                found[model] = _entry(value)
        except (OSError, ValueError) as error:  # orjson's error is a ValueError
            found[model or file.stem] = {"broken": f"the route file cannot be used: {error}"}
            _log.critical("%s: the route file cannot be used: %s", file.stem, error)
    return found


def _entry(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ValueError("a route is a JSON object")  # noqa: TRY004 - one kind of error for one kind of mistake
    extra = {key: value[key] for key in _ENTRY_KEYS & value.keys()}
    warm = [encode_version(decode_version("warm", one)) for one in list_or_empty(extra.get("warm"))]
    RequestPolicy.decode(extra)
    read_standby(extra)
    read_fallback(extra)
    return {
        "route": encode_traffic_split(decode_traffic_split({key: value[key] for key in value.keys() - _ENTRY_KEYS})),
        **extra,
        "warm": warm,
    }
