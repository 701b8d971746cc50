// SPDX-License-Identifier: MIT
const turn = () => new Promise(resolve => setImmediate(resolve))

const leaf = async () => {
  await turn()
  return 1
}

module.exports = n => async () => {
  for (let i = 0; i < n; i++) await leaf()
}
