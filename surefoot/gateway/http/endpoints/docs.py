"""Handle the paths that return the gateway's API documentation and version."""

import importlib.metadata

from surefoot.gateway.http import asgi, openapi
from surefoot.gateway.http.asgi import Response


async def handle_version(_scope: asgi.Scope, _receive: asgi.Receive, _name: str) -> Response:
    """Give the version of Surefoot."""
    return Response(importlib.metadata.version("surefoot").encode(), kind=asgi.TEXT_CONTENT_TYPE)


async def handle_openapi(_scope: asgi.Scope, _receive: asgi.Receive, _name: str) -> Response:
    """Give the OpenAPI document."""
    return Response.json(openapi.openapi_document())


async def handle_docs_page(_scope: asgi.Scope, _receive: asgi.Receive, _name: str) -> Response:
    """Give the page of the OpenAPI document."""
    return Response(openapi.openapi_page(), kind=b"text/html; charset=utf-8")
