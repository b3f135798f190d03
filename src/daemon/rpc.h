/* SPDX-License-Identifier: BSD-3-Clause */
/* The management face: JSON-RPC 2.0 over Unix stream sockets, one message a line (jsonrpc.h).
 *
 * Requests of one connection are answered in order, each before the next is begun; connections are independent. Control
 * thread only; nothing here blocks, and what a client can occupy is bounded (rpc_priv.h). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"
#include "base/loop.h"
#include "model/model.h"

enum { RPC_VERSION_MAJOR = MODEL_PROTOCOL_VERSION, RPC_VERSION_MINOR = 0 };

struct rpc_options {
	struct loop *loop;
	struct model *model;
	const char *instance;
	const char *software;       /* version */
	const char *socket_path;    /* everything is allowed */
	const char *read_only_path; /* nothing can be changed; may be NULL */
	gid_t group;                /* of the sockets; -1 = as it comes */
};

struct rpc;

/* The strings of options must live as long. */
int rpc_start(const struct rpc_options *options, struct rpc **ret, struct dpu_error *err);
/* Takes no more requests; done(arg) once those that were begun are answered (maybe before the return). */
void rpc_stop(struct rpc *rpc, void (*done)(void *arg), void *arg);
void rpc_free(struct rpc *rpc); /* NULL is fine */

struct rpc_stats {
	uint64_t clients, accepted, evicted, refused; /* connections: now, ever, closed to make room, turned away */
	uint64_t requests, failures;                  /* failures: answered with an error */
	uint64_t events_lost;                         /* not sent to subscribers that were too slow */
};
void rpc_stats(const struct rpc *rpc, struct rpc_stats *ret);
