// SPDX-License-Identifier: MIT
const future = () => {
  let set
  const promise = new Promise(resolve => { set = resolve })
  return { promise, set }
}

module.exports = n => async () => {
  let a = future(), b = future()
  const ping = async () => {
    for (let i = 0; i < n / 2; i++) {
      await a.promise
      a = future()
      b.set(i)
    }
  }
  const other = ping()
  for (let i = 0; i < n / 2; i++) {
    a.set(i)
    await b.promise
    b = future()
  }
  await other
}
