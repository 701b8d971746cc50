/* SPDX-License-Identifier: MIT */
/*
 * lua.c - an interpreter that is built with the same checkers as the library.
 *
 * AddressSanitizer and ThreadSanitizer must be part of the program that loads
 * the module.  The interpreter supports the part of Lua's command line that the
 * tests use:
 *   lua5.4 [-e chunk] [-l module] [-] [script [arguments]], or none of these
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/* The message handler of the stand-alone interpreter: adds a traceback to a
 * string; of an object it takes __tostring. */
static int report(lua_State *L) {
  if (lua_isstring(L, 1)) {
    luaL_traceback(L, L, lua_tostring(L, 1), 1);
  } else if (!luaL_callmeta(L, 1, "__tostring")) {
    lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
  }
  return 1;
}

static lua_State *interrupted;

static void raise_interrupt(lua_State *L, lua_Debug *ar) {
  (void)ar;
  lua_sethook(L, NULL, 0, 0);
  luaL_error(L, "interrupted!");
}

/* Handles Ctrl-C like the stand-alone interpreter. */
static void on_interrupt(int signum) {
  int all = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
  signal(signum, SIG_DFL);
  lua_sethook(interrupted, raise_interrupt, all, 1);
}

static void set_arg(lua_State *L, char **argv, int script) {
  lua_newtable(L);
  for (int i = 0; argv[i] != NULL; i++) {
    lua_pushstring(L, argv[i]);
    lua_rawseti(L, -2, i - script);
  }
  lua_setglobal(L, "arg");
}

/* Pushes a function for an option: the chunk of -e, or require and the module
 * name of -l.  [-0, +1|2, e] */
static void push_option(lua_State *L, char kind, const char *value) {
  if (kind == 'e') {
    if (luaL_loadbuffer(L, value, strlen(value), "=(command line)") != LUA_OK) {
      lua_error(L);
    }
  } else {
    lua_getglobal(L, "require");
    lua_pushstring(L, value);
  }
}

static int run(lua_State *L) {
  char **argv = lua_touserdata(L, 1);
  int i = 1;
  luaL_openlibs(L);
  lua_gc(L, LUA_GCGEN, 0, 0); /* like the stand-alone interpreter */
  while (argv[i] != NULL && argv[i][0] == '-' && argv[i][1] != '\0'
         && argv[i + 1] != NULL) {
    i += 2;
  }
  set_arg(L, argv, argv[i] != NULL ? i : 0);
  for (int option = 1; option < i; option += 2) {
    push_option(L, argv[option][1], argv[option + 1]);
    lua_call(L, argv[option][1] == 'l', 0);
  }
  if (argv[i] != NULL || i == 1) { /* without any argument, stdin */
    const char *file = argv[i];
    int narguments = 0;
    if (file != NULL && strcmp(file, "-") == 0) {
      file = NULL;
    }
    if (luaL_loadfile(L, file) != LUA_OK) {
      lua_error(L);
    }
    while (argv[i] != NULL && argv[i + 1 + narguments] != NULL) {
      lua_pushstring(L, argv[i + 1 + narguments]);
      narguments++;
    }
    lua_call(L, narguments, 0);
  }
  return 0;
}

int main(int argc, char **argv) {
  lua_State *L = luaL_newstate();
  int status;
  (void)argc;
  if (L == NULL) {
    return EXIT_FAILURE;
  }
  interrupted = L;
  signal(SIGINT, on_interrupt);
  lua_pushcfunction(L, report);
  lua_pushcfunction(L, run);
  lua_pushlightuserdata(L, argv);
  status = lua_pcall(L, 1, 0, 1);
  if (status != LUA_OK) {
    fprintf(stderr, "%s: %s\n", argv[0], lua_tostring(L, -1));
  }
  lua_close(L);
  return status == LUA_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
