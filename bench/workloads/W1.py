# SPDX-License-Identifier: MIT
import asyncio


def on_asyncio(n):
    future = asyncio.get_running_loop().create_future()
    future.set_result(1)

    async def run():
        for _ in range(n):
            await future
    return run


on_tornado = on_asyncio
