"""Clients that people have: MLflow's own, `requests`, and that of the Open Inference Protocol."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
import requests
from open_inference.openapi import InferenceRequest, RequestInput, TensorData
from open_inference.openapi.client import OpenInferenceClient
from open_inference.openapi.core import ApiError

from tests.integration.gateway_harness import GOOD, RAISING, Gateway, listening
from tests.integration.gateway_process import Models

FRAME = pd.DataFrame({"x": [1.0, 3.0], "y": [2.0, 0.0]})


@pytest.fixture
def gateway(tmp_path: Path, models: Models) -> Iterator[Gateway]:
    """A gateway with a champion."""
    with listening(tmp_path, models) as made:
        made.shift(0, None)
        yield made


@pytest.fixture
def expected(gateway: Gateway) -> list[list[float]]:
    """What the model answers to the frame."""
    return list(gateway.post({"dataframe_records": FRAME.to_dict("records")}).json()["predictions"])


def test_mlflows_own_client_is_understood(
    gateway: Gateway, expected: list[list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's scoring client waits for the server and gets its predictions as from `mlflow models serve`."""
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "60")
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient  # noqa: PLC0415 - MLflow is late

    host, port = gateway.url.removeprefix("http://").split(":")
    client = ScoringServerClient(host, int(port))
    client.wait_server_ready(timeout=60)
    assert client.invoke(FRAME).get_predictions().to_numpy().tolist() == expected


def test_plain_requests_are_understood(gateway: Gateway, expected: list[list[float]]) -> None:
    """A session that stays open posts JSON and CSV, reads who answered, and is told in a sentence what is wrong."""
    with requests.Session() as session:
        assert session.get(f"{gateway.url}/ping", timeout=60).status_code == 200
        bodies: tuple[Any, ...] = ({"dataframe_split": FRAME.to_dict("split")}, {"inputs": FRAME.to_dict("list")})
        for body in bodies:
            said = session.post(f"{gateway.url}/invocations", json=body, timeout=60)
            assert (said.status_code, said.json()["predictions"]) == (200, expected)
            assert said.headers["x-model-version"] == GOOD
        kind = {"content-type": "text/csv"}
        said = session.post(f"{gateway.url}/invocations", FRAME.to_csv(index=False), headers=kind, timeout=60)
        assert said.json()["predictions"] == expected
        wrong = session.post(f"{gateway.url}/invocations", "x,y", timeout=60)
        assert wrong.status_code == 400
        assert "the body is not JSON" in wrong.json()["message"]


def test_a_client_of_the_open_inference_protocol_is_understood(gateway: Gateway, expected: list[list[float]]) -> None:
    """It finds server and model ready, gets the answers of the split, and an unknown model is an error of its own."""
    with httpx.Client(timeout=60.0) as connection:
        client = OpenInferenceClient(base_url=gateway.url, httpx_client=connection)
        client.check_server_liveness()
        client.check_server_readiness()
        client.check_model_readiness("flights")
        assert client.read_server_metadata().name == "surefoot"
        assert client.read_model_metadata("flights").versions == [GOOD]
        columns = [
            RequestInput(
                name=str(name),
                parameters=None,
                shape=[2, 1],
                datatype="FP64",
                data=TensorData(__root__=FRAME[name].tolist()),
            )
            for name in FRAME
        ]
        request = InferenceRequest(id="mine", parameters=None, inputs=columns, outputs=None)
        told = client.model_infer("flights", request=request)
        assert (told.id, told.model_version) == ("mine", GOOD)
        assert told.outputs[0].dict()["data"] == [value for row in expected for value in row]
        gateway.shift(100, RAISING, generation=2)
        assert client.model_infer("flights", request=request).outputs == told.outputs
        with pytest.raises(ApiError, match=r"404.*unknown"):
            client.read_model_metadata("unknown")
