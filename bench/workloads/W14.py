# SPDX-License-Identifier: MIT
import asyncio
import gc

import peer

UNCOUNTED = 20


def serving(port):
    print(port, flush=True)


class Counter:
    """Called at each new connection; `found` is done at the last of n."""

    def __init__(self, n):
        self.n, self.count = n, 0
        self.found = asyncio.get_running_loop().create_future()

    def __call__(self):
        self.count += 1
        if self.count == UNCOUNTED:
            gc.collect()
            self.before = peer.rss()
        elif self.count == self.n:
            gc.collect()
            taken = (peer.rss() - self.before) * 1024
            self.found.set_result({"bytes": taken / (self.n - UNCOUNTED)})


def on_asyncio(n):
    async def run():
        arrived = Counter(n)

        async def wait(reader, writer):
            arrived()
            await reader.readline()

        server = await asyncio.start_server(wait, "127.0.0.1", 0)
        serving(server.sockets[0].getsockname()[1])
        return await arrived.found
    return run


def on_tornado(n):
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer

    class Waiter(TCPServer):
        async def handle_stream(self, stream, address):
            self.arrived()
            await stream.read_until(b"\n")

    async def run():
        sockets = bind_sockets(0, "127.0.0.1")
        server = Waiter()
        server.arrived = Counter(n)
        server.add_sockets(sockets)
        serving(sockets[0].getsockname()[1])
        return await server.arrived.found
    return run


on_asyncio.measures_itself = on_tornado.measures_itself = True
