// SPDX-License-Identifier: MIT
const net = require('net')

module.exports = n => () => new Promise(() => {
  const server = net.createServer(socket => socket.destroy())
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))
})
module.exports.measuresItself = true
