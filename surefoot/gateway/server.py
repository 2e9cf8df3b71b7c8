"""The server process around the gateway: uvicorn, with a way to leave that fails nobody."""

import asyncio
import socket

import uvicorn

from surefoot.gateway.app import Gateway

DRAIN_S = 3.0
"""How long callers with open connections may finish before these are closed [s]."""


class Server(uvicorn.Server):
    """Takes no new connections when it is to end, asks the open ones to close with their next answer, then ends."""

    def __init__(self, app: Gateway, host: str = "127.0.0.1", port: int = 0) -> None:
        """Serve this app."""
        self._app = app
        config = uvicorn.Config(
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
            backlog=2048,
        )
        super().__init__(config)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End after everybody has been answered."""
        for server in self.servers:
            server.close()
        self._app.leaving = True
        for _ in range(int(DRAIN_S / 0.02)):
            if not self.server_state.connections or self.force_exit:
                break
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)


def serve(app: Gateway, host: str, port: int) -> None:
    """Serve in this process until a signal ends it, finishing the requests that are under way."""
    Server(app, host, port).run()


def serve_on(app: Gateway, listening: socket.socket, keeper: int) -> None:
    """The same on a socket that listens already, which other workers of a keeper share."""
    app.share(listening.dup(), keeper)
    Server(app).run([listening])
