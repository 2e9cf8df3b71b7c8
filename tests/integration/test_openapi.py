"""The gateway describes itself, and the description is what it does."""

import re
from typing import Any, cast

from jsonschema import Draft202012Validator

from surefoot.gateway.http.openapi import openapi_document, openapi_page
from tests import local_http
from tests.integration.gateway_harness import Gateway

BODIES = {
    "/models/{model}/labels": {"json": [{"request": "a", "label": 1}]},
    "/models/{model}/infer": {"json": {"inputs": []}},
}


def test_every_path_of_the_document_is_answered_as_it_says(routed: Gateway) -> None:
    """Each operation answers with one of the states that the document names for it."""
    for path, operations in openapi_document()["paths"].items():  # type: ignore[attr-defined]
        for method, operation in operations.items():
            url = routed.url + path.replace("{model}", "flights")
            said = local_http.request(method.upper(), url, **BODIES.get(path, {"content": b"{}"}), timeout=60.0)  # type: ignore[arg-type]
            assert str(said.status_code) in operation["responses"], (path, method, said.text)


def test_the_example_of_a_request_fits_its_own_schema() -> None:
    """The body that the page offers for copying is one that the document allows."""
    paths = cast("dict[str, Any]", openapi_document()["paths"])
    content = paths["/models/{model}/invocations"]["post"]["requestBody"]["content"]["application/json"]
    assert Draft202012Validator(content["schema"]).is_valid(content["example"])
    assert not Draft202012Validator(content["schema"]).is_valid({"rows": []})


def test_the_page_needs_nothing_from_elsewhere(routed: Gateway) -> None:
    """It loads no script and no style, names every path, and is the page that is served."""
    said = local_http.get(routed.url + "/docs")
    assert said.headers["content-type"].startswith("text/html")
    assert said.content == openapi_page()
    assert not re.findall(r"(?:src|href)=.?https?:", said.text)
    assert all(f"<code>{path}</code>" in said.text for path in openapi_document()["paths"])  # type: ignore[attr-defined]
