/* SPDX-License-Identifier: MIT */
/* bio.c - OpenSSL's interface to the bytes on the wire, over a filter's port.
 */
#include "tls/bio.h"

#include <openssl/crypto.h>
#include <string.h>

/* One for the process, made when it is first needed, by any thread. */
static BIO_METHOD *method;
static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;

static lunado_filter_port *port_of(BIO *bio) {
  return *(lunado_filter_port **)BIO_get_data(bio);
}

static int read_raw(BIO *bio, char *room, int size) {
  lunado_filter_port *port = port_of(bio);
  size_t n = (size_t)size;
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  if (port->left == 0) {
    if (port->ended) return 0;
    BIO_set_retry_read(bio);
    return -1;
  }
  if (n > port->left) n = port->left;
  memcpy(room, port->raw, n);
  port->raw += n;
  port->left -= n;
  return (int)n;
}

static int write_raw(BIO *bio, const char *data, int size) {
  lunado_filter_port *port = port_of(bio);
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  return port->send(port, data, (size_t)size) ? size : -1;
}

static long control(BIO *bio, int command, long number, void *data) {
  (void)number;
  (void)data;
  switch (command) {
  case BIO_CTRL_EOF:
    return port_of(bio)->left == 0 && port_of(bio)->ended;
  case BIO_CTRL_FLUSH:
    return 1;
  default:
    return 0;
  }
}

static int create(BIO *bio) {
  BIO_set_init(bio, 1);
  return 1;
}

static void make_method(void) {
  method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | BIO_get_new_index(), "lunado");
  if (method == NULL) return;
  BIO_meth_set_read(method, read_raw);
  BIO_meth_set_write(method, write_raw);
  BIO_meth_set_ctrl(method, control);
  BIO_meth_set_create(method, create);
}

#ifdef __GNUC__
/* Nothing is left when the library is unloaded. */
__attribute__((destructor)) static void free_method(void) {
  BIO_meth_free(method);
}
#endif

BIO *lunado__bio_new(lunado_filter_port **port) {
  BIO *bio;
  if (!CRYPTO_THREAD_run_once(&once, make_method) || method == NULL)
    return NULL;
  bio = BIO_new(method);
  if (bio != NULL) BIO_set_data(bio, port);
  return bio;
}
