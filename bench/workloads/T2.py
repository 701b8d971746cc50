# SPDX-License-Identifier: MIT
import asyncio


def on_asyncio(n):
    async def run():
        async with asyncio.TaskGroup() as group:
            for _ in range(n):
                group.create_task(asyncio.sleep(0))
    return run


def on_trio(n):
    import trio

    async def run():
        async with trio.open_nursery() as nursery:
            for _ in range(n):
                nursery.start_soon(trio.lowlevel.checkpoint)
    return run
