std = "lua54"
max_line_length = 80
exclude_files = {"build*", ".luarocks", "lua_modules"}
files["spec"] = {std = "+busted"}
files["examples/embed/worker.lua"] = {read_globals = {"factor"}}
files["rockspec"] = {std = "+rockspec"}
files[".luacheckrc"] = {std = "+luacheckrc"}
