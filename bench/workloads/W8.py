# SPDX-License-Identifier: MIT
import asyncio


def on_asyncio(n):
    loop = asyncio.get_running_loop()

    async def run():
        for i in range(n):
            future = loop.create_future()
            loop.call_soon(future.set_result, i)
            await asyncio.wait_for(future, 1)
    return run


def on_tornado(n):
    from datetime import timedelta
    from tornado import gen
    from tornado.concurrent import Future
    from tornado.ioloop import IOLoop
    loop = IOLoop.current()
    second = timedelta(seconds=1)

    async def run():
        for i in range(n):
            future = Future()
            loop.add_callback(future.set_result, i)
            await gen.with_timeout(second, future)
    return run
