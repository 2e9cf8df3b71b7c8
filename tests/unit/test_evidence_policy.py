"""The section `evidence` of a policy: what it may say, what it refuses, and that its keys are documented."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from surefoot.adapters.evidence_providers.provided_rows import LabelRows, PredictionRows
from surefoot.adapters.evidence_providers.provider_failure import redact_secrets
from surefoot.core.planning import list_policy_notes
from surefoot.core.policy.evidence.evidence_section import EvidenceSection
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from tests.fakes import BY_ALIAS, POLICY
from tests.unit.test_serving_engines import HAPROXY, held

ROOT = Path(__file__).parents[2]
COLUMNS = {"request": "id", "at": "ts", "version": "v", "answer": "a"}
FILES = {"source": "parquet", "path": "answers", "columns": COLUMNS}
QUERY = "SELECT * FROM t WHERE ts > :since AND ts <= :until"
SQL = {"source": "sql", "url_variable": "WAREHOUSE_URL", "query": QUERY, "columns": COLUMNS}
LABELS = {"source": "delta", "path": "labels", "columns": {"request": "id", "label": "y", "at": "known"}}
COUNTERS = {"url": "http://p:9090", "requests": "r_total", "errors": 'r_total{code=~"5.."}', "latency": "s_bucket"}


def with_evidence(section: object, base: dict[str, Any] = BY_ALIAS) -> dict[str, Any]:
    """A policy with this section."""
    return {**base, "evidence": section}


@pytest.mark.parametrize(
    "section",
    [
        {"predictions": FILES},
        {"predictions": {**FILES, "source": "delta", "path": "s3://bucket/answers"}, "labels": LABELS},
        {"predictions": SQL, "reach": "7d", "late": "0s", "timeout": "5s", "max_unusable": 0},
        {"prometheus": COUNTERS},
        {"predictions": {**FILES, "features": ["x", "y"]}},
    ],
)
def test_a_section_with_a_source_is_read(section: dict[str, Any]) -> None:
    """Each kind of source is part of a policy of an engine that logs nothing itself, and reaches its gates."""
    policy = parse_policy(with_evidence(section))
    assert policy.evidence_origin is not None
    assert policy.evidence_origin.section == policy.evidence
    assert parse_policy(BY_ALIAS).evidence_origin is None
    if "predictions" in section:
        assert any("gates see what the sources in 'evidence' hold" in note for note in list_policy_notes(policy))


BROKEN: list[tuple[object, str, str]] = [
    ({}, "evidence.predictions", "name a source"),
    ({"predictions": {**FILES, "source": "kafka"}}, "evidence.predictions", "parquet"),
    ({"predictions": {**FILES, "columns": {"request": "id", "at": "ts"}}}, "evidence.predictions.columns", "version"),
    (
        {"predictions": {**FILES, "columns": {**COLUMNS, "label": "y"}}},
        "evidence.predictions.columns.label",
        "label_at",
    ),
    (
        {"predictions": {**FILES, "columns": {**COLUMNS, "error": "e", "status": "s"}}},
        "evidence.predictions.columns.status",
        "one of the two",
    ),
    (
        {"predictions": {**FILES, "columns": {**COLUMNS, "latency_s": "e", "latency_ms": "s"}}},
        "evidence.predictions.columns.latency_s",
        "one of the two",
    ),
    ({"predictions": {**SQL, "query": "SELECT 1"}}, "evidence.predictions.query", ":since is missing"),
    ({"predictions": {**SQL, "query": f"{QUERY}; DROP TABLE t"}}, "evidence.predictions.query", "without ';'"),
    ({"predictions": {**SQL, "query": f"DELETE FROM t -- {QUERY}"}}, "evidence.predictions.query", "one SELECT"),  # noqa: S608
    ({"prometheus": {"url": "http://p", "requests": "r"}}, "evidence.prometheus.errors", "or both"),
    ({"prometheus": {**COUNTERS, "errors": "rate(r[5m])"}}, "evidence.prometheus.errors", "a series selector"),
    ({"predictions": FILES, "timeout": "0s"}, "evidence.timeout", "at least 1s"),
    ({"predictions": FILES, "late": "31d"}, "evidence.late", "at most 30d"),
]


@pytest.mark.parametrize(("section", "path", "rule"), BROKEN, ids=[f"{path}: {rule}" for _, path, rule in BROKEN])
def test_a_section_that_is_wrong_is_refused(section: object, path: str, rule: str) -> None:
    """Each mistake is refused with the key that makes it."""
    with pytest.raises(Violation) as refused:
        parse_policy(with_evidence(section))
    assert ".".join(map(str, refused.value.path)).startswith(path)
    assert rule in str(refused.value)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"predictions": {**FILES, "path": "ftp://someone:hunter2@host/answers"}}, "evidence.predictions.path"),
        ({"predictions": {**FILES, "path": "s3://bucket/answers?key=hunter2"}}, "evidence.predictions.path"),
        ({"predictions": {**SQL, "url_variable": "postgresql://a:hunter2@h/d"}}, "evidence.predictions.url_variable"),
        ({"prometheus": {**COUNTERS, "url": "http://someone:hunter2@p:9090"}}, "evidence.prometheus.url"),
        ({"prometheus": {**COUNTERS, "token_variable": "hunter2"}}, "evidence.prometheus.token_variable"),
    ],
)
def test_a_policy_holds_no_secret(section: object, path: str) -> None:
    """A user, a password, an option or a token in a policy is refused: it would be journalled."""
    with pytest.raises(Violation) as refused:
        parse_policy(with_evidence(section))
    assert ".".join(map(str, refused.value.path)) == path


def test_what_an_engine_records_itself_is_read_from_nowhere_else() -> None:
    """With the gateway only labels may come from elsewhere; latencies can be judged where a source has them."""
    assert parse_policy(with_evidence({"labels": LABELS}, POLICY)).evidence is not None
    for key, source in (("predictions", FILES), ("prometheus", COUNTERS)):
        with pytest.raises(Violation, match="records each request itself") as refused:
            parse_policy(with_evidence({key: source}, POLICY))
        assert refused.value.path == ("evidence", key)
    gates = {"errors": POLICY["gates"]["errors"], "slow": {"metric": "latency", "margin": "20%"}}
    slow = {**HAPROXY, "gates": gates, "steps": [*HAPROXY["steps"][:1], held(5), held(50, "slow")]}
    with pytest.raises(Violation, match="measures no request"):
        parse_policy(with_evidence({"predictions": FILES}, slow))
    for section in (
        {"predictions": {**FILES, "columns": {**COLUMNS, "latency_ms": "took"}}},
        {"prometheus": COUNTERS},
    ):
        assert parse_policy(with_evidence(section, slow)).evidence is not None


def test_counters_have_no_slices() -> None:
    """A gate by slices that counters would answer is refused."""
    gates = {"errors": {"metric": "error_rate", "margin": "1pp", "by": "place"}}
    with pytest.raises(Violation, match="no slices") as refused:
        parse_policy(with_evidence({"prometheus": COUNTERS}, {**HAPROXY, "gates": gates}))
    assert refused.value.path == ("gates", "errors", "by")


def keys(model: type[BaseModel], path: str = "evidence") -> set[str]:
    """Every key of a section and of what is in it."""
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = {one for one in _models(field.annotation) if issubclass(one, BaseModel)}
        if inner:
            for one in inner:
                found |= keys(one, f"{path}.{name}")
        else:
            found.add(f"{path}.{name}")
    return found


def _models(annotation: Any) -> list[type]:
    inside = getattr(annotation, "__args__", ())
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for one in inside for model in _models(one)]


def test_every_key_is_in_the_table_of_the_document() -> None:
    """docs/evidence.md has each key of the section, and of nothing else."""
    text = (ROOT / "docs" / "evidence.md").read_text("utf-8").partition("## Every key")[2]
    told: set[str] = set()
    for line in text.splitlines():
        if not line.startswith("| `"):
            continue
        first = ""
        for name in re.findall(r"`([\w.]+)`", line.split("|")[1]):
            first = name if name.startswith("evidence.") else f"{first.rpartition('.')[0]}{name}"
            told.add(first)
    assert told == keys(EvidenceSection)


def row(**fields: object) -> dict[str, object]:
    """A row of a source."""
    return {"id": "q1", "ts": 1000.0, "v": 7, "a": 0.5, "x": 1, **fields}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"id": None}, "rows without a request id"),
        ({"id": "a b"}, "request ids that are not 1 to 128 visible characters"),
        ({"id": "x" * 129}, "request ids that are not 1 to 128 visible characters"),
        ({"ts": None}, "rows without a time"),
        ({"ts": "yesterday"}, "rows with a time that is none, or not in seconds"),
        ({"ts": 1.7e12}, "rows with a time that is none, or not in seconds"),
        ({"v": None}, "rows without a version"),
        ({"a": b"bytes"}, "rows with an answer that JSON has no value for"),
        ({"x": b"bytes"}, "rows with a feature that JSON has no value for"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_by_its_reason(fields: dict[str, object], reason: str) -> None:
    """What is wrong with a row is counted, with the row's id, and the row is left out."""
    policy = parse_policy(with_evidence({"predictions": FILES}))
    assert policy.evidence is not None
    assert policy.evidence.predictions is not None
    rows = PredictionRows(policy.evidence.predictions, None)
    assert rows.convert(row(**fields)) is None
    assert rows.unusable.counts == {reason: 1}
    assert rows.convert(row()) is not None
    assert rows.unusable.total == 1


@pytest.mark.parametrize(
    ("columns", "fields", "error", "answer"),
    [
        ({}, {"a": None}, "no answer", None),
        ({"error": "e"}, {"e": None}, None, 0.5),
        ({"error": "e"}, {"e": ""}, None, 0.5),
        ({"error": "e"}, {"e": False}, None, 0.5),
        ({"error": "e"}, {"e": True}, "failed", None),
        ({"error": "e"}, {"e": 3}, "error 3", None),
        ({"error": "e"}, {"e": "KeyError"}, "KeyError", None),
        ({"status": "e"}, {"e": 200}, None, 0.5),
        ({"status": "e"}, {"e": 404}, None, 0.5),
        ({"status": "e"}, {"e": 503}, "HTTP 503", None),
    ],
)
def test_a_failure_is_told_as_the_policy_says(
    columns: dict[str, str], fields: dict[str, object], error: str | None, answer: object
) -> None:
    """A text, a truth value, a number, an HTTP status or no answer tell a failure; a failure has no answer."""
    source = {**FILES, "columns": {**COLUMNS, **columns}}
    policy = parse_policy(with_evidence({"predictions": source}))
    assert policy.evidence is not None
    assert policy.evidence.predictions is not None
    found = PredictionRows(policy.evidence.predictions, "x").convert(row(**fields))
    assert found is not None
    assert (found[0].error, found[0].answer, found[0].version, found[0].unit) == (error, answer, "7", "1")
    assert found[0].features == {"x": 1}


def test_a_label_that_says_nothing_is_counted() -> None:
    """A blank label is no label, and one without a time is none either."""
    policy = parse_policy(with_evidence({"labels": LABELS}))
    assert policy.evidence is not None
    assert policy.evidence.labels is not None
    rows = LabelRows(policy.evidence.labels)
    assert rows.convert({"id": "q", "y": " ", "known": 1.0}) is None
    assert rows.convert({"id": "q", "y": 1, "known": None}) is None
    made = rows.convert({"id": 7, "y": 1, "known": 2.0})
    assert made is not None
    assert made.identity == ("7", 0, 2.0, "1")
    assert rows.unusable.counts == {"labels that say nothing": 1, "rows without a time of the label": 1}


def test_what_a_library_says_holds_no_secret() -> None:
    """Secrets and logins are replaced in what is shown, and it is one line."""
    said = redact_secrets("cannot reach\n postgresql://ada:hunter2@db/x with token abcdef", ["hunter2", "abcdef", ""])
    assert said == "cannot reach postgresql://***@db/x with token ***"
