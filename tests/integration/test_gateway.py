"""The gateway over real HTTP in front of real models: protocol, split, records, labels."""

import time
from pathlib import Path

import pytest

from surefoot.core.assignment import assign_arm
from surefoot.core.domain import Arm
from surefoot.gateway.http.scoring_body import RequestTable, decode_table
from surefoot.models.model_protocols import RequestOptions
from tests import local_http
from tests.integration.gateway_harness import (
    BETTER,
    GOOD,
    ROW,
    Gateway,
    ask_all,
    healthy,
    listening,
)
from tests.integration.gateway_process import Models


def test_every_format_gives_the_same_predictions(routed: Gateway) -> None:
    """Split, records, instances, inputs by column and by row, and CSV are answered alike, one list a row."""
    rows: list[list[float | None]] = [[1.0, 2.0], [3, None]]
    records = [dict(zip(("x", "y"), row, strict=True)) for row in rows]
    answers = [
        routed.post({"dataframe_split": {"columns": ["x", "y"], "index": [7, 8], "data": rows}}),
        routed.post({"dataframe_split": {"columns": ["y", "x"], "data": [row[::-1] for row in rows]}}),
        routed.post({"dataframe_records": records}),
        routed.post({"instances": records}),
        routed.post({"inputs": {"x": [1, 3], "y": [2, None]}}),
        routed.post({"inputs": records}),
        routed.post(b"x,y\n1.0,2.0\n3,\n", content_type="text/csv; charset=utf-8"),
        routed.post({"dataframe_records": records}, path="/invocations"),
    ]
    # LogisticRegression refuses NaN, so the second row is what makes the whole request fail, everywhere alike.
    assert {answer.status_code for answer in answers} == {400}
    assert all("NaN" in answer.json()["message"] for answer in answers)
    answers = [
        routed.post({"dataframe_split": {"columns": ["x", "y"], "data": [[1, 2], [3, 0]]}}),
        routed.post({"inputs": {"x": [1.0, 3.0], "y": [2.0, 0.0]}}),
        routed.post(b'"x","y"\n1.00,2\n3e0,0\n', content_type="text/csv"),
    ]
    predictions = answers[0].json()["predictions"]
    assert [len(row) for row in predictions] == [2, 2]
    assert all(answer.json() == {"predictions": predictions} for answer in answers)


def test_csv_cells_keep_their_meaning() -> None:
    """A CSV cell is a number only where writing the number gives the cell back; empty and NA cells are null."""
    body = "\ufeffcode,amount,flag\n007,1.5,True\n12,1.50,no\n-3,,NA\n,1e5,inf\n".encode()
    assert decode_table(body, "text/csv") == RequestTable(
        ("code", "amount", "flag"),
        [["007", 1.5, True], [12, "1.50", "no"], [-3, None, None], [None, "1e5", "inf"]],
        RequestOptions(csv=True),
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not JSON"),
        (b'{"instances": [{"x": Infinity}]}', "not JSON"),
        (b'{"instances": [{"x": NaN, "y": Infinity}]}', "not JSON"),
        ([1], "a JSON list, not an object"),
        ({"rows": []}, "exactly one of"),
        ({"instances": [ROW], "inputs": [ROW]}, "exactly one of"),
        ({"instances": [ROW], "messages": []}, "does not read"),
        ({"dataframe_records": {"x": 1}}, "not a list of objects"),
        ({"dataframe_records": [ROW, 3]}, "row 1 of dataframe_records is a JSON number"),
        ({"dataframe_records": []}, "no row"),
        ({"dataframe_split": {"columns": ["x", "y"], "data": [[1]]}}, "row 0 has 1 values for 2 columns"),
        ({"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}, "twice"),
        ({"dataframe_split": [1]}, "keys data, columns"),
        ({"inputs": {"x": [1], "y": [1, 2]}}, "differ in length"),
        ({"dataframe_records": [{"x": 1}]}, "the required inputs ['y'] are missing"),
        ({"dataframe_records": [{"x": "far", "y": 1}]}, "'x' does not fit its type double"),
    ],
)
def test_malformed_bodies_are_refused_in_a_sentence(routed: Gateway, body: object, says: str) -> None:
    """What cannot be read or scored is 400 with MLflow's error code and one sentence."""
    answer = routed.post(body)
    assert answer.status_code == 400
    assert answer.json()["error_code"] == "BAD_REQUEST"
    assert says in answer.json()["message"]
    assert "\n" not in answer.json()["message"]


def test_other_refusals(tmp_path: Path, models: Models) -> None:
    """Unknown models, missing routes, wrong methods, types, sizes and paths each have their status."""
    with listening(tmp_path, models, max_body_bytes=1000) as gateway:
        body = {"dataframe_records": [ROW]}
        assert gateway.post(body, "/models/unheard/invocations").status_code == 404
        waiting = gateway.post(body, "/models/later/invocations")
        assert (waiting.status_code, waiting.headers["retry-after"]) == (503, "5")
        assert gateway.post(body, "/invocations").status_code == 404
        assert gateway.traffic.live("later") is None
        assert gateway.traffic.live("unheard") is None
        gateway.shift(0, None)
        assert gateway.post(body, "/invocations").status_code == 200
        assert gateway.post(b"x", content_type="application/x-parquet").status_code == 415
        assert gateway.post(b"x" * 1001).status_code == 413
        assert gateway.post(body, "/nowhere").status_code == 404
        assert gateway.post(body, "/models/..%2f..%2fetc/labels").status_code == 404
        refused = local_http.get(gateway.url + "/models/flights/invocations")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


def test_headers_say_who_answered(routed: Gateway) -> None:
    """A caller's request id comes back, a missing one is made up, and no header chooses the arm."""
    answer = routed.post(
        {"dataframe_records": [ROW]}, x_request_id="r-1", x_model_version=BETTER, x_surefoot_arm="candidate"
    )
    assert answer.headers["x-request-id"] == "r-1"
    assert answer.headers["x-model-version"] == GOOD
    assert answer.headers["x-model-generation"] == "1"
    assert answer.headers["x-model-rollout"] == "rollout-7"
    assert len(routed.post({"dataframe_records": [ROW]}).headers["x-request-id"]) == 32
    assert routed.records()[0]["request"] == "r-1"


def test_a_request_id_that_cannot_be_kept_is_refused(routed: Gateway) -> None:
    """An id with a space, of 200 letters or given twice is refused with 400: its labels would find no request."""
    for strange in ("a b", "x" * 200):
        refused = routed.post({"dataframe_records": [ROW]}, x_request_id=strange)
        assert (refused.status_code, "X-Request-Id" in refused.json()["message"]) == (400, True)
    twice = [("content-type", "application/json"), ("x-request-id", "a"), ("x-request-id", "b")]
    refused = local_http.post(routed.url + "/models/flights/invocations", content=b"{}", headers=twice)
    assert (refused.status_code, "twice" in refused.json()["message"]) == (400, True)


def test_health_and_version(routed: Gateway) -> None:
    """Ping and health answer 200 when every routed model is loaded, and version tells Surefoot's."""
    assert local_http.get(routed.url + "/ping").status_code == 200
    assert local_http.get(routed.url + "/health").json()["models"]["flights"]["loaded"] is True
    assert local_http.get(routed.url + "/version").text == "0.1.0"
    assert healthy(routed.url)


def test_split_is_sticky_and_of_its_weight(gateway: Gateway) -> None:
    """At weight 30 of 2,000 units 25 to 35 % get the candidate, exactly those that the core's law says, each time."""
    split = gateway.shift(30)
    units = [f"N{number}" for number in range(2000)]
    answered = ask_all(gateway.url, units)
    assert 0.25 < answered.count(BETTER) / 2000 < 0.35
    assert answered == [BETTER if assign_arm(split, unit) is Arm.CANDIDATE else GOOD for unit in units]
    assert ask_all(gateway.url, units[:50]) == answered[:50]
    records = gateway.records()
    assert len(records) == 2050
    assert {(record["arm"], record["version"], record["answered_by"], record["error"]) for record in records} == {
        ("champion", GOOD, GOOD, None),
        ("candidate", BETTER, BETTER, None),
    }
    versions = gateway.traffic.stats("flights")["versions"]
    assert isinstance(versions, dict)
    assert sum(counts["requests"] for counts in versions.values()) == 2050


def test_without_a_unit_the_request_is_split(gateway: Gateway) -> None:
    """A row without the unit column is assigned by its request id, and its record says that there was no unit."""
    split = gateway.shift(50)
    for number in range(20):
        answer = gateway.post({"dataframe_records": [{"x": 1, "y": 2}]}, x_request_id=f"r{number}")
        assert (answer.headers["x-model-version"] == BETTER) == (assign_arm(split, f"r{number}") is Arm.CANDIDATE)
    assert {record["unit"] for record in gateway.records()} == {None}


def test_record_is_what_the_schema_says(gateway: Gateway) -> None:
    """A request of two rows leaves two records with exactly the documented fields."""
    gateway.shift(100)
    before = time.time()
    answer = gateway.post({"dataframe_records": [ROW, {**ROW, "unit": "N2", "x": 3}]}, x_request_id="two")
    one, two = gateway.records()
    assert before <= float(str(one.pop("at"))) <= time.time()
    assert float(str(one.pop("latency_ms"))) > 0
    assert float(str(one.pop("cpu_ms"))) > 0
    assert float(str(one.pop("model_ms"))) > 0
    assert one == {
        "v": 1,
        "request": "two",
        "row": 0,
        "model": "flights",
        "unit": "N14228",
        "arm": "candidate",
        "rss_mb": None,
        "version": BETTER,
        "answered_by": BETTER,
        "weight": 100.0,
        "generation": 1,
        "rollout": "rollout-7",
        "error": None,
        "prediction": answer.json()["predictions"][0],
        "features": ROW,
        "params": None,
        "batch": 2,
    }
    assert (two["row"], two["unit"], two["prediction"]) == (1, "N14228", answer.json()["predictions"][1])
    assert set(two) == {*one, "at", "latency_ms", "cpu_ms", "model_ms"}


def test_labels(routed: Gateway) -> None:
    """Labels are taken as a whole, with the time when they became known, or refused naming the one that is wrong."""
    path = "/models/flights/labels"
    at = round(time.time()) - 12.5
    taken = routed.post([{"request": "r", "label": 1}, {"request": "r", "row": 3, "label": "late", "at": at}], path)
    assert (taken.status_code, taken.json()) == (202, {"accepted": 2})
    one, two = routed.records("labels")
    assert abs(float(str(one.pop("at"))) - time.time()) < 60
    assert float(str(one.pop("received"))) < float(str(two.pop("received")))
    assert one == {"v": 1, "request": "r", "row": 0, "label": 1}
    assert two == {"v": 1, "request": "r", "row": 3, "label": "late", "at": at}
    good = {"request": "r", "label": 0}
    for bad in (
        {"label": 1},
        {"request": "r"},
        {**good, "row": -1},
        {**good, "at": "now"},
        {**good, "odd": 1},
        7,
        {**good, "label": "NaN"},
    ):
        answer = routed.post([good, bad], path)
        assert answer.status_code == 400
        assert "label 1 " in answer.json()["message"]
    assert len(routed.records("labels")) == 2
    assert routed.post([], "/models/unheard/labels").status_code == 404
