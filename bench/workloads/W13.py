# SPDX-License-Identifier: MIT
import asyncio


def serving(port):
    print(port, flush=True)


def on_asyncio(n):
    async def close(reader, writer):
        writer.close()

    async def run():
        server = await asyncio.start_server(close, "127.0.0.1", 0)
        serving(server.sockets[0].getsockname()[1])
        await server.serve_forever()
    return run


def on_tornado(n):
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer

    class Closer(TCPServer):
        async def handle_stream(self, stream, address):
            stream.close()

    async def run():
        sockets = bind_sockets(0, "127.0.0.1")
        server = Closer()
        server.add_sockets(sockets)
        serving(sockets[0].getsockname()[1])
        await asyncio.Event().wait()
    return run


on_asyncio.measures_itself = on_tornado.measures_itself = True
