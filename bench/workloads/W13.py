# SPDX-License-Identifier: MIT
import servers


def on_asyncio(n):
    async def close(reader, writer):
        writer.close()
    return servers.on_asyncio(close)


def on_tornado(n):
    async def close(stream):
        stream.close()
    return servers.on_tornado(close)


on_asyncio.measures_itself = on_tornado.measures_itself = True
