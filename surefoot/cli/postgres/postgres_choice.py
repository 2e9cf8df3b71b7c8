"""Decide whether a home folder keeps its records in an embedded PostgreSQL, and say so."""

from collections.abc import Collection
from pathlib import Path

from surefoot.cli.connect.secret_urls import mask_password
from surefoot.cli.postgres.postgres_place import has_databases, postgres_folder, socket_folder
from surefoot.core.errors import JournalUnavailable, Rejected, SurefootError
from surefoot.settings import POSTGRES_DATABASES, Settings, read_settings

_SQLITE_FILES = {"journal": "journal.db", "mlflow": "mlflow/mlflow.db", "prefect": "prefect/prefect.db"}
_YES = "yes"


def plan_postgres(home: Path, before: Settings | None, named: Collection[str], *, wanted: bool) -> str:
    """Folder of the socket of this home's PostgreSQL; empty where it has none.

    A home keeps the choice of its first `up`: its records are there.

    Args:
        home: Folder of all state.
        before: The settings of the last stack of this home.
        named: What of journal, mlflow and prefect is named, and so kept elsewhere.
        wanted: Whether it is asked for now.

    Raises:
        Rejected: It is asked for in a home that keeps something in SQLite.
    """
    if (before is not None and before.postgres) or has_databases(home):
        return str(socket_folder(home))
    kept = [name for name in POSTGRES_DATABASES if name not in named]
    if not wanted or not kept:
        return ""
    for name in kept:
        file = home / _SQLITE_FILES[name]
        if file.exists():
            raise Rejected(
                f"{file} holds what this home has so far, and --postgres would begin without it: leave --postgres out,"
                " or take another SUREFOOT_HOME"
            )
    return str(socket_folder(home))


def with_embedded_postgres(
    home: Path, values: dict[str, str], sources: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """The values of all settings and their sources, where a home has a PostgreSQL or would get one.

    Args:
        home: Folder of all state.
        values: The value of each setting, by name.
        sources: Where each value came from.

    Returns:
        The same, with the URL of the journal, and with the choice that the home remembers.
    """
    remembers = f"an earlier 'up' of {home}"
    has = has_databases(home)
    if values["postgres"] != _YES and not has:
        return values, sources
    source = sources["postgres"] if values["postgres"] == _YES and sources["postgres"] != "default" else remembers
    values, sources = {**values, "postgres": _YES}, {**sources, "postgres": source}
    if values["journal"] == "embedded":
        url = Settings(home, home, "", "", "", "", postgres=str(socket_folder(home))).journal_url
        values["journal"], sources["journal"] = mask_password(url), "--postgres" if source.startswith("--") else source
    return values, sources


def explain_journal_error(error: SurefootError) -> str:
    """What a person is told of an error: of a journal whose PostgreSQL is not running, how to start it."""
    if isinstance(error, JournalUnavailable):
        try:
            config = read_settings()
        except SurefootError:
            return str(error)
        if config.postgres and not config.journal:
            from surefoot.cli.local.processes import is_alive  # noqa: PLC0415 - loads what few commands need

            server = config.processes.get("postgres")
            if server is None or not is_alive(server):
                where = postgres_folder(config.home)
                return f"the journal is in the PostgreSQL in {where}, which is not running: 'surefoot up' starts it"
    return str(error)
