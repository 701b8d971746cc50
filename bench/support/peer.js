// SPDX-License-Identifier: MIT
// One workload on Node; prints `name value` lines:
//   node --expose-gc peer.js WORKLOAD VARIANT N
// See measure.lua for how time is taken.
const { cpu, peak } = require('./measure.js')

const time = async (run, enough) => {
  const once = async () => {
    const from = cpu()
    await run()
    return cpu() - from
  }
  let spent = await once()
  let count = 1
  if (spent < enough) {
    for (spent = count = 0; spent < enough; count++) spent += await once()
  }
  return spent / count
}

const main = async (name, n) => {
  const workload = require(`../workloads/${name}.js`)
  const run = workload(n)
  const found = workload.measuresItself
    ? await run()
    : { ns: await time(run, 0.2) / n * 1e9 }
  found.peak_kb = peak()
  for (const key in found) console.log(key, found[key])
}

main(process.argv[2], Number(process.argv[4]))
