// SPDX-License-Identifier: MIT
const net = require('net')
const { rss } = require('../support/measure.js')

const uncounted = 20

module.exports = n => () => new Promise(resolve => {
  let count = 0
  let before
  const sockets = []
  const server = net.createServer(socket => {
    socket.on('data', () => {})
    sockets.push(socket)
    count++
    if (count === uncounted) {
      global.gc()
      before = rss()
    } else if (count === n) {
      global.gc()
      resolve({ bytes: (rss() - before) * 1024 / (n - uncounted) })
      server.unref() // lets the process end
      for (const each of sockets) each.unref()
    }
  })
  server.listen(0, '127.0.0.1', 4096, () => console.log(server.address().port))
})
module.exports.measuresItself = true
