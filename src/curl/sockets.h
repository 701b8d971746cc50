/* SPDX-License-Identifier: MIT */
/*
 * sockets.h - the sockets that libcurl waits for, watched by the loop.
 *
 * libcurl forgets a socket when its transfer ends, though the connection often
 * serves the next one.  To make a handle for it each time costs as much as the
 * rest of the watching.  So the socket of a connection that libcurl keeps for
 * later transfers keeps its handle, stopped, until libcurl closes the socket.
 */
#ifndef LUNADO_CURL_SOCKETS_H
#define LUNADO_CURL_SOCKETS_H

#include "curl/client.h"

/* libcurl's callbacks; `client` is the lunado_curl_client.
 *   on_change   for CURLMOPT_SOCKETFUNCTION
 *   on_close    for CURLOPT_CLOSESOCKETFUNCTION */
int lunado__sockets_on_change(CURL *easy, curl_socket_t fd, int what,
                              void *client, void *of_socket);
int lunado__sockets_on_close(void *client, curl_socket_t fd);

#endif
