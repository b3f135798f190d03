/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON-RPC 2.0 messages, with every limit checked before memory is spent on a message. */
#include "daemon/jsonrpc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Counts what a parser would build, without building it. Strings are skipped; whether the rest is JSON is the
 * parser's business. */
static int check_shape(const char *text, size_t length, struct dpu_error *err)
{
	size_t depth = 0, containers = 0, values = 0;
	bool in_string = false;
	for (size_t i = 0; i < length; i++) {
		char c = text[i];
		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		switch (c) {
		case '"':
			in_string = true;
			break;
		case '{':
		case '[':
			containers++;
			if (++depth > JSONRPC_MAX_DEPTH)
				return error_set(err, DPU_E_LIMIT, NULL,
						 "the message nests deeper than %d arrays and objects",
						 JSONRPC_MAX_DEPTH);
			break;
		case '}':
		case ']':
			depth -= depth > 0;
			break;
		case ',':
		case ':':
			values++;
			break;
		}
	}
	if (containers > JSONRPC_MAX_CONTAINERS || values > JSONRPC_MAX_VALUES)
		return error_set(err, DPU_E_LIMIT, NULL,
				 "the message has more than %d arrays and objects or %d values; send it in parts",
				 JSONRPC_MAX_CONTAINERS, JSONRPC_MAX_VALUES);
	return 0;
}

static json_t *refuse(enum jsonrpc_code code, const struct dpu_error *err, json_t **ret_reply)
{
	*ret_reply = jsonrpc_error(NULL, code, err);
	return NULL;
}

json_t *jsonrpc_parse(const char *text, size_t length, json_t **ret_reply)
{
	struct dpu_error err = { 0 };
	if (check_shape(text, length, &err))
		return refuse(JSONRPC_INVALID_REQUEST, &err, ret_reply);

	json_error_t where;
	json_t *message = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
	if (!message) {
		error_set(&err, DPU_E_INVALID, NULL, "not JSON: %s at byte %d", where.text, where.position);
		return refuse(JSONRPC_PARSE_ERROR, &err, ret_reply);
	}
	size_t count = json_array_size(message);
	if (json_is_object(message) || (count > 0 && count <= JSONRPC_MAX_BATCH))
		return message;
	if (count > JSONRPC_MAX_BATCH)
		error_set(&err, DPU_E_LIMIT, NULL, "a batch of %zu requests; %d at most", count, JSONRPC_MAX_BATCH);
	else
		error_set(&err, DPU_E_INVALID, NULL, "a message is a request object or a non-empty array of them");
	json_decref(message);
	return refuse(JSONRPC_INVALID_REQUEST, &err, ret_reply);
}

/* An id is a string or a number; null is allowed by the specification and discouraged. */
static bool id_is_valid(const json_t *id)
{
	return !id || json_is_number(id) || json_is_null(id) ||
	       (json_is_string(id) && json_string_length(id) <= JSONRPC_MAX_ID);
}

int jsonrpc_request(json_t *element, struct jsonrpc_request *ret, json_t **ret_reply)
{
	struct dpu_error err = { 0 };
	json_t *id = json_object_get(element, "id");
	json_t *params = json_object_get(element, "params");
	const char *version = json_string_value(json_object_get(element, "jsonrpc"));
	const char *method = json_string_value(json_object_get(element, "method"));

	if (!json_is_object(element))
		error_set(&err, DPU_E_INVALID, NULL, "a request is a JSON object");
	else if (!version || strcmp(version, "2.0") != 0)
		error_set(&err, DPU_E_INVALID, "jsonrpc", "must be \"2.0\"");
	else if (!id_is_valid(id))
		error_set(&err, DPU_E_INVALID, "id", "must be a number or a string of at most %d bytes",
			  JSONRPC_MAX_ID);
	else if (!method)
		error_set(&err, DPU_E_INVALID, "method", "must be a string");
	else if (params && !json_is_object(params))
		error_set(&err, DPU_E_INVALID, "params", "must be an object: parameters go by name");
	if (err.code != DPU_OK) {
		*ret_reply = jsonrpc_error(id_is_valid(id) ? id : NULL, JSONRPC_INVALID_REQUEST, &err);
		return -EINVAL;
	}
	*ret = (struct jsonrpc_request){ .id = id, .method = method, .params = params };
	return 0;
}

/* Steals value. */
static json_t *reply(json_t *id, const char *kind, json_t *value)
{
	return json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", kind, value ? value : json_null(), "id",
			 id ? id : json_null());
}

json_t *jsonrpc_result(json_t *id, json_t *result)
{
	return reply(id, "result", result);
}

/* Sentences may quote bytes that somebody sent; what is not UTF-8 cannot travel. */
static json_t *sentence(const char *text)
{
	json_t *value = json_string(text);
	return value ? value : json_string("(the text is not UTF-8)");
}

json_t *jsonrpc_error(json_t *id, enum jsonrpc_code code, const struct dpu_error *err)
{
	json_t *error = json_pack("{s:i, s:o, s:{s:s, s:o}}", "code", (int)code, "message", sentence(err->message),
				  "data", "code", error_code_name(err->code), "path", sentence(err->path));
	return error ? reply(id, "error", error) : NULL;
}

json_t *jsonrpc_failure(json_t *id, const struct dpu_error *err)
{
	return jsonrpc_error(id, JSONRPC_DPU_ERROR - (int)err->code, err);
}

json_t *jsonrpc_notification(const char *method, json_t *params)
{
	return json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params);
}
