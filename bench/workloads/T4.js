// SPDX-License-Identifier: MIT
// AbortSignal.timeout cannot be taken back: its timers would pile up.
const { turn } = require('../support/abort.js')

const within = async (ms, wait) => {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), ms)
  try {
    return await wait(controller.signal)
  } finally {
    clearTimeout(timer)
  }
}

module.exports = n => async () => {
  for (let i = 0; i < n; i++) await within(100000, turn)
}
