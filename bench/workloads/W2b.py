# SPDX-License-Identifier: MIT
import asyncio


async def leaf():
    await asyncio.sleep(0)
    return 1


def on_asyncio(n):
    async def run():
        for _ in range(n):
            await leaf()
    return run


on_tornado = on_asyncio
