/* SPDX-License-Identifier: BSD-3-Clause */
/* Classes for the model's tests, and the service behind them. */
#include "model/test_classes.h"

#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const char *const modes[] = { "client", "server", "tap", NULL };
static const char *const links[] = { "down", "up", NULL };
static const char *const encapsulations[] = { "vxlan", "geneve", NULL };

static bool is_hostname(const char *text)
{
	for (; *text; text++) {
		if (!isalnum((unsigned char)*text) && *text != '-')
			return false;
	}
	return true;
}

static bool was_hostname(const char *text)
{
	return !strchr(text, ' ');
}

/* ---- the book ---- */

static struct in_force *book_find(struct test_service *service, const struct object *object)
{
	for (size_t i = 0; i < service->count; i++) {
		if (uuid_equal(&service->in_force[i].uuid, &object->uuid))
			return &service->in_force[i];
	}
	return NULL;
}

static void note(struct test_service *service, char sign, const struct object *object)
{
	size_t length = strlen(service->order);

	snprintf(service->order + length, sizeof(service->order) - length, "%s%c%s", length ? " " : "", sign,
		 object->name);
}

static void fault(struct test_service *service, const char *what)
{
	if (!service->fault)
		service->fault = what;
}

/* What an object refers to must be in force before it, in the version that it points to. */
static void check_refs(struct test_service *service, const struct object *object)
{
	const struct field *field = object->class->fields;

	if (object->tenant && !book_find(service, object->tenant))
		fault(service, "applied before its tenant");
	for (; field && field->name; field++) {
		const struct ref *ref = (const void *)((const char *)object + field->offset);
		if (field->type != FIELD_REF || !ref->object)
			continue;
		struct in_force *target = book_find(service, ref->object);
		if (!target)
			fault(service, "applied before what it refers to");
		else if (target->version != ref->object && !service->undoing)
			fault(service, "refers to a version that is not in force");
	}
}

static int service_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct test_service *service = ctx;
	struct in_force *entry = book_find(service, new);

	service->applies++;
	if (service->fail_remaining > 0 && --service->fail_remaining == 0) {
		service->undoing = true;
		return error_set(err, DPU_E_IO, "mtu", "the device is on fire");
	}
	if (service->fail_again > 0 && service->undoing && --service->fail_again == 0)
		return error_set(err, DPU_E_IO, NULL, "it is on fire, too");
	if (old && (!entry || entry->version != old))
		fault(service, "a change of a version that is not in force");
	if (!old && entry)
		fault(service, "created twice");
	if (old && old->runtime != new->runtime)
		fault(service, "the runtime was not carried over");
	if (!old) {
		if (new->runtime)
			fault(service, "a created object has a runtime already");
		new->runtime = malloc(1);
		entry = &service->in_force[service->count++];
		entry->uuid = new->uuid;
	}
	if (entry)
		entry->version = new;
	check_refs(service, new);
	note(service, old ? '~' : '+', new);
	return 0;
}

static void service_remove(void *ctx, struct object *object)
{
	struct test_service *service = ctx;
	struct in_force *entry = book_find(service, object);

	service->removes++;
	note(service, '-', object);
	if (!entry || entry->version != object) {
		fault(service, "removed what is not in force");
		return;
	}
	for (size_t i = 0; i < service->count; i++) {
		const struct object *other = service->in_force[i].version;
		const struct field *field = other->class->fields;
		for (; field && field->name; field++) {
			const struct ref *ref = (const void *)((const char *)other + field->offset);
			if (field->type == FIELD_REF && ref->object == object)
				fault(service, "removed while it is referred to");
		}
	}
	free(object->runtime);
	*entry = service->in_force[--service->count];
}

static void service_commit(void *ctx)
{
	struct test_service *service = ctx;

	service->commits++;
	service->undoing = false;
}

static void service_forget(void *ctx)
{
	((struct test_service *)ctx)->forgets++;
}

/* ---- functions of single classes ---- */

static int vnic_complete(void *ctx, const struct object *old, struct object *new, struct dpu_error *err)
{
	struct test_vnic *vnic = (struct test_vnic *)new;

	if (mac_is_zero(&vnic->mac)) {
		memcpy(vnic->mac.bytes, new->uuid.bytes, 6);
		vnic->mac.bytes[0] = 2;
	}
	return 0;
}

static int vnic_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	const struct test_vnic *vnic = (const struct test_vnic *)new;
	const struct test_subnet *subnet = (const struct test_subnet *)vnic->subnet.object;
	struct test_service *service = ctx;

	service->validates++;
	if (service->refuse_validate)
		return -EINVAL;
	for (size_t i = 0; i < vnic->addresses.count; i++) {
		if (!ip_prefix_contains(&subnet->prefix, &vnic->addresses.items[i]))
			return error_set(err, DPU_E_INVALID, "addresses", "an address lies outside the subnet");
	}
	return 0;
}

static int check_inside(void *arg, struct object *object)
{
	const struct test_vnic *vnic = (const struct test_vnic *)object;
	const struct test_subnet *subnet = (const struct test_subnet *)vnic->subnet.object;

	for (size_t i = 0; i < vnic->addresses.count; i++) {
		if (&subnet->base == arg && !ip_prefix_contains(&subnet->prefix, &vnic->addresses.items[i]))
			return 1;
	}
	return 0;
}

/* Looks at its referrers, which must point to the new version by now. */
static int subnet_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	struct test_service *service = ctx;

	if (service->model && model_each_referrer(service->model, new, "vnic", check_inside, (void *)new))
		return error_set(err, DPU_E_INVALID, "prefix", "a vNIC's address would lie outside");
	return 0;
}

static void vnic_observe(void *ctx, const struct object *object, struct object *copy)
{
	struct test_vnic *vnic = (struct test_vnic *)copy;

	vnic->link = 1;
	vnic->rx_packets = object->slot * 1000;
	vnic->tx_bytes = UINT64_MAX;
	vnic->queue_depth = 3;
	vnic->peer = strdup("guest\xff");
}

static void dpu_observe(void *ctx, const struct object *object, struct object *copy)
{
	((struct test_dpu *)copy)->uptime = 42;
}

/* ---- actions ---- */

struct probe_args {
	uint16_t count;
	char *note;
	struct ref via;
};

static const struct field probe_fields[] = {
	FIELD(struct probe_args, count, .min = 1, .max = 10, .def = "3", .doc = "How many probes to send."),
	FIELD(struct probe_args, note, .flags = FIELD_F_REQUIRED, .doc = "What the probe is for."),
	FIELD(struct probe_args, via, .target = "group", .doc = "The group that it goes through."),
	{ 0 },
};

static int probe_run(void *ctx, struct object *object, const void *args, json_t **ret_result, struct dpu_error *err)
{
	const struct probe_args *probe = args;

	if (strcmp(probe->note, "fail") == 0)
		return error_set(err, DPU_E_TIMEOUT, "note", "nobody answered");
	if (strcmp(probe->note, "unplugged") == 0)
		return error_set(err, DPU_E_CONFLICT, NULL, "it has no guest");
	*ret_result = json_pack("{s:s, s:i, s:s, s:s*}", "object", object->name, "count", probe->count, "note",
				probe->note, "via", probe->via.object ? probe->via.object->name : NULL);
	return 0;
}

static int later_start(void *ctx, struct object *object, const void *args, struct action_reply *reply,
		       struct dpu_error *err)
{
	((struct test_service *)ctx)->pending = reply;
	return 0;
}

static const struct action vnic_actions[] = {
	{ .name = "probe",
	  .doc = "Sends probes to the guest.",
	  .example = "dpuctl vnic probe blue/web note=x",
	  .args = probe_fields,
	  .args_size = sizeof(struct probe_args),
	  .per_object = true,
	  .read_only = true,
	  .run = probe_run },
	{ .name = "probe-later",
	  .doc = "Sends probes, and answers later.",
	  .args = probe_fields,
	  .args_size = sizeof(struct probe_args),
	  .per_object = true,
	  .start = later_start },
	{ .name = "count-later", .doc = "Counts and answers later.", .start = later_start },
	{ 0 },
};

/* ---- tables ---- */

#define SERVICE .apply = service_apply, .remove = service_remove, .commit = service_commit, .forget = service_forget

static const struct field tenant_fields[] = {
	FIELD(struct test_tenant, max_objects, .doc = "How many objects it may own, 0 for any number."),
	{ 0 },
};
static const struct object_class tenant_class = {
	.name = "tenant",
	.plural = "tenants",
	.doc = "A customer of the DPU.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct test_tenant),
	.fields = tenant_fields,
	SERVICE,
};

static const struct field vpc_fields[] = {
	FIELD(struct test_vpc, vni, .max = 0xffffff, .flags = FIELD_F_UNIQUE, .doc = "Virtual network identifier."),
	FIELD_ENUM_ROW(struct test_vpc, encapsulation, encapsulations, .def = "geneve", .doc = "How packets travel."),
	{ 0 },
};
static const struct object_class vpc_class = {
	.name = "vpc",
	.plural = "vpcs",
	.doc = "A virtual network.",
	.size = sizeof(struct test_vpc),
	.fields = vpc_fields,
	SERVICE,
};

static const struct field subnet_fields[] = {
	FIELD(struct test_subnet, vpc, .target = "vpc", .flags = FIELD_F_REQUIRED | FIELD_F_PARENT | FIELD_F_IMMUTABLE,
	      .doc = "The virtual network that it is a part of."),
	FIELD(struct test_subnet, prefix, .flags = FIELD_F_REQUIRED, .doc = "Addresses of the subnet."),
	FIELD(struct test_subnet, extra, .max = 3, .doc = "More prefixes."),
	{ 0 },
};
static const struct object_class subnet_class = {
	.name = "subnet",
	.plural = "subnets",
	.doc = "A range of addresses in a virtual network.",
	.size = sizeof(struct test_subnet),
	.fields = subnet_fields,
	.validate = subnet_validate,
	SERVICE,
};

static const struct field group_fields[] = {
	FIELD(struct test_group, description, .max = 100, .doc = "What the group is for."),
	{ 0 },
};
static const struct object_class group_class = {
	.name = "group",
	.plural = "groups",
	.doc = "A group of vNICs that share rules.",
	.size = sizeof(struct test_group),
	.fields = group_fields,
	.max_objects = 1000,
	SERVICE,
};

static const struct field vnic_fields[] = {
	FIELD(struct test_vnic, subnet, .target = "subnet", .flags = FIELD_F_REQUIRED | FIELD_F_PARENT,
	      .doc = "The subnet that it is in."),
	FIELD(struct test_vnic, mac, .flags = FIELD_F_GENERATED | FIELD_F_UNIQUE, .doc = "Its Ethernet address."),
	FIELD(struct test_vnic, mtu, .min = 68, .max = 9216, .def = "1500", .unit = "bytes", .doc = "Largest packet."),
	FIELD(struct test_vnic, groups, .target = "group", .max = 4, .doc = "Groups that it is a member of."),
	FIELD(struct test_vnic, hostname, .max = 63, .check = is_hostname,
	      .check_doc = "must be letters, digits and hyphens", .check_stored = was_hostname,
	      .doc = "Name that DHCP gives out."),
	FIELD(struct test_vnic, password, .flags = FIELD_F_SECRET, .doc = "Opens the console."),
	FIELD(struct test_vnic, enabled, .def = "true", .doc = "Whether packets pass."),
	FIELD_ENUM_ROW(struct test_vnic, mode, modes, .flags = FIELD_F_IMMUTABLE, .doc = "Who listens on the socket."),
	FIELD(struct test_vnic, addresses, .max = 8, .doc = "Its addresses | all of them."),
	FIELD(struct test_vnic, notes, .def = "first,second", .doc = "Remarks of the operator."),
	FIELD_ENUM_ROW(struct test_vnic, link, links, .flags = FIELD_F_STATE, .doc = "Whether the guest is there."),
	FIELD(struct test_vnic, rx_packets, .flags = FIELD_F_COUNTER, .unit = "packets", .doc = "Packets received."),
	FIELD(struct test_vnic, tx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes sent \\ given out."),
	FIELD(struct test_vnic, queue_depth, .flags = FIELD_F_GAUGE, .unit = "entries", .doc = "Entries that wait."),
	FIELD(struct test_vnic, peer, .flags = FIELD_F_STATE, .doc = "What the guest calls itself."),
	{ 0 },
};
static const struct object_class vnic_class = {
	.name = "vnic",
	.plural = "vnics",
	.doc = "A virtual network interface of a guest.",
	.size = sizeof(struct test_vnic),
	.fields = vnic_fields,
	.actions = vnic_actions,
	.complete = vnic_complete,
	.validate = vnic_validate,
	.observe = vnic_observe,
	SERVICE,
};

static const struct field hop_fields[] = {
	FIELD(struct test_hop, next, .target = "hop", .doc = "Where packets go next."),
	{ 0 },
};
static const struct object_class hop_class = {
	.name = "hop",
	.plural = "hops",
	.doc = "A station of a path.",
	.size = sizeof(struct test_hop),
	.fields = hop_fields,
	SERVICE,
};

static const struct field port_fields[] = {
	FIELD(struct test_port, device, .flags = FIELD_F_REQUIRED, .doc = "The device to drive."),
	FIELD(struct test_port, speed, .flags = FIELD_F_REQUIRED, .unit = "megabits",
	      .doc = "Its speed, 0 for unknown."),
	{ 0 },
};
static const struct object_class port_class = {
	.name = "port",
	.plural = "ports",
	.doc = "A port to the network.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct test_port),
	.fields = port_fields,
	SERVICE,
};

static const struct field dpu_fields[] = {
	FIELD(struct test_dpu, contact, .doc = "Whom to ask."),
	FIELD(struct test_dpu, uptime, .flags = FIELD_F_GAUGE, .unit = "seconds", .doc = "Time since the start."),
	{ 0 },
};
static const struct object_class dpu_class = {
	.name = "dpu",
	.plural = "dpus",
	.doc = "The DPU itself.",
	.flags = CLASS_F_GLOBAL | CLASS_F_SINGLETON,
	.size = sizeof(struct test_dpu),
	.fields = dpu_fields,
	.observe = dpu_observe,
	SERVICE,
};

/* Not in the order of references, on purpose. */
const struct object_class *const test_classes[] = { &vnic_class,   &subnet_class, &group_class, &vpc_class, &hop_class,
						    &tenant_class, &port_class,   &dpu_class,   NULL };

/* ---- helpers ---- */

static void outdated(void *ctx, const struct dpu_error *what)
{
	struct test_service *service = ctx;

	service->outdated++;
	service->outdated_last = *what;
}

int test_model_try(struct test_service *service, const char *store, struct model **ret, struct dpu_error *err)
{
	const struct model_options options = { .store_path = store, .outdated = outdated, .outdated_ctx = service };
	struct model *model = NULL;
	int status = model_new(&options, &model, err);

	for (size_t i = 0; status == 0 && test_classes[i]; i++)
		status = model_add_class(model, test_classes[i], service, err);
	service->model = model;
	if (status == 0)
		status = model_load(model, err);
	if (status < 0)
		model_free(model);
	else
		*ret = model;
	return status;
}

struct model *test_model(struct test_service *service, const char *store)
{
	struct dpu_error err = { 0 };
	struct model *model = NULL;

	*service = (struct test_service){ 0 };
	if (test_model_try(service, store, &model, &err) < 0)
		fail_msg("no model: %s: %s", err.path, err.message);
	return model;
}

json_t *test_json(const char *text)
{
	char *copy = strdup(text);
	json_error_t error;

	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	json_t *json = json_loads(copy, 0, &error);
	if (!json)
		fail_msg("%s: %s", copy, error.text);
	free(copy);
	return json;
}

int test_add(struct txn *txn, enum change_op op, const char *class, const char *key, const char *fields)
{
	struct dpu_error err = { 0 };
	json_t *json = fields ? test_json(fields) : NULL;
	int status = txn_add(txn, op, class, NULL, key, json, 0, false, &err);

	json_decref(json);
	return status;
}

struct outcome {
	int calls, status;
	struct dpu_error *err;
	json_t *diff;
};

static void outcome_is(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	struct outcome *outcome = arg;

	outcome->calls++;
	outcome->status = status;
	if (err && outcome->err)
		*outcome->err = *err;
	outcome->diff = json_incref(diff);
}

int test_commit(struct txn *txn, struct dpu_error *err, json_t **ret_diff)
{
	struct outcome outcome = { .err = err };

	txn_commit(txn, outcome_is, &outcome);
	assert_int_equal(outcome.calls, 1);
	txn_free(txn);
	if (ret_diff)
		*ret_diff = outcome.diff;
	else
		json_decref(outcome.diff);
	return outcome.status;
}

int test_change(struct model *model, enum change_op op, const char *class, const char *key, const char *fields,
		struct dpu_error *err)
{
	struct dpu_error local = { 0 };
	struct txn *txn;

	assert_int_equal(txn_new(model, &txn), 0);
	json_t *json = fields ? test_json(fields) : NULL;
	int status = txn_add(txn, op, class, NULL, key, json, 0, false, err ? err : &local);
	json_decref(json);
	if (status < 0) {
		txn_free(txn);
		return status;
	}
	return test_commit(txn, err ? err : &local, NULL);
}

void test_do(struct model *model, enum change_op op, const char *class, const char *key, const char *fields)
{
	struct dpu_error err = { 0 };

	if (test_change(model, op, class, key, fields, &err) < 0)
		fail_msg("%s %s: %s: %s", class, key, err.path, err.message);
}

struct dump {
	struct model *model;
	json_t *json;
};

static int dump_object(void *arg, struct object *object)
{
	struct dump *dump = arg;
	char path[OBJECT_PATH_TEXT];
	json_t *json = model_object_json(dump->model, object, false);

	assert_non_null(json);
	json_object_set_new(json, "slot", json_integer(object->slot));
	object_path(object, path, sizeof(path));
	assert_null(json_object_get(dump->json, path));
	json_object_set_new(dump->json, path, json);
	return 0;
}

json_t *test_dump(struct model *model)
{
	struct dump dump = { model, json_object() };

	for (size_t i = 0; test_classes[i]; i++)
		model_each(model, test_classes[i]->name, NULL, dump_object, &dump);
	return dump.json;
}

struct check {
	struct test_service *service;
	size_t count;
};

static int check_object(void *arg, struct object *object)
{
	struct check *check = arg;
	struct in_force *entry = book_find(check->service, object);

	assert_non_null(entry);
	assert_ptr_equal(entry->version, object);
	assert_ptr_equal(model_find_uuid(check->service->model, &object->uuid), object);
	assert_ptr_equal(model_slot(check->service->model, object->class->name, object->slot), object);
	assert_ptr_equal(model_find(check->service->model, object->class->name,
				    object->tenant ? object->tenant->name : NULL, object->name),
			 object);
	check_refs(check->service, object);
	check->count++;
	return 0;
}

void test_check_book(struct model *model, struct test_service *service)
{
	struct check check = { .service = service };

	for (size_t i = 0; test_classes[i]; i++)
		model_each(model, test_classes[i]->name, NULL, check_object, &check);
	assert_int_equal(check.count, service->count);
	if (service->fault)
		fail_msg("%s (%s)", service->fault, service->order);
}

void test_seed(struct model *model)
{
	test_do(model, CHANGE_CREATE, "tenant", "blue", NULL);
	test_do(model, CHANGE_CREATE, "tenant", "red", NULL);
	test_do(model, CHANGE_CREATE, "vpc", "blue/v", "{'vni': 7}");
	test_do(model, CHANGE_CREATE, "subnet", "blue/s", "{'vpc': 'v', 'prefix': '10.0.0.0/24'}");
	test_do(model, CHANGE_CREATE, "group", "blue/g1", NULL);
	test_do(model, CHANGE_CREATE, "group", "blue/g2", NULL);
	test_do(model, CHANGE_CREATE, "vnic", "blue/web",
		"{'subnet': 's', 'groups': ['g1'], 'addresses': ['10.0.0.5']}");
}
