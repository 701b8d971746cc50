// SPDX-License-Identifier: MIT
const leaf = async () => { throw new Error('no') }

module.exports = n => async () => {
  for (let i = 0; i < n; i++) {
    try { await leaf() } catch {}
  }
}
