"""Start servers that Surefoot did not start, with users of several rights, for tests of set-ups."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.connecting.postgres import Postgres, running_postgres
from bench.connecting.rollout import MODEL, make_project, user_environment
from bench.connecting.servers import Mlflow, Prefect, running_mlflow, running_prefect
from surefoot.cli.local.stack_options import StackOptions, plan_settings
from surefoot.settings import Settings
from tests.integration.altering_proxy import altering_proxy

SECRET = "journal-secret-1"  # noqa: S105 - of a database of this test
STRANGER = ("stranger", "stranger-password-1")
EDITOR = ("editor", "editor-password-1")


@dataclass
class Servers:
    """Servers that Surefoot did not start, and a folder in which all is well."""

    folder: Path
    postgres: Postgres
    mlflow: Mlflow
    prefect: Prefect
    other: str

    @property
    def environment(self) -> dict[str, str]:
        """Credentials that are right."""
        return user_environment(self.mlflow, self.prefect, SECRET)

    def journal(self, database: str = "journal", user: str = "recorder") -> str:
        """URL of a journal, without its password."""
        return self.postgres.url(database, user=user, password="${JOURNAL_PASSWORD}")  # noqa: S106 - a reference

    def settings(self, home: Path, **changes: Any) -> Settings:
        """Settings of a set-up in which all is well, but for some changes."""
        home = changes.pop("state", home)
        wanted = {"mlflow": self.mlflow.url, "prefect": self.prefect.url, "journal": self.journal()}
        options = StackOptions(**{name: changes.pop(name, value) for name, value in wanted.items()})
        names = ("pool", "listen")
        options = replace(options, **{name: changes.pop(name) for name in names if name in changes})
        return replace(plan_settings(home, self.folder / "project", options, None), **changes)


@contextlib.contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """MLflow with basic authentication, Prefect with an auth string, PostgreSQL with passwords."""
    make_project(folder / "project")
    with (
        running_postgres() as postgres,
        running_mlflow(folder / "mlflow", postgres) as mlflow,
        running_prefect(folder / "prefect", None) as prefect,
        altering_proxy("") as other,
    ):
        for role in ("recorder", "reader"):
            postgres.run(f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'")
        postgres.run("CREATE DATABASE journal OWNER recorder")
        postgres.run("REVOKE CREATE ON SCHEMA public FROM PUBLIC", "journal")
        mlflow.add_user(*STRANGER)
        mlflow.add_user(*EDITOR)
        mlflow.ask("POST", "2.0/mlflow/registered-models/create", name=MODEL).raise_for_status()
        mlflow.grant(MODEL, "EDIT", EDITOR[0])
        mlflow.grant(MODEL, "MANAGE")
        for name, kind in (("team", "process"), ("boxes", "docker")):
            prefect.ask("POST", "/work_pools/", {"name": name, "type": kind}).raise_for_status()
        yield Servers(folder, postgres, mlflow, prefect, other)
