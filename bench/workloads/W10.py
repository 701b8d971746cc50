# SPDX-License-Identifier: MIT
import asyncio

CHUNK = 65536


def serving(port):
    print(port, flush=True)


def on_asyncio(n):
    async def echo(reader, writer):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def run():
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        serving(server.sockets[0].getsockname()[1])
        await server.serve_forever()
    return run


def on_tornado(n):
    from tornado.iostream import StreamClosedError
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer

    class Echo(TCPServer):
        async def handle_stream(self, stream, address):
            try:
                while True:
                    data = await stream.read_bytes(CHUNK, partial=True)
                    await stream.write(data)
            except StreamClosedError:
                pass

    async def run():
        sockets = bind_sockets(0, "127.0.0.1")
        server = Echo()
        server.add_sockets(sockets)
        serving(sockets[0].getsockname()[1])
        await asyncio.Event().wait()
    return run


on_asyncio.measures_itself = on_tornado.measures_itself = True
