/* SPDX-License-Identifier: BSD-3-Clause */
/* Random transactions against a naive model: a table of vpcs, subnets and vNICs that knows the rules by brute force.
 * Both must agree on what is accepted and on the outcome; apply failures are thrown in, and restarts. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "model/test_classes.h"

enum { KINDS = 4, NAMES = 6, TENANTS = 2, CHANGES_MAX = 8, ROUNDS = 3000 };
enum kind { VPC, SUBNET, GROUP, VNIC };

static const char *const class_names[KINDS] = { "vpc", "subnet", "group", "vnic" };
static const char *const tenants[TENANTS] = { "t0", "t1" };

/* Every possible object has its place. */
struct naive {
	bool exists;
	unsigned generation;
	unsigned value;       /* vni, mtu, or extra prefixes */
	int parent;           /* name index of vpc or subnet in the same tenant */
	unsigned groups;      /* set of name indexes */
	bool group_elsewhere; /* also the group 0 of the other tenant */
};
static struct naive world[TENANTS][KINDS][NAMES];

static struct test_service service;
static struct model *model;
static char directory[] = "/tmp/property_test.XXXXXX", store[64];
static unsigned long accepted, denied, injected;

static unsigned pick(unsigned bound)
{
	return (unsigned)rand() % bound;
}

/* ---- the naive rules ---- */

static bool references_hold(void)
{
	for (int t = 0; t < TENANTS; t++) {
		for (int n = 0; n < NAMES; n++) {
			const struct naive *subnet = &world[t][SUBNET][n], *vnic = &world[t][VNIC][n];
			if (subnet->exists && !world[t][VPC][subnet->parent].exists)
				return false;
			if (!vnic->exists)
				continue;
			if (!world[t][SUBNET][vnic->parent].exists)
				return false;
			for (int g = 0; g < NAMES; g++) {
				if ((vnic->groups >> g & 1) && !world[t][GROUP][g].exists)
					return false;
			}
			if (vnic->group_elsewhere && !world[!t][GROUP][0].exists)
				return false;
		}
	}
	return true;
}

static bool vnis_differ(void)
{
	for (int t = 0; t < TENANTS; t++) {
		for (int a = 0; a < NAMES; a++) {
			for (int b = 0; b < a; b++) {
				const struct naive *x = &world[t][VPC][a], *y = &world[t][VPC][b];
				if (x->exists && y->exists && x->value && x->value == y->value)
					return false;
			}
		}
	}
	return true;
}

static void cascade(int t, int kind, int n)
{
	world[t][kind][n].exists = false;
	for (int m = 0; m < NAMES; m++) {
		if (kind == VPC && world[t][SUBNET][m].exists && world[t][SUBNET][m].parent == n)
			cascade(t, SUBNET, m);
		if (kind == SUBNET && world[t][VNIC][m].exists && world[t][VNIC][m].parent == n)
			cascade(t, VNIC, m);
	}
}

/* ---- one random transaction, on both sides ---- */

static void fields_of(int t, int kind, const struct naive *object, char *text, size_t size)
{
	size_t length = 0;

	switch (kind) {
	case VPC:
		snprintf(text, size, "{'vni': %u}", object->value);
		return;
	case SUBNET:
		snprintf(text, size, "{'vpc': 'n%d', 'prefix': '10.0.0.0/8', 'extra': [%s]}", object->parent,
			 object->value ? "'10.1.0.0/16'" : "");
		return;
	case GROUP:
		snprintf(text, size, "{'description': 'd%u'}", object->value);
		return;
	default:
		length += (size_t)snprintf(text, size, "{'subnet': 'n%d', 'mtu': %u, 'groups': [", object->parent,
					   1000 + object->value);
		for (int g = 0; g < NAMES; g++) {
			if (object->groups >> g & 1)
				length += (size_t)snprintf(text + length, size - length, "'n%d',", g);
		}
		if (object->group_elsewhere)
			length += (size_t)snprintf(text + length, size - length, "'%s/n0',", tenants[!t]);
		if (text[length - 1] == ',')
			length--;
		snprintf(text + length, size - length, "]}");
	}
}

static bool same_fields(const struct naive *a, const struct naive *b)
{
	return a->value == b->value && a->parent == b->parent && a->groups == b->groups &&
	       a->group_elsewhere == b->group_elsewhere;
}

/* Mostly one that exists, so that not everything is refused. */
static unsigned pick_name(int t, int kind)
{
	unsigned n = pick(NAMES);

	for (int tries = 0; tries < 8 && !world[t][kind][n].exists; tries++)
		n = pick(NAMES);
	return n;
}

static struct naive random_object(int t, int kind, int old_parent)
{
	struct naive object = { .exists = true, .value = pick(40) };

	if (kind == SUBNET || kind == VNIC)
		object.parent = kind == SUBNET && old_parent >= 0 ? old_parent
								  : (int)pick_name(t, kind == SUBNET ? VPC : SUBNET);
	if (kind == VNIC && pick(2)) {
		object.groups = 1u << pick_name(t, GROUP);
		object.groups |= pick(2) ? 1u << pick_name(t, GROUP) : 0;
		object.group_elsewhere = world[!t][GROUP][0].exists ? pick(4) == 0 : pick(50) == 0;
	}
	if (kind == SUBNET)
		object.value = pick(2);
	return object;
}

/* Which objects the transaction has touched: cascade leaves those alone and the naive model would not, and the order
 * of changes to one object matters in ways that the naive model does not follow. So each is touched once. */
static bool touched[TENANTS][KINDS][NAMES];

static bool cascade_meets_touched(int t, int kind, int n)
{
	for (int m = 0; m < NAMES; m++) {
		int child = kind == VPC ? SUBNET : VNIC;
		if (kind != VPC && kind != SUBNET)
			return false;
		if (touched[t][child][m])
			return true;
		if (world[t][child][m].exists && world[t][child][m].parent == n && cascade_meets_touched(t, child, m))
			return true;
	}
	return false;
}

/* Adds a change to txn and to the naive world; false when the naive world says that the whole will be refused. */
static bool random_change(struct txn *txn)
{
	int t = (int)pick(TENANTS), kind = (int)pick(KINDS), n = (int)pick(NAMES);
	struct naive *object = &world[t][kind][n];
	struct dpu_error err = { 0 };
	char key[32], fields[300];
	bool cascading = pick(3) == 0;

	if (touched[t][kind][n])
		return true;
	snprintf(key, sizeof(key), "%s/n%d", tenants[t], n);
	if (object->exists ? pick(4) == 0 : pick(40) == 0) {
		if (cascading && cascade_meets_touched(t, kind, n))
			return true;
		assert_int_equal(txn_add(txn, CHANGE_DELETE, class_names[kind], NULL, key, NULL, 0, cascading, &err),
				 0);
		touched[t][kind][n] = true;
		if (!object->exists)
			return false;
		if (cascading) {
			cascade(t, kind, n);
			for (int k = 0; k < KINDS; k++) {
				for (int m = 0; m < NAMES; m++)
					touched[t][k][m] |= !world[t][k][m].exists;
			}
		}
		object->exists = false;
		return true;
	}
	/* A subnet's vpc cannot change. */
	struct naive new = random_object(t, kind, object->exists ? object->parent : -1);
	enum change_op op = pick(20) == 0 ? (pick(2) ? CHANGE_CREATE : CHANGE_UPDATE) : CHANGE_SET;
	fields_of(t, kind, &new, fields, sizeof(fields));
	assert_int_equal(test_add(txn, op, class_names[kind], key, fields), 0);
	touched[t][kind][n] = true;
	bool possible = !(op == CHANGE_CREATE && object->exists) && !(op == CHANGE_UPDATE && !object->exists);
	new.generation = object->exists ? object->generation + !same_fields(object, &new) : 1;
	*object = new;
	return possible;
}

/* ---- comparison ---- */

static void compare_one(int t, int kind, int n)
{
	const struct naive *naive = &world[t][kind][n];
	char name[16];
	snprintf(name, sizeof(name), "n%d", n);
	const struct object *object = model_find(model, class_names[kind], tenants[t], name);

	assert_int_equal(object != NULL, naive->exists);
	if (!object)
		return;
	assert_int_equal(object->generation, naive->generation);
	json_t *json = model_object_json(model, object, false), *expected;
	char fields[300];
	const char *key;
	fields_of(t, kind, naive, fields, sizeof(fields));
	json_t *wanted = test_json(fields);
	json_object_foreach(wanted, key, expected) assert_true(json_equal(expected, json_object_get(json, key)));
	json_decref(wanted);
	json_decref(json);
}

static void compare(void)
{
	for (int t = 0; t < TENANTS; t++) {
		for (int kind = 0; kind < KINDS; kind++) {
			for (int n = 0; n < NAMES; n++)
				compare_one(t, kind, n);
		}
	}
	test_check_book(model, &service);
}

static int count_one(void *arg, struct object *object)
{
	++*(int *)arg;
	return 0;
}

/* The index of referrers says the same as a search. */
static void compare_referrers(void)
{
	for (int t = 0; t < TENANTS; t++) {
		for (int n = 0; n < NAMES; n++) {
			char name[16];
			int found = 0, expected = 0;
			snprintf(name, sizeof(name), "n%d", n);
			const struct object *group = model_find(model, "group", tenants[t], name);
			if (!group)
				continue;
			model_each_referrer(model, group, "vnic", count_one, &found);
			for (int m = 0; m < NAMES; m++) {
				expected += world[t][VNIC][m].exists && (world[t][VNIC][m].groups >> n & 1);
				expected += n == 0 && world[!t][VNIC][m].exists && world[!t][VNIC][m].group_elsewhere;
			}
			assert_int_equal(found, expected);
		}
	}
}

static void round_of_changes(void)
{
	struct naive before[TENANTS][KINDS][NAMES];
	struct dpu_error err = { 0 };
	struct txn *txn;
	bool possible = true;

	memcpy(before, world, sizeof(world));
	memset(touched, 0, sizeof(touched));
	service.order[0] = 0;
	assert_int_equal(txn_new(model, &txn), 0);
	for (unsigned i = 1 + pick(CHANGES_MAX); i > 0; i--)
		possible &= random_change(txn);
	possible = possible && references_hold() && vnis_differ();
	service.fail_remaining = pick(6) == 0 ? 1 + (int)pick(5) : 0;
	int checked = txn_check(txn, NULL, &err);
	assert_int_equal(checked == 0, possible);
	int status = test_commit(txn, &err, NULL);
	if (status < 0 && possible) {
		assert_string_equal(err.message, "the device is on fire");
		injected++;
	} else {
		assert_int_equal(status == 0, possible);
	}
	service.fail_remaining = 0;
	if (status < 0)
		memcpy(world, before, sizeof(world));
	accepted += status == 0;
	denied += status < 0;
}

static void random_transactions(void **state)
{
	srand(20260121);
	model = test_model(&service, store);
	for (int t = 0; t < TENANTS; t++)
		test_do(model, CHANGE_CREATE, "tenant", tenants[t], NULL);
	for (int round = 0; round < ROUNDS; round++) {
		round_of_changes();
		compare();
		if (round % 50 == 0)
			compare_referrers();
		if (round % 500 == 499) {
			model_free(model);
			assert_int_equal(service.count, 0);
			model = test_model(&service, store);
			compare();
		}
	}
	model_free(model);
	/* The dice must reach every kind of outcome, or this proves little. */
	assert_true(accepted > ROUNDS / 5);
	assert_true(denied > ROUNDS / 5);
	assert_true(injected > ROUNDS / 50);
}

static int set_up(void **state)
{
	/* On a RAM disk where there is one: thousands of commits are not to wait for a disk. */
	if (access("/dev/shm", W_OK) == 0)
		memcpy(directory, "/dev/shm/prop.XXXXXX", sizeof("/dev/shm/prop.XXXXXX"));
	if (!mkdtemp(directory))
		return -1;
	snprintf(store, sizeof(store), "%s/store.db", directory);
	return 0;
}

static int tear_down(void **state)
{
	unlink(store);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(random_transactions) };

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
