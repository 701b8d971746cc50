// SPDX-License-Identifier: MIT
const noop = () => {}
const add = () => setTimeout(noop, 100000).unref()

module.exports = n => {
  const pending = Array.from({ length: n }, add)
  return async () => {
    for (let i = 0; i < n; i++) {
      clearTimeout(pending[i])
      pending[i] = add()
    }
  }
}
