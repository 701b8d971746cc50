# SPDX-License-Identifier: MIT
import asyncio
import time

from peer import rss

SECONDS = 2


def sleepers(n, sleep, spawn):
    async def run():
        done = asyncio.get_running_loop().create_future()
        started = woke = 0
        found = {}
        before, start, cpu = rss(), time.monotonic(), time.thread_time()

        async def sleeper():
            nonlocal started, woke
            started += 1
            if started == n:
                found["start_ns"] = (time.thread_time() - cpu) / n * 1e9
                found["bytes"] = (rss() - before) * 1024 / n
            await sleep(SECONDS)
            woke += 1
            if woke == n:
                done.set_result(None)
        for _ in range(n):
            spawn(sleeper)
        await done
        found["beyond_s"] = time.monotonic() - start - SECONDS
        return found
    return run


def on_asyncio(n):
    tasks = set()  # the loop itself holds tasks weakly

    def spawn(fn):
        task = asyncio.ensure_future(fn())
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    return sleepers(n, asyncio.sleep, spawn)


def on_tornado(n):
    from tornado import gen
    from tornado.ioloop import IOLoop
    return sleepers(n, gen.sleep, IOLoop.current().spawn_callback)


on_asyncio.measures_itself = on_tornado.measures_itself = True
