/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes transactions: lists of changes with fields of any JSON, right and wrong, whole documents, actions, failures of
 * the service in between. A transaction that is refused changes nothing and says why, one that is accepted leaves model
 * and service in agreement, and what the model exports it finds in force. */
#include "model/document.h"
#include "model/test_classes.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_TRANSACTIONS = 12, MAX_CHANGES = 8, MAX_DEPTH = 3, TEXT_MAX = 4096 };

static struct test_service service;
static struct model *model;

static const char *const classes[] = { "vnic", "subnet", "group", "vpc", "hop", "tenant", "port", "dpu", "none", "" };
static const char *const names[] = {
	"blue",   "red",   "blue/v", "v",  "blue/s",   "blue/web", "blue/g1", "blue/g2",
	"red/g1", "red/s", "web",    "a",  "blue/a",   "red/a",    "p",       "blue/b",
	"",       "/",     "blue/",  "/x", "nobody/x", "blue/a/b", "blue/h1", "blue/h2",
	"dpu",    "s",     "g1",     "g2", "red/v",    "blue/new", "new",     "blue\x01/x"
};
static const char *const keys[] = { "name",    "tenant",    "uuid",          "generation",  "labels",   "subnet",
				    "mac",     "mtu",       "groups",        "mode",        "hostname", "password",
				    "enabled", "addresses", "notes",         "link",        "vpc",      "prefix",
				    "extra",   "vni",       "encapsulation", "next",        "device",   "speed",
				    "contact", "uptime",    "description",   "max_objects", "unknown",  "",
				    "slot",    "peer" };
static const char *const texts[] = { "10.0.0.0/24",
				     "10.0.0.5",
				     "fd00::1",
				     "fd00::/64",
				     "10.0.0.0/33",
				     "02:00:00:00:00:01",
				     "02:00:00:00:00:02",
				     "ff:ff:ff:ff:ff:ff",
				     "tap",
				     "client",
				     "geneve",
				     "vxlan",
				     "a=b",
				     "a",
				     "host-1",
				     "no host!",
				     "00000000-0000-0000-0000-000000000000",
				     "\xc3\xa9",
				     "1.2.3",
				     "-1",
				     "true",
				     "10.0.0.1/8" };

#define PICK(in, list) ((list)[input_byte(in) % (sizeof(list) / sizeof((list)[0]))])

static json_t *some_value(struct input *in, unsigned depth)
{
	uint8_t kind = input_byte(in);
	json_t *list;

	switch (kind % 12) {
	case 0:
		return json_null();
	case 1:
		return json_boolean(kind & 0x80);
	case 2:
		return json_integer((int8_t)input_byte(in));
	case 3:
		return json_integer(input_word(in));
	case 4:
		return json_integer((json_int_t)((uint64_t)input_long(in) << 31));
	case 5:
		return json_real(input_byte(in) / 4.0);
	case 6:
	case 7:
		return json_string(PICK(in, names));
	case 8:
		list = json_array();
		for (unsigned i = 0; i < (kind >> 4) && depth < MAX_DEPTH; i++)
			json_array_append_new(list, some_value(in, depth + 1));
		return list;
	case 9:
		list = json_object();
		for (unsigned i = 0; i < (kind >> 6) && depth < MAX_DEPTH; i++)
			json_object_set_new(list, PICK(in, keys), some_value(in, depth + 1));
		return list;
	default:
		return json_string(PICK(in, texts));
	}
}

static json_t *some_fields(struct input *in)
{
	json_t *fields = json_object();

	for (unsigned n = input_byte(in) % 7; n > 0; n--) {
		const char *key = PICK(in, keys);
		json_object_set_new(fields, key, some_value(in, 0));
	}
	return fields;
}

/* ---- what must hold ---- */

static void check_error(int status, const struct dpu_error *err)
{
	input_require(status < 0 && err->code != DPU_OK && err->code != DPU_E_INTERNAL && err->message[0]);
}

/* A refusal that is the service's own carries its code. */
static void commit(struct txn *txn)
{
	struct dpu_error err = { 0 };
	json_t *before = test_dump(model), *diff = NULL;
	bool failing = service.fail_remaining || service.fail_again;
	size_t count = service.count;
	int status = test_commit(txn, &err, &diff);

	if (status < 0) {
		json_t *after = test_dump(model);
		input_require(json_equal(before, after) && service.count == count);
		json_decref(after);
		if (!failing)
			check_error(status, &err);
	} else {
		input_require(json_is_array(diff));
	}
	service.fail_remaining = service.fail_again = 0;
	json_decref(before);
	json_decref(diff);
	test_check_book(model, &service);
}

static void transact(struct input *in)
{
	uint8_t shape = input_byte(in);
	struct txn *txn;
	struct dpu_error err = { 0 };
	json_t *diff = NULL;

	input_require(txn_new(model, &txn) == 0);
	for (unsigned n = 1 + shape % MAX_CHANGES; n > 0; n--) {
		uint8_t how = input_byte(in);
		const char *class = PICK(in, classes), *key = how & 8 ? NULL : PICK(in, names);
		const char *tenant = how & 16 ? PICK(in, names) : NULL;
		enum change_op op = (enum change_op)(how & 3);
		json_t *fields = op == CHANGE_DELETE && !(how & 128) ? NULL : some_fields(in);
		int status =
			txn_add(txn, op, class, tenant, key, fields, how & 32 ? input_byte(in) : 0, how & 64, &err);
		json_decref(fields);
		if (status < 0)
			check_error(status, &err);
	}
	int checked = 0;
	if (shape & 64) {
		err = (struct dpu_error){ 0 };
		checked = txn_check(txn, &diff, &err);
		if (checked < 0)
			check_error(checked, &err);
		json_decref(diff);
		test_check_book(model, &service);
	}
	if (shape & 128) {
		service.fail_remaining = 1 + (shape >> 3 & 7);
		service.fail_again = shape & 32 ? 1 : 0;
	}
	commit(txn);
}

/* A document: the one in force, changed here and there. */
static void declare(struct input *in)
{
	static const char *const plurals[] = { "vnics",   "subnets", "groups", "vpcs", "hops",
					       "tenants", "ports",   "dpu",    "dpus", "version" };
	uint8_t shape = input_byte(in);
	struct dpu_error err = { 0 };
	json_t *document = shape & 1 ? model_export(model) : json_pack("{s:i}", "version", 1);
	struct txn *txn;

	for (unsigned n = shape >> 1 & 7; n > 0; n--) {
		const char *plural = PICK(in, plurals);
		json_t *list = json_object_get(document, plural);
		if (shape & 16 && !list)
			json_object_set_new(document, plural, some_value(in, 0));
		else if (!list)
			json_object_set_new(document, plural, json_array());
		list = json_object_get(document, plural);
		if (json_is_array(list))
			json_array_append_new(list, some_fields(in));
	}
	int status = document_plan(model, document, shape & 32, &txn, &err);
	if (status < 0)
		check_error(status, &err);
	else
		commit(txn);
	json_decref(document);
}

static void action_done(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	++*(unsigned *)arg;
	if (status < 0)
		check_error(status, err);
}

static void act(struct input *in)
{
	static const char *const actions[] = { "probe", "count-later", "none" };
	static const char *const arguments[] = { "count", "note", "via", "other" };
	json_t *args = json_object();
	const char *class = PICK(in, classes), *action = PICK(in, actions), *key = PICK(in, names);
	unsigned answers = 0;

	for (unsigned n = input_byte(in) % 4; n > 0; n--) {
		const char *name = PICK(in, arguments);
		json_object_set_new(args, name, some_value(in, 0));
	}
	model_action(model, class, action, NULL, input_byte(in) & 1 ? key : NULL, args, action_done, &answers);
	if (service.pending) {
		struct action_reply *reply = service.pending;
		service.pending = NULL;
		action_answer(reply, 0, json_integer(1), NULL);
	}
	input_require(answers == 1);
	json_decref(args);
}

/* What is exported is so. */
static void check_export(void)
{
	json_t *document = model_export(model), *diff = NULL;
	struct dpu_error err = { 0 };
	struct txn *txn;

	input_require(document_plan(model, document, true, &txn, &err) == 0);
	input_require(txn_check(txn, &diff, &err) == 0 && json_array_size(diff) == 0);
	txn_free(txn);
	json_decref(diff);
	json_decref(document);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };

	model = test_model(&service, NULL);
	test_seed(model);
	for (unsigned i = 0; i < MAX_TRANSACTIONS && input_left(&in); i++) {
		switch (input_byte(&in) % 8) {
		case 0:
			declare(&in);
			break;
		case 1:
			act(&in);
			break;
		default:
			transact(&in);
		}
	}
	check_export();
	model_free(model);
	input_require(service.count == 0 && !service.fault);
	json_decref(service.last_args);
	return 0;
}
