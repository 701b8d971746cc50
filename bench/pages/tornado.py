# SPDX-License-Identifier: MIT
# pages.lua's peer: Tornado's AsyncHTTPClient on libcurl.
import sys
import time

# This file's name is that of the package.
sys.path.pop(0)
from tornado import gen, ioloop  # noqa: E402
from tornado.httpclient import AsyncHTTPClient  # noqa: E402

url, pages, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient",
                          max_clients=at_once)


async def main():
    client = AsyncHTTPClient()
    start = time.process_time()
    answers = await gen.multi([client.fetch(url) for _ in range(pages)])
    assert sum(len(answer.body) for answer in answers) == pages * 10000
    print(time.process_time() - start)


ioloop.IOLoop.current().run_sync(main)
