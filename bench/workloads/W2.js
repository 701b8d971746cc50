// SPDX-License-Identifier: MIT
const leaf = async () => 1

module.exports = n => async () => {
  for (let i = 0; i < n; i++) await leaf()
}
