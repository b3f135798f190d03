/* SPDX-License-Identifier: BSD-3-Clause */
/* Inside the management face: connections, messages being answered, methods.
 *
 * rpc.c listens and watches over limits; rpc_client.c moves bytes; rpc_call.c turns messages into calls and their
 * outcomes into replies; rpc_method.c finds and checks; rpc_dpu.c, rpc_object.c, rpc_list.c and rpc_event.c do. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include "base/clock.h"
#include "daemon/jsonrpc.h"
#include "daemon/rpc.h"

/* What clients may occupy. A connection has SHARE bytes each way for itself; beyond that they come out of a budget of
 * all connections. */
enum {
	RPC_MAX_CLIENTS = 256, /* per socket; beyond it the one that has been silent longest makes room */
	RPC_SHARE = 64 << 10,
	RPC_INPUT_BUDGET = 128 << 20,
	RPC_OUTPUT_BUDGET = 256 << 20,
	RPC_OUTPUT_PAUSE = 1 << 20,  /* no further request is taken from who does not read its replies */
	RPC_EVENTS_PAUSE = 4 << 20,  /* events are dropped, and counted, for who does not read them */
	RPC_MESSAGE_TIMEOUT_S = 30,  /* from the first byte of a message to its end */
	RPC_PROGRESS_TIMEOUT_S = 30, /* without a byte taken of a waiting reply */
	RPC_ACCEPTS_PER_ROUND = 64,
};

/* A vector of bytes: consumed at the front, filled at the end. */
struct rpc_buffer {
	char *data;
	size_t start, length, size; /* data[start .. start + length) of size */
};

struct rpc_listener {
	struct rpc *rpc;
	const char *path; /* NULL: not used */
	int fd;
	struct loop_fd *watch;
	bool read_only;
	unsigned clients;
};

TAILQ_HEAD(rpc_clients, rpc_client);

struct rpc {
	struct rpc_options options;
	struct rpc_listener listeners[2];
	struct rpc_clients clients; /* in order of their last message */
	struct loop_timer *sweep;   /* every second while there are clients */
	struct subscription *subscription;
	unsigned subscribers;
	size_t input_bytes, output_bytes; /* of all clients, beyond their shares */
	unsigned exchanges;               /* being answered */
	json_t *schema;                   /* made once: classes do not change */
	bool stopping;
	void (*stopped)(void *arg);
	void *stopped_arg;
	struct rpc_stats stats;
};

struct rpc_client {
	struct rpc *rpc;
	struct rpc_listener *listener;
	int fd;
	struct loop_fd *watch;
	uint32_t watched; /* events */
	struct rpc_buffer in, out;
	size_t scanned;            /* bytes of in that hold no end of line */
	uint64_t message_since_ns; /* when the unfinished message in `in` began; 0 = there is none */
	uint64_t progress_ns;      /* when the peer last took a byte */
	struct rpc_exchange *exchange;
	unsigned holds; /* functions on the stack that need the struct */
	bool advancing; /* client_advance() is one of them */
	bool dead;      /* closed; freed when nothing holds it */
	bool eof;       /* the peer sends no more */
	bool closing;   /* close once `out` is sent */
	bool subscribed;
	json_t *classes; /* array of names that it wants events of; NULL = all */
	uint64_t events_lost;
	TAILQ_ENTRY(rpc_client) link;
};

/* One request being answered. */
struct rpc_call {
	struct rpc *rpc;
	struct rpc_client *client; /* NULL: it has gone, and nobody waits for the answer */
	bool read_only;            /* came by the read-only socket */
	struct jsonrpc_request request;
	const struct object_class *class; /* of <class>.<verb> */
	const char *verb;                 /* what follows the dot */
	bool answered;
};

/* One message being answered: a request, or a batch of them, one after the other. */
struct rpc_exchange {
	struct rpc_call call; /* the current one */
	json_t *message;
	bool batch;
	size_t next;
	json_t *replies; /* of a batch */
	bool running;    /* exchange_run() is on the stack */
	bool large;      /* the message was; its memory is given back */
};

/* ---- rpc_client.c ---- */

void client_accept(struct rpc_listener *listener, int fd);
void client_close(struct rpc_client *client);
/* Queues a message and sends what can be sent. Steals it; NULL (memory was short) closes the connection. */
void client_send(struct rpc_client *client, json_t *message);
/* The same for text without its end of line; false if the budget or memory do not allow it. */
bool client_send_text(struct rpc_client *client, const char *text, size_t length);
/* Goes on with the messages that have arrived, after an exchange has ended. */
void client_advance(struct rpc_client *client);
/* Once a second: closes who is too slow. */
void client_check_time(struct rpc_client *client, uint64_t now_ns);

/* ---- rpc_call.c ---- */

/* Answers one line. Sets client->exchange until that is done. */
void exchange_start(struct rpc_client *client, const char *text, size_t length);
/* Ends a call: one of these, once, maybe before the method returns. result is stolen. */
void call_done(struct rpc_call *call, json_t *result);
void call_failed(struct rpc_call *call, const struct dpu_error *err);
void call_refused(struct rpc_call *call, enum jsonrpc_code code, const struct dpu_error *err);

/* ---- rpc_method.c ---- */

enum rpc_param_type { PARAM_STRING = 1, PARAM_INTEGER, PARAM_BOOL, PARAM_OBJECT, PARAM_ARRAY };
struct rpc_param {
	const char *name;
	enum rpc_param_type type;
	bool required;
};
struct rpc_method {
	const char *name;
	const struct rpc_param *params; /* ends with a NULL name; NULL: checked by run() */
	bool changes;                   /* refused on the read-only socket, but for dry runs */
	void (*run)(struct rpc_call *call);
};
extern const struct rpc_method rpc_dpu_methods[];   /* whole names: "dpu.version" */
extern const struct rpc_method rpc_class_methods[]; /* verbs of every class: "list" */
/* Members of an object by name and type: no others, and all that are required. Errors name the member. */
int params_check(const struct rpc_param *params, json_t *given, struct dpu_error *err);
/* Finds the method, checks the parameters' names and types, runs it. */
void method_run(struct rpc_call *call);

const char *param_string(const struct rpc_call *call, const char *name); /* NULL when not given */
bool param_bool(const struct rpc_call *call, const char *name, bool def);
json_t *param(const struct rpc_call *call, const char *name);

/* ---- methods ---- */

void dpu_hello(struct rpc_call *call);
void dpu_version(struct rpc_call *call);
void dpu_schema(struct rpc_call *call);
void dpu_json_schema(struct rpc_call *call);
void dpu_manual(struct rpc_call *call);
void dpu_export(struct rpc_call *call);
void dpu_log_level(struct rpc_call *call);
void dpu_transaction(struct rpc_call *call);
void dpu_apply(struct rpc_call *call);
void dpu_subscribe(struct rpc_call *call);
void dpu_unsubscribe(struct rpc_call *call);
void object_list(struct rpc_call *call);
void object_get(struct rpc_call *call);
void object_create(struct rpc_call *call);
void object_update(struct rpc_call *call);
void object_delete(struct rpc_call *call);
void object_action(struct rpc_call *call);

/* The object that tenant and name (or tenant/name, or UUID) mean. */
int object_find(const struct rpc_call *call, struct object **ret, struct dpu_error *err);
/* The class's part of the schema, borrowed. */
json_t *schema_class(struct rpc *rpc, const char *name);
/* Ends the client's subscription. */
void events_unsubscribe(struct rpc_client *client);
