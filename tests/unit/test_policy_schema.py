"""The JSON Schema of a policy file says what an author may write, and refuses nothing that the parser takes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from surefoot import cli
from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.config.strict_yaml import YamlDocument, load_yaml
from surefoot.core.errors import PolicyInvalid
from surefoot.core.policy.parse import examine_policy
from surefoot.core.policy.policy_types import Metric
from surefoot.core.policy.schema import policy_schema
from tests.fakes import MIRRORED, POLICY
from tests.unit.test_config import BAD
from tests.unit.test_gates_policy import MINIMAL, policy
from tests.unit.test_policy import ANYTHING, FULL, PLACES, put

ROOT = Path(__file__).parents[2]
SCHEMA = policy_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
ODD: tuple[object, ...] = (None, True, 0, -1, 1.5, "", "x", "5%", "1h", [], ["x"], {}, {"x": 1})
"""Values that are right in some places of a policy and wrong in others."""


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def test_the_file_for_editors_is_what_the_command_prints() -> None:
    """`docs/policy.schema.json` is the output of `surefoot schema`, which is a JSON Schema."""
    said = CliRunner().invoke(cli.build_app(), ["schema"], standalone_mode=False)
    assert json.loads(said.output) == SCHEMA
    assert (ROOT / "docs" / "policy.schema.json").read_text("utf-8") == said.output
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_policy_follows_the_schema(path: Path) -> None:
    """Each policy in `configs/` is valid, and points editors to the schema."""
    value, _ = read_policy(path)
    VALIDATOR.validate(value)
    first = path.read_text("utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=../docs/policy.schema.json"


@pytest.mark.parametrize("metric", MINIMAL)
def test_few_words_ask_for_any_metric_in_an_editor_too(metric: Metric) -> None:
    """The least that a gate must say follows the schema, and so do both kinds of shadow."""
    VALIDATOR.validate(policy(metric, ("shadow", "live shadow", "ramp", "bake")))
    VALIDATOR.validate(MIRRORED)


def test_old_names_follow_the_schema() -> None:
    """A policy of release 0.1.0 is no error in an editor; its key is marked as deprecated."""
    VALIDATOR.validate({**POLICY, "on": {"both_sick": "pause"}})
    assert SCHEMA["$defs"]["Reactions"]["properties"]["both_sick"]["deprecated"]


def test_the_schema_shows_what_an_author_writes() -> None:
    """Defaults of durations are durations, every key says what it means, and bounds are there."""
    for name, model in (*SCHEMA["$defs"].items(), ("policy", SCHEMA)):
        for key, field in model.get("properties", {}).items():
            described = "description" in field or "description" in SCHEMA["$defs"].get(_target(field), {})
            assert described or key == "metric", (name, key)
            assert not (str(field.get("pattern", "")).endswith("[smhd])$") and "default" in field) or isinstance(
                field["default"], str
            )
    assert SCHEMA["$defs"]["Data"]["properties"]["window"]["default"] == "30d"
    assert SCHEMA["$defs"]["Weight"]["properties"]["weight"]["maximum"] == 99.0
    quorum = SCHEMA["$defs"]["Approve"]["properties"]["quorum"]
    assert (quorum["minimum"], quorum["maximum"]) == (1, 50)
    assert not re.search(r'"(ge|gt|le|lt)": [-0-9]', json.dumps(SCHEMA)), "an editor knows no such bound"


def _target(field: dict[str, str]) -> str:
    """Name of the definition that a field refers to."""
    return field.get("$ref", "").rpartition("/")[2]


@pytest.mark.parametrize("whole", [FULL, MIRRORED], ids=["replay", "live"])
def test_what_the_schema_refuses_the_parser_refuses(whole: dict[str, object]) -> None:
    """Each place of a policy with each odd value, or without its key: the parser is at least as strict."""
    refused = 0
    for place in places(whole):
        for odd in ODD:
            value = put(place, odd, whole)
            if not VALIDATOR.is_valid(value):
                refused += 1
                assert examine_policy(value).policy is None, (place, odd)
    assert refused > 200


@given(st.sampled_from(PLACES), ANYTHING)
def test_what_the_schema_refuses_the_parser_refuses_whatever_it_is(place: tuple[str | int, ...], value: object) -> None:
    """Law: no value anywhere is refused by the schema and taken by the parser."""
    made = put(place, value)
    assert VALIDATOR.is_valid(made) or examine_policy(made).policy is None


def test_the_schema_finds_many_mistakes_by_itself() -> None:
    """Of the bad policies that are YAML most are refused in an editor already; none of those is taken by the parser."""
    refused = []
    for path in BAD.glob("*.yaml"):
        try:
            value = load_yaml(path, YamlDocument())
        except PolicyInvalid:  # no YAML that an editor could read
            continue
        if not VALIDATOR.is_valid(value):
            refused.append(path.stem)
            assert examine_policy(value).policy is None
    assert len(refused) > 20


@pytest.mark.parametrize(
    ("rows", "said"),
    [("0", "must be at least 1"), ("499", "must be at least min_requests (500), or no gate could pass"), ("500", "")],
)
def test_a_replay_has_enough_rows_to_be_judged(rows: str, said: str) -> None:
    """A limit under which no gate could pass is refused where it is written; the smallest one that could is taken."""
    wanted, _ = read_policy(ROOT / "configs" / "flights-late.yaml")
    made = json.loads(json.dumps(wanted))
    made["steps"][0]["shadow"] |= {"min_requests": 500, "max_rows": int(rows)}
    assert [said in broken.rule for broken in examine_policy(made).broken] == [True] * bool(said)
