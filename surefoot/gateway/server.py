"""The server process around the gateway."""

import uvicorn

from surefoot.gateway.app import Gateway


def serve(app: Gateway, host: str, port: int) -> None:
    """Serve until a signal ends the process, finishing the requests that are under way."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,  # longer than proxies keep theirs, so that no request meets a closing connection
        timeout_graceful_shutdown=10,
    )
