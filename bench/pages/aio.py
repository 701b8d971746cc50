# SPDX-License-Identifier: MIT
# pages.lua's peer: aiohttp.
import asyncio
import sys
import time

import aiohttp

url, pages, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


async def get(session):
    async with session.get(url) as answer:
        return len(await answer.read())


async def main():
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(connector=connector) as session:
        start = time.process_time()
        sizes = await asyncio.gather(*[get(session) for _ in range(pages)])
        assert sum(sizes) == pages * 10000
        print(time.process_time() - start)


asyncio.run(main())
