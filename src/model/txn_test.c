/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of transactions: naming, references, order, conflicts, deletion, limits, dry runs, barrier. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "model/test_classes.h"

static struct test_service service;
static struct model *model;

static int set_up(void **state)
{
	model = test_model(&service, NULL);
	test_seed(model);
	return 0;
}

static int tear_down(void **state)
{
	test_check_book(model, &service);
	model_free(model);
	assert_int_equal(service.count, 0);
	assert_null(service.fault);
	return 0;
}

/* The change is refused with this code, path and words, and leaves no trace. */
static void refused(enum change_op op, const char *class, const char *key, const char *fields, enum dpu_error_code code,
		    const char *path, const char *words)
{
	struct dpu_error err = { 0 };
	json_t *before = test_dump(model), *after;

	int status = test_change(model, op, class, key, fields, &err);
	assert_int_equal(status, error_errno(code));
	assert_int_equal(err.code, code);
	assert_string_equal(err.path, path);
	if (!strstr(err.message, words))
		fail_msg("\"%s\" does not say \"%s\"", err.message, words);
	after = test_dump(model);
	assert_true(json_equal(before, after));
	json_decref(before);
	json_decref(after);
	test_check_book(model, &service);
}

static const struct test_vnic *vnic(const char *name)
{
	return (const struct test_vnic *)model_find(model, "vnic", "blue", name);
}

static void creates_with_defaults(void **state)
{
	const struct test_vnic *web = vnic("web");

	assert_non_null(web);
	assert_int_equal(web->mtu, 1500);
	assert_true(web->enabled);
	assert_int_equal(web->notes.count, 2);
	assert_string_equal(web->notes.items[1], "second");
	assert_false(mac_is_zero(&web->mac));
	assert_int_equal(web->base.generation, 1);
	assert_int_equal(web->base.slot, 1);
	assert_string_equal(web->subnet.object->name, "s");
	assert_ptr_equal(web->base.tenant, model_find(model, "tenant", NULL, "blue"));
	assert_null(model_find(model, "vnic", "red", "web"));
	assert_null(model_find(model, "vnic", NULL, "web"));
	assert_null(model_find(model, "vnic", "nobody", "web"));
	assert_null(model_find(model, "nothing", "blue", "web"));
}

static void updates_only_what_changes(void **state)
{
	unsigned applies = service.applies;

	test_do(model, CHANGE_UPDATE, "vnic", "blue/web",
		"{'mtu': 1500, 'subnet': 's', 'groups': ['blue/g1'], 'tenant': 'blue'}");
	assert_int_equal(service.applies, applies);
	assert_int_equal(vnic("web")->base.generation, 1);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 9000}");
	assert_int_equal(service.applies, applies + 1);
	assert_int_equal(vnic("web")->base.generation, 2);
	assert_int_equal(vnic("web")->mtu, 9000);
	test_do(model, CHANGE_SET, "vnic", "blue/web", "{'mtu': null, 'addresses': [], 'notes': null}");
	assert_int_equal(vnic("web")->mtu, 1500);
	assert_int_equal(vnic("web")->addresses.count, 0);
	assert_int_equal(vnic("web")->notes.count, 2);
	assert_int_equal(vnic("web")->base.generation, 3);
}

static void names_and_keys(void **state)
{
	char uuid[UUID_TEXT], fields[100];

	refused(CHANGE_CREATE, "vnic", "blue/web", "{'subnet': 's'}", DPU_E_EXISTS, "vnic/blue/web.name", "exists");
	refused(CHANGE_CREATE, "vnic", "blue/", "{'subnet': 's'}", DPU_E_INVALID, "vnic/blue/.name", "empty");
	refused(CHANGE_CREATE, "vnic", "blue/a/b", "{'subnet': 's'}", DPU_E_INVALID, "vnic/blue/a/b.name", "slash");
	refused(CHANGE_CREATE, "port", "550e8400-e29b-41d4-a716-446655440000", "{'device': 'x', 'speed': 0}",
		DPU_E_INVALID, "port/550e8400-e29b-41d4-a716-446655440000.name", "form of a UUID");
	refused(CHANGE_CREATE, "group", "blue/a\nb", NULL, DPU_E_INVALID, "group/blue/a\nb.name", "control character");
	refused(CHANGE_CREATE, "group", "alone", NULL, DPU_E_INVALID, "group/alone.tenant", "tenant is missing");
	refused(CHANGE_CREATE, "group", "green/x", NULL, DPU_E_NOT_FOUND, "group/green/x.tenant",
		"no tenant \"green\"");
	refused(CHANGE_CREATE, "tenant", "blue/x", NULL, DPU_E_INVALID, "tenant/blue/x.tenant", "no tenant");
	refused(CHANGE_UPDATE, "vnic", "blue/none", "{}", DPU_E_NOT_FOUND, "vnic/blue/none", "no such vnic");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'name': ''}", DPU_E_INVALID, "vnic/blue/web.name", "empty");
	refused(CHANGE_CREATE, "group", NULL, "{'tenant': 'blue'}", DPU_E_INVALID, "group.name", "needs a name");
	refused(CHANGE_CREATE, "group", "blue/x", "{'name': 'y'}", DPU_E_INVALID, "group/blue/x.name", "same");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'uuid': '550e8400-e29b-41d4-a716-446655440000'}", DPU_E_INVALID,
		"vnic/blue/web.uuid", "never changes");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'tenant': 'red'}", DPU_E_INVALID, "vnic/blue/web.tenant",
		"never changes");

	test_do(model, CHANGE_CREATE, "group", NULL, "{'tenant': 'red', 'name': 'kept'}");
	assert_non_null(model_find(model, "group", "red", "kept"));
	uuid_format(&model_find(model, "group", "red", "kept")->uuid, uuid);
	test_do(model, CHANGE_UPDATE, "group", uuid, "{'description': 'by UUID'}");
	snprintf(fields, sizeof(fields), "{'uuid': '%s'}", uuid);
	refused(CHANGE_CREATE, "group", "red/copy", fields, DPU_E_EXISTS, "group/red/copy.uuid", "UUID");
	test_do(model, CHANGE_DELETE, "group", uuid, NULL);
	test_do(model, CHANGE_CREATE, "group", "red/copy", fields);
	assert_string_equal(uuid_format(&model_find(model, "group", "red", "copy")->uuid, fields), uuid);
}

static void long_names(void **state)
{
	char key[300] = "blue/";

	memset(key + 5, 'x', 255);
	test_do(model, CHANGE_CREATE, "group", key, NULL);
	struct dpu_error err = { 0 };
	key[260] = 'x';
	assert_int_equal(test_change(model, CHANGE_CREATE, "group", key, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.message, "at most 255"));
}

/* However long the names are, an error says which field it is about. */
static void errors_of_long_names(void **state)
{
	char tenant[256] = "", key[600], path[700];

	memset(tenant, 't', 255);
	test_do(model, CHANGE_CREATE, "tenant", tenant, NULL);
	snprintf(key, sizeof(key), "%s/%0255d", tenant, 7);
	snprintf(path, sizeof(path), "group/%s.description", key);
	refused(CHANGE_CREATE, "group", key, "{'description': 5}", DPU_E_INVALID, path, "expected a string");
}

/* Errors about hopeless names can still be sent as JSON. */
static void errors_are_text(void **state)
{
	char key[2000] = "blue/x";

	while (strlen(key) < 1500)
		strcat(key, "\xe2\x82\xac");
	for (int i = 0; i < 3; i++) {
		struct dpu_error err = { 0 };
		memmove(key + 6, key + 5, strlen(key) - 4);
		assert_true(test_change(model, CHANGE_CREATE, "group", key, NULL, &err) < 0);
		json_t *path = json_string(err.path), *message = json_string(err.message);
		assert_non_null(path);
		assert_non_null(message);
		json_decref(path);
		json_decref(message);
	}
}

static void renames(void **state)
{
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'name': 'www', 'mtu': 1400}");
	assert_null(vnic("web"));
	assert_int_equal(vnic("www")->mtu, 1400);
	refused(CHANGE_UPDATE, "group", "blue/g1", "{'name': 'g2'}", DPU_E_EXISTS, "group/blue/g1.name", "another");
	refused(CHANGE_UPDATE, "group", "blue/g1", "{'name': 'n', 'description': 5}", DPU_E_INVALID,
		"group/blue/n.description", "expected a string");
	test_do(model, CHANGE_UPDATE, "tenant", "blue", "{'name': 'azure'}");
	assert_non_null(model_find(model, "vnic", "azure", "www"));
	assert_string_equal(model_find(model, "vnic", "azure", "www")->tenant->name, "azure");
	test_do(model, CHANGE_UPDATE, "tenant", "azure", "{'name': 'blue'}");
}

static void values_out_of_line(void **state)
{
#define BAD(fields_, path_, words_)                                                                                    \
	refused(CHANGE_UPDATE, "vnic", "blue/web", fields_, DPU_E_INVALID, "vnic/blue/web." path_, words_)
	BAD("{'mtu': 67}", "mtu", "67 is out of range: give 68 to 9216 bytes");
	BAD("{'mtu': -1}", "mtu", "out of range");
	BAD("{'mtu': 99999999999}", "mtu", "out of range");
	BAD("{'mtu': '1500'}", "mtu", "\"1500\" is not a whole number: give 68 to 9216 bytes");
	BAD("{'mtu': 1.5}", "mtu", "got a fraction");
	BAD("{'enabled': 1}", "enabled", "true or false");
	BAD("{'mode': 'server'}", "mode", "fixed when the object is created");
	BAD("{'mode': 'other'}", "mode", "give one of client, server, tap");
	BAD("{'mode': 3}", "mode", "expected one of client, server, tap");
	BAD("{'mac': '1'}", "mac", "not a MAC address");
	BAD("{'addresses': ['10.0.0.5', 'x']}", "addresses[1]", "not an IP address");
	BAD("{'addresses': ['10.0.0.5', '10.0.0.6', '10.0.0.5']}", "addresses[2]", "twice");
	BAD("{'addresses': '10.0.0.5'}", "addresses", "expected a list");
	BAD("{'addresses': "
	    "['10.0.0.1','10.0.0.2','10.0.0.3','10.0.0.4','10.0.0.5','10.0.0.6','10.0.0.7','10.0.0.8','10.0.0.9']}",
	    "addresses", "9 items: give 0 to 8");
	BAD("{'addresses': ['10.9.0.5']}", "addresses", "outside the subnet");
	BAD("{'groups': ['g1', 'g2', 'blue/g1']}", "groups[2]", "twice");
	BAD("{'hostname': 'a b'}", "hostname", "must be letters, digits and hyphens");
	BAD("{'subnet': null}", "subnet", "required");
	BAD("{'rx_packets': 5}", "rx_packets", "read-only");
	BAD("{'colour': 5}", "colour", "no such field");
	BAD("{'labels': ['novalue']}", "labels[0]", "key=value");
	BAD("{'labels': ['=x']}", "labels[0]", "key=value");
	BAD("{'generation': 'x'}", "generation", "whole number");
#undef BAD
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'groups': ['g3']}", DPU_E_NOT_FOUND, "vnic/blue/web.groups[0]",
		"no group \"g3\" in tenant \"blue\"");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'subnet': ''}", DPU_E_NOT_FOUND, "vnic/blue/web.subnet",
		"no subnet \"\"");
	refused(CHANGE_CREATE, "vnic", "blue/x", "{}", DPU_E_INVALID, "vnic/blue/x.subnet", "required");
	refused(CHANGE_CREATE, "port", "p", "{'device': '', 'speed': 1}", DPU_E_INVALID, "port/p.device", "required");
	refused(CHANGE_CREATE, "port", "p", "{'device': 'x'}", DPU_E_INVALID, "port/p.speed", "required");
	refused(CHANGE_CREATE, "subnet", "blue/x", "{'vpc': 'v', 'prefix': '10.0.0.1/24'}", DPU_E_INVALID,
		"subnet/blue/x.prefix", "bits set beyond");
	test_do(model, CHANGE_CREATE, "port", "p", "{'device': 'x', 'speed': 0}");
}

static void references(void **state)
{
	char fields[100], uuid[UUID_TEXT];

	test_do(model, CHANGE_CREATE, "group", "red/r1", NULL);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'groups': ['g2', 'red/r1']}");
	uuid_format(&model_find(model, "group", "blue", "g1")->uuid, uuid);
	snprintf(fields, sizeof(fields), "{'groups': ['%s', 'red/r1']}", uuid);
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", fields);
	json_t *json = model_object_json(model, &vnic("web")->base, false);
	json_t *groups = test_json("['g1', 'red/r1']");
	assert_true(json_equal(json_object_get(json, "groups"), groups));
	json_decref(groups);
	json_decref(json);
	snprintf(fields, sizeof(fields), "{'subnet': '%s'}", uuid);
	refused(CHANGE_UPDATE, "vnic", "blue/web", fields, DPU_E_INVALID, "vnic/blue/web.subnet",
		"is a group: give a subnet");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'subnet': '550e8400-e29b-41d4-a716-446655440000'}",
		DPU_E_NOT_FOUND, "vnic/blue/web.subnet", "no subnet with the UUID");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'subnet': 'grey/s'}", DPU_E_NOT_FOUND, "vnic/blue/web.subnet",
		"no tenant \"grey\"");
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'subnet': 'red/s'}", DPU_E_NOT_FOUND, "vnic/blue/web.subnet",
		"no subnet \"red/s\"");
	refused(CHANGE_CREATE, "vnic", "red/x", "{'subnet': 's'}", DPU_E_NOT_FOUND, "vnic/red/x.subnet",
		"no subnet \"s\" in tenant \"red\"");
}

/* A changed object's referrers follow it. */
static void versions_move(void **state)
{
	const struct object *before = vnic("web")->subnet.object;

	test_do(model, CHANGE_UPDATE, "subnet", "blue/s", "{'extra': ['10.9.0.0/16']}");
	assert_ptr_not_equal(vnic("web")->subnet.object, before);
	assert_ptr_equal(vnic("web")->subnet.object, model_find(model, "subnet", "blue", "s"));
	refused(CHANGE_UPDATE, "subnet", "blue/s", "{'prefix': '10.1.0.0/24'}", DPU_E_INVALID, "subnet/blue/s.prefix",
		"vNIC's address");
	struct txn *txn;
	txn_new(model, &txn);
	test_add(txn, CHANGE_UPDATE, "subnet", "blue/s", "{'prefix': '10.1.0.0/24'}");
	test_add(txn, CHANGE_UPDATE, "vnic", "blue/web", "{'addresses': ['10.1.0.1']}");
	assert_int_equal(test_commit(txn, NULL, NULL), 0);
}

static void order_in_one_transaction(void **state)
{
	struct txn *txn;

	service.order[0] = 0;
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "vnic", "green/n", "{'subnet': 'ns', 'groups': ['ng']}");
	test_add(txn, CHANGE_CREATE, "subnet", "green/ns", "{'vpc': 'nv', 'prefix': 'fd00::/64'}");
	test_add(txn, CHANGE_CREATE, "vpc", "green/nv", NULL);
	test_add(txn, CHANGE_CREATE, "group", "green/ng", NULL);
	test_add(txn, CHANGE_CREATE, "tenant", "green", NULL);
	assert_int_equal(test_commit(txn, NULL, NULL), 0);
	assert_string_equal(service.order, "+green +nv +ns +ng +n");

	/* Deletions come first, as far as references let them; what they free is free. */
	service.order[0] = 0;
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "group", "green/late", NULL);
	test_add(txn, CHANGE_UPDATE, "vnic", "green/n", "{'groups': ['late']}");
	test_add(txn, CHANGE_DELETE, "group", "green/ng", NULL);
	test_add(txn, CHANGE_DELETE, "vnic", "blue/web", NULL);
	assert_int_equal(test_commit(txn, NULL, NULL), 0);
	assert_string_equal(service.order, "+late ~n -ng -web");

	service.order[0] = 0;
	txn_new(model, &txn);
	struct dpu_error err = { 0 };
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "tenant", NULL, "green", NULL, 0, true, &err), 0);
	assert_int_equal(test_commit(txn, NULL, NULL), 0);
	assert_string_equal(service.order, "-n -ns -nv -late -green");
}

static void several_changes_to_one(void **state)
{
	struct txn *txn;
	json_t *diff;

	unsigned applies = service.applies;
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "group", "blue/n", "{'description': 'one'}");
	test_add(txn, CHANGE_UPDATE, "group", "blue/n", "{'description': 'two', 'labels': ['a=b']}");
	test_add(txn, CHANGE_UPDATE, "group", "blue/g1", "{'description': 'x'}");
	test_add(txn, CHANGE_UPDATE, "group", "blue/g1", "{'description': null}");
	test_add(txn, CHANGE_CREATE, "group", "blue/brief", NULL);
	test_add(txn, CHANGE_DELETE, "group", "blue/brief", NULL);
	test_add(txn, CHANGE_UPDATE, "group", "blue/g2", "{'description': 'x'}");
	test_add(txn, CHANGE_DELETE, "group", "blue/g2", NULL);
	test_add(txn, CHANGE_CREATE, "group", "blue/g2", "{'description': 'new'}");
	assert_int_equal(test_commit(txn, NULL, &diff), 0);
	assert_int_equal(service.applies, applies + 2);
	assert_int_equal(json_array_size(diff), 3);
	json_decref(diff);
	const struct test_group *group = (const void *)model_find(model, "group", "blue", "n");
	assert_string_equal(group->description, "two");
	assert_int_equal(group->base.generation, 1);
	assert_null(model_find(model, "group", "blue", "brief"));
	group = (const void *)model_find(model, "group", "blue", "g2");
	assert_string_equal(group->description, "new");
	assert_int_equal(group->base.slot, 4); /* the old one's slot is not taken in the same transaction */
}

static void stale_generation(void **state)
{
	struct dpu_error err = { 0 };
	struct txn *txn;

	json_t *fields = test_json("{'mtu': 1400}");
	txn_new(model, &txn);
	txn_add(txn, CHANGE_UPDATE, "vnic", "blue", "web", fields, 2, false, &err);
	assert_int_equal(test_commit(txn, &err, NULL), -ESTALE);
	assert_string_equal(err.path, "vnic/blue/web.generation");
	txn_new(model, &txn);
	txn_add(txn, CHANGE_UPDATE, "vnic", "blue", "web", fields, 1, false, &err);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	txn_new(model, &txn);
	txn_add(txn, CHANGE_DELETE, "vnic", "blue", "web", NULL, 1, false, &err);
	assert_int_equal(test_commit(txn, &err, NULL), -ESTALE);
	json_decref(fields);
	/* What was read can be written back, and fails once somebody else wrote. */
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 1300, 'generation': 1}", DPU_E_CONFLICT,
		"vnic/blue/web.generation", "generation 2, not 1");
	test_do(model, CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 1300, 'generation': 2}");
}

static void in_use(void **state)
{
	refused(CHANGE_DELETE, "group", "blue/g1", NULL, DPU_E_IN_USE, "group/blue/g1",
		"it is used by vnic/blue/web: change or delete these first");
	refused(CHANGE_DELETE, "subnet", "blue/s", NULL, DPU_E_IN_USE, "subnet/blue/s", "all at once with --cascade");
	refused(CHANGE_DELETE, "tenant", "blue", NULL, DPU_E_IN_USE, "tenant/blue", " and 1 more");

	struct dpu_error err = { 0 };
	struct txn *txn;
	/* Cascade follows parents only: the group is used by a vNIC that does not go. */
	txn_new(model, &txn);
	txn_add(txn, CHANGE_DELETE, "group", "blue", "g1", NULL, 0, true, &err);
	assert_int_equal(test_commit(txn, &err, NULL), -EBUSY);
	/* What got another parent in the same transaction stays. */
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "subnet", "blue/other", "{'vpc': 'v', 'prefix': '10.0.0.0/16'}");
	test_add(txn, CHANGE_UPDATE, "vnic", "blue/web", "{'subnet': 'other'}");
	txn_add(txn, CHANGE_DELETE, "subnet", "blue", "s", NULL, 0, true, &err);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	assert_non_null(vnic("web"));
	/* A vNIC of another tenant in our group. */
	test_do(model, CHANGE_CREATE, "vpc", "red/v", NULL);
	test_do(model, CHANGE_CREATE, "subnet", "red/s", "{'vpc': 'v', 'prefix': '10.0.0.0/24'}");
	test_do(model, CHANGE_CREATE, "vnic", "red/guest", "{'subnet': 's', 'groups': ['blue/g2']}");
	txn_new(model, &txn);
	txn_add(txn, CHANGE_DELETE, "tenant", NULL, "blue", NULL, 0, true, &err);
	assert_int_equal(test_commit(txn, &err, NULL), -EBUSY);
	assert_string_equal(err.path, "group/blue/g2");
	assert_non_null(strstr(err.message, "vnic/red/guest"));
	txn_new(model, &txn);
	test_add(txn, CHANGE_UPDATE, "vnic", "red/guest", "{'groups': null}");
	txn_add(txn, CHANGE_DELETE, "tenant", NULL, "blue", NULL, 0, true, &err);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	assert_int_equal(model_count(model, "vnic", NULL), 1);
	assert_int_equal(model_count(model, "group", NULL), 0);
}

static void tenants_in_flux(void **state)
{
	struct dpu_error err = { 0 };
	struct txn *txn;

	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "tenant", "t", NULL);
	test_add(txn, CHANGE_CREATE, "group", "t/g", NULL);
	test_add(txn, CHANGE_DELETE, "tenant", "t", NULL);
	assert_int_equal(test_commit(txn, &err, NULL), -EBUSY);
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "group", "red/g", NULL);
	test_add(txn, CHANGE_DELETE, "tenant", "red", NULL);
	assert_int_equal(test_commit(txn, &err, NULL), -EBUSY);
	assert_non_null(strstr(err.message, "group/red/g"));
	txn_new(model, &txn);
	test_add(txn, CHANGE_DELETE, "tenant", "red", NULL);
	test_add(txn, CHANGE_CREATE, "tenant", "red", NULL);
	test_add(txn, CHANGE_CREATE, "group", "red/g", NULL);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "group", "no1/g", NULL);
	test_add(txn, CHANGE_CREATE, "group", "no2/g", NULL);
	test_add(txn, CHANGE_CREATE, "tenant", "no2", NULL);
	assert_int_equal(test_commit(txn, &err, NULL), -ENOENT);
	assert_string_equal(err.path, "group/no1/g.tenant");
	assert_null(model_find(model, "tenant", NULL, "no2"));
}

static void circles(void **state)
{
	struct dpu_error err = { 0 };
	struct txn *txn;

	refused(CHANGE_CREATE, "hop", "blue/a", "{'next': 'a'}", DPU_E_INVALID, "hop/blue/a", "refer to itself");
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "hop", "blue/a", "{'next': 'b'}");
	test_add(txn, CHANGE_CREATE, "hop", "blue/b", "{'next': 'c'}");
	test_add(txn, CHANGE_CREATE, "hop", "blue/c", NULL);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	refused(CHANGE_UPDATE, "hop", "blue/c", "{'next': 'a'}", DPU_E_INVALID, "hop/blue/c", "through");
	/* Turning the path round is no circle in the outcome. */
	service.order[0] = 0;
	txn_new(model, &txn);
	test_add(txn, CHANGE_UPDATE, "hop", "blue/c", "{'next': 'b'}");
	test_add(txn, CHANGE_UPDATE, "hop", "blue/b", "{'next': 'a'}");
	test_add(txn, CHANGE_UPDATE, "hop", "blue/a", "{'next': null}");
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	assert_string_equal(service.order, "~a ~b ~c");
}

/* A long chain takes a walk as deep as it is long. */
static void deep_chain(void **state)
{
	enum { LENGTH = 3000 };
	struct txn *txn;
	char name[32], fields[64];

	txn_new(model, &txn);
	for (int i = 0; i < LENGTH; i++) {
		snprintf(name, sizeof(name), "blue/h%d", i);
		snprintf(fields, sizeof(fields), i + 1 < LENGTH ? "{'next': 'h%d'}" : "{}", i + 1);
		test_add(txn, CHANGE_CREATE, "hop", name, fields);
	}
	assert_int_equal(test_commit(txn, NULL, NULL), 0);
	snprintf(fields, sizeof(fields), "blue/h%d", LENGTH - 1);
	refused(CHANGE_UPDATE, "hop", fields, "{'next': 'h0'}", DPU_E_INVALID, "hop/blue/h2999", "circle");
}

static void unique_values(void **state)
{
	struct dpu_error err = { 0 };
	struct txn *txn;

	refused(CHANGE_CREATE, "vpc", "blue/w", "{'vni': 7}", DPU_E_EXISTS, "vpc/blue/w.vni",
		"vpc/blue/v has this value");
	test_do(model, CHANGE_CREATE, "vpc", "red/w", "{'vni': 7}"); /* another tenant's */
	test_do(model, CHANGE_CREATE, "vpc", "blue/zero1", NULL);
	test_do(model, CHANGE_CREATE, "vpc", "blue/zero2", NULL); /* not set is not a value */
	test_do(model, CHANGE_CREATE, "vpc", "blue/w", "{'vni': 8}");
	/* Two values change places: only the outcome counts. */
	txn_new(model, &txn);
	test_add(txn, CHANGE_UPDATE, "vpc", "blue/w", "{'vni': 7}");
	test_add(txn, CHANGE_UPDATE, "vpc", "blue/v", "{'vni': 8}");
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	refused(CHANGE_UPDATE, "vpc", "blue/zero1", "{'vni': 7}", DPU_E_EXISTS, "vpc/blue/zero1.vni", "vpc/blue/w");
	txn_new(model, &txn);
	test_add(txn, CHANGE_DELETE, "vpc", "blue/w", NULL);
	test_add(txn, CHANGE_UPDATE, "vpc", "blue/zero1", "{'vni': 7}");
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	txn_new(model, &txn);
	test_add(txn, CHANGE_CREATE, "vpc", "blue/a", "{'vni': 100}");
	test_add(txn, CHANGE_CREATE, "vpc", "blue/b", "{'vni': 100}");
	assert_int_equal(test_commit(txn, &err, NULL), -EEXIST);
}

static void limits(void **state)
{
	struct dpu_error err = { 0 };
	struct txn *txn;
	char name[32];

	test_do(model, CHANGE_UPDATE, "tenant", "blue", "{'max_objects': 5}");
	refused(CHANGE_CREATE, "group", "blue/g3", NULL, DPU_E_LIMIT, "tenant/blue.max_objects",
		"would own 6 objects and may own 5");
	test_do(model, CHANGE_CREATE, "group", "red/g3", NULL);
	refused(CHANGE_UPDATE, "tenant", "blue", "{'max_objects': 4}", DPU_E_LIMIT, "tenant/blue.max_objects",
		"may own 4");
	txn_new(model, &txn); /* one goes, one comes */
	test_add(txn, CHANGE_CREATE, "group", "blue/g3", NULL);
	test_add(txn, CHANGE_DELETE, "group", "blue/g2", NULL);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	test_do(model, CHANGE_UPDATE, "tenant", "blue", "{'max_objects': 0}");

	txn_new(model, &txn);
	for (int i = 0; i < 998; i++) {
		snprintf(name, sizeof(name), "red/n%d", i);
		test_add(txn, CHANGE_CREATE, "group", name, NULL);
	}
	assert_int_equal(test_commit(txn, &err, NULL), -ENOSPC);
	assert_non_null(strstr(err.message, "1001 groups: at most 1000"));
	assert_int_equal(model_count(model, "group", model_find(model, "tenant", NULL, "red")), 1);
}

static void singletons(void **state)
{
	assert_non_null(model_find(model, "dpu", NULL, "dpu"));
	test_do(model, CHANGE_UPDATE, "dpu", NULL, "{'contact': 'ops'}");
	test_do(model, CHANGE_SET, "dpu", "dpu", "{'contact': 'ops2'}");
	refused(CHANGE_CREATE, "dpu", "dpu", NULL, DPU_E_INVALID, "dpu/dpu", "exactly one");
	refused(CHANGE_CREATE, "dpu", "second", NULL, DPU_E_INVALID, "dpu/second", "exactly one");
	refused(CHANGE_DELETE, "dpu", "dpu", NULL, DPU_E_INVALID, "dpu/dpu", "cannot be deleted");
	refused(CHANGE_UPDATE, "dpu", "dpu", "{'name': 'x'}", DPU_E_INVALID, "dpu/dpu.name", "fixed");
}

static void dry_run(void **state)
{
	json_t *before = test_dump(model), *after, *diff = NULL;
	unsigned applies = service.applies, forgets = service.forgets;
	struct dpu_error err = { 0 };
	struct txn *txn;

	txn_new(model, &txn);
	test_add(txn, CHANGE_UPDATE, "vnic", "blue/web",
		 "{'mtu': 9000, 'password': 'secret', 'groups': ['g2'], 'name': 'www'}");
	test_add(txn, CHANGE_CREATE, "vpc", "red/v", "{'encapsulation': 'vxlan', 'vni': 5}");
	test_add(txn, CHANGE_DELETE, "group", "blue/g1", NULL);
	assert_int_equal(txn_check(txn, &diff, &err), 0);
	assert_int_equal(service.applies, applies);
	assert_int_equal(service.forgets, forgets + 1);
	after = test_dump(model);
	assert_true(json_equal(before, after));
	json_decref(after);

	json_t *update = json_array_get(diff, 0), *delete = json_array_get(diff, 1), *create = json_array_get(diff, 2);
	json_t *fields =
		test_json("{'name': {'old': 'web', 'new': 'www'}, 'mtu': {'old': 1500, 'new': 9000},"
			  " 'groups': {'old': ['g1'], 'new': ['g2']}, 'password': {'old': null, 'new': '***'}}");
	assert_int_equal(json_array_size(diff), 3);
	assert_string_equal(json_string_value(json_object_get(update, "op")), "update");
	assert_string_equal(json_string_value(json_object_get(update, "tenant")), "blue");
	assert_true(json_equal(json_object_get(update, "fields"), fields));
	assert_string_equal(json_string_value(json_object_get(delete, "op")), "delete");
	assert_string_equal(json_string_value(json_object_get(delete, "name")), "g1");
	json_decref(fields);
	fields = test_json("{'vni': {'new': 5}, 'encapsulation': {'new': 'vxlan'}}");
	assert_string_equal(json_string_value(json_object_get(create, "op")), "create");
	assert_true(json_equal(json_object_get(create, "fields"), fields));
	json_decref(fields);
	json_decref(diff);

	/* The same transaction can be committed afterwards. */
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	assert_int_equal(service.forgets, forgets + 1);
	assert_non_null(vnic("www"));
	json_decref(before);
	assert_int_equal(test_change(model, CHANGE_UPDATE, "vnic", "blue/www", "{'password': ''}", &err), 0);
}

static void malformed_changes(void **state)
{
	struct dpu_error err = { 0 };
	struct txn *txn;
	json_t *list = json_array();

	txn_new(model, &txn);
	assert_int_equal(txn_add(txn, CHANGE_CREATE, "nothing", NULL, "x", NULL, 0, false, &err), -ENOENT);
	assert_int_equal(txn_add(txn, CHANGE_CREATE, "vpc", NULL, "x", list, 0, false, &err), -EINVAL);
	json_t *fields = test_json("{'vni': 1}");
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "vpc", NULL, "x", fields, 0, false, &err), -EINVAL);
	assert_int_equal(test_commit(txn, &err, NULL), 0);
	json_decref(fields);
	json_decref(list);
	service.refuse_validate = true;
	refused(CHANGE_UPDATE, "vnic", "blue/web", "{'mtu': 1300}", DPU_E_INTERNAL, "vnic/blue/web",
		"without a reason");
	service.refuse_validate = false;
}

/* ---- barrier ---- */

static struct {
	void (*done)(void *arg);
	void *arg;
} waiting[4];
static int waiting_count;

static void hold(void *ctx, void (*done)(void *arg), void *arg)
{
	waiting[waiting_count].done = done;
	waiting[waiting_count++].arg = arg;
}

static void set_status(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	*(int *)arg = status;
}

static void commit_later(struct model *slow, enum change_op op, const char *key, const char *fields, int *status)
{
	struct txn *txn;

	*status = 1;
	assert_int_equal(txn_new(slow, &txn), 0);
	assert_int_equal(test_add(txn, op, "group", key, fields), 0);
	txn_commit(txn, set_status, status);
	txn_free(txn);
}

static void pass(int which)
{
	waiting[which].done(waiting[which].arg);
}

/* A model whose transactions end when a test lets them pass; it has a tenant. */
static struct model *slow_model(struct test_service *other)
{
	const struct model_options options = { .barrier = hold };
	struct dpu_error err = { 0 };
	struct model *slow;
	struct txn *txn;
	int status;

	waiting_count = 0;
	assert_int_equal(model_new(&options, &slow, &err), 0);
	other->model = slow;
	for (size_t i = 0; test_classes[i]; i++)
		assert_int_equal(model_add_class(slow, test_classes[i], other, &err), 0);
	assert_int_equal(model_load(slow, &err), 0);
	assert_int_equal(txn_new(slow, &txn), 0);
	test_add(txn, CHANGE_CREATE, "tenant", "blue", NULL);
	txn_commit(txn, set_status, &status);
	txn_free(txn);
	pass(0);
	waiting_count = 0;
	return slow;
}

static void answers_after_barrier(void **state)
{
	struct test_service other = { 0 };
	struct model *slow = slow_model(&other);
	int status[4];

	commit_later(slow, CHANGE_CREATE, "blue/g", NULL, &status[0]);
	assert_int_equal(waiting_count, 1);
	assert_non_null(model_find(slow, "group", "blue", "g"));
	commit_later(slow, CHANGE_UPDATE, "blue/g", "{'description': 'x'}", &status[1]);
	commit_later(slow, CHANGE_UPDATE, "blue/g", "{'description': 'x'}",
		     &status[2]); /* nothing, but behind the others */
	commit_later(slow, CHANGE_DELETE, "blue/g", NULL, &status[3]);
	assert_int_equal(waiting_count, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(status[i], 1);
	assert_null(model_slot(slow, "group", 1));
	pass(1);
	pass(0);
	assert_int_equal(status[0] + status[1], 0);
	model_free(slow); /* before the others passed */
	assert_int_equal(status[2], -ETIMEDOUT);
	assert_int_equal(status[3], -ETIMEDOUT);
	pass(2);
	pass(3);
}

/* A deletion may end before what was begun earlier with the same object, and the model before both. */
static void deletion_overtakes(void **state)
{
	struct test_service other = { 0 };
	struct model *slow = slow_model(&other);
	int status[2];

	for (unsigned end = 0; end < 2; end++) {
		commit_later(slow, CHANGE_CREATE, "blue/g", NULL, &status[0]);
		pass(0);
		waiting_count = 0;
		commit_later(slow, CHANGE_UPDATE, "blue/g", "{'description': 'x'}", &status[0]);
		commit_later(slow, CHANGE_DELETE, "blue/g", NULL, &status[1]);
		if (end)
			model_free(slow);
		pass(1);
		pass(0);
		assert_int_equal(status[0], end ? -ETIMEDOUT : 0);
		assert_int_equal(status[1], end ? -ETIMEDOUT : 0);
		waiting_count = 0;
	}
	assert_int_equal(other.count, 0);
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(creates_with_defaults),
		TEST(updates_only_what_changes),
		TEST(names_and_keys),
		TEST(long_names),
		TEST(errors_of_long_names),
		TEST(errors_are_text),
		TEST(renames),
		TEST(values_out_of_line),
		TEST(references),
		TEST(versions_move),
		TEST(order_in_one_transaction),
		TEST(several_changes_to_one),
		TEST(stale_generation),
		TEST(in_use),
		TEST(tenants_in_flux),
		TEST(circles),
		TEST(deep_chain),
		TEST(unique_values),
		TEST(limits),
		TEST(singletons),
		TEST(dry_run),
		TEST(malformed_changes),
		cmocka_unit_test(answers_after_barrier),
		cmocka_unit_test(deletion_overtakes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
