"""Describe the gateway's endpoints as an OpenAPI document and an HTML page."""

import html
import importlib.metadata

import orjson

_TABLES = {
    "dataframe_split": {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "string"}},
            "index": {"type": "array"},
            "data": {"type": "array", "items": {"type": "array"}},
        },
        "required": ["data"],
    },
    "dataframe_records": {"type": "array", "items": {"type": "object"}},
    "instances": {"type": "array"},
    "inputs": {"oneOf": [{"type": "array"}, {"type": "object"}]},
}
_MODEL = {
    "name": "model",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "Registered model.",
}
_REQUEST_ID = {
    "name": "X-Request-Id",
    "in": "header",
    "schema": {"type": "string", "pattern": "[!-~]{1,128}"},
    "description": "Id of the request; labels are reported by it. One is made up when it is missing.",
}
_ERROR = {
    "type": "object",
    "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
    "required": ["error_code", "message"],
}
_TOLD = {
    "x-request-id": "Id of the request.",
    "x-model-version": "Version that answered; absent from a fallback answer.",
    "x-surefoot-rung": "What answered because the champion failed: proven_good or fallback; else absent.",
    "x-surefoot-fallback": "Kind of the policy's fallback that answered, because no version could; else absent.",
    "x-model-generation": "Generation of the route at receipt.",
    "x-model-rollout": "Rollout that asked for this route; empty outside one.",
    "traceresponse": "Trace of the request (W3C Trace Context), where requests are traced; else absent.",
}
_TOKEN: list[dict[str, list[str]]] = [{"control": []}]


def _json(schema: object, example: object = None) -> dict[str, object]:
    content: dict[str, object] = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"application/json": content}


def _operation(
    said: str,
    answers: dict[str, str],
    body: dict[str, object] | None = None,
    *,
    model: bool = False,
    token: bool = False,
) -> dict[str, object]:
    """One operation; every refusal is a sentence in the same shape."""
    replies: dict[str, object] = {}
    for status, meaning in answers.items():
        reply: dict[str, object] = {"description": meaning}
        if not status.startswith("2"):
            reply["content"] = _json(_ERROR)
        replies[status] = reply
    made: dict[str, object] = {"summary": said, "responses": replies}
    if model:
        made["parameters"] = [_MODEL]
    if body is not None:
        made["requestBody"] = {"required": True, "content": body}
    if token:
        made["security"] = _TOKEN
    return made


def _scoring(*, model: bool) -> dict[str, object]:
    body = {
        **_json(
            {
                "type": "object",
                "oneOf": [{"properties": {key: kind}, "required": [key]} for key, kind in _TABLES.items()],
            },
            {"dataframe_split": {"columns": ["distance", "carrier"], "data": [[1400.0, "UA"]]}},
        ),
        "text/csv": {"schema": {"type": "string"}, "example": "distance,carrier\n1400.0,UA\n"},
    }
    answers = {
        "200": "One prediction a row.",
        "400": "No version can answer this; says why.",
        "404": "No such model.",
        "413": "The body is too large.",
        "415": "The body is of a type that is not read.",
        "503": "Too much waits, or no champion is loaded; come back after Retry-After.",
    }
    said = "Score rows of a model." if model else "Score rows of the only model that is routed."
    made = _operation(said, answers, body, model=model)
    made["parameters"] = [*([_MODEL] if model else []), _REQUEST_ID]
    made["responses"]["200"] = {  # type: ignore[index]
        "description": answers["200"],
        "headers": {name: {"description": meaning, "schema": {"type": "string"}} for name, meaning in _TOLD.items()},
        "content": _json({"type": "object", "properties": {"predictions": {"type": "array"}}}, {"predictions": [0.31]}),
    }
    return made


def openapi_document() -> dict[str, object]:
    """The OpenAPI document."""
    steer = {"200": "In force in every worker.", "401": "Not with this token."}
    tensors = _json({"type": "object", "required": ["inputs"], "properties": {"inputs": {"type": "array"}}})
    infer = _operation(
        "Score tensors (Open Inference Protocol).",
        {"200": "One tensor.", "400": "Says why.", "404": "No such model."},
        tensors,
        model=True,
    )
    labels = _json(
        {"type": "array", "items": {"type": "object", "required": ["request", "label"]}},
        [{"request": "a1", "row": 0, "label": 1, "at": 1795580949.0}],
    )
    route = _json({"type": "object"})
    paths: dict[str, object] = {
        "/invocations": {"post": _scoring(model=False)},
        "/models/{model}/invocations": {"post": _scoring(model=True)},
        "/models/{model}/labels": {
            "post": _operation(
                "Report what came true.",
                {
                    "202": "All are written.",
                    "400": "Names the first that is wrong.",
                    "401": "Where roles are given: without an access token that counts.",
                    "403": "With an access token of another role or model.",
                },
                labels,
                model=True,
            )
        },
        "/models/{model}/route": {
            "get": _operation(
                "The route in force; its salt only with the token.",
                {"200": "The route.", "503": "None is set."},
                model=True,
            ),
            "put": _operation(
                "Put a route in force.",
                {
                    **steer,
                    "409": "A newer one is.",
                    "422": "A version cannot be loaded.",
                    "423": "The kill switch is set.",
                    "504": "A worker has not said that it sees it.",
                    "507": "It is in force and not on disk.",
                },
                route,
                model=True,
                token=True,
            ),
        },
        "/models/{model}/standby": {
            "put": _operation(
                "Name the proven-good version that answers requests that the champion fails; null names none.",
                {**steer, "409": "Another route is in force.", "507": "It is in force and not on disk."},
                _json({"type": "object", "required": ["generation", "version"]}),
                model=True,
                token=True,
            )
        },
        "/models/{model}/stats": {
            "get": _operation("Counts of all workers.", {"200": "Counts by version."}, model=True)
        },
        "/kill": {
            "put": _operation(
                "Set every candidate to 0; the body says why.",
                {**steer, "507": "It is in force and not on disk."},
                {"text/plain": {"schema": {"type": "string"}}},
                token=True,
            ),
            "delete": _operation("Let candidates have traffic again.", steer, token=True),
        },
        "/ping": {
            "get": _operation("Health, as MLflow calls it.", {"200": "Every model is loaded.", "503": "Some is not."})
        },
        "/health": {"get": _operation("Health.", {"200": "Every model is loaded.", "503": "Some is not."})},
        "/version": {"get": _operation("Version of Surefoot.", {"200": "The version."})},
        "/metrics": {"get": _operation("Counts for Prometheus.", {"200": "Text format."})},
        "/v2": {"get": _operation("Metadata of the server.", {"200": "Name and version."})},
        "/v2/health/live": {"get": _operation("Whether it lives.", {"200": "It does."})},
        "/v2/health/ready": {
            "get": _operation("Whether every model is loaded.", {"200": "They are.", "503": "Some is not."})
        },
        "/v2/models/{model}": {"get": _operation("Metadata of a model.", {"200": "Its champion."}, model=True)},
        "/v2/models/{model}/ready": {
            "get": _operation("Whether a model is loaded.", {"200": "It is.", "503": "It is not."}, model=True)
        },
        "/v2/models/{model}/infer": {"post": infer},
        "/openapi.json": {"get": _operation("This document.", {"200": "OpenAPI 3.1."})},
        "/docs": {"get": _operation("This document as a page.", {"200": "HTML."})},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Surefoot's gateway",
            "version": importlib.metadata.version("surefoot"),
            "description": "Answers from the champion or the candidate; which one is not the caller's to choose.",
        },
        "paths": paths,
        "components": {"securitySchemes": {"control": {"type": "http", "scheme": "bearer"}}},
    }


_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "h2{margin:2rem 0 .2rem;font-size:1.05rem}code{background:#eef1f4;border-radius:4px;padding:.1rem .35rem}"
    "pre{background:#eef1f4;border-radius:6px;padding:.7rem;overflow:auto}"
    "b{display:inline-block;min-width:4.2rem;color:#0b5cad}td{padding:.1rem 1rem .1rem 0;vertical-align:top}"
    "i{color:#9a3b00;font-style:normal}"
)


def openapi_page() -> bytes:
    """The document for people: every path, what it does, what it answers, and an example that can be pasted."""
    told = openapi_document()
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Surefoot</title><style>{_STYLE}</style>"]
    info = told["info"]
    parts.append(f"<h1>{_text(info['title'])} {_text(info['version'])}</h1><p>{_text(info['description'])}")  # type: ignore[index]
    parts.append("<p>For programs: <a href=/openapi.json>openapi.json</a>")
    for path, operations in told["paths"].items():  # type: ignore[attr-defined]
        for method, operation in operations.items():
            token = " <i>needs the control token</i>" if "security" in operation else ""
            parts.append(
                f"<h2><b>{method.upper()}</b> <code>{_text(path)}</code>{token}</h2>{_text(operation['summary'])}"
            )
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                if "example" in content:
                    parts.append(f"<pre>{_text(_curl(path, kind, content['example']))}</pre>")
            rows = (
                f"<tr><td>{status}<td>{_text(reply['description'])}" for status, reply in operation["responses"].items()
            )
            parts.append(f"<table>{''.join(rows)}</table>")
    return "\n".join(parts).encode()


def _curl(path: str, kind: str, example: object) -> str:
    body = example if isinstance(example, str) else orjson.dumps(example).decode()
    return f"curl -H 'Content-Type: {kind}' --data-binary '{body}' http://HOST{path.replace('{model}', 'MODEL')}"


def _text(value: object) -> str:
    return html.escape(str(value))
