// SPDX-License-Identifier: MIT
const { cpu, rss } = require('../support/measure.js')
const seconds = 2
const sleep = s => new Promise(resolve => setTimeout(resolve, s * 1000))

module.exports = n => async () => {
  const before = rss()
  const from = performance.now()
  const fromCpu = cpu()
  let woke = 0
  const found = {}
  await new Promise(resolve => {
    const sleeper = async () => {
      await sleep(seconds)
      if (++woke === n) resolve()
    }
    for (let i = 0; i < n; i++) sleeper()
    found.start_ns = (cpu() - fromCpu) / n * 1e9
    found.bytes = (rss() - before) * 1024 / n
  })
  found.beyond_s = (performance.now() - from) / 1000 - seconds
  return found
}
module.exports.measuresItself = true
