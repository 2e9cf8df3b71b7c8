"""Validate OpenLineage events against the classes that OpenLineage generates from its published schemas.

`openlineage-python` has one class for each schema, with its required fields, types and formats. Here they are read
strictly: no field that a schema does not have, no value of another type, and each facet with the schema that it names.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, get_args

import cattrs
from openlineage.client.generated import (
    base,
    data_quality_assertions_dataset,
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    ownership_job,
    parent_run,
    tags_run,
)

T = TypeVar("T")
FACETS: dict[str, type] = {
    "parent": parent_run.ParentRunFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "tags": tags_run.TagsRunFacet,
    "ownership": ownership_job.OwnershipJobFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "version": dataset_version_dataset.DatasetVersionDatasetFacet,
    "dataQualityAssertions": data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
}
"""Class of each facet by the key that its schema gives it."""
PLACES = (base.RunFacet, base.JobFacet, base.DatasetFacet, base.InputDatasetFacet, base.OutputDatasetFacet)


def _strict(kind: type[T]) -> Any:
    def structure(value: object, _: type[T]) -> T:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is no {kind.__name__}")
        return value

    return structure


def _facets(value: Mapping[str, Mapping[str, object]], kind: Any) -> dict[str, object]:
    """Facets of one place, each by the class of its key."""
    place = get_args(kind)[1]
    found = {}
    for key, facet in value.items():
        schema: Any = FACETS[key]
        assert issubclass(schema, place), f"facet {key} does not belong there"
        assert facet["_schemaURL"] == schema._get_schema()
        found[key] = CONVERTER.structure({k: v for k, v in facet.items() if k != "_schemaURL"}, schema)
    return found


CONVERTER = cattrs.Converter(forbid_extra_keys=True)
for primitive in (str, bool, int, float):
    CONVERTER.register_structure_hook(primitive, _strict(primitive))
CONVERTER.register_structure_hook_func(
    lambda kind: len(get_args(kind)) == 2 and get_args(kind)[0] is str and get_args(kind)[1] in PLACES, _facets
)


def check_event(event: Mapping[str, Any]) -> None:
    """Fail unless an event is what the published schemas say."""
    assert event["schemaURL"] == base.RunEvent._get_schema()
    CONVERTER.structure({key: value for key, value in event.items() if key != "schemaURL"}, base.RunEvent)


def facets_of(events: list[dict[str, Any]]) -> Iterator[str]:
    """Keys of all facets in events."""
    for event in events:
        yield from (*event["run"]["facets"], *event["job"]["facets"])
        for dataset in (*event["inputs"], *event["outputs"]):
            yield from (*dataset["facets"], *dataset.get("inputFacets", {}))
