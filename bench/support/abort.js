// SPDX-License-Identifier: MIT
// Waits that an AbortSignal ends. Those of timers/promises do the same, but
// cost more.
const waiting = (signal, start, stop) => new Promise((resolve, reject) => {
  const abort = () => {
    stop(started)
    reject(signal.reason)
  }
  const started = start(() => {
    signal.removeEventListener('abort', abort)
    resolve()
  })
  signal.addEventListener('abort', abort, { once: true })
})

exports.turn = signal => waiting(signal, setImmediate, clearImmediate)
exports.sleep = (ms, signal) =>
  waiting(signal, done => setTimeout(done, ms), clearTimeout)
