// SPDX-License-Identifier: MIT
const depth = 100

const chain = async left => left === 0 ? 1 : await chain(left - 1)

module.exports = n => async () => {
  for (let i = 0; i < n / depth; i++) await chain(depth)
}
