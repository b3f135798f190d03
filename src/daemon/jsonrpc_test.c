/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON-RPC messages: what is accepted, and the exact reply to what is not. */
#include "daemon/jsonrpc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static json_t *parse(const char *text, json_t **ret_reply)
{
	*ret_reply = NULL;
	return jsonrpc_parse(text, strlen(text), ret_reply);
}

static long long code_of(const json_t *reply)
{
	return json_integer_value(json_object_get(json_object_get(reply, "error"), "code"));
}

static const char *message_of(const json_t *reply)
{
	return json_string_value(json_object_get(json_object_get(reply, "error"), "message"));
}

static void check_unparsable(const char *text, int code, const char *words)
{
	json_t *reply;
	assert_null(parse(text, &reply));
	assert_non_null(reply);
	assert_int_equal(code_of(reply), code);
	assert_true(json_is_null(json_object_get(reply, "id")));
	if (!strstr(message_of(reply), words))
		fail_msg("'%s' does not say '%s'", message_of(reply), words);
	json_decref(reply);
}

static void messages_that_are_none(void **state)
{
	check_unparsable("", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("{", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("hello", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("{} {}", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("\xff\xfe", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("{\"\xff\": 1}", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("{\"a\": \"\\u0000\"}", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("{\"a\": 1, \"a\": 2}", JSONRPC_PARSE_ERROR, "duplicate");
	check_unparsable("\"unterminated\\", JSONRPC_PARSE_ERROR, "not JSON");
	check_unparsable("[]", JSONRPC_INVALID_REQUEST, "non-empty");
	check_unparsable("7", JSONRPC_PARSE_ERROR, "not JSON");
}

static void nesting_is_bounded(void **state)
{
	char text[2 * JSONRPC_MAX_DEPTH + 8];
	json_t *reply;

	memset(text, '[', JSONRPC_MAX_DEPTH);
	memset(text + JSONRPC_MAX_DEPTH, ']', JSONRPC_MAX_DEPTH);
	json_t *message = jsonrpc_parse(text, 2 * JSONRPC_MAX_DEPTH, &reply);
	assert_non_null(message);
	json_decref(message);

	memset(text, '[', JSONRPC_MAX_DEPTH + 1);
	text[JSONRPC_MAX_DEPTH + 1] = '\0';
	check_unparsable(text, JSONRPC_INVALID_REQUEST, "nests deeper");
	/* Brackets in strings are text, also after an escaped quote. */
	message = parse("{\"a\": \"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", &reply);
	assert_non_null(message);
	json_decref(message);
}

/* A message of n elements, each `element`. */
static char *repeat(const char *element, size_t count, size_t *ret_length)
{
	size_t length = strlen(element);
	char *text = malloc(count * (length + 1) + 2);
	assert_non_null(text);
	size_t used = 0;
	text[used++] = '[';
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			text[used++] = ',';
		memcpy(text + used, element, length);
		used += length;
	}
	text[used++] = ']';
	*ret_length = used;
	return text;
}

static void check_too_many(const char *element, size_t count, const char *words)
{
	size_t length;
	char *text = repeat(element, count, &length);
	json_t *reply = NULL;
	assert_null(jsonrpc_parse(text, length, &reply));
	assert_int_equal(code_of(reply), JSONRPC_INVALID_REQUEST);
	if (!strstr(message_of(reply), words))
		fail_msg("'%s' does not say '%s'", message_of(reply), words);
	json_decref(reply);
	free(text);
}

static void sizes_are_bounded(void **state)
{
	check_too_many("{}", JSONRPC_MAX_BATCH + 1, "a batch of 1025");
	check_too_many("{}", JSONRPC_MAX_CONTAINERS, "send it in parts");
	check_too_many("1", JSONRPC_MAX_VALUES + 2, "send it in parts");
}

static void check_bad_request(const char *text, const char *path)
{
	json_t *reply;
	json_t *message = parse(text, &reply);
	assert_non_null(message);
	struct jsonrpc_request request;
	assert_int_equal(jsonrpc_request(message, &request, &reply), -EINVAL);
	assert_int_equal(code_of(reply), JSONRPC_INVALID_REQUEST);
	const json_t *data = json_object_get(json_object_get(reply, "error"), "data");
	assert_string_equal(json_string_value(json_object_get(data, "path")), path);
	json_decref(reply);
	json_decref(message);
}

static void requests_that_are_none(void **state)
{
	check_bad_request("{}", "jsonrpc");
	check_bad_request("{\"jsonrpc\": 2.0, \"method\": \"a\"}", "jsonrpc");
	check_bad_request("{\"jsonrpc\": \"1.0\", \"method\": \"a\"}", "jsonrpc");
	check_bad_request("{\"jsonrpc\": \"2.0\"}", "method");
	check_bad_request("{\"jsonrpc\": \"2.0\", \"method\": 7}", "method");
	check_bad_request("{\"jsonrpc\": \"2.0\", \"method\": \"a\", \"id\": []}", "id");
	check_bad_request("{\"jsonrpc\": \"2.0\", \"method\": \"a\", \"id\": true}", "id");
	check_bad_request("{\"jsonrpc\": \"2.0\", \"method\": \"a\", \"params\": [1]}", "params");
	check_bad_request("[7]", "");
}

static void requests_that_are(void **state)
{
	json_t *reply;
	json_t *message =
		parse("{\"jsonrpc\":\"2.0\",\"method\":\"vnic.get\",\"id\":\"x\",\"params\":{\"name\":\"a\"}}", &reply);
	struct jsonrpc_request request;
	assert_int_equal(jsonrpc_request(message, &request, &reply), 0);
	assert_string_equal(request.method, "vnic.get");
	assert_string_equal(json_string_value(request.id), "x");
	assert_int_equal(json_object_size(request.params), 1);
	json_decref(message);

	message = parse("{\"jsonrpc\":\"2.0\",\"method\":\"dpu.version\"}", &reply);
	assert_int_equal(jsonrpc_request(message, &request, &reply), 0);
	assert_null(request.id);
	assert_null(request.params);
	json_decref(message);
}

static void check_text(json_t *reply, const char *expect)
{
	char *text = json_dumps(reply, JSON_COMPACT | JSON_SORT_KEYS);
	assert_string_equal(text, expect);
	free(text);
	json_decref(reply);
}

static void replies(void **state)
{
	json_t *id = json_integer(7);
	struct dpu_error err = { 0 };
	error_set(&err, DPU_E_CONFLICT, "vnic/blue/web1", "it changed meanwhile");
	check_text(jsonrpc_result(id, json_string("done")), "{\"id\":7,\"jsonrpc\":\"2.0\",\"result\":\"done\"}");
	check_text(jsonrpc_result(NULL, NULL), "{\"id\":null,\"jsonrpc\":\"2.0\",\"result\":null}");
	check_text(jsonrpc_failure(id, &err),
		   "{\"error\":{\"code\":-32004,\"data\":{\"code\":\"conflict\",\"path\":\"vnic/blue/web1\"},"
		   "\"message\":\"it changed meanwhile\"},\"id\":7,\"jsonrpc\":\"2.0\"}");
	error_set(&err, DPU_E_INVALID, "\xff", "\xfe");
	json_t *reply = jsonrpc_failure(id, &err);
	assert_string_equal(message_of(reply), "(the text is not UTF-8)");
	json_decref(reply);
	check_text(jsonrpc_notification("dpu.event", json_pack("{s:i}", "sequence", 1)),
		   "{\"jsonrpc\":\"2.0\",\"method\":\"dpu.event\",\"params\":{\"sequence\":1}}");
	json_decref(id);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_that_are_none), cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(sizes_are_bounded),      cmocka_unit_test(requests_that_are_none),
		cmocka_unit_test(requests_that_are),      cmocka_unit_test(replies),
	};
	return cmocka_run_group_tests_name("jsonrpc", tests, NULL, NULL);
}
