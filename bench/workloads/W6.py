# SPDX-License-Identifier: MIT
import asyncio


def together(n, future, gather):
    async def set_all(futures):
        await asyncio.sleep(0)
        for i, f in enumerate(futures):
            f.set_result(i)

    async def run():
        futures = [future() for _ in range(n)]
        other = asyncio.ensure_future(set_all(futures))
        await gather(futures)
        await other
    return run


def on_asyncio(n):
    return together(n, asyncio.get_running_loop().create_future,
                    lambda futures: asyncio.gather(*futures))


def on_tornado(n):
    from tornado import gen
    from tornado.concurrent import Future
    return together(n, Future, gen.multi)
