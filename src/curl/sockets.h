/* SPDX-License-Identifier: MIT */
/*
 * sockets.h - the sockets that libcurl waits for, watched by the loop.
 *
 * libcurl forgets a socket when its transfer ends, though the connection often
 * serves the next one.  To make a handle for it each time costs as much as the
 * rest of the watching.  So a client has a handle for each number of a socket
 * that it has waited for, which is stopped while libcurl does not wait.  A
 * stopped handle is a number and no more: it does no harm if libcurl closes the
 * socket, and serves the next one with this number.
 */
#ifndef LUNADO_CURL_SOCKETS_H
#define LUNADO_CURL_SOCKETS_H

#include "curl/client.h"

/* For CURLMOPT_SOCKETFUNCTION; `client` is the lunado_curl_client. */
int lunado__sockets_on_change(CURL *easy, curl_socket_t fd, int what,
                              void *client, void *of_socket);

/* Closes all handles, which libcurl does not wait for any more. */
void lunado__sockets_close(lunado_curl_client *client);

#endif
