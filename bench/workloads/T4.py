# SPDX-License-Identifier: MIT
import asyncio

DELAY = 100


def on_asyncio(n):
    async def run():
        for _ in range(n):
            async with asyncio.timeout(DELAY):
                await asyncio.sleep(0)
    return run


def on_trio(n):
    import trio

    async def run():
        for _ in range(n):
            with trio.fail_after(DELAY):
                await trio.lowlevel.checkpoint()
    return run
