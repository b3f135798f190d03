/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON-RPC 2.0 messages (https://www.jsonrpc.org/specification): text to request, outcome to reply. Pure functions.
 *
 * Error codes: the specification's own for malformed requests; -32000 - n for enum dpu_error_code n, whose name and
 * path are in error.data. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include "base/error.h"

enum {
	JSONRPC_MAX_BYTES = 32 << 20,    /* of one message */
	JSONRPC_MAX_DEPTH = 32,          /* nested arrays and objects */
	JSONRPC_MAX_CONTAINERS = 400000, /* arrays and objects of one message: they cost some 200 bytes each */
	JSONRPC_MAX_VALUES = 3000000,    /* elements and members of one message */
	JSONRPC_MAX_BATCH = 1024,        /* requests of one message */
	JSONRPC_MAX_ID = 256,            /* bytes of an id that is a string */
};

enum jsonrpc_code {
	JSONRPC_PARSE_ERROR = -32700,
	JSONRPC_INVALID_REQUEST = -32600,
	JSONRPC_METHOD_NOT_FOUND = -32601,
	JSONRPC_INVALID_PARAMS = -32602,
	JSONRPC_DPU_ERROR = -32000, /* minus enum dpu_error_code */
};

/* One request. Everything is borrowed from the message. */
struct jsonrpc_request {
	json_t *id; /* NULL: a notification, which is never answered */
	const char *method;
	json_t *params; /* an object, or NULL when there are none */
};

/* Parses one message (no terminator needed). On failure returns NULL and an error reply in *ret_reply.
 * The message is an object, or an array of 1 to JSONRPC_MAX_BATCH elements. */
json_t *jsonrpc_parse(const char *text, size_t length, json_t **ret_reply);

/* Checks one element of a message. Returns 0, or -EINVAL and an error reply in *ret_reply. */
int jsonrpc_request(json_t *element, struct jsonrpc_request *ret, json_t **ret_reply);

/* Replies: new references, NULL when memory is short. id may be NULL (it becomes null); result is stolen. */
json_t *jsonrpc_result(json_t *id, json_t *result);
json_t *jsonrpc_failure(json_t *id, const struct dpu_error *err);
json_t *jsonrpc_error(json_t *id, enum jsonrpc_code code, const struct dpu_error *err);
json_t *jsonrpc_notification(const char *method, json_t *params /* stolen */);
