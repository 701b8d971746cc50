-- SPDX-License-Identifier: MIT
-- What the specs need to know of the system, where Windows differs.
local system = { is_windows = package.config:sub(1, 1) == "\\" }

local count = 0

--- Returns the path of a local socket, or of a named pipe, that is not there.
function system.socket_path()
  local path = os.tmpname()
  os.remove(path)
  if not system.is_windows then return path end
  count = count + 1
  return ("\\\\.\\pipe\\lunado-%s-%d"):format(path:match "[^\\]*$", count)
end

--- To be called before the first spec.  On Windows, os.tmpname names files in
--- the root of the drive; from now on they are in the folder for such files.
function system.set_up()
  if not system.is_windows then return end
  local tmpname, folder = os.tmpname, os.getenv("TEMP")
  os.tmpname = function() -- luacheck: ignore
    return folder .. tmpname():gsub("%.$", "")
  end
end

return system
