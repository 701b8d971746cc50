# SPDX-License-Identifier: MIT
import asyncio
import concurrent.futures
import time


def nothing():
    pass


def on_asyncio(n):
    loop = asyncio.get_running_loop()
    executor = concurrent.futures.ThreadPoolExecutor(2)

    async def run():
        await asyncio.gather(*[loop.run_in_executor(executor, nothing)
                               for _ in range(n)])
    return run


on_tornado = on_asyncio
on_asyncio.clock = time.process_time  # of all threads
