# SPDX-License-Identifier: MIT
import asyncio


def hand_over(n, future, spawn):
    a, b = future(), future()

    async def ping(done):
        nonlocal a
        for i in range(n // 2):
            await a
            a = future()
            b.set_result(i)
        done.set_result(None)

    async def run():
        nonlocal b
        done = future()
        spawn(ping(done))
        for i in range(n // 2):
            a.set_result(i)
            await b
            b = future()
        await done
    return run


def on_asyncio(n):
    loop = asyncio.get_running_loop()
    return hand_over(n, loop.create_future, asyncio.ensure_future)


def on_tornado(n):
    from tornado.concurrent import Future
    from tornado.ioloop import IOLoop
    loop = IOLoop.current()
    return hand_over(
        n, Future, lambda co: loop.spawn_callback(lambda: co))
