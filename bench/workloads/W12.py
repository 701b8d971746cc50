# SPDX-License-Identifier: MIT
import asyncio

BLANK = b"\r\n\r\n"
ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
          b"Content-Length: 13\r\n\r\nHello, world!")


def serving(port):
    print(port, flush=True)


def on_asyncio(n):
    async def answer_all(reader, writer):
        try:
            while True:
                await reader.readuntil(BLANK)
                writer.write(ANSWER)
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    async def run():
        server = await asyncio.start_server(answer_all, "127.0.0.1", 0)
        serving(server.sockets[0].getsockname()[1])
        await server.serve_forever()
    return run


def on_tornado(n):
    from tornado.iostream import StreamClosedError
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer

    class Hello(TCPServer):
        async def handle_stream(self, stream, address):
            try:
                while True:
                    await stream.read_until(BLANK)
                    await stream.write(ANSWER)
            except StreamClosedError:
                pass

    async def run():
        sockets = bind_sockets(0, "127.0.0.1")
        server = Hello()
        server.add_sockets(sockets)
        serving(sockets[0].getsockname()[1])
        await asyncio.Event().wait()
    return run


on_asyncio.measures_itself = on_tornado.measures_itself = True
