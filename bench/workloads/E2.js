// SPDX-License-Identifier: MIT
module.exports = n => {
  const future = Promise.reject(new Error('no'))
  return async () => {
    for (let i = 0; i < n; i++) {
      try { await future } catch {}
    }
  }
}
