# SPDX-License-Identifier: MIT
import asyncio
import gc

from peer import rss


def suspended(n, future, spawn):
    async def wait(f):
        await f

    async def run():
        gc.collect()
        before = rss()
        futures = [future() for _ in range(n)]
        for f in futures:
            spawn(wait, f)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        found = {"bytes": (rss() - before) * 1024 / n}
        for f in futures:
            f.set_result(None)
        await asyncio.sleep(0)
        return found
    return run


def on_asyncio(n):
    loop = asyncio.get_running_loop()
    tasks = []
    return suspended(n, loop.create_future,
                     lambda fn, f: tasks.append(loop.create_task(fn(f))))


def on_tornado(n):
    from tornado.concurrent import Future
    from tornado.ioloop import IOLoop
    return suspended(n, Future, IOLoop.current().spawn_callback)


on_asyncio.measures_itself = on_tornado.measures_itself = True
