# SPDX-License-Identifier: MIT
import asyncio
from time import thread_time as clock

DELAY = 100


def measured(n, cancel):
    async def run():
        await cancel(n // 10)  # warms up
        return {"ns": await cancel(n) / n * 1e9}
    return run


def on_asyncio(n):
    async def cancel(count):
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(asyncio.sleep(DELAY))
                        for _ in range(count)]
            await asyncio.sleep(0)  # the children begin to sleep
            start = clock()
            for child in children:  # a TaskGroup has no cancel()
                child.cancel()
        return clock() - start
    return measured(n, cancel)


def on_trio(n):
    import trio
    import trio.testing

    async def cancel(count):
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(trio.sleep, DELAY)
            await trio.testing.wait_all_tasks_blocked()
            start = clock()
            nursery.cancel_scope.cancel()
        return clock() - start
    return measured(n, cancel)


on_asyncio.measures_itself = on_trio.measures_itself = True
