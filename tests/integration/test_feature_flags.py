"""An application that loads models itself asks OpenFeature for the version of a customer, and gets the gateway's."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import httpx
import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import Reason

from surefoot.adapters.access.token_file import TokenFile
from surefoot.core.access.roles import Role
from surefoot.feature_flags import SurefootProvider
from surefoot.status_page.page_server import serve_status_page
from tests import local_http
from tests.conftest import free_port
from tests.integration.emergency import MODEL, Emergency
from tests.integration.gateway_harness import BETTER, GOOD
from tests.integration.waiting import wait_for

UNITS = [f"N{number}" for number in range(60)]


@pytest.fixture
def controller(emergency: Emergency) -> Iterator[ExitStack]:
    """The controller's HTTP application, until it is closed."""
    emergency.config = replace(emergency.config, page=f"http://127.0.0.1:{free_port()}")
    emergency.config.save()
    with ExitStack() as serving:
        serving.enter_context(serve_status_page(emergency.config))
        yield serving


@pytest.fixture
def paged(emergency: Emergency, controller: ExitStack) -> Emergency:
    """A gateway, a journal, and the controller in front of them."""
    return emergency


def token(emergency: Emergency, *models: str, name: str = "application") -> str:
    """An access token of a viewer."""
    now = time.time()
    return TokenFile(emergency.home).create(name, Role.VIEWER, models or ("*",), now, now + 3600.0, "cli:ada")[0]


def provider(emergency: Emergency, *models: str, **more: Any) -> SurefootProvider:
    """A provider of these models."""
    chosen = models or (MODEL,)
    return SurefootProvider(emergency.config.page, chosen, token=token(emergency), **more)


@pytest.fixture
def client(paged: Emergency) -> Iterator[OpenFeatureClient]:
    """A client of OpenFeature that follows the gateway."""
    api.set_provider_and_wait(provider(paged, time_to_live=2.5))
    yield api.get_client()
    api.shutdown()


def flags(client: OpenFeatureClient) -> list[str]:
    """The version of each customer."""
    return [client.get_string_value(MODEL, "none", EvaluationContext(unit)) for unit in UNITS]


def answered(emergency: Emergency) -> list[str]:
    """The version that the gateway has answer each customer."""
    return [emergency.gateway.ask(unit=unit).headers["x-model-version"] for unit in UNITS]


def test_each_customer_has_the_version_that_the_gateway_answers_with(
    paged: Emergency, client: OpenFeatureClient
) -> None:
    """Before and in a ramp a flag is where the gateway's answer comes from; `kill` takes the candidate out."""
    wait_for(lambda: client.get_string_value(MODEL, "", EvaluationContext("N1")) != "")
    assert flags(client) == answered(paged) == [GOOD] * len(UNITS)
    paged.ramp()
    wait_for(lambda: len(set(flags(client))) == 2)
    assert flags(client) == answered(paged)
    one = client.get_boolean_details(MODEL, False, EvaluationContext(UNITS[flags(client).index(BETTER)]))
    assert (one.value, one.variant, one.reason) == (True, "candidate", Reason.SPLIT)
    assert int(str(one.flag_metadata["version"])) == paged.live().generation
    told = client.get_object_value(MODEL, {}, EvaluationContext(UNITS[flags(client).index(BETTER)]))
    assert told == {"version": BETTER, "uri": f"models:/{MODEL}/{BETTER}"}
    assert paged.command("kill", "-m", "enough") == 0
    wait_for(lambda: set(flags(client)) == {GOOD})


def test_a_controller_out_of_reach_means_the_champion(
    paged: Emergency, controller: ExitStack, client: OpenFeatureClient
) -> None:
    """When the controller tells nothing for the time to live, every customer gets the champion: reason STALE."""
    paged.ramp()
    wait_for(lambda: len(set(flags(client))) == 2)
    controller.close()
    wait_for(lambda: set(flags(client)) == {GOOD})
    assert client.get_string_details(MODEL, "", EvaluationContext("N1")).reason == Reason.STALE


def test_what_cannot_be_answered_is_the_applications_default(paged: Emergency, client: OpenFeatureClient) -> None:
    """Another model, no customer and a number are OpenFeature's errors; the application's default is what it gets."""
    wait_for(lambda: client.get_string_value(MODEL, "", EvaluationContext("N1")) != "")
    for key, context, code in (
        ("other", EvaluationContext("N1"), ErrorCode.FLAG_NOT_FOUND),
        (MODEL, EvaluationContext(), ErrorCode.TARGETING_KEY_MISSING),
        (MODEL, EvaluationContext(""), ErrorCode.TARGETING_KEY_MISSING),
    ):
        found = client.get_string_details(key, "mine", context)
        assert (found.value, found.error_code) == ("mine", code)
    assert client.get_integer_details(MODEL, 7, EvaluationContext("N1")).error_code == ErrorCode.TYPE_MISMATCH


def test_the_stream_asks_for_a_viewer_of_each_model(paged: Emergency) -> None:
    """Without a token, with one of another model, and without a model nothing is streamed: the salt is a secret."""
    url = f"{paged.config.page}/api/splits"
    for query, given, status in (
        ({"model": MODEL}, {}, 401),
        ({"model": MODEL}, {"authorization": "Bearer nonsense"}, 401),
        ({"model": MODEL}, {"authorization": f"Bearer {token(paged, 'x', name='other')}"}, 403),
        ({}, {"authorization": f"Bearer {token(paged)}"}, 400),
    ):
        found = local_http.request("GET", url, params=query, headers=given, timeout=30.0)
        assert found.status_code == status, found.text
    refused = SurefootProvider(paged.config.page, [MODEL], token="nonsense", patience=1.0)  # noqa: S106 - none
    with pytest.raises(ProviderNotReadyError) as said:
        refused.initialize(EvaluationContext())
    assert "the controller answers 401" in str(said.value.error_message)
    refused.shutdown()


def test_a_revoked_token_sees_no_more(paged: Emergency) -> None:
    """A stream ends within seconds of the end of its token."""
    made = token(paged)
    with httpx.stream(
        "GET",
        f"{paged.config.page}/api/splits?model={MODEL}",
        headers={"authorization": f"Bearer {made}"},
        timeout=30.0,
    ) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        TokenFile(paged.home).revoke("application", time.time(), "cli:ada")
        assert len(list(lines)) < 20
