// SPDX-License-Identifier: BSD-3-Clause
/* Target and initiator of one DPU against each other, over the loopback: verified I/O of all kinds, paths that go and
 * come back while requests are under way, a namespace that grows and one that is removed, and a device that goes away
 * in use behind a target behind an initiator. */
#include <setjmp.h>
#include <stdarg.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "device/nvme/nvme_tcp.h"
#include "operating/uring_needed.h"
#include "service/block/block_rig.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

enum { BYTES = 16 << 20, DATA = 300 << 10, ROUNDS = 24 };

static const struct service *const services[] = { &block_service, &nvmf_service, &nvmf_remote_service, NULL };
static unsigned ports[2];
static uint8_t model[BYTES], data[DATA], back[DATA];
static uint64_t seed = 88172645463325252ull;

static unsigned roll(unsigned below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (unsigned)(seed % below);
}

/* One that was free a moment ago. */
static unsigned port_find(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static void listener(struct block_rig *rig, unsigned index)
{
	block_rig_apply(rig, "{'nvmf_listeners': [{'name': 'l%u', 'address': '127.0.0.1', 'port': %u}]}", index,
			ports[index]);
}

static void remote(struct block_rig *rig, const char *name, const char *subsystem, bool digests)
{
	block_rig_apply(rig,
			"{'nvmf_remotes': [{'name': '%s', 'addresses': ['127.0.0.1:%u', '127.0.0.1:%u'], 'queues': 2, "
			"'nqn': 'nqn.2026-01.test:%s', 'keep_alive': 1000, 'quiesce': 50, 'header_digest': %s, "
			"'data_digest': %s}]}",
			name, ports[0], ports[1], subsystem, digests ? "true" : "false", digests ? "true" : "false");
}

static void rig_open(struct block_rig *rig)
{
	block_rig_new(rig, 2, services);
	for (unsigned i = 0; i < 2; i++) {
		ports[i] = port_find();
		listener(rig, i);
	}
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'media': [{'name': 'm', 'kind': 'ram', 'size': %d}],"
			" 'pools': [{'name': 'p', 'media': ['m']}],"
			" 'volumes': [{'tenant': 'blue', 'name': 'v', 'pool': 'p', 'size': %d}],"
			" 'nvmf_subsystems': [{'tenant': 'blue', 'name': 's', 'nqn': 'nqn.2026-01.test:s',"
			" 'allow_any_host': true}],"
			" 'nvmf_namespaces': [{'tenant': 'blue', 'name': 'n', 'subsystem': 's', 'volume': 'v'}]}",
			4 * BYTES, BYTES);
}

static bool field_is(struct block_rig *rig, const char *class_name, const char *name, const char *field,
		     const char *value)
{
	return strcmp(block_rig_field(rig, class_name, name, field), value) == 0;
}

static void attach(struct block_rig *rig, struct block_rig_user *user, const char *name, const char *paths)
{
	block_rig_attach(user, rig, "nvmf_remote", name, NULL);
	WAIT_FOR(&rig->base, user->device != NULL);
	WAIT_FOR(&rig->base, field_is(rig, "nvmf_remote", name, "live_paths", paths));
}

/* Each of these leaves the device as the model says. */
static void change(struct block_rig_user *user)
{
	uint64_t offset = roll(BYTES / 4096) * UINT64_C(4096), length = (1 + roll(DATA / 4096)) * UINT64_C(4096);
	enum dpu_block_op op = roll(6) ? DPU_BLOCK_WRITE : roll(2) ? DPU_BLOCK_WRITE_ZEROES : DPU_BLOCK_DISCARD;

	length = length < BYTES - offset ? length : BYTES - offset;
	memset(data, (int)roll(256), length);
	data[roll((unsigned)length)] ^= 0x55;
	assert_int_equal(block_rig_io(user, op, offset, data, length, roll(4) ? 0 : DPU_BLOCK_FUA), DPU_BLOCK_OK);
	if (op == DPU_BLOCK_WRITE)
		memcpy(model + offset, data, length);
	else
		memset(model + offset, 0, length);
}

static void check_all(struct block_rig_user *user)
{
	for (uint64_t offset = 0; offset < BYTES; offset += 256 << 10) {
		assert_int_equal(block_rig_io(user, DPU_BLOCK_READ, offset, back, 256 << 10, 0), DPU_BLOCK_OK);
		assert_memory_equal(back, model + offset, 256 << 10);
	}
}

/* When its creation is answered a namespace can be used: whichever worker has the volume, that is made with it, or the
 * subsystem. */
static void test_created(void **state)
{
	struct block_rig rig;

	rig_open(&rig);
	block_rig_apply(
		&rig,
		"{'media': [{'name': 'm2', 'kind': 'ram', 'size': %d}], 'pools': [{'name': 'q', 'media': ['m2']}],"
		" 'volumes': [{'tenant': 'blue', 'name': 'w', 'pool': 'q', 'size': %d}]}",
		4 * BYTES, BYTES);
	for (unsigned i = 0; i < ROUNDS; i++) {
		block_rig_change(&rig, CHANGE_CREATE, "nvmf_namespace", "blue/w", "{'subsystem': 's', 'volume': 'w'}",
				 NULL);
		FIELD_IS(&rig, "nvmf_namespace", "w", "state", "ready");
		block_rig_delete(&rig, "nvmf_namespace", "blue/w", false, NULL);
		block_rig_apply(
			&rig,
			"{'volumes': [{'tenant': 'blue', 'name': 'x', 'pool': 'q', 'size': %d}], 'nvmf_subsystems':"
			" [{'tenant': 'blue', 'name': 't', 'nqn': 'nqn.2026-01.test:t'}], 'nvmf_namespaces':"
			" [{'tenant': 'blue', 'name': 'x', 'subsystem': 's', 'volume': 'x'},"
			" {'tenant': 'blue', 'name': 'y', 'subsystem': 't', 'volume': 'x'}]}",
			BYTES);
		FIELD_IS(&rig, "nvmf_namespace", "x", "state", "ready");
		FIELD_IS(&rig, "nvmf_namespace", "y", "state", "ready");
		block_rig_delete(&rig, "nvmf_namespace", "blue/x", false, NULL);
		block_rig_delete(&rig, "nvmf_subsystem", "blue/t", true, NULL);
		block_rig_delete(&rig, "volume", "blue/x", true, NULL);
	}
	block_rig_free(&rig);
}

/* Not waited for. */
static void begin(struct block_rig *rig, enum change_op op, const char *key, const char *fields)
{
	struct dpu_error err;
	struct txn *txn;
	json_t *json = fields ? json_loads(fields, 0, NULL) : NULL;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, op, "nvmf_subsystem", NULL, key, json, 0, false, &err), 0);
	txn_commit(txn, NULL, NULL);
	txn_free(txn);
	json_decref(json);
}

static void nothing(void *arg)
{
}

static void another_change(void *arg)
{
	begin(arg, CHANGE_UPDATE, "blue/s", "{\"labels\": [\"a=b\"]}");
}

/* A subsystem that goes while its worker is told who may connect: control hears of the end first, then makes another
 * change, and then hears that the worker was told. */
static void test_told_and_gone(void **state)
{
	struct block_rig rig;

	rig_open(&rig);
	block_rig_apply(&rig,
			"{'nvmf_subsystems': [{'tenant': 'blue', 'name': 't', 'nqn': 'nqn.2026-01.test:t'}],"
			" 'nvmf_namespaces': [{'tenant': 'blue', 'name': 'y', 'subsystem': 't', 'volume': 'v'}]}");
	block_rig_delete(&rig, "nvmf_namespace", "blue/y", false, NULL);
	run_for(&rig.base, 10 * CLOCK_NS_PER_MS);
	assert_int_equal(loop_post(rig.base.loop, nothing, NULL), 0);
	begin(&rig, CHANGE_UPDATE, "blue/t", "{\"allow_any_host\": true}");
	begin(&rig, CHANGE_DELETE, "blue/t", NULL);
	usleep(20000);
	assert_int_equal(loop_post(rig.base.loop, another_change, &rig), 0);
	run_for(&rig.base, 20 * CLOCK_NS_PER_MS);
	block_rig_free(&rig);
}

static void test_io(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	memset(model, 0, sizeof(model));
	rig_open(&rig);
	for (unsigned digests = 0; digests < 2; digests++) {
		remote(&rig, "r", "s", digests);
		attach(&rig, &user, "r", "2");
		for (unsigned i = 0; i < ROUNDS; i++)
			change(&user);
		check_all(&user);
		memcpy(data, model, 65536);
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_COMPARE, 0, data, 65536, 0), DPU_BLOCK_OK);
		data[65535]++;
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_COMPARE, 0, data, 65536, 0), DPU_BLOCK_MISCOMPARE);
		assert_true(field_is(&rig, "nvmf_remote", "r", "digest_errors", "0"));
		block_rig_detach(&user);
		assert_int_equal(block_rig_delete(&rig, "nvmf_remote", "r", false, NULL), 0);
	}
	assert_true(field_is(&rig, "nvmf_subsystem", "s", "protocol_errors", "0"));
	block_rig_free(&rig);
}

/* ---- requests that are under way while something happens ---- */

enum { FLIGHTS = 24, FLIGHT_BYTES = 48 << 10 };

static struct flight {
	struct dpu_block_request request; /* first */
	struct dpu_block_device *device;
	struct iovec iov;
	uint8_t memory[FLIGHT_BYTES];
	atomic_bool done;
} flights[FLIGHTS];

static void on_flight(struct dpu_block_request *request)
{
	((struct flight *)request)->done = true;
}

static void flight_submit(void *arg, struct worker *worker)
{
	struct flight *flight = arg;

	flight->device->ops->submit(flight->device, &flight->request);
}

/* Writes side by side, and reads of what they do not touch. */
static void flights_start(struct block_rig_user *user)
{
	for (unsigned i = 0; i < FLIGHTS; i++) {
		struct flight *flight = &flights[i];
		bool write = i % 3 != 0;

		flight->device = user->device;
		flight->iov = (struct iovec){ flight->memory, FLIGHT_BYTES };
		flight->request = (struct dpu_block_request){
			.op = write ? DPU_BLOCK_WRITE : DPU_BLOCK_READ,
			.segments = 1,
			.offset = i * UINT64_C(65536),
			.length = FLIGHT_BYTES,
			.iov = &flight->iov,
			.done = on_flight,
		};
		flight->done = false;
		if (write) {
			memset(flight->memory, (int)roll(256), FLIGHT_BYTES);
			memcpy(model + flight->request.offset, flight->memory, FLIGHT_BYTES);
		}
		assert_int_equal(worker_call(user->worker, flight_submit, flight, NULL), 0);
	}
}

static bool flights_done(void)
{
	for (unsigned i = 0; i < FLIGHTS; i++)
		if (!flights[i].done)
			return false;
	return true;
}

static void flights_land(struct block_rig *rig)
{
	WAIT_FOR(&rig->base, flights_done());
	for (unsigned i = 0; i < FLIGHTS; i++) {
		assert_int_equal(flights[i].request.status, DPU_BLOCK_OK);
		if (flights[i].request.op == DPU_BLOCK_READ)
			assert_memory_equal(flights[i].memory, model + flights[i].request.offset, FLIGHT_BYTES);
	}
}

static void listener_delete(struct block_rig *rig, const char *name)
{
	assert_int_equal(block_rig_delete(rig, "nvmf_listener", name, false, NULL), 0);
}

static void test_paths(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	memset(model, 0, sizeof(model));
	rig_open(&rig);
	remote(&rig, "r", "s", false);
	attach(&rig, &user, "r", "2");
	for (unsigned i = 0; i < 2; i++) { /* one path goes, then both */
		flights_start(&user);
		listener_delete(&rig, "l0");
		if (i > 0)
			listener_delete(&rig, "l1");
		WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", i ? "0" : "1"));
		listener(&rig, 0);
		if (i > 0)
			listener(&rig, 1);
		flights_land(&rig);
		WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	}
	flights_start(&user);
	block_rig_apply(&rig,
			"{'nvmf_listeners': [{'name': 'l0', 'address': '127.0.0.1', 'port': %u,"
			" 'ana_state': 'inaccessible'}]}",
			ports[0]);
	flights_land(&rig);
	listener_delete(&rig, "l1"); /* the only one that can be used */
	flights_start(&user);
	listener(&rig, 1);
	flights_land(&rig);
	check_all(&user);
	block_rig_apply(&rig, "{'volumes': [{'tenant': 'blue', 'name': 'v', 'pool': 'p', 'size': %d}]}", 2 * BYTES);
	WAIT_FOR(&rig.base, user.changes > 0 && field_is(&rig, "nvmf_remote", "r", "bytes", "33554432"));
	block_rig_detach(&user);
	block_rig_free(&rig);
}

static void answered(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	assert_int_equal(status, 0);
	*(bool *)arg = true;
}

/* A volume of a pool on the remote `below`, as namespace w to the remote `above`, over one listener each. */
static void tower_open(struct block_rig *rig, struct block_rig_user *user)
{
	rig_open(rig);
	block_rig_apply(
		rig,
		"{'nvmf_remotes': [{'name': 'below', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s',"
		" 'keep_alive': 1000, 'quiesce': 50},"
		" {'name': 'above', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:t'}],"
		" 'pools': [{'name': 'q', 'remotes': ['below']}],"
		" 'volumes': [{'tenant': 'blue', 'name': 'w', 'pool': 'q', 'size': %d}],"
		" 'nvmf_subsystems': [{'tenant': 'blue', 'name': 't', 'nqn': 'nqn.2026-01.test:t', 'allow_any_host': "
		"true}],"
		" 'nvmf_namespaces': [{'tenant': 'blue', 'name': 'w', 'subsystem': 't', 'volume': 'w'}]}",
		ports[0], ports[1], BYTES / 4);
	attach(rig, user, "above", "1");
}

static void below_lose(struct block_rig *rig)
{
	listener_delete(rig, "l0");
	WAIT_FOR(&rig->base, field_is(rig, "nvmf_remote", "below", "live_paths", "0"));
}

static void delete_begin(struct block_rig *rig, bool *gone)
{
	struct dpu_error err;
	struct txn *txn;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "nvmf_namespace", NULL, "blue/w", NULL, 0, false, &err), 0);
	txn_commit(txn, answered, gone);
	txn_free(txn);
}

/* The remote is back: its pool has lost nothing, and goes on. Of a write that was given up, each block is there or not.
 */
static void below_check(struct block_rig *rig)
{
	struct block_rig_user user;

	listener(rig, 0);
	block_rig_attach(&user, rig, "volume", "w", NULL);
	WAIT_FOR(&rig->base, user.device != NULL);
	for (unsigned i = 0; i < FLIGHTS; i++) {
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, i * 65536, back, FLIGHT_BYTES, 0), DPU_BLOCK_OK);
		for (unsigned at = 0; at < FLIGHT_BYTES; at += 4096)
			assert_true(memcmp(back + at, model + i * 65536 + at, 4096) == 0 ||
				    memcmp(back + at, flights[i].memory + at, 4096) == 0);
		memset(data, (int)i + 1, FLIGHT_BYTES);
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, i * 65536, data, FLIGHT_BYTES, DPU_BLOCK_FUA),
				 DPU_BLOCK_OK);
	}
	for (unsigned i = 0; i < FLIGHTS; i++) {
		memset(data, (int)i + 1, FLIGHT_BYTES);
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, i * 65536, back, FLIGHT_BYTES, 0), DPU_BLOCK_OK);
		assert_memory_equal(back, data, FLIGHT_BYTES);
	}
	FIELD_IS(rig, "pool", "q", "state", "ready");
	FIELD_IS(rig, "pool", "q", "medium_errors", "0");
	FIELD_IS(rig, "pool", "q", "integrity_errors", "0");
	block_rig_detach(&user);
}

/* What flights_start() makes the model is only what it may be. */
static void flights_start_in_vain(struct block_rig_user *user)
{
	static uint8_t before[BYTES];

	memcpy(before, model, BYTES);
	flights_start(user);
	memcpy(model, before, BYTES);
}

/* What is in it is known. */
static void tower_begin(struct block_rig *rig, struct block_rig_user *user)
{
	memset(model, 0, sizeof(model));
	tower_open(rig, user);
	flights_start(user);
	flights_land(rig);
}

/* All that was under way has ended, and what is below has what it may have. */
static void tower_end(struct block_rig *rig, struct block_rig_user *user)
{
	block_rig_detach(user);
	WAIT_FOR(&rig->base, flights_done());
	below_check(rig);
	block_rig_free(rig);
}

/* A namespace whose pool is on a remote without a path is deleted while requests wait there: for that nobody waits. */
static void test_deleted_while_away(void **state)
{
	struct block_rig_user user;
	struct block_rig rig;
	bool gone = false;

	tower_begin(&rig, &user);
	below_lose(&rig);
	flights_start_in_vain(&user);
	run_for(&rig.base, 100 * CLOCK_NS_PER_MS);
	assert_false(flights_done());
	uint64_t begin = clock_ns();
	delete_begin(&rig, &gone);
	WAIT_FOR(&rig.base, gone);
	assert_true(clock_ns() - begin < CLOCK_NS_PER_S);
	tower_end(&rig, &user);
}

/* Writes are under way when the path is lost: their namespace waits until they are known to be dead, and no longer. Who
 * changes something else is answered at once. */
static void test_drains_alone(void **state)
{
	struct block_rig_user user;
	struct block_rig rig;
	bool gone = false;

	tower_begin(&rig, &user);
	block_rig_apply(&rig, "{'qos_policies': [{'tenant': 'blue', 'name': 'slow', 'cap_iops': 1, 'burst_ms': 1}],"
			      " 'volumes': [{'tenant': 'blue', 'name': 'v', 'pool': 'p', 'size': 16777216,"
			      " 'qos': 'slow'}]}");
	flights_start_in_vain(&user);
	run_for(&rig.base, 100 * CLOCK_NS_PER_MS);
	below_lose(&rig);
	assert_false(flights_done());
	delete_begin(&rig, &gone);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(block_rig_change(&rig, CHANGE_UPDATE, "nvmf_subsystem", "blue/s",
						  i % 2 ? "{'allow_any_host': true}" : "{'allow_any_host': false}",
						  NULL),
				 0);
		run_for(&rig.base, 10 * CLOCK_NS_PER_MS);
		assert_false(gone);
	}
	WAIT_FOR(&rig.base, gone);
	assert_int_equal(block_rig_change(&rig, CHANGE_UPDATE, "volume", "blue/v", "{'qos': null}", NULL), 0);
	tower_end(&rig, &user);
}

static void test_removed(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	rig_open(&rig);
	remote(&rig, "r", "s", true);
	attach(&rig, &user, "r", "2");
	flights_start(&user);
	assert_int_equal(block_rig_delete(&rig, "nvmf_namespace", "blue/n", false, NULL), 0);
	WAIT_FOR(&rig.base, flights_done() && user.device == NULL);
	for (unsigned i = 0; i < FLIGHTS; i++)
		assert_true(flights[i].request.status == DPU_BLOCK_OK || flights[i].request.status == DPU_BLOCK_GONE);
	assert_true(field_is(&rig, "nvmf_remote", "r", "state", "gone"));
	block_rig_detach(&user);
	block_rig_free(&rig);
}

/* The store says no when all else has been done: hosts notice nothing. */
static void test_undone(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	struct dpu_error err = { 0 };

	rig_open(&rig);
	remote(&rig, "r", "s", false);
	attach(&rig, &user, "r", "2");
	flights_start(&user);
	block_rig_fail_commits(true);
	assert_int_not_equal(block_rig_delete(&rig, "nvmf_namespace", "blue/n", false, &err), 0);
	assert_int_not_equal(block_rig_delete(&rig, "volume", "blue/v", true, &err), 0);
	block_rig_fail_commits(false);
	flights_land(&rig);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_namespace", "n", "state", "ready"));
	flights_start(&user);
	flights_land(&rig);
	assert_true(field_is(&rig, "nvmf_remote", "r", "path_losses", "0"));
	block_rig_detach(&user);
	block_rig_delete(&rig, "volume", "blue/v", true, NULL);
	assert_null(block_rig_find(&rig, "nvmf_namespace", "n"));
	block_rig_free(&rig);
}

/* With a pool that has never been opened goes all that stands on it. */
static void test_goes_with_pool(void **state)
{
	struct block_rig rig;

	rig_open(&rig);
	block_rig_apply(
		&rig,
		"{'media': [{'name': 'away', 'path': '/nowhere/file'}], 'pools': [{'name': 'q', 'media': ['away']}],"
		" 'volumes': [{'tenant': 'blue', 'name': 'w', 'pool': 'q', 'size': %d}],"
		" 'nvmf_namespaces': [{'tenant': 'blue', 'name': 'w', 'subsystem': 's', 'volume': 'w'}]}",
		BYTES);
	block_rig_delete(&rig, "pool", "q", true, NULL);
	assert_null(block_rig_find(&rig, "nvmf_namespace", "w"));
	block_rig_free(&rig);
}

/* A volume on a remote namespace is served to another initiator: its device goes and comes back while that writes. */
static void test_device_goes(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	memset(model, 0, sizeof(model));
	rig_open(&rig);
	remote(&rig, "near", "s", true);
	block_rig_apply(&rig,
			"{'pools': [{'name': 'q', 'remotes': ['near']}],"
			" 'volumes': [{'tenant': 'blue', 'name': 'w', 'pool': 'q', 'size': %d}],"
			" 'nvmf_subsystems': [{'tenant': 'blue', 'name': 't', 'nqn': 'nqn.2026-01.test:t',"
			" 'allow_any_host': true}],"
			" 'nvmf_namespaces': [{'tenant': 'blue', 'name': 'deep', 'subsystem': 't', 'volume': 'w'}]}",
			BYTES / 2);
	remote(&rig, "far", "t", false);
	attach(&rig, &user, "far", "2");
	for (unsigned i = 0; i < 2; i++) {
		flights_start(&user);
		json_decref(block_rig_action(&rig, "nvmf_remote", "reconnect", "near", NULL, NULL));
		flights_land(&rig);
	}
	for (unsigned i = 0; i < FLIGHTS; i++) {
		assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, i * 65536, back, FLIGHT_BYTES, 0), DPU_BLOCK_OK);
		assert_memory_equal(back, model + i * 65536, FLIGHT_BYTES);
	}
	/* For good, with nobody waiting for an answer: the target holds requests for seconds. */
	assert_int_equal(block_rig_delete(&rig, "nvmf_namespace", "blue/n", false, NULL), 0);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "near", "state", "gone"));
	assert_true(field_is(&rig, "nvmf_remote", "far", "state", "ready"));
	block_rig_detach(&user);
	block_rig_free(&rig);
}

struct connect_pdu {
	struct nvme_tcp_capsule_cmd capsule;
	struct nvme_connect_data data;
};

static void connect_fill(struct connect_pdu *pdu, uint16_t cid, const char *subnqn)
{
	const struct nvme_connect_sqe sqe = {
		.opcode = NVME_FABRICS,
		.flags = NVME_PSDT_SGL,
		.cid = cid,
		.fctype = NVME_FABRICS_CONNECT,
		.sgl = { .length = sizeof(pdu->data), .type = NVME_SGL_IN_CAPSULE },
		.sqsize = 31,
	};

	pdu->capsule.header = (struct nvme_tcp_header){ .type = NVME_TCP_CAPSULE_CMD,
							.hlen = sizeof(pdu->capsule),
							.pdo = sizeof(pdu->capsule),
							.plen = sizeof(*pdu) };
	memcpy(&pdu->capsule.sqe, &sqe, sizeof(sqe));
	pdu->data = (struct nvme_connect_data){ .hostid = { 1 }, .cntlid = NVME_CNTLID_DYNAMIC };
	snprintf(pdu->data.subnqn, sizeof(pdu->data.subnqn), "%s", subnqn);
	snprintf(pdu->data.hostnqn, sizeof(pdu->data.hostnqn), "nqn.2026-01.test:host");
}

/* A host that does not wait for answers: what it has sent behind a Connect that is refused is served, too. */
static void test_connects_at_once(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct {
		struct nvme_tcp_icreq icreq;
		struct connect_pdu connects[3];
	} out = { .icreq.header = { .type = NVME_TCP_ICREQ, .hlen = 128, .plen = 128 } };
	struct {
		struct nvme_tcp_icresp icresp;
		struct nvme_tcp_capsule_resp answers[3];
	} in;
	struct block_rig rig;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	rig_open(&rig);
	for (uint16_t i = 0; i < 3; i++)
		connect_fill(&out.connects[i], i, i < 2 ? "nqn.2026-01.test:none" : "nqn.2026-01.test:s");
	address.sin_port = htons((uint16_t)ports[0]);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(send(fd, &out, sizeof(out), 0), sizeof(out));
	WAIT_FOR(&rig.base, recv(fd, &in, sizeof(in), MSG_PEEK | MSG_DONTWAIT) == sizeof(in));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(in.answers[i].cqe.cid, i);
		assert_int_equal(in.answers[i].cqe.status >> 1,
				 i < 2 ? NVME_CONNECT_INVALID_PARAMETERS | NVME_DNR : NVME_OK);
	}
	close(fd);
	block_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connects_at_once),
		cmocka_unit_test(test_told_and_gone),
		cmocka_unit_test(test_created),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_deleted_while_away),
		cmocka_unit_test(test_drains_alone),
		cmocka_unit_test(test_removed),
		cmocka_unit_test(test_undone),
		cmocka_unit_test(test_goes_with_pool),
		cmocka_unit_test(test_device_goes),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
