"""`python -m bench.rolling.backend MODEL VERSION PORT`: serves one version behind a proxy."""

import sys
import warnings
from pathlib import Path

import orjson
import uvicorn

from surefoot.adapters.mlflow.artifacts import load_model_directory
from surefoot.gateway.http import asgi


def main() -> None:
    """Serve until a signal."""
    path, version, port = sys.argv[1:]
    warnings.simplefilter("ignore")
    model = load_model_directory(Path(path))
    model.warm()

    async def app(scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http":
            return
        body = await asgi.read_body(scope, receive, 1 << 20)
        rows = orjson.loads(body)["instances"] if body else []
        answers = model.predict(rows) if rows else []
        reply = asgi.Response.json({"predictions": answers})
        reply.headers["x-model-version"] = version
        await reply.send(send)

    uvicorn.run(
        app, port=int(port), loop="uvloop", http="httptools", access_log=False, log_level="warning", lifespan="off",
        timeout_keep_alive=75,
    )  # fmt: skip


if __name__ == "__main__":
    main()
