# SPDX-License-Identifier: MIT
DEPTH = 100


async def chain(left):
    if left == 0:
        return 1
    return await chain(left - 1)


def on_asyncio(n):
    async def run():
        for _ in range(n // DEPTH):
            await chain(DEPTH)
    return run


on_tornado = on_asyncio
