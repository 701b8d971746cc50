// SPDX-License-Identifier: MIT
const { rss } = require('../support/measure.js')

module.exports = n => async () => {
  const set = []
  const wait = async future => { await future }
  global.gc()
  const before = rss()
  for (let i = 0; i < n; i++) {
    wait(new Promise(resolve => set.push(resolve)))
  }
  global.gc()
  const bytes = (rss() - before) * 1024 / n
  for (const resolve of set) resolve()
  return { bytes }
}
module.exports.measuresItself = true
