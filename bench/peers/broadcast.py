"""A chat on Python's `websockets`: `broadcast` frames a message once and writes it to all."""

import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

connections: set[ServerConnection] = set()


async def chat(connection: ServerConnection) -> None:
    connections.add(connection)
    try:
        async for message in connection:
            broadcast(connections, message)
    finally:
        connections.discard(connection)


async def main(port: int) -> None:
    async with serve(
        chat, "127.0.0.1", port, compression=None, backlog=2048, ping_interval=None
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
