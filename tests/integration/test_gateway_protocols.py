"""The Open Inference Protocol, and what Prometheus reads."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from surefoot.core.domain import Version
from surefoot.gateway.http import tensors
from surefoot.gateway.http.scoring_body import MalformedBody, RequestTable
from surefoot.gateway.inference.attempts.batch_answers import NotATensor, check_tensor
from surefoot.models.model_protocols import ColumnNames
from tests import local_http
from tests.integration.gateway_harness import BETTER, GOOD, RAISING, Gateway, listening
from tests.integration.gateway_process import Models

INFER = "/v2/models/flights/infer"


@pytest.fixture
def gateway(tmp_path: Path, models: Models) -> Iterator[Gateway]:
    """A gateway with a champion."""
    with listening(tmp_path, models) as made:
        made.shift(0, None)
        yield made


def column(name: str, *values: object, kind: str = "FP64") -> dict[str, object]:
    """A tensor of one column."""
    return {"name": name, "shape": [len(values)], "datatype": kind, "data": list(values)}


def test_columns_give_the_answers_of_invocations(gateway: Gateway) -> None:
    """Two tensors of two values are two rows, and are answered as MLflow's format is."""
    rows = [{"x": 1.0, "y": 2.0}, {"x": 3.0, "y": 0.0}]
    expected = gateway.post({"dataframe_records": rows}).json()["predictions"]
    said = gateway.post({"id": "mine", "inputs": [column("x", 1.0, 3.0), column("y", 2.0, 0.0)]}, INFER)
    assert said.status_code == 200
    told = said.json()
    assert (told["model_name"], told["model_version"], told["id"]) == ("flights", GOOD, "mine")
    (output,) = told["outputs"]
    assert (output["shape"], output["datatype"]) == ([2, 2], "FP64")
    assert output["data"] == [value for row in expected for value in row]
    assert said.headers["x-model-version"] == GOOD


def test_labels_find_a_request_by_the_id_that_its_caller_knows(gateway: Gateway) -> None:
    """The id in the body is the request's, one in the header comes first, and one that no label can name is refused."""
    body = {"id": "my-7", "inputs": [column("x", 1.0), column("y", 2.0)]}
    url = f"{gateway.url}/v2/models/flights/infer"
    assert local_http.post(url, json=body).headers["x-request-id"] == "my-7"
    assert local_http.post(url, json=body, headers={"x-request-id": "other"}).headers["x-request-id"] == "other"
    refused = local_http.post(url, json={**body, "id": "my 7"})
    assert (refused.status_code, refused.json()["error"].partition(":")[0]) == (
        400,
        "id must be 1 to 128 visible ASCII characters without a space; send another one, or none",
    )
    assert [record["request"] for record in gateway.records()] == ["my-7", "other"]


def test_a_candidate_that_raises_is_answered_for_here_too(gateway: Gateway) -> None:
    """The protocol changes nothing about who answers."""
    gateway.shift(100, RAISING, generation=2)
    said = gateway.post({"inputs": [column("x", 1.0), column("y", 2.0)]}, INFER)
    assert (said.status_code, said.json()["model_version"]) == (200, GOOD)


def test_health_and_metadata(gateway: Gateway) -> None:
    """Liveness, readiness and the version that answers are told; a caller cannot choose another one."""
    with httpx.Client(base_url=gateway.url) as client:
        assert client.get("/v2").json()["name"] == "surefoot"
        assert client.get("/v2/health/live").json() == {"live": True}
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2/models/flights").json()["versions"] == [GOOD]
        assert client.get("/v2/models/flights/ready").json()["ready"] is True
        assert client.get(f"/v2/models/flights/versions/{GOOD}/ready").status_code == 200
        refused = client.post(f"/v2/models/flights/versions/{BETTER}/infer", json={"inputs": [column("x", 1.0)]})
        assert refused.status_code == 404
        assert "callers do not choose" in refused.json()["error"]
        assert client.get("/v2/models/ghost").status_code == 404
        assert client.get("/v2/what").status_code == 404
        assert client.get(INFER).status_code == 405


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "list of inputs"),
        (b'{"inputs": []}', "list of inputs"),
        ({"inputs": [column("x", 1.0)], "what": 1}, "has no ['what']"),
        ({"inputs": [{"name": "x"}]}, "needs name, shape, datatype and data"),
        ({"inputs": [column("x", 1.0), column("x", 2.0)]}, "given twice"),
        ({"inputs": [column("x", 1.0), column("y", 1.0, 2.0)]}, "same first dimension"),
        ({"inputs": [column("x", 1.0, kind="FP65")]}, "datatype 'FP65'"),
        ({"inputs": [{**column("x", 1.0), "datatype": []}]}, "datatype []"),
        ({"inputs": [{**column("x", 1.0), "shape": [2]}]}, "1 values for the shape [2]"),
        ({"inputs": [{**column("x", 1.0), "shape": [0]}]}, "not [n] or [n, k]"),
        ({"inputs": [{**column("x", 1.0), "shape": [1, 1, 1]}]}, "not [n] or [n, k]"),
        ({"inputs": [column("x", "one")]}, "no FP64"),
        ({"inputs": [column("x", 1.0, kind="BYTES")]}, "no BYTES"),
        ({"inputs": [column("x", True)]}, "no FP64"),
        ({"inputs": [{**column("x", 1.0), "data": 1.0}]}, "is a list"),
        ({"id": 7, "inputs": [column("x", 1.0)]}, "id of a request is a text"),
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(body: object, words: str) -> None:
    """Each mistake is named; nothing is guessed."""
    with pytest.raises(MalformedBody, match=r".") as caught:
        tensors.read_tensors(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert words in str(caught.value)


def test_a_matrix_is_columns_by_number_and_nesting_does_not_matter() -> None:
    """A tensor [2, 3] is two rows of three unnamed columns, flat or nested, and texts are texts."""
    flat = {"name": "t", "shape": [2, 3], "datatype": "INT64", "data": [1, 2, 3, 4, 5, 6]}
    nested = {**flat, "data": [[1, 2, 3], [4, 5, 6]]}
    expected = RequestTable(("0", "1", "2"), [[1, 2, 3], [4, 5, 6]])
    assert [tensors.read_tensors(json.dumps({"inputs": [each]}).encode())[0] for each in (flat, nested)] == [
        expected
    ] * 2
    assert tensors.read_tensors(json.dumps({"inputs": [column("c", "a", kind="BYTES")]}).encode())[0] == RequestTable(
        ("c",), [["a"]]
    )


@pytest.mark.parametrize(
    ("answers", "kind", "shape", "data"),
    [
        ([1, 2], "INT64", [2], [1, 2]),
        ([1, 2.5], "FP64", [2], [1, 2.5]),
        ([True, False], "BOOL", [2], [True, False]),
        (["a", "b"], "BYTES", [2], ["a", "b"]),
        ([[0.25, 0.75], [1, 0]], "FP64", [2, 2], [0.25, 0.75, 1, 0]),
    ],
)
def test_answers_become_a_tensor(answers: list[object], kind: str, shape: list[int], data: list[object]) -> None:
    """Numbers, truth values, texts and class probabilities have their datatype and shape."""
    (output,) = json.loads(tensors.tensor_response(json.dumps(answers).encode(), "m", "3", ""))["outputs"]
    assert (output["datatype"], output["shape"], output["data"]) == (kind, shape, data)


@pytest.mark.parametrize("answers", [[{"a": 1}], [[1], [1, 2]], [[1], 2], [None]])
def test_answers_that_are_no_tensor_are_said_so(answers: list[object]) -> None:
    """Objects and ragged rows are not forced into a tensor."""
    with pytest.raises(NotATensor, match="no tensor"):
        check_tensor(answers)


class Objects:
    """Answers objects, which are no tensor."""

    batchable = True

    def answer(
        self, _names: ColumnNames, values: list[list[object]], params: object = None, csv: bool = False
    ) -> list[object]:
        """An object a row."""
        return [{"score": 0.5} for _ in values]


def test_a_candidate_whose_answers_are_no_tensor_is_answered_for(tmp_path: Path, models: Models) -> None:
    """What this protocol cannot carry is the candidate's failure: the champion answers, and the record says why."""

    def load(model: str, version: Version) -> object:
        return Objects() if version.number == BETTER else models(model, version)

    with listening(tmp_path, load) as gateway:  # type: ignore[arg-type]
        gateway.traffic.shift("flights", replace(Gateway.split(gateway_of(gateway, models), 100.0), generation=3))
        said = gateway.post({"inputs": [column("x", 1.0), column("y", 2.0)]}, INFER)
        assert (said.status_code, said.json()["model_version"]) == (200, GOOD)
        record = gateway.records()[-1]
        assert (record["arm"], record["answered_by"]) == ("candidate", GOOD)
        assert "no tensor" in str(record["error"])
        assert gateway.ask().json() == {"predictions": [{"score": 0.5}]}


def gateway_of(gateway: Gateway, models: Models) -> Gateway:
    """The same gateway, which knows the versions' digests."""
    return replace(gateway, models=models)


def test_prometheus_reads_the_counts(gateway: Gateway) -> None:
    """Requests, errors, processor time, weight and generation are series by worker, model and version."""
    gateway.shift(100, RAISING, generation=2)
    for _ in range(3):
        gateway.ask()
    said = local_http.get(f"{gateway.url}/metrics")
    assert said.headers["content-type"].startswith("text/plain")
    series = {
        (sample.name, sample.labels.get("version")): sample.value
        for family in text_string_to_metric_families(said.text)
        for sample in family.samples
        if sample.labels["worker"] == "0"
    }
    assert series["surefoot_requests_total", RAISING] == 3
    assert series["surefoot_candidate_errors_total", RAISING] == 3
    assert series["surefoot_cpu_seconds_total", GOOD] > 0.0
    assert series["surefoot_candidate_weight_percent", None] == 100.0
    assert series["surefoot_route_generation", None] == 2.0
