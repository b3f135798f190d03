// SPDX-License-Identifier: BSD-3-Clause
/* Remote namespaces as objects, against a target in a thread: I/O, a pool and a volume on one, lost paths, deletion of
 * the namespace, restarts. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "operating/uring_needed.h"
#include "service/nvmf/remote/nvmf_remote_priv.h"
#include "service/nvmf/remote/nvmf_remote_rig.h"

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

	remote_rig_open(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(user.device->bytes, HOUSE_BYTES);
	io_check(&user, 1);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	assert_true(field_is(&rig, "nvmf_remote", "r", "state", "ready"));
	house_ask(house_drop);
	io_check(&user, 2);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "path_losses", "2"));
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	/* Paths go and come. */
	for (unsigned i = 0; i < 2; i++) {
		char fields[128];

		snprintf(fields, sizeof(fields), "{'addresses': ['127.0.0.1:%u'%s]}", house_port(1),
			 i ? ", '127.0.0.1:1'" : "");
		assert_int_equal(block_rig_change(&rig, CHANGE_UPDATE, "nvmf_remote", "r", fields, NULL), 0);
		io_check(&user, 7);
		WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "1"));
	}
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "r", "paths"), "127.0.0.1:1: waiting") != NULL);
	assert_true(field_is(&rig, "nvmf_remote", "r", "path_losses", "2"));
	house_ask(grow_namespace);
	WAIT_FOR(&rig.base, user.changes > 0 && field_is(&rig, "nvmf_remote", "r", "bytes", "33554432"));
	/* Deleted: the user is asked to go. A new one needs to be asked for. */
	house_ask(delete_namespace);
	WAIT_FOR(&rig.base, user.device == NULL);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "state", "gone"));
	house_ask(new_namespace);
	json_decref(block_rig_action(&rig, "nvmf_remote", "reconnect", "r", NULL, NULL));
	WAIT_FOR(&rig.base, user.device != NULL);
	io_check(&user, 3);
	block_rig_detach(&user);
	assert_int_equal(block_rig_delete(&rig, "nvmf_remote", "r", false, NULL), 0);
	remote_rig_close(&rig);
}

/* A user of a volume of a pool on the remote. */
static void pool_open(struct block_rig *rig, struct block_rig_user *user)
{
	remote_rig_open(rig);
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
	house_ask(house_drop);
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
	remote_rig_close(&rig);
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

	remote_rig_open(&rig);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'd', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s',"
			" 'data_digest': true}], 'pools': [{'name': 'p', 'remotes': ['d']}],"
			" 'volumes': [{'tenant': 'blue', 'name': 'v', 'pool': 'p', 'size': 16777216}]}",
			house_port(0));
	block_rig_attach(&user, &rig, "volume", "v", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	io_check(&user, 1);
	house_ask(spoil_twice);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_int_equal(back[65535], 1);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "d", "digest_errors", "2"));
	assert_true(field_is(&rig, "volume", "v", "integrity_errors", "0"));
	house_ask(count_errors);
	assert_int_equal(target_errors, 0);
	block_rig_detach(&user);
	remote_rig_close(&rig);
}

static void vanish(struct fake_target *target)
{
	target->ports[0].refuses = target->ports[1].refuses = true;
	house_drop(target);
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

	remote_rig_open(&rig);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	house_ask(vanish);
	block_rig_apply(&rig,
			"{'nvmf_remotes': [{'name': 'x', 'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s'}]}",
			house_port(0));
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "x", "paths"), ": waiting: ") != NULL);
	house_ask(reappear);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "x", "live_paths", "1"));
	paths = block_rig_field(&rig, "nvmf_remote", "x", "paths");
	if (strstr(paths, "(") || strstr(paths, "lost"))
		fail_msg("%s", paths);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	assert_non_null(strstr(block_rig_field(&rig, "nvmf_remote", "r", "paths"), ", lost 1 time ("));
	remote_rig_close(&rig);
}

/* A DPU that stops does not wait long for a target that has gone before; what was answered is there afterwards. */
static void test_stop_without_target(void **state)
{
	static uint8_t back[65536];
	struct block_rig rig;
	struct block_rig_user user;

	pool_open(&rig, &user);
	io_check(&user, 5);
	house_ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	block_rig_detach(&user);
	uint64_t start = clock_ns();
	block_rig_down(&rig);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 3000);
	house_ask(reappear);
	block_rig_up(&rig);
	block_rig_attach(&user, &rig, "volume", "v", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 8192, back, sizeof(back), 0), DPU_BLOCK_OK);
	assert_int_equal(back[65535], 5);
	block_rig_detach(&user);
	remote_rig_close(&rig);
}

static void *reappear_later(void *arg)
{
	usleep(2500000);
	house_ask(reappear);
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
	house_ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	uint64_t start = clock_ns();
	assert_int_equal(block_rig_delete(&rig, "pool", "p", true, NULL), 0);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 5000);
	house_ask(reappear);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	house_ask(vanish);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "0"));
	pthread_create(&later, NULL, reappear_later, NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	pthread_join(later, NULL);
	block_rig_detach(&user);
	remote_rig_close(&rig);
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
	house_ask(fall_silent);
	assert_int_equal(txn_new(rig.dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, CHANGE_DELETE, "pool", NULL, "p", NULL, 0, true, &err), 0);
	txn_commit(txn, deleted, &gone);
	txn_free(txn);
	run_for(&rig.base, 300 * CLOCK_NS_PER_MS);
	assert_false(gone);
	house_ask(vanish);
	uint64_t start = clock_ns();
	WAIT_FOR(&rig.base, gone);
	assert_in_range((clock_ns() - start) / CLOCK_NS_PER_MS, 0, 5000);
	remote_rig_close(&rig);
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

	remote_rig_open(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	user.hold = true;
	house_ask(vanish);
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
	remote_rig_close(&rig);
}

/* What a killed predecessor has left: writes wait. */
static void test_predecessor(void **state)
{
	struct block_rig rig;
	struct block_rig_user user;
	char path[256], uuid[UUID_TEXT];
	uint8_t data[4096] = { 1 };

	remote_rig_open(&rig);
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
	remote_rig_close(&rig);
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

	remote_rig_open(&rig);
	block_rig_attach(&user, &rig, "nvmf_remote", "r", NULL);
	WAIT_FOR(&rig.base, user.device != NULL && field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	house_ask(lose_write);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	uint64_t start = clock_ns();
	block_rig_detach(&user);
	assert_int_equal(block_rig_delete(&rig, "nvmf_remote", "r", false, NULL), 0);
	snprintf(fields, sizeof(fields), "{'addresses': ['127.0.0.1:%u'], 'nqn': 'nqn.2026-01.test:s'}", house_port(0));
	assert_int_equal(block_rig_change(&rig, CHANGE_CREATE, "nvmf_remote", "other", fields, NULL), 0);
	block_rig_attach(&user, &rig, "nvmf_remote", "other", NULL);
	WAIT_FOR(&rig.base, user.device != NULL);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_READ, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start < 2000 * CLOCK_NS_PER_MS);
	assert_int_equal(block_rig_io(&user, DPU_BLOCK_WRITE, 0, data, sizeof(data), 0), DPU_BLOCK_OK);
	assert_true(clock_ns() - start >= 2100 * CLOCK_NS_PER_MS); /* twice the keep-alive time, and quiesce */
	block_rig_detach(&user);
	remote_rig_close(&rig);
	assert_int_equal(marker_young_ms(11000, 600), 10400);
	assert_int_equal(marker_young_ms(11000, 11000), 0);
}

static void round_up(struct fake_target *target)
{
	target->kas = 100;
	house_drop(target);
}

/* A controller that keeps associations for longer than it was asked to: the file says so, for a successor. */
static void test_long_keep_alive(void **state)
{
	char path[256], uuid[UUID_TEXT], text[16] = "";
	struct block_rig rig;

	remote_rig_open(&rig);
	uuid_format(&block_rig_find(&rig, "nvmf_remote", "r")->uuid, uuid);
	snprintf(path, sizeof(path), "%s/nvmf-remote-%s", rig.state_dir, uuid);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	house_ask(round_up);
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "path_losses", "2"));
	WAIT_FOR(&rig.base, field_is(&rig, "nvmf_remote", "r", "live_paths", "2"));
	FILE *marker = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), marker));
	fclose(marker);
	assert_string_equal(text, "10100\n");
	remote_rig_close(&rig);
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
		{ "{'addresses': ['10.0.0.1'], 'nqn': ''}", "nvmf_remote/x.nqn" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'two words'}", "nvmf_remote/x.nqn" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'nqn.2026-01.test:x', 'host_nqn': 'x'}",
		  "nvmf_remote/x.host_nqn" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'nqn.2026-01.test:x', 'depth': 1}", "nvmf_remote/x.depth" },
		{ "{'addresses': ['10.0.0.1'], 'nqn': 'nqn.2026-01.test:x', 'keep_alive': 999}",
		  "nvmf_remote/x.keep_alive" },
		{ "{'addresses': [], 'nqn': 'nqn.2026-01.test:x'}", "nvmf_remote/x.addresses" },
	};
	struct remote_address address;
	struct block_rig rig;

	block_rig_new(&rig, 1, remote_rig_services);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dpu_error err = { 0 };

		assert_int_not_equal(block_rig_change(&rig, CHANGE_CREATE, "nvmf_remote", "x", cases[i].fields, &err),
				     0);
		assert_string_equal(err.path, cases[i].path);
	}
	/* One that cannot be reached is made all the same, and says why. Its name is the target's affair. */
	assert_int_equal(block_rig_change(&rig, CHANGE_CREATE, "nvmf_remote", "x",
					  "{'addresses': ['127.0.0.1:1'], 'nqn': 'nvmet-test'}", NULL),
			 0);
	WAIT_FOR(&rig.base, strstr(block_rig_field(&rig, "nvmf_remote", "x", "why"), "refused") != NULL);
	block_rig_free(&rig);
	assert_int_equal(remote_address_parse("2001:db8::1", &address), 0);
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&address.address)->sin6_port), 4420);
	assert_int_equal(remote_address_parse("[2001:db8::1]:8009", &address), 0);
	assert_int_equal(ntohs(((struct sockaddr_in6 *)&address.address)->sin6_port), 8009);
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
		cmocka_unit_test(test_deleted_predecessor),
	};

	uring_needed();
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
