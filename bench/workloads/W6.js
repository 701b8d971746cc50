// SPDX-License-Identifier: MIT
const turn = () => new Promise(resolve => setImmediate(resolve))

module.exports = n => async () => {
  const set = []
  const futures = Array.from({ length: n },
    () => new Promise(resolve => set.push(resolve)))
  const all = Promise.all(futures)
  await turn()
  for (let i = 0; i < n; i++) set[i](i)
  await all
}
