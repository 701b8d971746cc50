/* SPDX-License-Identifier: MIT */
/* transfer.c - copying values from one Lua state to another. */
#include "host.h"

#include "binding/thread/code.h"
#include "binding/thread/decode.h"
#include "binding/thread/encode.h"
#include "binding/thread/parcel.h"

/* A chunk whose results are sent, and a chunk that gets and checks them. */
typedef struct {
  const char *make;
  const char *take;
} sample;

static const sample samples[] = {
    {"return", "assert(select('#', ...) == 0)"},
    {"return nil, true, false, 1, -0.5, math.mininteger",
     "local a, b, c, d, e, f = ...\n"
     "assert(a == nil and b == true and c == false and d == 1)\n"
     "assert(math.type(d) == 'integer' and e == -0.5)\n"
     "assert(f == math.mininteger)"},
    {"return '', 'a\\0b', ('x'):rep(127), ('y'):rep(128)",
     "local a, b, c, d = ...\n"
     "assert(a == '' and b == 'a\\0b' and c == ('x'):rep(127))\n"
     "assert(d == ('y'):rep(128))"},
    {"local t = {1, 2, nil, 4, x = 'y', [1.5] = {}, [true] = 'b'}\n"
     "t.t, t[t] = t, t return t, t",
     "local t, u = ...\n"
     "assert(t == u and t.t == t and t[t] == t)\n"
     /* In Lua 5.5 the length of a list with holes depends on its history. */
     "assert(_VERSION ~= 'Lua 5.4' or #t == 4)\n"
     "assert(t[4] == 4 and t[3] == nil and t.x == 'y' and t[true] == 'b')\n"
     "assert(type(t[1.5]) == 'table')"},
    {"local n = 0\n"
     "local function inc() n = n + 1 return n end\n"
     "local function get() return n, inc end\n"
     "return {inc, get}",
     "local inc, get = table.unpack((...))\n"
     "assert(inc() == 1 and inc() == 2)\n"
     "local n, f = get() assert(n == 2 and f == inc)"},
    {"local function fib(n)\n"
     "  if n < 2 then return n end return fib(n - 1) + fib(n - 2)\n"
     "end return fib",
     "assert((...)(10) == 55)"},
    {"local G = _G return function() return G, _ENV, print end",
     "local G, E, p = (...)() assert(G == _G and E == _G and p == print)"},
    {"local a, b, c = 1, 2, 3\n"
     "local function f() return a, b end\n"
     "local function g() b = b + c return b, c end\n"
     "return function() a = 10 return f, g end",
     "local f, g = (...)() assert(g() == 5) local a, b = f()\n"
     "assert(a == 10 and b == 5)"},
    {"local s, t = ('s'):rep(200), {}\n"
     "for i = 1, 10 do t[i] = s end t[s] = s return t",
     "local s = ('s'):rep(200)\n"
     "assert((...)[10] == s and (...)[s] == s)"},
    {"local a, b = 1, {2}\n"
     "return function() a = a + 1 return a, b, b end",
     "local f = ...\n"
     "local a, b, c = f() assert(a == 2 and b == c and b[1] == 2)"},
    {"local a, t = 1, {}\n"
     "local function f() a = a + 1 return a, t end\n"
     "t.g = function() return a, f end return f",
     "local f = ... local _, t = f()\n"
     "local n, g = t.g() assert(n == 2 and g == f)"},
    {"local a, b, c, d, e, f, g, h, i, j = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10\n"
     "local function k() return a, b, c, d, e, f, g, h, i, j end\n"
     "debug.upvaluejoin(k, 2, k, 1) debug.upvaluejoin(k, 10, k, 9)\n"
     "return k, function() a, i = 21, 29 end",
     "local k, set = ... set() local t = {k()}\n"
     "assert(t[1] == 21 and t[2] == 21 and t[3] == 3)\n"
     "assert(t[9] == 29 and t[10] == 29)"},
    {"local function make() return function() return 1 end end\n"
     "return make(), {[make()] = 1, [make()] = 2}",
     "local f, t = ... local n = 0\n"
     "for g in pairs(t) do n = n + 1 assert(g ~= f and g() == 1) end\n"
     "assert(n == 2)"},
    {"local E = lunado.util.TimeoutError\n"
     "return E, E('late'), E:subclass('Mine')('mine')",
     "local E, late, mine = ...\n"
     "assert(E == lunado.util.TimeoutError)\n"
     "assert(lunado.util.isinstance(late, E) and late.message == 'late')\n"
     "assert(lunado.util.isinstance(mine, E))\n"
     "assert(tostring(mine) == 'Mine: mine')"},
};

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static void push_root(lua_State *L, const lunado__route *route, int i) {
  (void)route;
  lua_pushfstring(L, "value %d", i);
}

static const lunado__route route = {"away", push_root, -1, {NULL, NULL},
                                    0,      false,     0};

/* (parcel, make): fills the parcel with the results of `make`. */
static int send_away(lua_State *L) {
  lunado__parcel *parcel = lua_touserdata(L, 1);
  lua_call(L, 0, LUA_MULTRET);
  (void)lunado__encode(L, 2, lua_gettop(L) - 1, &route);
  lunado__parcel_move(L, -1, parcel, NULL);
  return 0;
}

/* (parcel, take): calls `take` with the values in the parcel. */
static int take_in(lua_State *L) {
  const lunado__parcel *parcel = lua_touserdata(L, 1);
  lunado__decode(L, parcel);
  check_int(lua_gettop(L), 2 + parcel->count);
  lua_call(L, parcel->count, 0);
  return 0;
}

static int with_parcel(lua_State *L, lua_CFunction function,
                       lunado__parcel *parcel, const char *chunk) {
  lua_pushcfunction(L, function);
  lua_pushlightuserdata(L, parcel);
  if (luaL_loadstring(L, chunk) != LUA_OK) return LUA_ERRMEM;
  return lua_pcall(L, 2, 0, 0);
}

static void copy(lua_State *from, lua_State *to, const sample *self) {
  lunado__parcel parcel = {0};
  if (with_parcel(from, send_away, &parcel, self->make) != LUA_OK)
    host_fail(__FILE__, __LINE__, self->make, lua_tostring(from, -1));
  for (int i = 0; i < 2; i++) { /* a parcel can be unpacked again */
    if (with_parcel(to, take_in, &parcel, self->take) != LUA_OK)
      host_fail(__FILE__, __LINE__, self->take, lua_tostring(to, -1));
  }
  check_int(lua_gettop(from), 0);
  check_int(lua_gettop(to), 0);
  lunado__parcel_free(&parcel);
}

static void values_arrive(lua_State *L) {
  lua_State *other = host_open();
  for (int i = 0; i < SAMPLES; i++) copy(L, other, &samples[i]);
  for (int i = 0; i < SAMPLES; i++) copy(other, L, &samples[i]);
  lua_close(other);
}

static void values_arrive_in_the_same_state(lua_State *L) {
  for (int i = 0; i < SAMPLES; i++) copy(L, L, &samples[i]);
}

static void a_bare_state_will_do(lua_State *L) {
  lua_State *bare = host_new();
  luaL_openlibs(bare);
  for (int i = 0; i < SAMPLES - 1; i++) copy(L, bare, &samples[i]);
  for (int i = 0; i < SAMPLES - 1; i++) copy(bare, L, &samples[i]);
  lua_close(bare);
}

/* --- code ------------------------------------------------------------------
 */

/* Copies what `make` returns in L to the state `to`, as globals a and b. */
static void copy_two(lua_State *L, lua_State *to, const char *make) {
  lunado__parcel parcel = {0};
  check_int(with_parcel(L, send_away, &parcel, make), LUA_OK);
  lua_settop(to, 0);
  lunado__decode(to, &parcel);
  lua_settop(to, 2);
  lua_setglobal(to, "b");
  lua_setglobal(to, "a");
  lunado__parcel_free(&parcel);
}

static void a_worker_keeps_functions(lua_State *L) {
  lua_State *to = host_open();
  lunado__code_keep(to);
  host_do(L, "function f() return x end\n"
             "function make() return function() return y end end\n"
             "function make_changing()\n"
             "  return function() _ENV = {} return _ENV end\n"
             "end\n"
             "local n = 1 function count() n = n + 1 return n end");
  for (int i = 0; i < 3; i++) {
    copy_two(L, to, "return f, f");
    host_do(to, "assert(a == b and (f == nil or a == f)) f, x = a, 1\n"
                "assert(f() == 1)");
    copy_two(L, to, "return make(), make()");
    host_do(to, "assert(a ~= b and (g == nil or a == g)) g, y = a, 2\n"
                "assert(a() == 2 and b() == 2)");
    copy_two(L, to, "return make_changing()");
    host_do(to, "assert(a ~= h and a() ~= _G) h = a");
    copy_two(L, to, "return count"); /* has an upvalue: a new one each time */
    host_do(to, "assert(a ~= c and a() == 2) c = a");
  }
  lua_close(to);
}

static void a_worker_keeps_few_functions(lua_State *L) {
  lua_State *to = host_open();
  int before = 0, n = 2000;
  lunado__code_keep(to);
  host_do(L, "n = 0 function make()\n"
             "  n = n + 1\n"
             "  return assert(load('return ' .. n .. ' or [['\n"
             "    .. ('x'):rep(200) .. ']]')), n\n"
             "end");
  for (int i = 1; i <= n; i++) {
    copy_two(L, to, "return make()");
    host_do(to, "assert(a() == b) a, b = nil");
    if (i != n / 2) continue;
    lua_gc(to, LUA_GCCOLLECT);
    before = lua_gc(to, LUA_GCCOUNT);
  }
  lua_gc(to, LUA_GCCOLLECT);
  check(lua_gc(to, LUA_GCCOUNT) < before + 50);
  lua_close(to);
}

static void code_outlives_its_state(lua_State *L) {
  lua_State *from = host_open();
  lunado__parcel parcel = {0};
  check_int(with_parcel(from, send_away, &parcel,
                        "local x = 7 return function() return x end, "
                        "function() return 8 end"),
            LUA_OK);
  lua_close(from);
  lunado__decode(L, &parcel);
  lunado__parcel_free(&parcel);
  lua_call(L, 0, 1);
  check_int(lua_tointeger(L, -1), 8);
  lua_pop(L, 1);
  lua_call(L, 0, 1);
  check_int(lua_tointeger(L, -1), 7);
}

static void long_code_is_sent(lua_State *L) {
  lua_State *to = host_open();
  lunado__code_keep(to);
  host_do(L, "local t = {}\n"
             "for i = 1, 5000 do t[i] = 'x = ' .. i .. '.5' end\n"
             "long = load(table.concat(t, ' ') .. ' return x')");
  for (int i = 0; i < 4; i++) {
    copy_two(L, to, "return long");
    host_do(to, "assert(a() == 5000.5)");
  }
  lua_close(to);
}

/* --- strings that are lent --------------------------------------------------
 */

static const lunado__route lending = {"away", push_root, -1, {NULL, NULL},
                                      0,      true,      0};

static void long_strings_are_lent(lua_State *L) {
  lua_State *to = host_open();
  lunado__parcel parcel = {0};
  host_do(L, "s, t = ('x'):rep(1 << 20), ('y'):rep((1 << 16) - 1)");
  lua_getglobal(L, "s");
  lua_getglobal(L, "t");
  lua_getglobal(L, "s");
  (void)lunado__encode(L, 1, 3, &lending);
  lunado__parcel_push_lent(L, 4);
  check_int((long long)luaL_len(L, -1), 1);
  lua_rawgeti(L, -1, 1);
  check(lua_rawequal(L, -1, 1));
  lua_pop(L, 1);
  lunado__parcel_move(L, 4, &parcel, NULL);
  lunado__parcel_push_lent(L, 4);
  check(lua_isnil(L, -1));
  check(lunado__parcel_size(&parcel) < 1 << 17);
  lunado__decode(to, &parcel);
  lua_setglobal(to, "u");
  lua_setglobal(to, "t");
  lua_setglobal(to, "s");
  host_do(to, "assert(s == ('x'):rep(1 << 20) and s == u)\n"
              "assert(t == ('y'):rep((1 << 16) - 1))");
  lunado__parcel_free(&parcel);
  lua_close(to);
}

/* --- refusals ------------------------------------------------------------- */

static void what_cannot_be_sent_is_named(lua_State *L) {
  static const struct {
    const char *make, *message;
  } cases[] = {
      {"return 1, print", "cannot send a C function away: value 1"},
      {"return {x = {io.stdout}}",
       "cannot send a userdata away: value 0, field 'x', index [1]"},
      {"return lunado.Future()", "cannot send a userdata away: value 0"},
      {"return coroutine.create(print)", "cannot send a thread away: value 0"},
      {"return setmetatable({}, {__copy = false})",
       "cannot send a table marked __copy = false away: value 0"},
  };
  lunado__parcel parcel = {0};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    check_int(with_parcel(L, send_away, &parcel, cases[i].make), LUA_ERRRUN);
    check_int(strcmp(lua_tostring(L, -1), cases[i].message), 0);
    lua_settop(L, 0);
  }
  check_int(lunado__parcel_size(&parcel), 0);
}

static void fields_of_self_can_be_left_out(lua_State *L) {
  static const lunado__route self_route = {
      "away", push_root, 0, {"executor", "io_loop"}, 0, false, 0};
  lunado__parcel parcel = {0};
  host_do(L, "local t = {executor = print, io_loop = io.stdout, x = 1}\n"
             "t.t = {t} return t");
  (void)lunado__encode(L, 1, 1, &self_route);
  lunado__parcel_move(L, -1, &parcel, NULL);
  lua_settop(L, 0);
  lunado__decode(L, &parcel);
  lua_setglobal(L, "copy");
  host_do(L, "assert(copy.x == 1 and copy.t[1] == copy)\n"
             "assert(copy.executor == nil and copy.io_loop == nil)");
  lunado__parcel_free(&parcel);
}

/* --- memory --------------------------------------------------------------- */

/* Copies the sample; returns false if memory was short.  After a failed
 * allocation Lua collects and tries once more; the second attempt fails,
 * too. */
static bool copy_without_memory(const sample *self, long long n) {
  lua_State *from = host_open(), *to = host_open();
  lunado__parcel parcel = {0};
  bool done;
  host_fail_at(n, 1);
  done = with_parcel(from, send_away, &parcel, self->make) == LUA_OK &&
         with_parcel(to, take_in, &parcel, self->take) == LUA_OK;
  host_fail_at(0, 0);
  lunado__parcel_free(&parcel);
  lua_close(from);
  host_close(to);
  return done;
}

static void memory_may_be_short(lua_State *L) {
  (void)L;
  for (int i = 0; i < SAMPLES; i++) {
    long long n = 1;
    while (!copy_without_memory(&samples[i], n)) n += host_scale();
    check(n > 1);
  }
}

int main(int argc, char **argv) {
  static const host_test tests[] = {
      test(values_arrive),
      test(values_arrive_in_the_same_state),
      test(a_bare_state_will_do),
      test(a_worker_keeps_functions),
      test(a_worker_keeps_few_functions),
      test(code_outlives_its_state),
      test(long_code_is_sent),
      test(long_strings_are_lent),
      test(what_cannot_be_sent_is_named),
      test(fields_of_self_can_be_left_out),
      test_alone(memory_may_be_short),
  };
  return run_tests(argc, argv, tests);
}
