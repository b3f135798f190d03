/* SPDX-License-Identifier: BSD-3-Clause */
/* The control side from end to end: objects through the model into records that a real worker uses, in a network
 * namespace of the test's own. */
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "operating/test_rig.h"
#include "device/packet/testlib.h"
#include "model/document.h"
#include "service/vswitch/vswitch.h"
#include "service/vswitch/vswitch_priv.h"

struct world {
	struct rig rig;
	struct dpu dpu;
	struct vswitch *vswitch;
	struct dpu_error err;
	int status;
	bool done;
	json_t *diff, *result;
};

static void barrier(void *ctx, void (*done)(void *arg), void *arg)
{
	workers_barrier(ctx, done, arg);
}

static void world_up(struct world *world, unsigned workers)
{
	memset(world, 0, sizeof(*world));
	rig_up(&world->rig, workers, WORKER_BALANCED);
	struct model_options options = { .loop = world->rig.loop,
					 .barrier = barrier,
					 .barrier_ctx = world->rig.workers };
	static char dir[] = "/tmp";

	world->dpu = (struct dpu){ .instance = "test",
				   .run_dir = dir,
				   .state_dir = NULL,
				   .loop = world->rig.loop,
				   .capture_dir = dir,
				   .workers = world->rig.workers,
				   .max_sessions = 65536,
				   .pool = test_pool() };
	assert_int_equal(model_new(&options, &world->dpu.model, &world->err), 0);
	void *state;
	assert_int_equal(vswitch_service.init(&world->dpu, &state, &world->err), 0);
	world->vswitch = state;
	for (unsigned i = 0; vswitch_service.classes[i]; i++)
		if (model_add_class(world->dpu.model, vswitch_service.classes[i], state, &world->err) != 0)
			fail_msg("%s: %s", world->err.path, world->err.message);
	assert_int_equal(model_load(world->dpu.model, &world->err), 0);
	if (vswitch_service.start(state, &world->err) != 0)
		fail_msg("%s", world->err.message);
}

static void world_down(struct world *world)
{
	atomic_bool stopped = false;

	vswitch_service.stop(world->vswitch, set_flag, &stopped);
	WAIT_FOR(&world->rig, atomic_load(&stopped));
	model_free(world->dpu.model);
	world->dpu.model = NULL;
	run_for(&world->rig, 20 * CLOCK_NS_PER_MS);
	vswitch_service.fini(world->vswitch);
	json_decref(world->result);
	rig_down(&world->rig);
}

static void committed(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	struct world *world = arg;

	world->status = status;
	world->err = status ? *err : (struct dpu_error){ 0 };
	world->done = true;
}

static int apply(struct world *world, const char *text)
{
	json_error_t where;
	json_t *document = json_loads(text, 0, &where);
	struct txn *txn;
	int rc;

	if (!document)
		fail_msg("%d: %s", where.line, where.text);
	json_object_set_new(document, "version", json_integer(1));
	rc = document_plan(world->dpu.model, document, false, &txn, &world->err);
	if (rc != 0) {
		json_decref(document);
		return rc;
	}
	world->done = false;
	txn_commit(txn, committed, world);
	WAIT_FOR(&world->rig, world->done);
	txn_free(txn);
	json_decref(document);
	return world->status;
}

static void must_apply(struct world *world, const char *text)
{
	if (apply(world, text) != 0)
		fail_msg("%s: %s", world->err.path, world->err.message);
}

static void must_refuse(struct world *world, const char *text, const char *path, const char *part)
{
	if (apply(world, text) == 0)
		fail_msg("accepted: %s", text);
	if (strcmp(world->err.path, path) != 0 || !strstr(world->err.message, part))
		fail_msg("%s: %s", world->err.path, world->err.message);
}

static void answered(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	struct world *world = arg;

	world->status = status;
	world->err = status ? *err : (struct dpu_error){ 0 };
	json_decref(world->result);
	world->result = json_incref(result);
	world->done = true;
}

static json_t *act(struct world *world, const char *action, const char *args)
{
	json_t *json = args ? json_loads(args, 0, NULL) : NULL;

	world->done = false;
	model_action(world->dpu.model, "dpu", action, NULL, NULL, json, answered, world);
	WAIT_FOR(&world->rig, world->done);
	json_decref(json);
	if (world->status != 0)
		fail_msg("%s: %s", world->err.path, world->err.message);
	return world->result;
}

static const char basics[] =
	"{\"tenants\":[{\"name\":\"blue\"},{\"name\":\"red\"}],"
	"\"ports\":[{\"name\":\"up\",\"device\":\"tap:up0\"}],"
	"\"underlays\":[{\"name\":\"fabric\",\"port\":\"up\",\"address\":\"192.0.2.1\",\"prefix_length\":24}],"
	"\"vpcs\":[{\"name\":\"prod\",\"tenant\":\"blue\",\"vni\":100,\"underlay\":\"fabric\"},"
	"{\"name\":\"prod\",\"tenant\":\"red\",\"vni\":200,\"underlay\":\"fabric\"}],"
	"\"subnets\":[{\"name\":\"a\",\"tenant\":\"blue\",\"vpc\":\"prod\",\"prefix_v4\":\"10.0.0.0/"
	"24\",\"prefix_v6\":\"fd00::/64\"},"
	"{\"name\":\"a\",\"tenant\":\"red\",\"vpc\":\"prod\",\"prefix_v4\":\"10.0.0.0/24\"}]}";

static void tables_are_sound(void **state)
{
	struct world world;

	world_up(&world, 1);
	if (model_lint(world.dpu.model, &world.err) != 0)
		fail_msg("%s: %s", world.err.path, world.err.message);
	world_down(&world);
}

static void objects_come_and_go(void **state)
{
	struct world world;
	struct object *vnic;
	char text[IP_TEXT];

	world_up(&world, 2);
	must_apply(&world, basics);
	must_apply(
		&world,
		"{\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\",\"tap_name\":"
		"\"one\"},"
		"{\"name\":\"two\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\",\"tap_name\":\"two\"}]}");
	vnic = model_find(world.dpu.model, "vnic", "blue", "two");
	assert_non_null(vnic);
	assert_string_equal(ip_format(&((struct vnic *)vnic)->addresses.items[0], text), "10.0.0.3");
	assert_string_equal(ip_format(&((struct vnic *)vnic)->addresses.items[1], text), "fd00::3");
	assert_true(if_nametoindex("one") != 0);
	must_apply(
		&world,
		"{\"mappings\":[{\"name\":\"m\",\"tenant\":\"blue\",\"vpc\":\"prod\",\"address\":\"10.0.0.9\",\"mac\":"
		"\"02:00:00:00:00:09\",\"vtep\":\"192.0.2.9\"}]}");
	json_t *why = act(&world, "why", "{\"vnic\":\"blue/one\",\"dst\":\"10.0.0.3\",\"dst_port\":80}");
	assert_string_equal(json_string_value(json_object_get(why, "verdict")), "forward");
	why = act(&world, "why", "{\"vnic\":\"blue/one\",\"dst\":\"10.0.0.77\",\"dst_port\":80}");
	assert_string_equal(json_string_value(json_object_get(why, "reason")), "no-mapping");
	/* The underlay's neighbour does not answer here. */
	why = act(&world, "why", "{\"vnic\":\"blue/one\",\"dst\":\"10.0.0.9\",\"dst_port\":80}");
	assert_non_null(json_object_get(why, "verdict"));
	assert_int_equal(json_array_size(json_object_get(act(&world, "session-list", "{}"), "sessions")), 0);
	world_down(&world);
}

static struct mac_addr gateway_of(struct world *world, const char *name)
{
	struct object *subnet = model_find(world->dpu.model, "subnet", "blue", name);
	struct subnet copy = *(struct subnet *)subnet;

	control_subnet_observe(world->vswitch, subnet, &copy.base);
	return copy.gateway_mac;
}

static void gateway_outlives_the_encapsulation(void **state)
{
	struct world world;
	struct mac_addr before, after;

	world_up(&world, 1);
	must_apply(&world, basics);
	before = gateway_of(&world, "a");
	must_apply(&world, "{\"vpcs\":[{\"name\":\"prod\",\"tenant\":\"blue\",\"vni\":100,\"underlay\":\"fabric\","
			   "\"encapsulation\":\"geneve\"}]}");
	after = gateway_of(&world, "a");
	assert_memory_equal(&before, &after, sizeof(before));
	world_down(&world);
}

static void groups_decide(void **state)
{
	struct world world;

	world_up(&world, 1);
	must_apply(&world, basics);
	must_apply(&world, "{\"security_groups\":[{\"name\":\"g\",\"tenant\":\"blue\"}],"
			   "\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
			   "\"tap_name\":\"one\"},"
			   "{\"name\":\"two\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\",\"tap_name\":"
			   "\"two\",\"security_groups\":[\"g\"]}]}");
	json_t *why = act(&world, "why", "{\"vnic\":\"blue/one\",\"dst\":\"10.0.0.3\",\"dst_port\":80}");
	assert_string_equal(json_string_value(json_object_get(why, "reason")), "ingress-denied");
	must_apply(&world, "{\"security_group_rules\":[{\"name\":\"http\",\"tenant\":\"blue\",\"group\":\"g\","
			   "\"direction\":\"ingress\","
			   "\"protocol\":\"tcp\",\"port_range_min\":80}]}");
	why = act(&world, "why", "{\"vnic\":\"blue/one\",\"dst\":\"10.0.0.3\",\"dst_port\":80}");
	assert_string_equal(json_string_value(json_object_get(why, "verdict")), "forward");
	why = act(&world, "why", "{\"vnic\":\"blue/one\",\"dst\":\"10.0.0.3\",\"dst_port\":81}");
	assert_string_equal(json_string_value(json_object_get(why, "reason")), "ingress-denied");
	world_down(&world);
}

static void faults_are_named(void **state)
{
	struct world world;

	world_up(&world, 1);
	must_apply(&world, basics);
	must_refuse(&world, "{\"vpcs\":[{\"name\":\"x\",\"tenant\":\"red\",\"vni\":100}]}", "vpc/red/x.vni",
		    "is used by another tenant");
	must_refuse(
		&world,
		"{\"subnets\":[{\"name\":\"b\",\"tenant\":\"blue\",\"vpc\":\"prod\",\"prefix_v4\":\"10.0.0.128/25\"}]}",
		"subnet/blue/b.prefix_v4", "overlaps with subnet a");
	must_refuse(&world,
		    "{\"vnics\":[{\"name\":\"v\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
		    "\"addresses\":[\"10.0.1.1\"]}]}",
		    "vnic/blue/v.addresses", "is not in subnet a");
	must_refuse(&world,
		    "{\"vnics\":[{\"name\":\"v\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
		    "\"addresses\":[\"10.0.0.1\"]}]}",
		    "vnic/blue/v.addresses", "is the gateway");
	must_refuse(
		&world,
		"{\"mappings\":[{\"name\":\"m\",\"tenant\":\"blue\",\"vpc\":\"prod\",\"address\":\"10.0.0.9\",\"mac\":"
		"\"02:00:00:00:00:09\",\"vtep\":\"192.0.2.9\"},{\"name\":\"n\",\"tenant\":\"blue\",\"vpc\":\"prod\","
		"\"address\":"
		"\"10.0.0.9\",\"mac\":\"02:00:00:00:00:09\",\"vtep\":\"192.0.2.9\"}]}",
		"mapping/blue/n.address", "belongs to mapping/blue/m");
	assert_int_equal(model_count(world.dpu.model, "mapping", NULL), 0);
	must_refuse(&world, "{\"ports\":[{\"name\":\"bad\",\"device\":\"af_packet:nosuchif\"}]}", "port/bad.device",
		    "nosuchif");
	world_down(&world);
}

static unsigned interface_mtu(const char *name)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFMTU, &request), 0);
	close(fd);
	return (unsigned)request.ifr_mtu;
}

static unsigned record_mtu(struct world *world, const char *name)
{
	const struct object *vnic = model_find(world->dpu.model, "vnic", "blue", name);
	const struct dp_vnic *record = dp_vnic_of(&world->vswitch->dp, (uint16_t)(PATH_FIRST_VNIC + vnic->slot));

	assert_non_null(record);
	return record->iface.mtu;
}

/* The MTU of a vNIC can be changed while it is attached, and a transaction that fails changes it back. */
static void mtu_changes(void **state)
{
	struct world world;
	char vnics[512];
	static const char format[] = "{\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":"
				     "\"tap\",\"tap_name\":\"one\",\"mtu\":%u},"
				     "{\"name\":\"two\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":"
				     "\"vhost_user_server\",\"socket\":\"/tmp/mtu-%d.sock\",\"mtu\":%u}]%s}";

	world_up(&world, 1);
	must_apply(&world, basics);
	snprintf(vnics, sizeof(vnics), format, 1500, (int)getpid(), 1500, "");
	must_apply(&world, vnics);
	snprintf(vnics, sizeof(vnics), format, 9000, (int)getpid(), 1400, "");
	must_apply(&world, vnics);
	assert_int_equal(interface_mtu("one"), 9000);
	assert_int_equal(record_mtu(&world, "one"), 9000);
	assert_int_equal(record_mtu(&world, "two"), 1400);
	snprintf(vnics, sizeof(vnics), format, 2000, (int)getpid(), 2000,
		 ",\"ports\":[{\"name\":\"up\",\"device\":\"tap:up0\"},{\"name\":\"z\",\"device\":\"af_packet:"
		 "nosuchif\"}]");
	must_refuse(&world, vnics, "port/z.device", "nosuchif");
	assert_int_equal(interface_mtu("one"), 9000);
	assert_int_equal(record_mtu(&world, "two"), 1400);
	snprintf(vnics, sizeof(vnics), format, 1000, (int)getpid(), 1400, "");
	must_refuse(&world, vnics, "vnic/blue/one.mtu", "at least 1280");
	world_down(&world);
}

/* What a tenant's objects would take of memory is reckoned before they are made. */
static void memory_is_limited(void **state)
{
	struct world world;
	static const char tenant[] = "{\"tenants\":[{\"name\":\"blue\",\"max_memory_mb\":%u},{\"name\":\"red\"}]}";
	static const char vnic[] = "{\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":"
				   "\"tap\",\"tap_name\":\"many\",\"queues\":8}]}";
	char text[256];

	world_up(&world, 1);
	must_apply(&world, basics);
	snprintf(text, sizeof(text), tenant, 1);
	must_apply(&world, text);
	must_refuse(&world, vnic, "vnic/blue/one.queues", "max_memory_mb is 1");
	assert_int_equal(model_count(world.dpu.model, "vnic", NULL), 0);
	snprintf(text, sizeof(text), tenant, 2);
	must_apply(&world, text);
	must_apply(&world, vnic);
	snprintf(text, sizeof(text), tenant, 1);
	must_refuse(&world, text, "tenant/blue.max_memory_mb", "max_memory_mb is 1");
	world_down(&world);
}

/* Changes of a transaction, each as {op, class, tenant, name, fields}. */
static int transact(struct world *world, const char *text)
{
	static const char *const ops[] = { "create", "update", "delete" };
	json_t *changes = json_loads(text, 0, NULL), *change;
	struct txn *txn;
	size_t index;

	assert_true(json_is_array(changes));
	assert_int_equal(txn_new(world->dpu.model, &txn), 0);
	json_array_foreach(changes, index, change)
	{
		const char *op = json_string_value(json_object_get(change, "op"));
		enum change_op number = CHANGE_CREATE;
		while (strcmp(ops[number], op) != 0)
			number++;
		assert_int_equal(txn_add(txn, number, json_string_value(json_object_get(change, "class")),
					 json_string_value(json_object_get(change, "tenant")),
					 json_string_value(json_object_get(change, "name")),
					 json_object_get(change, "fields"), 0, false, &world->err),
				 0);
	}
	world->done = false;
	txn_commit(txn, committed, world);
	WAIT_FOR(&world->rig, world->done);
	txn_free(txn);
	json_decref(changes);
	return world->status;
}

/* What a transaction removes it can give to others; when it fails, nothing has happened to what it removed. */
static void devices_change_hands(void **state)
{
	struct world world;
	const struct control_port *uplink;
	const struct control_vnic *vnic;

	world_up(&world, 1);
	must_apply(&world, basics);
	must_apply(&world, "{\"ports\":[{\"name\":\"spare\",\"device\":\"tap:spare0\"}],"
			   "\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
			   "\"tap_name\":\"one\"}]}");
	uplink = model_find(world.dpu.model, "port", NULL, "spare")->runtime;
	vnic = model_find(world.dpu.model, "vnic", "blue", "one")->runtime;
	const struct port *device = uplink->attachment.port, *tap = vnic->attachment.port;

	assert_int_not_equal(transact(&world,
				      "[{\"op\":\"delete\",\"class\":\"port\",\"name\":\"spare\"},"
				      "{\"op\":\"delete\",\"class\":\"vnic\",\"tenant\":\"blue\",\"name\":\"one\"},"
				      "{\"op\":\"create\",\"class\":\"port\",\"name\":\"bad\","
				      "\"fields\":{\"device\":\"af_packet:nosuchif\"}}]"),
			     0);
	assert_string_equal(world.err.path, "port/bad.device");
	assert_ptr_equal(model_find(world.dpu.model, "port", NULL, "spare")->runtime, uplink);
	assert_ptr_equal(uplink->attachment.port, device);
	assert_ptr_equal(vnic->attachment.port, tap);
	assert_ptr_equal(atomic_load(&world.vswitch->dp.ports[uplink->attachment.iface]), device);
	assert_int_equal(world.vswitch->closing, 0);

	if (transact(&world, "[{\"op\":\"delete\",\"class\":\"port\",\"name\":\"spare\"},"
			     "{\"op\":\"delete\",\"class\":\"vnic\",\"tenant\":\"blue\",\"name\":\"one\"},"
			     "{\"op\":\"create\",\"class\":\"port\",\"name\":\"heir\","
			     "\"fields\":{\"device\":\"tap:spare0\"}},"
			     "{\"op\":\"create\",\"class\":\"vnic\",\"tenant\":\"blue\",\"name\":\"two\",\"fields\":{"
			     "\"subnet\":\"a\",\"backend\":\"tap\",\"tap_name\":\"one\"}}]") != 0)
		fail_msg("%s: %s", world.err.path, world.err.message);
	uplink = model_find(world.dpu.model, "port", NULL, "heir")->runtime;
	vnic = model_find(world.dpu.model, "vnic", "blue", "two")->runtime;
	WAIT_FOR(&world.rig, uplink->attachment.port && vnic->attachment.port && world.vswitch->closing == 0);
	assert_null(uplink->attachment.error);
	assert_null(vnic->attachment.error);
	world_down(&world);
}

static void add_groups(struct txn *txn, enum change_op op, const char *prefix, unsigned count, struct dpu_error *err)
{
	for (unsigned i = 0; i < count; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%s%u", prefix, i);
		assert_int_equal(txn_add(txn, op, "security_group", "blue", name, NULL, 0, false, err), 0);
	}
}

static int groups_commit(struct world *world, struct txn *txn)
{
	world->done = false;
	txn_skip_diff(txn);
	txn_commit(txn, committed, world);
	WAIT_FOR(&world->rig, world->done);
	txn_free(txn);
	return world->status;
}

/* Numbers of deleted objects are free only afterwards: a transaction that replaces many may run out of them although
 * its outcome is within the class's limit. */
static void groups_run_out_of_numbers(void **state)
{
	enum { COUNT = CONTROL_MAX_GROUPS / 2 + 1 };
	struct world world;
	struct txn *txn;

	world_up(&world, 1);
	must_apply(&world, basics);
	assert_int_equal(txn_new(world.dpu.model, &txn), 0);
	add_groups(txn, CHANGE_CREATE, "old", COUNT, &world.err);
	assert_int_equal(groups_commit(&world, txn), 0);
	assert_int_equal(txn_new(world.dpu.model, &txn), 0);
	add_groups(txn, CHANGE_DELETE, "old", COUNT, &world.err);
	add_groups(txn, CHANGE_CREATE, "new", COUNT, &world.err);
	assert_int_not_equal(groups_commit(&world, txn), 0);
	assert_int_equal(world.err.code, DPU_E_LIMIT);
	assert_int_equal(model_count(world.dpu.model, "security_group", NULL), COUNT);
	world_down(&world);
}

static void many_mappings_load(void **state)
{
	enum { COUNT = 20000 };
	struct world world;
	json_t *list = json_array(), *document;
	uint64_t began;
	char *text;

	world_up(&world, 1);
	must_apply(&world, basics);
	for (unsigned i = 0; i < COUNT; i++) {
		char name[16], address[32], mac[32];

		snprintf(name, sizeof(name), "m%u", i);
		snprintf(address, sizeof(address), "10.%u.%u.%u", 1 + (i >> 16), i >> 8 & 255, i & 255);
		snprintf(mac, sizeof(mac), "02:00:00:%02x:%02x:09", i >> 8, i & 255);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "name", name, "tenant", "blue",
						      "vpc", "prod", "address", address, "mac", mac, "vtep",
						      i % 2 ? "192.0.2.9" : "192.0.2.10"));
	}
	document = json_pack("{s:o}", "mappings", list);
	text = json_dumps(document, 0);
	began = clock_ns();
	must_apply(&world, text);
	print_message("%u mappings in %lu ms\n", COUNT, (unsigned long)((clock_ns() - began) / CLOCK_NS_PER_MS));
	assert_int_equal(model_count(world.dpu.model, "mapping", NULL), COUNT);
	free(text);
	json_decref(document);
	world_down(&world);
}

/* What `why` says of a packet from vNIC one to an address. */
static void assert_reason(struct world *world, const char *dst, const char *reason)
{
	char args[256];

	snprintf(args, sizeof(args), "{\"vnic\":\"blue/one\",\"dst\":\"%s\",\"protocol\":\"udp\"}", dst);
	json_t *why = act(world, "why", args);
	const char *said = json_string_value(json_object_get(why, "reason"));
	if (!said || strcmp(said, reason) != 0)
		fail_msg("%s: %s", dst, said ? said : world->err.message);
}

static void map_address(struct world *world, const char *name, const char *address, const char *mac, const char *vtep)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "{\"mappings\":[{\"name\":\"%s\",\"tenant\":\"blue\",\"vpc\":\"prod\",\"address\":\"%s\","
		 "\"mac\":\"%s\",\"vtep\":\"%s\"}]}",
		 name, address, mac, vtep);
	must_apply(world, text);
}

static void unmap(struct world *world, const char *name)
{
	struct txn *txn;

	assert_int_equal(txn_new(world->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "mapping", "blue", name, NULL, 0, false, &world->err), 0);
	world->done = false;
	txn_commit(txn, committed, world);
	WAIT_FOR(&world->rig, world->done);
	txn_free(txn);
	assert_int_equal(world->status, 0);
}

/* The link-local address of a MAC is there as long as a vNIC or a mapping with that MAC is, and mappings agree. */
static void link_local_addresses_follow(void **state)
{
	struct world world;

	world_up(&world, 1);
	must_apply(&world, basics);
	must_apply(&world,
		   "{\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
		   "\"tap_name\":\"one\",\"mac\":\"02:00:00:00:00:01\"},"
		   "{\"name\":\"two\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\",\"tap_name\":\"two\","
		   "\"mac\":\"02:00:00:00:00:02\",\"addresses\":[\"10.0.0.3\",\"fe80::2:2\"]}]}");
	assert_reason(&world, "fe80::ff:fe00:2", "none");
	assert_reason(&world, "fe80::2:2", "none");
	assert_reason(&world, "fe80::ff:fe00:9", "no-mapping");
	map_address(&world, "m4", "10.0.0.9", "02:00:00:00:00:09", "192.0.2.9");
	map_address(&world, "m6", "fd00::9", "02:00:00:00:00:09", "192.0.2.9");
	map_address(&world, "named", "fe80::9:9", "02:00:00:00:00:09", "192.0.2.9");
	assert_reason(&world, "fe80::ff:fe00:9", "none");
	assert_reason(&world, "fe80::9:9", "none");
	/* They do not agree about where it is. */
	map_address(&world, "m6", "fd00::9", "02:00:00:00:00:09", "192.0.2.8");
	assert_reason(&world, "fe80::ff:fe00:9", "no-mapping");
	/* Another MAC, another address. */
	map_address(&world, "m6", "fd00::9", "02:00:00:00:00:0a", "192.0.2.8");
	assert_reason(&world, "fe80::ff:fe00:9", "none");
	assert_reason(&world, "fe80::ff:fe00:a", "none");
	unmap(&world, "m4");
	assert_reason(&world, "fe80::ff:fe00:9", "no-mapping");
	assert_reason(&world, "fe80::9:9", "no-mapping");
	assert_reason(&world, "fe80::ff:fe00:a", "none");
	/* Behind no subnet it is on no link. */
	map_address(&world, "m7", "10.7.0.9", "02:00:00:00:00:0b", "192.0.2.8");
	assert_reason(&world, "fe80::ff:fe00:b", "no-mapping");
	must_refuse(&world,
		    "{\"vnics\":[{\"name\":\"x\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
		    "\"tap_name\":\"x\",\"addresses\":[\"fe80::ff:fe00:1\"]}]}",
		    "vnic/blue/x.addresses", "fe80::ff:fe00:1 belongs to vnic/blue/one");
	must_refuse(&world,
		    "{\"vnics\":[{\"name\":\"x\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
		    "\"tap_name\":\"x\",\"addresses\":[\"fe80:1::1\"]}]}",
		    "vnic/blue/x.addresses", "begins with fe80::");
	must_refuse(&world,
		    "{\"vnics\":[{\"name\":\"x\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
		    "\"tap_name\":\"x\",\"addresses\":[\"fe80::5d:ff:fe00:64\"]}]}",
		    "vnic/blue/x.addresses", "is the link-local address of the gateway");
	must_refuse(&world,
		    "{\"subnets\":[{\"name\":\"c\",\"tenant\":\"blue\",\"vpc\":\"prod\",\"prefix_v6\":\"fe80::/64\"}]}",
		    "subnet/blue/c.prefix_v6", "fe80::/10");
	world_down(&world);
}

/* What cannot be changed says so, and what to do in place of it. */
static void fixed_fields_say_so(void **state)
{
	struct world world;

	world_up(&world, 1);
	must_apply(&world, basics);
	must_apply(&world, "{\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"subnet\":\"a\",\"backend\":\"tap\","
			   "\"tap_name\":\"one\"}]}");
	must_refuse(&world, "{\"vnics\":[{\"name\":\"one\",\"tenant\":\"blue\",\"queues\":2}]}", "vnic/blue/one.queues",
		    "fixed when the object is created: delete the object and create it anew");
	must_refuse(&world, "{\"ports\":[{\"name\":\"up\",\"device\":\"tap:other\"}]}", "port/up.device",
		    "fixed when the object is created: delete the object and create it anew");
	world_down(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tables_are_sound),     cmocka_unit_test(objects_come_and_go),
		cmocka_unit_test(groups_decide),        cmocka_unit_test(faults_are_named),
		cmocka_unit_test(mtu_changes),          cmocka_unit_test(memory_is_limited),
		cmocka_unit_test(many_mappings_load),   cmocka_unit_test(gateway_outlives_the_encapsulation),
		cmocka_unit_test(devices_change_hands), cmocka_unit_test(link_local_addresses_follow),
		cmocka_unit_test(fixed_fields_say_so),  cmocka_unit_test(groups_run_out_of_numbers),
	};

	if (unshare(CLONE_NEWNET) != 0) {
		fprintf(stderr, "skipped: needs root, to make a network namespace\n");
		return 77;
	}
	test_pool();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
