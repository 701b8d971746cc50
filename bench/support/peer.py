# SPDX-License-Identifier: MIT
"""One workload for Tornado, asyncio or Trio; prints `name value` lines:
    python3 peer.py WORKLOAD VARIANT N
See measure.lua for how time is taken."""
import asyncio
import importlib
import pathlib
import sys
import time


def status(field):
    try:
        with open("/proc/self/status") as file:
            for line in file:
                if line.startswith(field):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def rss():
    return status("VmRSS")


async def timed(run, enough, clock):
    async def once():
        start = clock()
        await run()
        return clock() - start
    spent, count = await once(), 1
    if spent < enough:
        spent = count = 0
        while spent < enough:
            spent += await once()
            count += 1
    return spent / count


async def main(name, variant, n):
    workload = getattr(importlib.import_module(name), "on_" + variant)
    run = workload(n)
    if getattr(workload, "measures_itself", False):
        found = await run()
    else:
        clock = getattr(workload, "clock", time.thread_time)
        found = {"ns": await timed(run, 0.2, clock) / n * 1e9}
    found["peak_kb"] = status("VmHWM")
    for key, value in found.items():
        print(key, value)


if __name__ == "__main__":
    here = pathlib.Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent / "workloads")]
    sys.dont_write_bytecode = True
    name, variant, n = sys.argv[1:4]
    work = main(name, variant, int(n))
    if variant == "tornado":
        from tornado.ioloop import IOLoop
        IOLoop.current().run_sync(lambda: work)
    elif variant == "trio":
        import trio
        trio.run(lambda: work)
    else:
        asyncio.run(work)
