// SPDX-License-Identifier: MIT
const turn = () => new Promise(resolve => setImmediate(resolve))

// Promises that take the outcomes of `futures` in the order they come.
async function * asCompleted (futures) {
  const done = []
  let wake = () => {}
  for (const future of futures) {
    future.then(value => {
      done.push(value)
      wake()
    })
  }
  for (let i = 0; i < futures.length; i++) {
    if (i === done.length) await new Promise(resolve => { wake = resolve })
    yield done[i]
  }
}

module.exports = n => async () => {
  const set = []
  const futures = Array.from({ length: n },
    () => new Promise(resolve => set.push(resolve)))
  const setAll = turn().then(() => {
    for (let i = n - 1; i >= 0; i--) set[i](i)
  })
  for await (const value of asCompleted(futures)) void value
  await setAll
}
