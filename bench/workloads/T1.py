# SPDX-License-Identifier: MIT
import asyncio
import random


def workload(n, call_later):
    async def run():
        done = asyncio.get_running_loop().create_future()
        left = n

        def fire(i):
            nonlocal left
            left -= 1
            if left == 0:
                done.set_result(i)
        for i in range(n):
            call_later(random.random(), fire, i)
        await done
    return run


def on_asyncio(n):
    return workload(n, asyncio.get_running_loop().call_later)


def on_tornado(n):
    from tornado.ioloop import IOLoop
    return workload(n, IOLoop.current().call_later)
