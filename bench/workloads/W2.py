# SPDX-License-Identifier: MIT
async def leaf():
    return 1


def on_asyncio(n):
    async def run():
        for _ in range(n):
            await leaf()
    return run


on_tornado = on_asyncio
