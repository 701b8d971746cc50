/* SPDX-License-Identifier: MIT */
/* imports.h - the functions of lunado.h that this module calls. */
#ifndef LUNADO_CURL_IMPORTS_H
#define LUNADO_CURL_IMPORTS_H

#include <lua.h>

/* Finds the functions; to be called before any of them.  The system does that
 * itself, except for Windows: there this raises if lunado.core is not loaded,
 * or is another one than that of the first call in this process. */
void lunado__imports_find(lua_State *L);

#endif
