/* SPDX-License-Identifier: MIT */
/* options.h - the options of a transfer, from a Lua table to libcurl. */
#ifndef LUNADO_CURL_OPTIONS_H
#define LUNADO_CURL_OPTIONS_H

#include "curl/transfer.h"

/* Sets the options of the table at idx, which the caller has checked, for the
 * transfer.  Raises if libcurl refuses one.  libcurl reads the body of the
 * request, a string in the table, while the transfer runs.  [-0, +0, v] */
void lunado__options_set(lua_State *L, int idx, lunado_curl_transfer *transfer);

#endif
