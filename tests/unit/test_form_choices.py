"""What people can choose in the forms of Prefect's deployments."""

from hypothesis import given
from hypothesis import strategies as st
from prefect.utilities.callables import parameter_schema

from flows.approve import approve
from flows.drill import drill
from flows.promote import promote
from flows.rollback import rollback
from surefoot.controller.form_choices import FORM_DEPLOYMENTS, OfferedChoicesCache, add_choices_to_schema

SCHEMAS = {
    flow.name: parameter_schema(flow.fn).model_dump_for_openapi() for flow in (promote, approve, rollback, drill)
}
CHOICES = st.dictionaries(
    st.text(min_size=1, max_size=8), st.lists(st.integers(1, 999).map(str), unique=True, max_size=5), max_size=4
)


def test_every_form_is_known() -> None:
    """The flows that people start by hand are those whose forms offer choices, and each asks for a model."""
    assert set(SCHEMAS) == set(FORM_DEPLOYMENTS)
    assert all("model" in schema["properties"] for schema in SCHEMAS.values())


def test_models_and_versions_are_chosen() -> None:
    """Models are in order, versions of all models the newest first; help, titles and defaults stay as they were."""
    choices = {"tips": ["10", "9"], "flights-late": ["2", "1"]}
    made = add_choices_to_schema(SCHEMAS["promote"], choices)["properties"]
    assert isinstance(made, dict)
    assert made["model"]["enum"] == ["flights-late", "tips"]
    assert made["version"]["enum"] == ["10", "9", "2", "1"]
    assert "Registered model" in made["model"]["description"]
    assert made["force"] == SCHEMAS["promote"]["properties"]["force"]
    target = add_choices_to_schema(SCHEMAS["rollback"], choices)["properties"]
    assert isinstance(target, dict)
    assert [part.get("enum") for part in target["to"]["anyOf"]] == [["10", "9", "2", "1"], None]


@given(st.sampled_from(sorted(SCHEMAS)), CHOICES, CHOICES)
def test_choices_replace_earlier_ones(name: str, before: dict[str, list[str]], after: dict[str, list[str]]) -> None:
    """What was offered before leaves no trace, and no choice at all gives the schema of the flow itself."""
    schema = SCHEMAS[name]
    once = add_choices_to_schema(schema, after)
    assert add_choices_to_schema(add_choices_to_schema(schema, before), after) == once
    assert add_choices_to_schema(once, {}) == schema
    assert add_choices_to_schema(once, after) == once


def test_what_is_offered_is_read_again_after_a_while() -> None:
    """The same choices are no news until their time is over; other ones are at once."""
    offered = OfferedChoicesCache(interval=600.0)
    assert offered.is_new({"m": ["1"]}, 0.0)
    offered.remember({"m": ["1"]}, 0.0)
    assert not offered.is_new({"m": ["1"]}, 600.0)
    assert offered.is_new({"m": ["1"]}, 601.0)
    assert offered.is_new({"m": ["1", "2"]}, 1.0)
