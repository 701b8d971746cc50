rockspec_format = "3.0"
package = "lunado"
version = "dev-1"
source = {
   url = ".",
}
description = {
   summary = "Futures and coroutines for Lua on libuv, after Tornado's",
   license = "MIT",
   labels = { "async", "coroutine", "future", "libuv", "event-loop" },
}
dependencies = {
   "lua >= 5.4, < 5.5",
}
external_dependencies = {
   LIBUV = { header = "uv.h", library = "uv" },
}
-- The Lua modules need no list: luarocks installs lua/ as it is.
build = {
   type = "builtin",
   modules = {
      ["lunado.core"] = {
         sources = {
            "src/binding/anchor.c",
            "src/binding/await.c",
            "src/binding/awaited.c",
            "src/binding/body.c",
            "src/binding/capi.c",
            "src/binding/capierror.c",
            "src/binding/class.c",
            "src/binding/classname.c",
            "src/binding/clock.c",
            "src/binding/context.c",
            "src/binding/convert.c",
            "src/binding/coroutine.c",
            "src/binding/crew.c",
            "src/binding/decode.c",
            "src/binding/encode.c",
            "src/binding/enter.c",
            "src/binding/exception.c",
            "src/binding/executor.c",
            "src/binding/failure.c",
            "src/binding/forsaken.c",
            "src/binding/future.c",
            "src/binding/handler.c",
            "src/binding/inspect.c",
            "src/binding/interrupt.c",
            "src/binding/ioloop.c",
            "src/binding/late.c",
            "src/binding/lifetime.c",
            "src/binding/log.c",
            "src/binding/luv.c",
            "src/binding/luvend.c",
            "src/binding/luvload.c",
            "src/binding/module.c",
            "src/binding/multi.c",
            "src/binding/naming.c",
            "src/binding/open.c",
            "src/binding/promise.c",
            "src/binding/queue.c",
            "src/binding/raise.c",
            "src/binding/realm.c",
            "src/binding/received.c",
            "src/binding/refusal.c",
            "src/binding/runsync.c",
            "src/binding/signals.c",
            "src/binding/sleep.c",
            "src/binding/suspend.c",
            "src/binding/ticket.c",
            "src/binding/timeout.c",
            "src/binding/waititer.c",
            "src/binding/watch.c",
            "src/binding/worker.c",
            "src/core/address.c",
            "src/core/alloc.c",
            "src/core/check.c",
            "src/core/future.c",
            "src/core/handle.c",
            "src/core/heap.c",
            "src/core/loop.c",
            "src/core/multi.c",
            "src/core/poll.c",
            "src/core/post.c",
            "src/core/signals.c",
            "src/core/slab.c",
            "src/core/timer.c",
            "src/core/waititer.c",
            "src/core/workers.c",
         },
         incdirs = { "src", "$(LIBUV_INCDIR)" },
         libdirs = { "$(LIBUV_LIBDIR)" },
         libraries = { "uv", "pthread" },
      },
   },
}
test = {
   type = "busted",
}
