# SPDX-License-Identifier: MIT
"""TCP servers on asyncio and Tornado.  Each function returns the coroutine
function that serves: it listens on a free port of this machine, prints the
port, and serves until the process is killed, or until stop() is called.  A
process has one server."""
import asyncio

HOST = "127.0.0.1"
BACKLOG = 4096  # with less, the client has to connect again after a second

found = None  # a Future of what stop() is given


def stop(result):
    """Ends the server; the function that serves returns `result`."""
    found.set_result(result)


async def until_stopped(port):
    """Tells the client where to connect, and waits."""
    print(port, flush=True)
    return await found


def on_asyncio(serve):
    """serve(reader, writer) is a coroutine function."""
    async def run():
        global found
        found = asyncio.get_running_loop().create_future()
        server = await asyncio.start_server(serve, HOST, 0,
                                            backlog=BACKLOG)
        return await until_stopped(server.sockets[0].getsockname()[1])
    return run


def on_tornado(serve):
    """serve(stream) is a coroutine function."""
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer

    class Server(TCPServer):
        def handle_stream(self, stream, address):
            return serve(stream)

    async def run():
        global found
        found = asyncio.get_running_loop().create_future()
        sockets = bind_sockets(0, HOST, backlog=BACKLOG)
        Server().add_sockets(sockets)
        return await until_stopped(sockets[0].getsockname()[1])
    return run
