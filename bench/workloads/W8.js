// SPDX-License-Identifier: MIT
const withTimeout = (ms, promise) => {
  let timer
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => reject(new Error('timeout')), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

module.exports = n => async () => {
  for (let i = 0; i < n; i++) {
    await withTimeout(1000, new Promise(resolve => setImmediate(resolve, i)))
  }
}
