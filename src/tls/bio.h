/* SPDX-License-Identifier: MIT */
/*
 * bio.h - OpenSSL's interface to the bytes on the wire, over a filter's port.
 *
 * OpenSSL reads straight from the bytes that have arrived, and writes straight
 * into those that will be sent.
 */
#ifndef LUNADO_TLS_BIO_H
#define LUNADO_TLS_BIO_H

#include <openssl/bio.h>

#include "core/filter.h"

/* Makes a BIO that uses the port which *port points to at each call.  Returns
 * NULL if there is no memory. */
BIO *lunado__bio_new(lunado_filter_port **port);

#endif
