/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests: a management face over the model's test classes in this process, and clients of it. */
#pragma once

#include <jansson.h>
#include "daemon/rpc.h"
#include "model/test_classes.h"

struct peer_world {
	struct loop *loop;
	struct test_service service;
	struct model *model;
	struct rpc *rpc;
	char path[64], read_only_path[64];
};

int peer_world_make(void **state);   /* cmocka setup: *state is a struct peer_world */
int peer_world_remove(void **state); /* teardown */

int peer_dial(struct peer_world *world, const char *path); /* a non-blocking connection */
void peer_send(struct peer_world *world, int fd, const char *text, size_t length);
/* The next line, without its end; runs the loop meanwhile. NULL: the connection ended, or nothing came for a while.
 * To be freed. */
char *peer_line(struct peer_world *world, int fd);
bool peer_ended(struct peer_world *world, int fd);
void peer_run(struct peer_world *world, unsigned rounds);

/* Sends text (with ' for ") and returns the reply. */
json_t *peer_exchange(struct peer_world *world, int fd, const char *text);
/* A call whose result, as compact sorted JSON with ' for ", must be expect (NULL: whatever). */
void peer_call(struct peer_world *world, int fd, const char *method, const char *params, const char *expect);
/* A call that must fail with this code name, path and sentence. */
void peer_fail(struct peer_world *world, int fd, const char *method, const char *params, const char *code,
	       const char *path, const char *message);
