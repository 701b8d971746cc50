# SPDX-License-Identifier: MIT
import asyncio


def callbacks(n, soon):
    async def run():
        last = None
        done = asyncio.get_running_loop().create_future()

        def tick(i):
            nonlocal last
            last = i
        for i in range(n):
            soon(tick, i)
        soon(done.set_result, None)
        await done
        assert last == n - 1
    return run


def on_asyncio(n):
    return callbacks(n, asyncio.get_running_loop().call_soon)


def on_tornado(n):
    from tornado.ioloop import IOLoop
    return callbacks(n, IOLoop.current().add_callback)
