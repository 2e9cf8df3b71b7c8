"""Read a policy's fallback for failed requests: fixed answers, or the version to ask instead."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from surefoot.core.canonical_text import canonical_text
from surefoot.core.errors import FallbackInvalid
from surefoot.core.fallback import FallbackAnswer, FallbackReference
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.fallback import ANSWER_JSON_COLUMN, FallbackTableSection, check_fallback_answer
from surefoot.core.policy.violations import Violation

_MAX_ROWS = 200_000
"""Most rows of a table: each worker of the gateway holds it [count]."""
_MAX_FILE_BYTES = 64 << 20
"""Largest file of a table [bytes]."""


def read_fallback_or_reference(project: Path, policy: Policy) -> FallbackAnswer | FallbackReference | None:
    """Fallback for a request that no version can answer: fixed answers, or a version to ask; None refuses the request.

    Args:
        project: Folder in which the file of a table is looked for.
        policy: The policy.

    Raises:
        FallbackInvalid: The file of a table is not there, or something in it is wrong.
    """
    return policy.fallback_reference or read_fallback_answer(project, policy)


def read_fallback_answer(project: Path, policy: Policy) -> FallbackAnswer | None:
    """The constant or table that answers a request that no version can answer; None where there is neither.

    Args:
        project: Folder in which the file of a table is looked for.
        policy: The policy.

    Raises:
        FallbackInvalid: The file is not there, or something in it is wrong; the message is one line.
    """
    if policy.fallback is None or policy.fallback.table is None:
        return policy.fallback_answer
    section = policy.fallback.table
    try:
        return _read_table(project / section.file, section)
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise FallbackInvalid(f"fallback.table of {policy.model}: {section.file}: {reason}") from error


def _read_table(file: Path, section: FallbackTableSection) -> FallbackAnswer:
    """Read and check a table.

    Raises:
        ValueError: Says what is wrong with it.
        OSError: It cannot be read.
    """
    if not file.is_file():
        raise ValueError("there is no such file")
    if file.stat().st_size > _MAX_FILE_BYTES:
        raise ValueError(f"it has more than {_MAX_FILE_BYTES >> 20} MB")
    body = file.read_bytes()
    found = _columns(file, body, (*section.keys, ANSWER_JSON_COLUMN))
    if found.num_rows > _MAX_ROWS:
        raise ValueError(f"it has {found.num_rows:,} rows, of at most {_MAX_ROWS:,}")
    default, answers = "", dict[tuple[str | None, ...], str]()
    for number, row in enumerate(found.to_pylist(), 1):
        key, text = tuple(canonical_text(row[column]) for column in section.keys), _answer(row, number)
        if not any(part is not None for part in key):
            if default:
                raise ValueError(f"row {number} has no key, and so has an earlier one: one row answers all other keys")
            default = text
        elif key in answers:
            named = ", ".join(f"{column}={part or ''}" for column, part in zip(section.keys, key, strict=True))
            raise ValueError(f"row {number} has the key of an earlier one: {named}")
        else:
            answers[key] = text
    if not default:
        raise ValueError("the row without a key is missing: it answers all keys that have no row")
    return FallbackAnswer("table", default, section.keys, answers, "sha256:" + hashlib.sha256(body).hexdigest())


def _columns(file: Path, body: bytes, wanted: tuple[str, ...]) -> pa.Table:
    """The wanted columns of a file.

    Raises:
        ValueError: One is missing.
    """
    if file.suffix.lower() == ".parquet":
        table = pyarrow.parquet.read_table(io.BytesIO(body))
    else:
        # Every cell is a text: a code such as 007 must not become a number.
        header = pyarrow.csv.open_csv(io.BytesIO(body)).schema.names
        options = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(header, pa.string()))
        table = pyarrow.csv.read_csv(io.BytesIO(body), convert_options=options)
    missing = [column for column in wanted if column not in table.column_names]
    if missing:
        raise ValueError(f"column '{missing[0]}' is missing; it has {', '.join(table.column_names)}")
    return table.select(list(wanted))


def _answer(row: Mapping[str, Any], number: int) -> str:
    """The answer of a row as JSON.

    Raises:
        ValueError: It is none that a caller can be given.
    """
    written = row[ANSWER_JSON_COLUMN]
    try:
        value = json.loads(written) if isinstance(written, str) else written
        check_fallback_answer(value)
        return json.dumps(value, allow_nan=False)
    except Violation as error:
        raise ValueError(f"the answer of row {number} cannot be given: {error.rule}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"the answer of row {number} is no JSON: {written!r}") from error
