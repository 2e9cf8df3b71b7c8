"""`python -m bench.viewing.viewers URL PATH COUNT SECONDS`: simulates browsers that keep a live page open."""

import asyncio
import json
import sys
import time

import aiohttp

_REFRESH_S = 60.0


async def _view(session: aiohttp.ClientSession, base: str, path: str, until: float, told: list[float]) -> None:
    """One open page: it asks for its live part at each event, and once a minute."""

    async def refresh() -> None:
        async with session.get(base + path, headers={"x-fragment": "1"}) as answer:
            await answer.read()
            answer.raise_for_status()

    async with session.get(base + "/events") as events:
        head = None
        due = time.monotonic() + _REFRESH_S
        while (left := until - time.monotonic()) > 0:
            try:
                line = await asyncio.wait_for(events.content.readline(), min(left, max(due - time.monotonic(), 0.01)))
            except TimeoutError:
                if time.monotonic() >= due:
                    due += _REFRESH_S
                    await refresh()
                continue
            if not line.startswith(b"data: "):
                continue
            new = line
            if head is not None and new != head:
                await refresh()
                told.append(time.time())
            head = new


async def _main(base: str, path: str, count: int, seconds: float) -> None:
    told: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        until = time.monotonic() + seconds
        await asyncio.gather(*(_view(session, base, path, until, told) for _ in range(count)))
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
