// SPDX-License-Identifier: MIT
// pages.lua's peer: Node's fetch.
const [url, pages, atOnce] = [process.argv[2], +process.argv[3],
  +process.argv[4]]

async function main () {
  const start = process.cpuUsage()
  let begun = 0
  let bytes = 0
  const work = async () => {
    while (begun++ < pages) {
      const body = await (await fetch(url)).arrayBuffer()
      bytes += body.byteLength
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  if (bytes !== pages * 10000) throw new Error('bytes')
  const used = process.cpuUsage(start)
  console.log((used.user + used.system) / 1e6)
}

main()
