// SPDX-License-Identifier: MIT
module.exports = n => () => new Promise(resolve => {
  let left = n
  for (let i = 0; i < n; i++) {
    setTimeout(() => { if (--left === 0) resolve(i) }, Math.random() * 1000)
  }
})
