# SPDX-License-Identifier: MIT
import asyncio

DELAY = 100


def noop():
    pass


def renew(n, add, remove):
    pending = [add(DELAY, noop) for _ in range(n)]

    async def run():
        for i in range(n):
            remove(pending[i])
            pending[i] = add(DELAY, noop)
        await asyncio.sleep(0)  # the loop sweeps its heap
    return run


def on_asyncio(n):
    return renew(n, asyncio.get_running_loop().call_later,
                 lambda handle: handle.cancel())


def on_tornado(n):
    from tornado.ioloop import IOLoop
    loop = IOLoop.current()
    return renew(n, loop.call_later, loop.remove_timeout)
