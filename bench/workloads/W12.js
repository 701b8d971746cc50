// SPDX-License-Identifier: MIT
const http = require('http')

module.exports = n => () => new Promise(() => {
  const server = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/plain')
    response.setHeader('Content-Length', 13)
    response.end('Hello, world!')
  })
  server.listen(0, '127.0.0.1', () => console.log(server.address().port))
})
module.exports.measuresItself = true
