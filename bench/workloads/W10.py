# SPDX-License-Identifier: MIT
import servers

CHUNK = 65536


def on_asyncio(n):
    async def echo(reader, writer):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.close()
    return servers.on_asyncio(echo)


def on_tornado(n):
    from tornado.iostream import StreamClosedError

    async def echo(stream):
        try:
            while True:
                data = await stream.read_bytes(CHUNK, partial=True)
                await stream.write(data)
        except StreamClosedError:
            pass
    return servers.on_tornado(echo)


on_asyncio.measures_itself = on_tornado.measures_itself = True
