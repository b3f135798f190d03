// SPDX-License-Identifier: BSD-3-Clause
/* Remote namespaces as objects, against a target in a thread: I/O, a pool and a volume on one, lost paths, deletion of
 * the namespace, restarts, discovery. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "service/block/block_rig.h"
#include "service/nvmf/initiator/fake_target.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"

enum { BYTES = 64 << 20 };

/* The target's thread. What tests change in it, they change between `ask` and `did`. */
static struct {
	pthread_t thread;
	struct uring *uring;
	struct stream_group *streams;
	struct fake_target target;
	void (*_Atomic ask)(struct fake_target *target);
	_Atomic bool stop;
} house;

static void *house_run(void *arg)
{
	while (!house.stop || house.target.open > 0 || uring_under_way(house.uring) > 0) {
		void (*ask)(struct fake_target * target) = house.ask;

		if (ask) {
			ask(&house.target);
			house.ask = NULL;
		}
		if (uring_poll(house.uring) == 0)
			usleep(200);
	}
	return NULL;
}

static void ask(void (*what)(struct fake_target *target))
{
	house.ask = what;
	while (house.ask)
		usleep(100);
}

static void house_open(void)
{
	memset(&house, 0, sizeof(house));
	assert_int_equal(uring_new(256, &house.uring, NULL), 0);
	assert_int_equal(stream_group_new(&(struct stream_group_options){ .uring = house.uring }, &house.streams, NULL),
			 0);
	fake_open(&house.target, house.streams, BYTES, 12);
	pthread_create(&house.thread, NULL, house_run, NULL);
}

static void house_close(void)
{
	ask(fake_close);
	house.stop = true;
	pthread_join(house.thread, NULL);
	fake_free(&house.target);
	stream_group_free(house.streams);
	uring_free(house.uring);
}

static const struct service *const services[] = { &block_service, &nvmf_service, &nvmf_remote_service, NULL };

static void rig_open(struct block_rig *rig)
{
	house_open();
	block_rig_new(rig, 2, services);
	block_rig_apply(rig,
			"{'tenants': [{'name': 'blue'}], 'nvmf_remotes': [{'name': 'r', 'addresses': ['127.0.0.1:%u', "
			"'127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s', 'keep_alive': 1000, 'quiesce': 100}]}",
			ntohs(house.target.ports[0].address.sin_port), ntohs(house.target.ports[1].address.sin_port));
}

static void rig_close(struct block_rig *rig)
{
	block_rig_free(rig);
	house_close();
}

static bool field_is(struct block_rig *rig, const char *class_name, const char *name, const char *field,
		     const char *value)
{
	return strcmp(block_rig_field(rig, class_name, name, field), value) == 0;
}

static void io_check(struct block_rig_user *user, uint8_t value)
{
	static uint8_t data[65536], back[65536];

	memset(data, value, sizeof(data));
	assert_int_equal(block_rig_io(user, DPU_BLOCK_WRITE, 8192, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_int_equal(block_rig_io(user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_memory_equal(data, back, sizeof(data));
}

static void drop_both(struct fake_target *target)
{
	fake_drop(target, 0);
	fake_drop(target, 1);
}

static void delete_namespace(struct fake_target *target)
{
	target->nsid = 0;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
}

static void grow_namespace(struct fake_target *target)
{
	target->blocks /= 2;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACES, NVME_LOG_CHANGED_NAMESPACES));
}

static void new_namespace(struct fake_target *target)
{
	target->nsid = 5;
	target->uuid[0]++;
}

static void test_object(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	rig_open(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(user.device->bytes, BYTES);
	io_check(&user, 1);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	assert_true(field_is(&rig, "nvmf_remote", "r", "state", "ready"));
	ask(drop_both);
	io_check(&user, 2);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "path_losses", "2"));
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	/* Paths go and come. */
	for (unsigned i = 0; i < 2; i++) {
		char fields[128];

		snprintf(fields, sizeof(fields), "{'addresses': ['127.0.0.1:%u'%s]}",
			 ntohs(house.target.ports[1].address.sin_port), i ? ", '127.0.0.1:1'" : "");
		assert_int_equal(block_rig_change(&rig, CHANGE_UPDATE, "nvmf_remote", "r", fields, NULL), 0);
		io_check(&user, 7);
		WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	}
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "r", "paths"), "127.0.0.1:1: waiting") != NULL);
	assert_true(field_is(&rig, "nvmf_remote", "r", "path_losses", "2"));
	ask(grow_namespace);
	WAIT_FOR(&rig.base, user.changes > 0 && field_is(&rig, "nvmf_remote", "r", "bytes", "33554432"));
	/* Deleted: the user is asked to go. A new one needs to be asked for. */
	ask(delete_namespace);
	WAIT_FOR(&rig.base, user.device == NULL);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "state", "gone"));
	ask(new_namespace);
	json_decref(block_rig_action(&rig, "nvmf_remote", "reconnect", "r", NULL, NULL));
	WAIT_FOR(&rig.base, user.device != NULL);
	io_check(&user, 3);
	block_rig_detach(&user);
	assert_int_equal(block_rig_delete(&rig, "nvmf_remote", "r", false, NULL), 0);
	rig_close(&rig);
}

/* A user of a volume of a pool on the remote. */
static void pool_open(struct block_rig *rig, struct block_rig_user *user)
{
	rig_open(rig);
	block_rig_apply(rig, "{'pools': [{'name': 'p', 'remotes': ['r']}],"
			     " 'volumes': [{'tenant': 'blue', 'name': 'v', 'pool': 'p', 'size': 16777216}]}");
	block_rig_attach(user, rig, "volume", "v", NULL);
	WAIT_FOR(&rig->base, user->device != NULL);
}

static void test_pool(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	pool_open(&rig, &user);
	io_check(&user, 1);
	ask(drop_both);
	io_check(&user, 2);
	block_rig_detach(&user);
	/* After a restart all is there; no write was in doubt any more, so nothing waits. */
	usleep(1300000);
	block_rig_down(&rig);
	uint64_t start = clock_ns();
	block_rig_up(&rig);
	block_rig_attach(&user, &rig, "volume", "v", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	static uint8_t back[65536];
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_int_equal(back[65535], 2);
	io_check(&user, 3);
	assert_true(clock_ns() - start < 2000 * CLOCK_NS_PER_MS);
	block_rig_detach(&user);
	struct dpu_error err = { 0 };
	assert_true(block_rig_delete(&rig, "nvmf_remote", "r", false, &err) != 0);
	assert_int_equal(err.code, DPU_E_IN_USE);
	rig_close(&rig);
}

static void spoil_twice(struct fake_target *target)
{
	target->bad_data_digests = 2;
}

static uint64_t target_errors;

static void count_errors(struct fake_target *target)
{
	target_errors = target->digest_errors;
}

/* With data digests the remote, its pool and the volume hand CRCs to each other; what was spoilt is read again, and
 * counted. */
static void test_digests(void **state)
{
	static uint8_t back[65536];
	struct block_rig rig;
	struct block_rig_user user;

	rig_open(&rig);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'd', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s',"
			" 'data_digest': true}], 'pools': [{'name': 'p', 'remotes': ['d']}],"
			" 'volumes': [{'tenant': 'blue', 'name': 'v', 'pool': 'p', 'size': 16777216}]}",
			ntohs(house.target.ports[0].address.sin_port));
	block_rig_attach(&user, &rig, "volume", "v", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	io_check(&user, 1);
	ask(spoil_twice);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_int_equal(back[65535], 1);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "d", "digest_errors", "2"));
	assert_true(field_is(&rig, "volume", "v", "integrity_errors", "0"));
	ask(count_errors);
	assert_int_equal(target_errors, 0);
	block_rig_detach(&user);
	rig_close(&rig);
}

static void vanish(struct fake_target *target)
{
	target->ports[0].refuses = target->ports[1].refuses = true;
	drop_both(target);
}

static void reappear(struct fake_target *target)
{
	target->ports[0].refuses = target->ports[1].refuses = false;
}

/* What kept a path from coming is told no more when it is there, and is not why it was lost. */
static void test_path_why(void **state)
{
	const char *paths;
	struct block_rig rig;

	rig_open(&rig);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	ask(vanish);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'x', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s'}]}",
			ntohs(house.target.ports[0].address.sin_port));
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "x", "paths"), ": waiting: ") != NULL);
	ask(reappear);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "x", "live_paths", "1"));
	paths = block_rig_field(&rig, "nvmf_remote", "x", "paths");
	if (strstr(paths, "(") || strstr(paths, "lost"))
		fail_msg("%s", paths);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	assert_non_null(strstr(block_rig_field(&rig, "nvmf_remote", "r", "paths"), ", lost 1 time ("));
	rig_close(&rig);
}

/* A DPU that stops does not wait long for a target that has gone before; what was answered is there afterwards. */
static void test_stop_without_target(void **state)
{
	static uint8_t back[65536];
	struct block_rig rig;
	struct block_rig_user user;

	pool_open(&rig, &user);
	io_check(&user, 5);
	ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	block_rig_detach(&user);
	uint64_t start = clock_ns();
	block_rig_down(&rig);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 3000);
	ask(reappear);
	block_rig_up(&rig);
	block_rig_attach(&user, &rig, "volume", "v", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_int_equal(back[65535], 5);
	block_rig_detach(&user);
	rig_close(&rig);
}

static void *reappear_later(void *arg)
{
	usleep(2500000);
	ask(reappear);
	return NULL;
}

/* Who deletes a pool does not wait for a target that is away; who uses the remote afterwards does. */
static void test_pool_deleted_without_target(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	uint8_t data[4096] = { 1 };
	pthread_t later;

	pool_open(&rig, &user);
	io_check(&user, 5);
	block_rig_detach(&user);
	ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	uint64_t start = clock_ns();
	assert_int_equal(block_rig_delete(&rig, "pool", "p", true, NULL), 0);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 5000);
	ask(reappear);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	pthread_create(&later, NULL, reappear_later, NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	pthread_join(later, NULL);
	block_rig_detach(&user);
	rig_close(&rig);
}

static bool unanswered(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	return fake_queue(connection) != 0;
}

static void fall_silent(struct fake_target *target)
{
	target->command = unanswered;
}

static void deleted(void *arg, int status, const struct dpu_error *err, json_t *diff)
{
	assert_int_equal(status, 0);
	*(bool *)arg = true;
}

/* The target is still there when a pool is deleted, and goes while the pool is being closed. */
static void test_pool_deleted_as_target_goes(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	struct dpu_error err;
	struct txn *txn;
	bool gone = false;

	pool_open(&rig, &user);
	io_check(&user, 5);
	block_rig_detach(&user);
	ask(fall_silent);
	assert_int_equal(txn_new(rig.dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "pool", NULL, "p", NULL, 0, true, &err), 0);
	txn_commit(txn, deleted, &gone);
	txn_free(txn);
	run_for(&rig.base, 300 * CLOCK_NS_PER_MS);
	assert_false(gone);
	ask(vanish);
	uint64_t start = clock_ns();
	WAIT_FOR(&rig.base, gone);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 5000);
	rig_close(&rig);
}

struct late_read {
	struct dpu_block_request request; /* first */
	struct dpu_block_device *device;
	struct iovec iov;
	uint8_t data[4096];
	atomic_bool done;
};

static void late_read_done(struct dpu_block_request *request)
{
	atomic_store(&((struct late_read *)request)->done, true);
}

static void late_read_submit(void *arg, struct worker *worker)
{
	struct late_read *late = arg;

	late->device->ops->submit(late->device, &late->request);
}

/* What waits for a path of a deleted remote fails. */
static void test_remote_deleted_without_target(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	struct late_read late = { .request = { .op = DPU_BLOCK_READ, .segments = 1, .length = sizeof(late.data) } };

	rig_open(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	user.hold = true;
	ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	late.device = user.device;
	late.iov = (struct iovec){ late.data, sizeof(late.data) };
	late.request.iov = &late.iov;
	late.request.done = late_read_done;
	assert_int_equal(worker_call(user.worker, late_read_submit, &late, NULL), 0);
	assert_int_equal(block_rig_delete(&rig, "nvmf_remote", "r", false, NULL), 0);
	WAIT_FOR(&rig.base, user.asked && atomic_load(&late.done));
	assert_int_not_equal(late.request.status, DPU_BLOCK_OK);
	block_rig_release(&user);
	block_rig_detach(&user);
	rig_close(&rig);
}

/* What a killed predecessor has left: writes wait. */
static void test_predecessor(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	char path[256], uuid[UUID_TEXT];
	uint8_t data[4096] = { 1 };

	rig_open(&rig);
	uuid_format(&block_rig_find(&rig, "nvmf_remote", "r")->uuid, uuid);
	snprintf(path, sizeof(path), "%s/nvmf-remote-%s", rig.state_dir, uuid);
	assert_int_equal(access(path, F_OK), 0);
	block_rig_down(&rig);
	assert_int_equal(access(path, F_OK), -1);
	FILE *marker = fopen(path, "w");
	fputs("3100\n", marker); /* it had a longer keep-alive than we have */
	fclose(marker);
	uint64_t start = clock_ns();
	block_rig_up(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start < 1500 * CLOCK_NS_PER_MS);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start >= 3100 * CLOCK_NS_PER_MS);
	block_rig_detach(&user);
	/* Where a successor could not be told, nothing is begun. */
	block_rig_down(&rig);
	assert_int_equal(mkdir(path, 0700), 0);
	block_rig_up(&rig);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "state", "failed"));
	assert_non_null(strstr(block_rig_field(&rig, "nvmf_remote", "r", "why"), "cannot be written: Is a directory"));
	assert_int_equal(rmdir(path), 0);
	rig_close(&rig);
}

/* A write is lost with its path; the next time it is carried out. */
static bool on_first_write(struct fake_target *fake, struct fake_connection *connection, const struct nvme_sqe *sqe)
{
	if (fake_queue(connection) == 0 || sqe->opcode != NVME_WRITE)
		return false;
	fake->command = NULL;
	fake_drop(fake, fake_port_of(connection)); /* not both: the repetition might be lost, too */
	return true;
}

static void lose_write(struct fake_target *target)
{
	target->command = on_first_write;
}

/* Who takes the place of an object that left a write in doubt waits for it, whatever it is called, and though it is
 * there before the other is closed. */
static void test_deleted_predecessor(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	uint8_t data[4096] = { 1 };
	char fields[128];

	rig_open(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL && field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	ask(lose_write);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	uint64_t start = clock_ns();
	block_rig_detach(&user);
	assert_int_equal(block_rig_delete(&rig, "nvmf_remote", "r", false, NULL), 0);
	snprintf(fields, sizeof(fields), "{'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s'}",
		 ntohs(house.target.ports[0].address.sin_port));
	assert_int_equal(block_rig_change(&rig, CHANGE_CREATE, "nvmf_remote", "other", fields, NULL), 0);
	block_rig_attach(&user, &rig, "nvmf_remote", "other", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start < 2000 * CLOCK_NS_PER_MS);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start >= 2100 * CLOCK_NS_PER_MS); /* twice the keep-alive time, and quiesce */
	block_rig_detach(&user);
	rig_close(&rig);
	assert_int_equal(marker_young_ms(11000, 600), 10400);
	assert_int_equal(marker_young_ms(11000, 11000), 0);
}

static void round_up(struct fake_target *target)
{
	target->kas = 100;
	drop_both(target);
}

/* A controller that keeps associations for longer than it was asked to: the file says so, for a successor. */
static void test_long_keep_alive(void **state)
{
	char path[256], uuid[UUID_TEXT], text[16] = "";
	struct block_rig rig;

	rig_open(&rig);
	uuid_format(&block_rig_find(&rig, "nvmf_remote", "r")->uuid, uuid);
	snprintf(path, sizeof(path), "%s/nvmf-remote-%s", rig.state_dir, uuid);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	ask(round_up);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "path_losses", "2"));
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	FILE *marker = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), marker));
	fclose(marker);
	assert_string_equal(text, "10100\n");
	rig_close(&rig);
}

static void test_fields(void **state)
{
	static const struct {
		const char *fields, *path;
	} cases[] = {
		{ "{'addresses': ['host:4420'], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses[0]" },
		{ "{'addresses': ['10.0.0.1:0'], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses[0]" },
		{ "{'addresses': ['10.0.0.1:65536'], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses[0]" },
		{ "{'addresses': ['10.0.0.1:44x'], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses[0]" },
		{ "{'addresses': ['[10.0.0.1]:4420'], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses[0]" },
		{ "{'addresses': ['[2001:db8::1'], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses[0]" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'x'}", "nvmf_remote/x.nqn" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'nqn.2026-13.test:x'}", "nvmf_remote/x.nqn" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'nqn.2026-01.test:x', 'depth': 1}", "nvmf_remote/x.depth" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'nqn.2026-01.test:x', 'keep_alive': 999}",
		  "nvmf_remote/x.keep_alive" },
		{ "{'addresses': [], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses" },
	};
	struct remote_address address;
	struct block_rig rig;

	block_rig_new(&rig, 1, services);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };

		assert_int_not_equal(block_rig_change(&rig, CHANGE_CREATE, "nvmf_remote", "x", cases[i].fields, &err),
				     0);
		assert_string_equal(err.path, cases[i].path);
	}
	/* One that cannot be reached is made all the same, and says why. */
	assert_int_equal(block_rig_change(&rig, CHANGE_CREATE, "nvmf_remote", "x",
					  "{'addresses': ['127.0.0.1:1'], 'nqn': 'nqn.2026-01.test:x'}", NULL),
			 0);
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "x", "why"), "refused") != NULL);
	block_rig_free(&rig);
	assert_int_equal(remote_address_parse("2001:db8::1", &address), 0);
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&address.address)->sin6_port), 4420);
	assert_int_equal(remote_address_parse("[2001:db8::1]:8009", &address), 0);
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&address.address)->sin6_port), 8009);
}

static void entries_set(struct fake_target *target)
{
	static const char spaces[] = "                                ";

	target->entry_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		struct nvme_discovery_entry *entry = &target->entries[i];

		entry->trtype = NVME_TRTYPE_TCP;
		entry->subtype = i ? NVME_SUBTYPE_REFERRAL : NVME_SUBTYPE_NVM;
		memcpy(entry->trsvcid, spaces, sizeof(entry->trsvcid));
		memcpy(entry->trsvcid, "4420", 4);
		memcpy(entry->traddr, "192.0.2.1 ", 10);
		strcpy(entry->subnqn, "nqn.2026-01.test:s");
	}
	memset(target->entries[1].subnqn, 0xff, sizeof(target->entries[1].subnqn)); /* no text at all */
}

static void test_discover(void **state)
{
	struct block_rig rig;
	struct dpu_error err = { 0 };
	char address[64];

	rig_open(&rig);
	ask(entries_set);
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(house.target.ports[0].address.sin_port));
	json_t *result =
		block_rig_action(&rig, "nvmf_remote", "discover", NULL, json_pack("{s:s}", "address", address), NULL);
	assert_int_equal(json_array_size(result), 2);
	const json_t *first = json_array_get(result, 0);
	assert_string_equal(json_string_value(json_object_get(first, "kind")), "subsystem");
	assert_string_equal(json_string_value(json_object_get(first, "port")), "4420");
	assert_string_equal(json_string_value(json_object_get(first, "nqn")), "nqn.2026-01.test:s");
	assert_string_equal(json_string_value(json_object_get(json_array_get(result, 1), "kind")), "referral");
	json_decref(result);
	assert_null(block_rig_action(&rig, "nvmf_remote", "discover", NULL,
				     json_pack("{s:s}", "address", "127.0.0.1:1"), &err));
	assert_non_null(strstr(err.message, "refused"));
	assert_null(block_rig_action(&rig, "nvmf_remote", "discover", NULL, json_pack("{s:s}", "address", "x"), &err));
	assert_string_equal(err.path, "address");
	assert_null(block_rig_action(&rig, "nvmf_remote", "discover", NULL, json_pack("{s:s}", "address", ""), &err));
	assert_string_equal(err.path, "discover.address");
	rig_close(&rig);
}

static void refused(void *arg, int status, json_t *result, const struct dpu_error *err)
{
	assert_string_equal(err->message, "Discovery failed: the DPU stops.");
	*(bool *)arg = true;
}

/* Who accepts a connection and says nothing does not hold up a DPU that stops. */
static void test_stop_while_discovering(void **state)
{
	struct sockaddr_in listener = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t bytes = sizeof(listener);
	struct block_rig rig;
	bool told = false;
	char address[32];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&listener, sizeof(listener)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&listener, &bytes), 0);
	snprintf(address, sizeof(address), "127.0.0.1:%u", ntohs(listener.sin_port));
	block_rig_new(&rig, 1, services);
	json_t *args = json_pack("{s:s}", "address", address);
	model_action(rig.dpu.model, "nvmf_remote", "discover", NULL, NULL, args, refused, &told);
	json_decref(args);
	run_for(&rig.base, 100 * CLOCK_NS_PER_MS);
	assert_false(told);
	uint64_t start = clock_ns();
	block_rig_down(&rig);
	assert_true(told);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 3000);
	block_rig_up(&rig);
	block_rig_free(&rig);
	close(fd);
}

static void entry_set(struct fake_target *target, unsigned index, unsigned port, const char *nqn)
{
	struct nvme_discovery_entry *entry = &target->entries[index];

	memset(entry, 0, sizeof(*entry));
	entry->trtype = NVME_TRTYPE_TCP;
	entry->adrfam = NVME_ADRFAM_IPV4;
	entry->subtype = NVME_SUBTYPE_NVM;
	memset(entry->trsvcid, ' ', sizeof(entry->trsvcid));
	snprintf(entry->trsvcid, sizeof(entry->trsvcid), "%u", ntohs(target->ports[port].address.sin_port));
	memset(entry->traddr, ' ', sizeof(entry->traddr));
	memcpy(entry->traddr, "127.0.0.1", 9);
	strcpy(entry->subnqn, nqn);
}

/* One path, and what is none of ours or no address at all. */
static void one_known(struct fake_target *target)
{
	entry_set(target, 0, 1, "nqn.2026-01.test:s");
	entry_set(target, 1, 0, "nqn.2026-01.test:other");
	entry_set(target, 2, 0, "nqn.2026-01.test:s");
	memset(target->entries[2].traddr, 0xff, sizeof(target->entries[2].traddr));
	entry_set(target, 3, 0, "nqn.2026-01.test:s");
	memset(target->entries[3].subnqn, 'n', sizeof(target->entries[3].subnqn));
	target->entry_count = 4;
}

static void both_known(struct fake_target *target)
{
	entry_set(target, 1, 0, "nqn.2026-01.test:s");
	target->entry_count = 2;
	target->genctr++;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
}

static void other_known(struct fake_target *target)
{
	entry_set(target, 0, 0, "nqn.2026-01.test:s");
	target->entry_count = 1;
	target->genctr++;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
}

static void none_known(struct fake_target *target)
{
	target->entry_count = 0;
	target->genctr++;
	fake_event(target, nvme_event(NVME_EVENT_NOTICE, NVME_NOTICE_DISCOVERY, NVME_LOG_DISCOVERY));
}

/* A controller that knows no path is why there is none. */
static void test_watch_none(void **state)
{
	struct block_rig rig;

	house_open();
	ask(none_known);
	block_rig_new(&rig, 1, services);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'r', 'discovery': '127.0.0.1:%u', 'nqn': 'nqn.2026-01.test:s'}]}",
			ntohs(house.target.ports[0].address.sin_port));
	block_rig_change(&rig, CHANGE_CREATE, "pool", "p", "{'remotes': ['r']}", NULL);
	assert_non_null(strstr(block_rig_field(&rig, "pool", "p", "why"), "knows no path of the subsystem"));
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "r", "why"), "knows no path of the subsystem"));
	rig_close(&rig);
}

static void be_inaccessible(struct fake_target *target)
{
	target->ports[0].ana = target->ports[1].ana = NVME_ANA_STATE_INACCESSIBLE;
}

/* Who makes a pool on a namespace that no path leads to is answered. */
static void test_inaccessible(void **state)
{
	struct block_rig rig;

	house_open();
	ask(be_inaccessible);
	block_rig_new(&rig, 1, services);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'r', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s'}],"
			" 'pools': [{'name': 'p', 'remotes': ['r']}]}",
			ntohs(house.target.ports[0].address.sin_port));
	assert_non_null(strstr(block_rig_field(&rig, "pool", "p", "why"), "inaccessible"));
	rig_close(&rig);
}

/* Paths are those that a discovery controller knows. */
static void test_watch(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;

	house_open();
	ask(one_known);
	block_rig_new(&rig, 1, services);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'r', 'discovery': '127.0.0.1:%u', 'nqn': 'nqn.2026-01.test:s', "
			"'keep_alive': 1000, 'quiesce': 100}]}",
			ntohs(house.target.ports[0].address.sin_port));
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL && field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	assert_true(field_is(&rig, "nvmf_remote", "r", "discovered", "connected, knows 1 path"));
	io_check(&user, 1);
	ask(both_known);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	io_check(&user, 2);
	ask(other_known);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	io_check(&user, 3);
	assert_true(field_is(&rig, "nvmf_remote", "r", "path_losses", "0"));
	ask(drop_both); /* what is known stays while the controller is away */
	io_check(&user, 4);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	block_rig_detach(&user);
	rig_close(&rig);
}

/* More than there may be: those of the object come first, one that is in the log, too, counts once, and what was left
 * out comes when there is room. */
static void test_watch_many(void **state)
{
	unsigned port;
	struct block_rig rig;
	char fields[128];

	house_open();
	ask(one_known);
	port = ntohs(house.target.ports[0].address.sin_port);
	block_rig_new(&rig, 1, services);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'r', 'discovery': '127.0.0.1:%u', 'nqn': 'nqn.2026-01.test:s',"
			" 'addresses': ['127.0.0.1:%u', '127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3', '127.0.0.1:4',"
			" '127.0.0.1:5', '127.0.0.1:6', '127.0.0.1:7']}]}",
			port, port);
	WAIT_FOR(&rig.base, strncmp(block_rig_field(&rig, "nvmf_remote", "r", "discovered"), "connected", 9) == 0);
	FIELD_IS(&rig, "nvmf_remote", "r", "discovered", "connected, knows 1 path, of which 1 is too many");
	ask(both_known);
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "r", "discovered"), "2 paths"));
	FIELD_IS(&rig, "nvmf_remote", "r", "discovered", "connected, knows 2 paths, of which 1 is too many");
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	snprintf(fields, sizeof(fields), "{'addresses': ['127.0.0.1:%u']}", port);
	block_rig_change(&rig, CHANGE_UPDATE, "nvmf_remote", "r", fields, NULL);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	FIELD_IS(&rig, "nvmf_remote", "r", "discovered", "connected, knows 2 paths");
	rig_close(&rig);
}

/* Names that older versions took. */
static void test_stored_names(void **state)
{
	static const char rename[] = "UPDATE object SET fields = replace(fields, '2026-12', '2026-13')";
	struct block_rig rig;
	sqlite3 *store;

	block_rig_new(&rig, 1, services);
	block_rig_apply(&rig,
			"{'tenants': [{'name': 'blue'}], 'nvmf_remotes': [{'name': 'r', 'addresses': ['127.0.0.1:1'],"
			" 'nqn': 'nqn.2026-12.test:s', 'host_nqn': 'nqn.2026-12.test:us'}],"
			" 'nvmf_subsystems': [{'tenant': 'blue', 'name': 's', 'nqn': 'nqn.2026-12.test:s'}],"
			" 'nvmf_hosts': [{'tenant': 'blue', 'name': 'h', 'nqn': 'nqn.2026-12.test:h'}]}");
	block_rig_down(&rig);
	assert_int_equal(sqlite3_open(rig.store, &store), SQLITE_OK);
	assert_int_equal(sqlite3_exec(store, rename, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(store);
	block_rig_up(&rig);
	FIELD_IS(&rig, "nvmf_remote", "r", "nqn", "nqn.2026-13.test:s");
	FIELD_IS(&rig, "nvmf_remote", "r", "connects_as", "nqn.2026-13.test:us");
	FIELD_IS(&rig, "nvmf_subsystem", "s", "nqn", "nqn.2026-13.test:s");
	FIELD_IS(&rig, "nvmf_host", "h", "nqn", "nqn.2026-13.test:h");
	block_rig_free(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_object),
		cmocka_unit_test(test_pool),
		cmocka_unit_test(test_digests),
		cmocka_unit_test(test_path_why),
		cmocka_unit_test(test_pool_deleted_without_target),
		cmocka_unit_test(test_pool_deleted_as_target_goes),
		cmocka_unit_test(test_remote_deleted_without_target),
		cmocka_unit_test(test_stop_without_target),
		cmocka_unit_test(test_predecessor),
		cmocka_unit_test(test_long_keep_alive),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_discover),
		cmocka_unit_test(test_stop_while_discovering),
		cmocka_unit_test(test_deleted_predecessor),
		cmocka_unit_test(test_inaccessible),
		cmocka_unit_test(test_watch),
		cmocka_unit_test(test_watch_none),
		cmocka_unit_test(test_watch_many),
		cmocka_unit_test(test_stored_names),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
