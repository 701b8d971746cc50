# SPDX-License-Identifier: MIT
import asyncio


async def set_all(futures):
    await asyncio.sleep(0)
    for i, future in enumerate(reversed(futures)):
        future.set_result(i)


def on_asyncio(n):
    loop = asyncio.get_running_loop()

    async def run():
        futures = [loop.create_future() for _ in range(n)]
        other = asyncio.ensure_future(set_all(futures))
        for future in asyncio.as_completed(futures):
            await future
        await other
    return run


def on_tornado(n):
    from tornado import gen
    from tornado.concurrent import Future
    async def run():
        futures = [Future() for _ in range(n)]
        other = asyncio.ensure_future(set_all(futures))
        it = gen.WaitIterator(*futures)
        while not it.done():
            await it.next()
        await other
    return run
