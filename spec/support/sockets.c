/* SPDX-License-Identifier: MIT */
/*
 * sockets.c - what the specs do with descriptors on Windows, where libuv's
 * functions for files take no sockets; and Ctrl-C.
 *
 * Functions return their results, or nil and libuv's name of the error.
 */
#include <lauxlib.h>
#include <lua.h>
#include <uv.h>

static int results(lua_State *L, int rc) {
  if (rc >= 0) {
    lua_pushinteger(L, rc);
    return 1;
  }
  lua_pushnil(L);
  lua_pushstring(L, uv_err_name(rc));
  return 2;
}

static int last_error(lua_State *L) {
  return results(L, uv_translate_sys_error(WSAGetLastError()));
}

static SOCKET check_socket(lua_State *L) {
  return (SOCKET)luaL_checkinteger(L, 1);
}

/* pair() → two connected sockets. */
static int sockets_pair(lua_State *L) {
  uv_os_sock_t ends[2];
  int rc = uv_socketpair(SOCK_STREAM, 0, ends, 0, 0);
  if (rc < 0) return results(L, rc);
  lua_pushinteger(L, (lua_Integer)ends[0]);
  lua_pushinteger(L, (lua_Integer)ends[1]);
  return 2;
}

/* write(socket, data) → how many bytes were sent. */
static int sockets_write(lua_State *L) {
  size_t size;
  const char *data = luaL_checklstring(L, 2, &size);
  int sent = send(check_socket(L), data, (int)size, 0);
  return sent < 0 ? last_error(L) : results(L, sent);
}

/* read(socket, n) → up to n bytes; waits for the first. */
static int sockets_read(lua_State *L) {
  lua_Integer size = luaL_checkinteger(L, 2);
  luaL_Buffer buffer;
  char *room = luaL_buffinitsize(L, &buffer, (size_t)size);
  int got = recv(check_socket(L), room, (int)size, 0);
  if (got < 0) return last_error(L);
  luaL_pushresultsize(&buffer, (size_t)got);
  return 1;
}

/* close(socket) → 0. */
static int sockets_close(lua_State *L) {
  int rc = closesocket(check_socket(L));
  return rc != 0 ? last_error(L) : results(L, 0);
}

/* is_open(socket) */
static int sockets_is_open(lua_State *L) {
  int type, size = sizeof type;
  lua_pushboolean(L, getsockopt(check_socket(L), SOL_SOCKET, SO_TYPE,
                                (char *)&type, &size) == 0);
  return 1;
}

static DWORD WINAPI press_later(void *event) {
  Sleep(100);
  (void)GenerateConsoleCtrlEvent((DWORD)(ULONG_PTR)event, 0);
  return 0;
}

/* press("c" or "break", later) → 0: presses Ctrl-C or Ctrl-Break, now or, on
 * another thread, in a tenth of a second. */
static int sockets_press(lua_State *L) {
  static const char *const names[] = {"c", "break", NULL};
  static const DWORD events[] = {CTRL_C_EVENT, CTRL_BREAK_EVENT};
  DWORD event = events[luaL_checkoption(L, 1, NULL, names)];
  BOOL ok = lua_toboolean(L, 2)
                ? QueueUserWorkItem(press_later, (void *)(ULONG_PTR)event, 0)
                : GenerateConsoleCtrlEvent(event, 0);
  return ok ? results(L, 0)
            : results(L, uv_translate_sys_error((int)GetLastError()));
}

static const luaL_Reg functions[] = {
    {"pair", sockets_pair},   {"write", sockets_write},
    {"read", sockets_read},   {"close", sockets_close},
    {"is_open", sockets_is_open}, {"press", sockets_press},
    {NULL, NULL}};

__declspec(dllexport) int luaopen_lunado_sockets(lua_State *L) {
  luaL_newlib(L, functions);
  return 1;
}
