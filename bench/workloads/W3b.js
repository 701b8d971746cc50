// SPDX-License-Identifier: MIT
const depth = 100
const turn = () => new Promise(resolve => setImmediate(resolve))

const chain = async left => {
  if (left > 0) return await chain(left - 1)
  await turn()
  return 1
}

module.exports = n => async () => {
  for (let i = 0; i < n / depth; i++) await chain(depth)
}
