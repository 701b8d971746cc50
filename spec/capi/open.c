/* SPDX-License-Identifier: MIT */
/* open.c - opening lunado without Lua files, in various states. */
#include "host.h"

static void every_module_is_there(lua_State *L) {
  host_do(L, "assert(package.path == '' and package.cpath == '')\n"
             "assert(require 'lunado' == lunado)\n"
             "for name in pairs(package.preload) do\n"
             "  if name ~= 'lunado.uv' and name:find '^lunado' then\n"
             "    local ok, module = pcall(require, name)\n"
             "    local needs = ok\n"
             "    for _, other in ipairs { 'luv', 'curl.so', 'tls.so',\n"
             "      'cqueues' } do\n"
             "      needs = needs or tostring(module):find(other, 1, true)\n"
             "    end\n"
             "    assert(needs, module)\n"
             "  end\n"
             "end");
}

/* If a script clears package.loaded, require returns the same modules again. */
static void a_second_require_gives_the_same(lua_State *L) {
  host_do(L, "local first = { lunado, lunado.gen, lunado.Future() }\n"
             "for name in pairs(package.loaded) do\n"
             "  if name:find '^lunado' then package.loaded[name] = nil end\n"
             "end\n"
             "local again = require 'lunado'\n"
             "assert(again == first[1] and require 'lunado.gen' == first[2])\n"
             "assert(again.concurrent.is_future(first[3]))");
}

static void it_opens_twice(lua_State *L) {
  lua_getglobal(L, "lunado");
  check_int(luaopen_lunado(L), 1);
  check(lua_rawequal(L, 1, -1));
}

static void it_waits_in_preload(lua_State *L) {
  L = host_new();
  luaL_openlibs(L);
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  lua_pushcfunction(L, luaopen_lunado);
  lua_setfield(L, -2, "lunado");
  lua_settop(L, 0);
  host_do(L, "package.path, package.cpath = '', ''\n"
             "assert(not package.loaded['lunado.core'])\n"
             "local lunado = require 'lunado'\n"
             "assert(lunado == require 'lunado' and lunado.gen.sleep)");
  host_close(L);
}

static void without_libraries_it_says_so(lua_State *L) {
  L = host_new();
  host_check_raises(L, luaopen_lunado, "luaL_openlibs");
  host_close(L);
}

static void nothing_global_is_made(lua_State *L) {
  L = host_new();
  luaL_openlibs(L);
  host_do(L, "before = {} for name in pairs(_G) do before[name] = true end");
  luaL_requiref(L, "lunado", luaopen_lunado, 0);
  lua_settop(L, 0);
  host_do(L, "for name in pairs(_G) do\n"
             "  assert(before[name] or name == 'before', name)\n"
             "end");
  host_close(L);
}

static const host_test tests[] = {
    test(every_module_is_there),
    test(a_second_require_gives_the_same),
    test(it_opens_twice),
    test_alone(it_waits_in_preload),
    test_alone(without_libraries_it_says_so),
    test_alone(nothing_global_is_made),
};

int main(int argc, char **argv) { return run_tests(argc, argv, tests); }
