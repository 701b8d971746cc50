# SPDX-License-Identifier: MIT
import asyncio


def on_asyncio(n):
    async def run():
        for _ in range(n):
            await asyncio.sleep(0)
    return run


on_tornado = on_asyncio
