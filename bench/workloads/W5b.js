// SPDX-License-Identifier: MIT
module.exports = n => async () => {
  let last
  const tick = i => { last = i }
  for (let i = 0; i < n; i++) setImmediate(tick, i)
  await new Promise(resolve => setImmediate(resolve))
  if (last !== n - 1) throw new Error(`the last was ${last}`)
}
