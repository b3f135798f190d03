/* SPDX-License-Identifier: BSD-3-Clause */
/* The service around the engine: objects, the socket and its clients, good and bad, in a network namespace of the
 * test's own. The engine is a fake that remembers what it was told. */
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "operating/test_rig.h"
#include "device/packet/testlib.h"
#include "model/document.h"
#include "service/eswitch/eswitch.h"
#include "service/eswitch/eswitch_priv.h"
#include "service/eswitch/fake_flow.h"

static struct {
	struct rig rig;
	struct dpu dpu;
	struct eswitch *eswitch;
	struct dpu_error err;
	char dir[64];
	int status;
	bool done;
} world;

static const struct service *const services[] = { &vswitch_service, &eswitch_service };

static void barrier(void *ctx, void (*done)(void *arg), void *arg)
{
	workers_barrier(ctx, done, arg);
}

static int world_up(void **state)
{
	memset(&world, 0, sizeof(world));
	memset(&fake_flow, 0, sizeof(fake_flow));
	rig_up(&world.rig, 2, WORKER_BALANCED);
	snprintf(world.dir, sizeof(world.dir), "/tmp/eswitch-test-XXXXXX");
	assert_non_null(mkdtemp(world.dir));
	struct model_options options = { .loop = world.rig.loop, .barrier = barrier, .barrier_ctx = world.rig.workers };
	world.dpu = (struct dpu){ .instance = "test",
				  .run_dir = world.dir,
				  .loop = world.rig.loop,
				  .workers = world.rig.workers,
				  .max_sessions = 65536,
				  .pool = test_pool() };
	assert_int_equal(model_new(&options, &world.dpu.model, &world.err), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(services[i]->init(&world.dpu, &world.dpu.service_state[i], &world.err), 0);
		world.dpu.services[i] = services[i];
		for (unsigned j = 0; services[i]->classes[j]; j++)
			if (model_add_class(world.dpu.model, services[i]->classes[j], world.dpu.service_state[i],
					    &world.err) != 0)
				fail_msg("%s: %s", world.err.path, world.err.message);
	}
	world.eswitch = world.dpu.service_state[1];
	assert_int_equal(model_load(world.dpu.model, &world.err), 0);
	for (unsigned i = 0; i < 2; i++)
		if (services[i]->start(world.dpu.service_state[i], &world.err) != 0)
			fail_msg("%s", world.err.message);
	return 0;
}

static int world_down(void **state)
{
	for (int i = 1; i >= 0; i--) {
		atomic_bool stopped = false;

		services[i]->stop(world.dpu.service_state[i], set_flag, &stopped);
		WAIT_FOR(&world.rig, atomic_load(&stopped));
	}
	model_free(world.dpu.model);
	world.dpu.model = NULL;
	run_for(&world.rig, 20 * CLOCK_NS_PER_MS);
	for (int i = 1; i >= 0; i--)
		services[i]->fini(world.dpu.service_state[i]);
	rig_down(&world.rig);
	assert_int_equal(rmdir(world.dir), 0); /* the socket has gone, too */
	assert_int_equal(fake_flow.switches + fake_flow.clients + fake_flow.flows, 0);
	return 0;
}

static void committed(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	world.status = status;
	world.err = status ? *err : (struct dpu_error){ 0 };
	world.done = true;
}

static int commit(struct txn *txn)
{
	world.done = false;
	txn_commit(txn, committed, NULL);
	WAIT_FOR(&world.rig, world.done);
	txn_free(txn);
	return world.status;
}

static int apply(const char *text)
{
	json_error_t where;
	json_t *document = json_loads(text, 0, &where);
	struct txn *txn;
	int rc;

	if (!document)
		fail_msg("%d: %s", where.line, where.text);
	json_object_set_new(document, "version", json_integer(1));
	rc = document_plan(world.dpu.model, document, false, &txn, &world.err);
	json_decref(document);
	return rc ? rc : commit(txn);
}

static void must_apply(const char *text)
{
	if (apply(text) != 0)
		fail_msg("%s: %s", world.err.path, world.err.message);
}

static void refused(const char *text, const char *path, const char *words)
{
	if (apply(text) == 0)
		fail_msg("was not refused: %s", text);
	if (!strstr(world.err.path, path) || !strstr(world.err.message, words))
		fail_msg("%s: %s, in place of %s: %s", world.err.path, world.err.message, path, words);
}

static void delete (const char *class, const char *name, bool cascade)
{
	struct txn *txn;

	assert_int_equal(txn_new(world.dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, class, NULL, name, NULL, 0, cascade, &world.err), 0);
	if (commit(txn) != 0)
		fail_msg("%s: %s", world.err.path, world.err.message);
}

#define BASE                                                                                                           \
	"{\"tenants\": [{\"name\": \"blue\"}], \"eswitches\": [{\"name\": \"ovs\"}],"                                  \
	" \"vnics\": [{\"tenant\": \"blue\", \"name\": \"web\", \"backend\": \"tap\", \"tap_name\": \"esw0\"}],"       \
	" \"representors\": [{\"name\": \"rep-web\", \"eswitch\": \"ovs\", \"vnic\": \"blue/web\"}]}"

/* ---- a client ---- */

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", world.dir, ESWITCH_SOCKET);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Waits for a message; its bytes (0: the connection has ended), descriptors are counted and closed. */
static ssize_t hear(int fd, struct eswitch_message *message, unsigned *ret_fds)
{
	char control[CMSG_SPACE(64 * sizeof(int))];
	struct iovec bytes = { message, sizeof(*message) };
	ssize_t got = -1;

	for (unsigned turn = 0; turn < 500 && got < 0; turn++) {
		struct msghdr header = {
			.msg_iov = &bytes, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)
		};

		loop_once(world.rig.loop, 10);
		got = recvmsg(fd, &header, MSG_DONTWAIT);
		struct cmsghdr *rights = got > 0 ? CMSG_FIRSTHDR(&header) : NULL;
		if (got >= 0 && ret_fds)
			*ret_fds = rights ? (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
		for (unsigned i = 0; rights && i < (rights->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
			close(((int *)CMSG_DATA(rights))[i]);
	}
	return got;
}

static struct eswitch_message ask(int fd, struct eswitch_message request, unsigned *ret_fds)
{
	static uint32_t number = 100;
	struct eswitch_message reply;

	request.request = ++number;
	assert_int_equal(send(fd, &request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
	do
		assert_int_equal(hear(fd, &reply, ret_fds), sizeof(reply));
	while (reply.type != ESWITCH_REPLY);
	assert_int_equal(reply.request, number);
	assert_non_null(memchr(reply.sentence, '\0', sizeof(reply.sentence)));
	assert_int_equal(reply.status != 0, reply.sentence[0] != 0);
	return reply;
}

static struct eswitch_message hello(void)
{
	return (struct eswitch_message){ .type = ESWITCH_HELLO,
					 .hello = { .magic = ESWITCH_MAGIC,
						    .version = ESWITCH_ABI_VERSION,
						    .pid = 7,
						    .command_rings = 1,
						    .program = "test" } };
}

static struct eswitch_message open_named(const char *name)
{
	struct eswitch_message request = {
		.type = ESWITCH_OPEN_PORT, .open_port = { .to_host_queues = 1, .from_host_queues = 2, .ring_slots = 64 }
	};

	snprintf(request.open_port.name, sizeof(request.open_port.name), "%s", name);
	return request;
}

static int client(void)
{
	int fd = dial();
	unsigned fds;

	assert_int_equal(ask(fd, hello(), &fds).status, ESWITCH_OK);
	assert_int_equal(fds, 2);
	return fd;
}

/* ---- tests ---- */

static void objects_are_checked(void **state)
{
	must_apply(BASE);
	assert_true(fake_flow.bound[1]);
	assert_int_equal(fake_flow.ports[1].representor, PATH_FIRST_REPRESENTOR + 1);
	assert_int_equal(fake_flow.ports[1].member, PATH_FIRST_VNIC + 1);
	refused("{\"eswitches\": [{\"name\": \"two\"}]}", "eswitch", "1");
	refused("{\"representors\": [{\"name\": \"x\", \"eswitch\": \"ovs\"}]}", "vnic", "exactly one");
	refused("{\"representors\": [{\"name\": \"x\", \"eswitch\": \"ovs\", \"vnic\": \"blue/web\"}]}", "vnic",
		"has a representor already: rep-web");
	refused("{\"vnics\": [{\"tenant\": \"blue\", \"name\": \"y\", \"addresses\": [\"10.0.0.1\"]}]}", "addresses",
		"needs a subnet");
	must_apply("{\"vpcs\": [{\"tenant\": \"blue\", \"name\": \"v\", \"vni\": 5}],"
		   " \"subnets\": [{\"tenant\": \"blue\", \"name\": \"s\", \"vpc\": \"v\", \"prefix_v4\": "
		   "\"10.0.0.0/24\"}],"
		   " \"vnics\": [{\"tenant\": \"blue\", \"name\": \"in\", \"subnet\": \"s\", \"backend\": \"tap\", "
		   "\"tap_name\": \"esw1\"}],"
		   " \"ports\": [{\"name\": \"up\", \"device\": \"tap:esw2\"}, {\"name\": \"up2\", \"device\": "
		   "\"tap:esw3\"}],"
		   " \"underlays\": [{\"name\": \"u\", \"port\": \"up\", \"address\": \"192.0.2.1\", "
		   "\"prefix_length\": 24}],"
		   " \"representors\": [{\"name\": \"uplink\", \"eswitch\": \"ovs\", \"port\": \"up2\"},"
		   " {\"name\": \"far\", \"eswitch\": \"ovs\", \"tunnel_underlay\": \"u\", \"tunnel_remote\": "
		   "\"192.0.2.2\", \"vni\": 6}]}");
	refused("{\"representors\": [{\"name\": \"x\", \"eswitch\": \"ovs\", \"vnic\": \"blue/in\"}]}", "vnic",
		"is in subnet s");
	refused("{\"representors\": [{\"name\": \"x\", \"eswitch\": \"ovs\", \"port\": \"up\"}]}", "port",
		"carries underlay u");
	refused("{\"underlays\": [{\"name\": \"u2\", \"port\": \"up2\", \"address\": \"192.0.3.1\", "
		"\"prefix_length\": 24}]}",
		"port", "has a representor");
	refused("{\"representors\": [{\"name\": \"x\", \"eswitch\": \"ovs\", \"tunnel_underlay\": \"u\", "
		"\"tunnel_remote\": \"192.0.2.2\", \"vni\": 5}]}",
		"vni", "used by a VPC");
	refused("{\"representors\": [{\"name\": \"x\", \"eswitch\": \"ovs\", \"tunnel_underlay\": \"u\", "
		"\"tunnel_remote\": \"192.0.2.2\", \"vni\": 6}]}",
		"tunnel_remote", "already: far");
	refused("{\"vpcs\": [{\"tenant\": \"blue\", \"name\": \"w\", \"vni\": 6}]}", "vni", "representor far");
	must_apply("{\"representors\": [{\"name\": \"far2\", \"eswitch\": \"ovs\", \"tunnel_underlay\": \"u\", "
		   "\"tunnel_remote\": \"192.0.2.3\", \"vni\": 6}], \"eswitches\": [{\"name\": \"ovs\", \"bypass\": "
		   "true}]}");
	assert_true(fake_flow.bypass);
	assert_true(fake_flow.bound[4] && fake_flow.ports[4].tunnelled && fake_flow.ports[4].vni == 6);
	delete ("representor", "far", false);
	assert_false(fake_flow.bound[3]);
	delete ("eswitch", "ovs", true);
	run_for(&world.rig, 20 * CLOCK_NS_PER_MS);
	assert_int_equal(fake_flow.switches, 0);
	must_apply("{\"eswitches\": [{\"name\": \"again\"}]}");
}

static void ports_open_and_close(void **state)
{
	struct eswitch_message list = { .type = ESWITCH_LIST_PORTS }, close_it = { .type = ESWITCH_CLOSE_PORT }, reply;
	struct stat status;
	char path[128];
	unsigned fds;

	must_apply(BASE);
	snprintf(path, sizeof(path), "%s/%s", world.dir, ESWITCH_SOCKET);
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	int fd = client(), other = client();
	reply = ask(fd, list, NULL);
	assert_string_equal(reply.port.name, "rep-web");
	assert_int_equal(reply.port.kind, ESWITCH_PORT_VNIC);
	assert_int_equal(reply.port.number, 1);
	list.number = 1;
	assert_int_equal(ask(fd, list, NULL).status, ESWITCH_E_NOT_FOUND);
	reply = ask(fd, open_named("rep-web"), &fds);
	assert_int_equal(reply.status, ESWITCH_OK);
	assert_int_equal(fds, 1 + 4); /* two queue pairs */
	assert_int_equal(reply.open_port_reply.info.number, 1);
	assert_non_null(fake_flow.opened[1]);
	reply = ask(other, open_named("rep-web"), NULL);
	assert_int_equal(reply.status, ESWITCH_E_BUSY);
	assert_non_null(strstr(reply.sentence, "test (pid 7)"));
	assert_int_equal(ask(other, open_named("nobody"), NULL).status, ESWITCH_E_NOT_FOUND);
	close_it.number = 1;
	assert_int_equal(ask(other, close_it, NULL).status, ESWITCH_E_NOT_FOUND);
	assert_int_equal(ask(fd, close_it, NULL).status, ESWITCH_OK);
	assert_null(fake_flow.opened[1]);
	/* Taken again at once: answered when all of the former one has gone. */
	assert_int_equal(ask(other, open_named("rep-web"), NULL).status, ESWITCH_OK);
	assert_int_equal(ask(fd, open_named(""), NULL).status, ESWITCH_OK);
	assert_non_null(fake_flow.opened[0]);
	/* The representor goes: its client is told. */
	delete ("representor", "rep-web", false);
	assert_int_equal(hear(other, &reply, NULL), sizeof(reply));
	assert_int_equal(reply.type, ESWITCH_PORT_GONE);
	assert_int_equal(reply.number, 1);
	/* A client that dies leaves nothing. */
	close(fd);
	WAIT_FOR(&world.rig, fake_flow.clients == 1);
	assert_null(fake_flow.opened[0]);
	close(other);
	WAIT_FOR(&world.rig, fake_flow.clients == 0);
}

/* What it says differs from what it should. */
static void wrong_hellos(void **state)
{
	struct eswitch_message wrong;
	int fd = dial();

	assert_int_equal(ask(fd, hello(), NULL).status, ESWITCH_E_NOT_FOUND); /* there is no eswitch yet */
	must_apply(BASE);
	assert_int_equal(ask(fd, open_named("rep-web"), NULL).status, ESWITCH_E_INVALID);
	wrong = hello(), wrong.hello.magic++;
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_INVALID);
	wrong = hello(), wrong.hello.version++;
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_VERSION);
	wrong = hello(), wrong.hello.command_rings = 17;
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_LIMIT);
	wrong = hello(), memset(wrong.hello.program, 'x', sizeof(wrong.hello.program));
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_INVALID);
	wrong = hello(), snprintf(wrong.hello.eswitch, sizeof(wrong.hello.eswitch), "other");
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_NOT_FOUND);
	assert_int_equal(ask(fd, hello(), NULL).status, ESWITCH_OK);
	assert_int_equal(ask(fd, hello(), NULL).status, ESWITCH_E_INVALID);
	wrong = open_named("rep-web"), wrong.open_port.ring_slots = 100;
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_INVALID);
	wrong = open_named("rep-web"), wrong.open_port.from_host_queues = 0;
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_LIMIT);
	wrong = (struct eswitch_message){ .type = ESWITCH_CLOSE_PORT, .number = 100000 };
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_INVALID);
	wrong = (struct eswitch_message){ .type = 99 };
	assert_int_equal(ask(fd, wrong, NULL).status, ESWITCH_E_INVALID);
	close(fd);
}

static void bad_clients(void **state)
{
	struct eswitch_message message = { .type = ESWITCH_LIST_PORTS, .number = 5000 };
	int many[CONNECTIONS_MAX], fd;

	must_apply(BASE);
	/* Another size: told, and shown the door. */
	fd = dial();
	assert_int_equal(send(fd, &message, 17, MSG_NOSIGNAL), 17);
	assert_int_equal(hear(fd, &message, NULL), sizeof(message));
	assert_int_equal(message.status, ESWITCH_E_INVALID);
	assert_int_equal(hear(fd, &message, NULL), 0);
	close(fd);
	/* Asks and never listens. */
	message = (struct eswitch_message){ .type = ESWITCH_LIST_PORTS };
	fd = client();
	for (unsigned i = 0; i < 20000 && fake_flow.clients == 1; i++) {
		if (send(fd, &message, sizeof(message), MSG_NOSIGNAL) < 0)
			loop_once(world.rig.loop, 1);
	}
	WAIT_FOR(&world.rig, fake_flow.clients == 0);
	close(fd);
	/* More than there may be. */
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		many[i] = dial();
	WAIT_FOR(&world.rig, world.eswitch->connections == CONNECTIONS_MAX);
	fd = dial();
	assert_int_equal(hear(fd, &message, NULL), sizeof(message));
	assert_int_equal(message.status, ESWITCH_E_LIMIT);
	assert_int_equal(hear(fd, &message, NULL), 0);
	close(fd);
	for (unsigned i = 0; i < CONNECTIONS_MAX; i++)
		close(many[i]);
	WAIT_FOR(&world.rig, world.eswitch->connections == 0);
	close(client());
	WAIT_FOR(&world.rig, fake_flow.clients == 0);
}

static void answered(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	world.status = status;
	world.err = status ? *err : (struct dpu_error){ 0 };
	*(json_t **)arg = json_incref(result);
	world.done = true;
}

static json_t *act(const char *action)
{
	json_t *result = NULL;

	world.done = false;
	model_action(world.dpu.model, "eswitch", action, NULL, NULL, NULL, answered, &result);
	WAIT_FOR(&world.rig, world.done);
	return result;
}

static void report(int fd, uint32_t count, const char *sentence)
{
	struct eswitch_message message = { .type = ESWITCH_REPORT,
					   .report = { .count = count, .what = ESWITCH_REPORT_ACTION } };

	snprintf(message.sentence, sizeof(message.sentence), "%s", sentence);
	assert_int_equal(send(fd, &message, sizeof(message), MSG_NOSIGNAL), sizeof(message));
	run_for(&world.rig, 2 * CLOCK_NS_PER_MS);
}

/* Reports of one sentence add up; more sentences than there is room for push the oldest out, and count on. */
static void what_drivers_refuse(void **state)
{
	char sentence[32];

	must_apply(BASE);
	int fd = client();
	for (unsigned i = 0; i < REPORTS_KEPT + 3; i++) {
		snprintf(sentence, sizeof(sentence), "sentence %u", i);
		report(fd, 2, sentence);
	}
	report(fd, 5, "sentence 10");
	close(fd);
	WAIT_FOR(&world.rig, fake_flow.clients == 0);
	json_t *result = act("offload-refused"), *rows = json_object_get(result, "refused");
	assert_int_equal(json_array_size(rows), REPORTS_KEPT);
	const json_t *first = json_array_get(rows, 0), *reason = json_array_get(json_object_get(result, "reasons"), 0);
	assert_string_equal(json_string_value(json_object_get(first, "sentence")), "sentence 10");
	assert_int_equal(json_integer_value(json_object_get(first, "count")), 7);
	assert_int_equal(json_integer_value(json_object_get(reason, "count")), 2 * (REPORTS_KEPT + 3) + 5);
	json_decref(result);
	/* One that is none is answered, as any wrong request. */
	fd = client();
	struct eswitch_message reply = ask(fd, (struct eswitch_message){ .type = ESWITCH_REPORT }, NULL);
	assert_int_equal(reply.status, ESWITCH_E_INVALID);
	close(fd);
	WAIT_FOR(&world.rig, fake_flow.clients == 0);
}

/* Who lists rules of an eswitch that goes meanwhile is told; and it is looked at them while it is there. */
static void a_listing_whose_eswitch_goes(void **state)
{
	json_t *result = NULL;

	must_apply(BASE);
	WAIT_FOR(&world.rig, fake_flow.looks > 0);
	unsigned grows = fake_flow.grows;
	WAIT_FOR(&world.rig, fake_flow.grows > grows);
	world.done = false;
	model_action(world.dpu.model, "eswitch", "offload-flows", NULL, NULL, NULL, answered, &result);
	assert_false(world.done);
	flows_end(world.eswitch);
	assert_true(world.done);
	assert_int_equal(world.err.code, DPU_E_NOT_FOUND);
	result = act("offload-flows");
	assert_int_equal(json_array_size(json_object_get(result, "flows")), 0);
	json_decref(result);
	delete ("eswitch", "ovs", true);
	assert_null(act("offload-stats"));
	assert_int_equal(world.err.code, DPU_E_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(objects_are_checked, world_up, world_down),
		cmocka_unit_test_setup_teardown(ports_open_and_close, world_up, world_down),
		cmocka_unit_test_setup_teardown(wrong_hellos, world_up, world_down),
		cmocka_unit_test_setup_teardown(bad_clients, world_up, world_down),
		cmocka_unit_test_setup_teardown(what_drivers_refuse, world_up, world_down),
		cmocka_unit_test_setup_teardown(a_listing_whose_eswitch_goes, world_up, world_down),
	};

	if (unshare(CLONE_NEWNET) != 0) {
		fprintf(stderr, "skipped: no network namespace of its own\n");
		return 77;
	}
	test_pool();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
