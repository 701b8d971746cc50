// SPDX-License-Identifier: MIT
// Each child has a controller: to add n listeners to one signal takes time
// quadratic in n.
const { sleep } = require('../support/abort.js')
const { cpu } = require('../support/measure.js')
const child = async signal => { await sleep(100000, signal) }

const cancelAll = async n => {
  const controllers = []
  const children = []
  for (let i = 0; i < n; i++) {
    const controller = new AbortController()
    controllers.push(controller)
    children.push(child(controller.signal))
  }
  const all = Promise.allSettled(children)
  const from = cpu()
  for (const controller of controllers) controller.abort()
  await all
  return cpu() - from
}

module.exports = n => async () => {
  await cancelAll(Math.floor(n / 10)) // warms up
  return { ns: await cancelAll(n) / n * 1e9 }
}
module.exports.measuresItself = true
