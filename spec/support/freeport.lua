-- SPDX-License-Identifier: MIT
-- free_port(): returns a port of 127.0.0.1 that was free a moment ago.  Another
-- process may take it meanwhile.
local luv = require "luv"

return function()
  local probe = luv.new_tcp()
  assert(probe:bind("127.0.0.1", 0))
  local port = probe:getsockname().port
  probe:close()
  return port
end
