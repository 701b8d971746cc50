// SPDX-License-Identifier: MIT
const turn = () => new Promise(resolve => setImmediate(resolve))

module.exports = n => async () => {
  for (let i = 0; i < n; i++) await turn()
}
