"""Define the policy section `data_layer`: tables that a rollback may restore."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter

from surefoot.core.policy.gates.base import PolicyModel
from surefoot.core.policy.scalars import Name, OptionalKey, Text, Texts
from surefoot.core.policy.violations import describe_type, rule_error

_COLUMN_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
_TABLE_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$"
_VARIABLE_PATTERN = r"^[A-Z_][A-Z0-9_]{0,99}$"
_Column = Annotated[str, Field(pattern=_COLUMN_PATTERN)]


class OnRollback(StrEnum):
    """What becomes of a table when the version that wrote it is taken back."""

    RESTORE = "restore"
    LEAVE = "leave"
    CORRECT = "correct"


class _Source(PolicyModel):
    """What every table has."""

    name: Name = Field(description="Name of the table in journal, commands and messages.")
    written_reaction: OptionalKey[Annotated[OnRollback, Field(strict=False)]] = Field(
        None,
        alias="on_rollback",
        description="On rollback: 'restore' the checkpoint, 'leave' the table, or 'correct' it (its rows are listed for"
        " correction). 'restore' by default, 'correct' for a Delta table with consumers.",
    )

    @property
    def on_rollback(self) -> OnRollback:
        """What becomes of it on rollback."""
        return self.written_reaction or OnRollback.RESTORE


class DeltaSource(_Source):
    """A Delta Lake table in a folder."""

    kind: Literal["delta"] = Field(description="A Delta Lake table.")
    path: Text = Field(description="Folder of the table; a relative one begins in the project's folder.")
    consumers: Texts = Field((), description="Jobs that stream from it: a restore counts as new data for them.")

    @property
    def on_rollback(self) -> OnRollback:
        """What becomes of it on rollback; streaming readers would take a restore for new data."""
        return self.written_reaction or (OnRollback.CORRECT if self.consumers else OnRollback.RESTORE)


class SqlSource(_Source):
    """A table of a SQL database whose rows are added and never changed."""

    kind: Literal["sql"] = Field(description="A table in SQLite or PostgreSQL.")
    url_variable: Annotated[str, Field(pattern=_VARIABLE_PATTERN)] = Field(
        description="Environment variable that holds the URL of the database; a policy holds no password."
    )
    table: Annotated[str, Field(pattern=_TABLE_PATTERN)] = Field(
        description="Table, with its schema before a dot where it is not the default one."
    )
    valid_from: _Column = Field(description="Column that says from when a row is valid; it grows with each write.")
    version_column: _Column = Field(description="Column with the number of the model version that wrote the row.")
    key: Texts = Field((), description="Columns that identify a row in messages.")


class ParquetSource(_Source):
    """A folder of Parquet files that are added and never changed."""

    kind: Literal["parquet"] = Field(description="A folder of Parquet files.")
    path: Text = Field(description="Folder; a relative one begins in the project's folder.")


DataSource = DeltaSource | SqlSource | ParquetSource
"""A table of the data layer."""
SOURCE_CLASSES: dict[str, type[PolicyModel]] = {"delta": DeltaSource, "sql": SqlSource, "parquet": ParquetSource}
"""The class of the tables of each kind."""
_WrittenSource = Annotated[DataSource, Field(discriminator="kind")]
_SOURCE: TypeAdapter[DataSource] = TypeAdapter(_WrittenSource)


def _sources(value: object) -> object:
    if not isinstance(value, list):
        raise rule_error(f"expected a list of tables, found {describe_type(value)}")
    return tuple(value)


def _named_once(sources: tuple[DataSource, ...]) -> tuple[DataSource, ...]:
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise rule_error(f"two tables are named '{name}': each name is used once")
    return sources


DataLayerSection = Annotated[tuple[_WrittenSource, ...], BeforeValidator(_sources), AfterValidator(_named_once)]
"""The tables of a policy."""


def parse_data_source(value: object) -> DataSource:
    """Read one table as the journal holds it.

    Raises:
        pydantic.ValidationError: It is none that this release knows.
    """
    return _SOURCE.validate_python(value)


def data_source_to_json(source: DataSource) -> dict[str, object]:
    """The table as its author wrote it, for the journal."""
    return source.model_dump(mode="json", by_alias=True, exclude_unset=True)
