# SPDX-License-Identifier: MIT
async def leaf():
    raise ValueError("no")


def on_asyncio(n):
    async def run():
        for _ in range(n):
            try:
                await leaf()
            except ValueError:
                pass
    return run


on_tornado = on_asyncio
