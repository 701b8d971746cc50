// SPDX-License-Identifier: MIT
// What a workload's process knows of itself: time and memory.
const fs = require('fs')

const status = field => {
  try {
    const text = fs.readFileSync('/proc/self/status', 'utf8')
    return Number(text.match(new RegExp(`${field}:\\s*(\\d+)`))[1])
  } catch {
    return 0
  }
}

// Seconds of CPU time of the main thread: what V8's own threads do beside it
// costs nothing here. Wall time where the kernel does not tell.
exports.cpu = () => {
  try {
    const text = fs.readFileSync('/proc/thread-self/schedstat', 'utf8')
    return parseInt(text) / 1e9
  } catch {
    return performance.now() / 1000
  }
}

// Kilobytes.
exports.rss = () => status('VmRSS')
exports.peak = () => status('VmHWM')
