"""Store when each scheduled flow last ran, and what MLflow and Prefect already show."""

import contextlib
from pathlib import Path
from urllib.parse import quote


def record_heartbeat(home: Path, name: str) -> None:
    """Record that a scheduled flow has run just now.

    Args:
        home: Folder of all state.
        name: Name of the flow.
    """
    path = home / "ticks" / name
    with contextlib.suppress(OSError):  # a full disk must not stop a look
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def last_heartbeat(home: Path, name: str) -> float | None:
    """When a scheduled flow last ran, by the host's clock [Unix seconds]; None before the first run.

    Args:
        home: Folder of all state.
        name: Name of the flow.
    """
    try:
        return (home / "ticks" / name).stat().st_mtime
    except OSError:
        return None


def record_entry_shown_in_mlflow(home: Path, model: str, head: int) -> None:
    """Record up to which journal entry MLflow shows a model's history.

    Args:
        home: Folder of all state.
        model: Registered model.
        head: Sequence of the entry.
    """
    _write(home / "shown" / quote(model, safe=""), str(head))


def last_entry_shown_in_mlflow(home: Path, model: str) -> int:
    """Sequence of the last entry that MLflow was made to show; 0 when that is not known.

    Args:
        home: Folder of all state.
        model: Registered model.
    """
    said = _read(home / "shown" / quote(model, safe=""))
    return int(said) if said.isdecimal() else 0


def record_flow_run_outcomes(home: Path, outcomes: str) -> None:
    """Record a digest of the outcomes that ended Prefect flow runs show.

    Args:
        home: Folder of all state.
        outcomes: Digest of the outcomes.
    """
    _write(home / "ticks" / "told", outcomes)


def last_flow_run_outcomes(home: Path) -> str:
    """Digest of the outcomes that the ended flow runs tell; empty when that is not known.

    Args:
        home: Folder of all state.
    """
    return _read(home / "ticks" / "told")


def _write(path: Path, text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk must not stop a flow: it is shown once more
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
