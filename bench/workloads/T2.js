// SPDX-License-Identifier: MIT
// Each child can be cancelled, and so has a controller: to add n listeners to
// one signal takes time quadratic in n.
const { turn } = require('../support/abort.js')
const child = async signal => { await turn(signal) }

module.exports = n => async () => {
  const controllers = []
  const children = []
  for (let i = 0; i < n; i++) {
    const controller = new AbortController()
    controllers.push(controller)
    children.push(child(controller.signal))
  }
  await Promise.all(children)
}
