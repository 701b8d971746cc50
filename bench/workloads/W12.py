# SPDX-License-Identifier: MIT
import asyncio

import servers

BLANK = b"\r\n\r\n"
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
          b"Content-Length: 13\r\n\r\nHello, world!")


def on_asyncio(n):
    async def answer_all(reader, writer):
        try:
            while True:
                await reader.readuntil(BLANK)
                writer.write(ANSWER)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()
    return servers.on_asyncio(answer_all)


def on_tornado(n):
    from tornado.iostream import StreamClosedError

    async def answer_all(stream):
        try:
            while True:
                await stream.read_until(BLANK)
                await stream.write(ANSWER)
        except StreamClosedError:
            pass
    return servers.on_tornado(answer_all)


on_asyncio.measures_itself = on_tornado.measures_itself = True
