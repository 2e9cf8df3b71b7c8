"""Build the OpenLineage facets of runs, jobs and data sets."""

from collections.abc import Mapping, Sequence

from surefoot.core.domain import FigureKind, Outcome, Verdict

PRODUCER = "pkg:pypi/surefoot@0.1.0"
"""What made an event, as a package URL."""
_SPEC = "https://openlineage.io/spec"
EVENT_SCHEMA = f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
"""Published schema of an event."""
_VERSIONS = {
    "DataQualityAssertionsDatasetFacet": "1-1-0",
    "DatasetVersionDatasetFacet": "1-0-1",
    "ErrorMessageRunFacet": "1-0-1",
    "JobTypeJobFacet": "2-0-4",
    "OwnershipJobFacet": "1-0-1",
    "ParentRunFacet": "1-2-0",
    "TagsRunFacet": "1-0-0",
}
"""Edition of the published schema of each facet."""

Json = Mapping[str, object]


def _facet(schema: str, content: Json) -> Json:
    url = f"{_SPEC}/facets/{_VERSIONS[schema]}/{schema}.json#/$defs/{schema}"
    return {"_producer": PRODUCER, "_schemaURL": url, **content}


def parent_facet(parent: tuple[str, str, str], root: tuple[str, str, str]) -> Json:
    """The run that a run belongs to.

    Args:
        parent: Id, job namespace and job name of the run above.
        root: The same of the run above all.
    """

    def names(run: tuple[str, str, str]) -> Json:
        return {"run": {"runId": run[0]}, "job": {"namespace": run[1], "name": run[2]}}

    return _facet("ParentRunFacet", {**names(parent), "root": names(root)})


def error_facet(reason: str) -> Json:
    """Why a run failed or was called off."""
    return _facet("ErrorMessageRunFacet", {"message": reason, "programmingLanguage": "Python"})


def tags_facet(tags: Mapping[str, str]) -> Json:
    """What else is known of a run, by name."""
    listed = [{"key": key, "value": value, "source": "INTEGRATION"} for key, value in tags.items() if value]
    return _facet("TagsRunFacet", {"tags": listed})


def ownership_facet(owners: Sequence[str]) -> Json:
    """Who answers for a job."""
    return _facet("OwnershipJobFacet", {"owners": [{"name": name, "type": "OWNER"} for name in owners]})


def job_type_facet(kind: str) -> Json:
    """What kind of job it is."""
    content = {"processingType": "BATCH", "integration": "SUREFOOT", "jobType": kind.upper()}
    return _facet("JobTypeJobFacet", content)


def version_facet(version: str) -> Json:
    """Which state of a data set it is."""
    return _facet("DatasetVersionDatasetFacet", {"datasetVersion": version})


def assertions_facet(verdict: Verdict) -> Json:
    """What an expectation suite says of the requests that it was evaluated on, without any of their values.

    The first assertion is the suite as a whole; one follows for each expectation that does not hold. The journal keeps
    no others.
    """
    figures = {figure.kind: f"{figure.value:g}" for figure in verdict.figures}
    evaluated, failed = (figures.get(kind, "0") for kind in (FigureKind.EXPECTATIONS, FigureKind.FAILED))
    whole: dict[str, object] = {
        "assertion": "expectation_suite",
        "success": verdict.outcome is Outcome.PASS,
        "severity": "error",
        "expected": f"{evaluated} expectations hold",
        "actual": f"{failed} of {evaluated} do not hold",
    }
    failed_ones = [
        {
            "assertion": str(row.get("expectation", "")),
            "success": False,
            **({"column": str(row["column"])} if row.get("column") else {}),
            "severity": "error" if number < int(float(failed)) else "warn",
        }
        for number, row in enumerate(verdict.details)
    ]
    return _facet("DataQualityAssertionsDatasetFacet", {"assertions": [whole, *failed_ones]})
