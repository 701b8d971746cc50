-- SPDX-License-Identifier: MIT
-- The workloads in the order of the tables.  `file` is the name of the
-- workload's file, if it is not the id: one file may serve several sizes.
return {
  { id = "W1" }, { id = "W2" }, { id = "W2b" }, { id = "W3" }, { id = "W3b" },
  { id = "W4" }, { id = "W5" }, { id = "W5b" }, { id = "W6" }, { id = "W7" },
  { id = "W7b" }, { id = "W8" }, { id = "W9" },
  { id = "W10" },
  { id = "W10b", file = "W10", n = 400,
    client = { connections = 4, bytes = 4 << 20 },
    title = "echo over TCP, 4 connections, 4 MB (server CPU, each)",
    goals = { { "lunado", 1.0, "luv" }, { "lunado message", 1.0, "luv" } } },
  { id = "W11" },
  { id = "W11m", file = "W11", n = 1000000, quick = 200000,
    title = "bytes for each suspended coroutine with its Future, 1,000,000",
    metrics = { { key = "bytes", unit = "bytes" } } },
  { id = "W12" }, { id = "W13" }, { id = "W14" },
  { id = "T1" }, { id = "T2" }, { id = "T3" }, { id = "T4" },
  { id = "X1" }, { id = "X2" },
  { id = "E1" }, { id = "E2" }, { id = "R1" },
}
