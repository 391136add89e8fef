"""Requests a response whose second chunk is not one, and writes why it failed."""

import asyncio
import sys

from koi_agent.host.http_client import Limits, RequestFailed, client

FIRST = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n"


async def main() -> None:
    has_arrived = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(FIRST)
        await has_arrived.wait()
        writer.write(b"zz\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, client(url) as opened:
        try:
            async with opened.sent("GET", "/", Limits(seconds=30, body=1000)) as incoming:
                async for _ in incoming.pieces():
                    has_arrived.set()
        except RequestFailed as failed:
            sys.stdout.write(str(failed))


if __name__ == "__main__":
    asyncio.run(main())
