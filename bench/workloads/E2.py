# SPDX-License-Identifier: MIT
import asyncio


def on_asyncio(n):
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ValueError("no"))

    async def run():
        for _ in range(n):
            try:
                await future
            except ValueError as error:
                error.__traceback__ = None
    return run


on_tornado = on_asyncio
