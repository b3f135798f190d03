/* SPDX-License-Identifier: BSD-3-Clause */
/* Prometheus text over HTTP: GET /metrics on a loopback address or a Unix socket. Control thread only. */
#pragma once

#include <sys/socket.h>
#include "base/error.h"
#include "base/loop.h"

struct metrics_address {
	struct sockaddr_storage storage;
	socklen_t length;
};

/* "127.0.0.1:9180", "[::1]:9180" or "/path". Anything but loopback is refused: metrics carry tenants' names. */
int metrics_address_parse(const char *text, struct metrics_address *ret, struct dpu_error *err);

struct metrics;

/* Listens on address; group: of a Unix socket (-1: as it comes). content(ctx) returns the text, malloc'd, or NULL when
 * memory is short; it is not called more often than ten times its own duration allows. */
int metrics_start(struct loop *loop, const char *address, gid_t group, char *(*content)(void *ctx), void *ctx,
		  struct metrics **ret, struct dpu_error *err);
void metrics_stop(struct metrics *metrics); /* NULL is fine */
