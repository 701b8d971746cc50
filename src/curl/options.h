/* SPDX-License-Identifier: MIT */
/* options.h - the options of a transfer, from a Lua table to libcurl. */
#ifndef LUNADO_CURL_OPTIONS_H
#define LUNADO_CURL_OPTIONS_H

#include "curl/transfer.h"

/* Sets the options of a transfer.  At idx is the table of the request's fields,
 * which the caller has checked, and behind it:
 *   the list of the lines of its headers, as for CURLOPT_HTTPHEADER
 *   the milliseconds that it may take to connect, and that all may take; nil:
 *   no limit
 * Raises if libcurl refuses one.  libcurl reads the body of the request, a
 * string in the table, while the transfer runs.  [-0, +0, v] */
void lunado__options_set(lua_State *L, int idx, lunado_curl_transfer *transfer);

#endif
