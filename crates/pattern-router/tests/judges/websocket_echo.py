"""A WebSocket echo server on the port that is given, as an application has one."""
import asyncio
import logging
import sys

import websockets

logging.getLogger("websockets").setLevel(logging.CRITICAL)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    async with websockets.serve(echo, "127.0.0.1", int(sys.argv[1]), max_size=None, ping_interval=None):
        await asyncio.Future()


asyncio.run(main())
