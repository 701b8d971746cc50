// SPDX-License-Identifier: MIT
module.exports = n => {
  const future = Promise.resolve(1)
  return async () => {
    for (let i = 0; i < n; i++) await future
  }
}
