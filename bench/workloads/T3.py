# SPDX-License-Identifier: MIT
import asyncio
from time import thread_time as clock

DELAY = 100


def measured(n, cancel_all):
    async def run():
        await cancel_all()  # warms up
        return {"ns": await cancel_all() / n * 1e9}
    return run


def on_asyncio(n):
    async def cancel_all():
        async with asyncio.TaskGroup() as group:
            children = [group.create_task(asyncio.sleep(DELAY))
                        for _ in range(n)]
            await asyncio.sleep(0)  # the children begin to sleep
            start = clock()
            for child in children:  # a TaskGroup has no cancel()
                child.cancel()
        return clock() - start
    return measured(n, cancel_all)


def on_trio(n):
    import trio
    import trio.testing

    async def cancel_all():
        async with trio.open_nursery() as nursery:
            for _ in range(n):
                nursery.start_soon(trio.sleep, DELAY)
            await trio.testing.wait_all_tasks_blocked()
            start = clock()
            nursery.cancel_scope.cancel()
        return clock() - start
    return measured(n, cancel_all)


on_asyncio.measures_itself = on_trio.measures_itself = True
