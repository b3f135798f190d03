// SPDX-License-Identifier: BSD-3-Clause
/* Disks on real workers, with a guest of our own: what comes and goes on either side of them. */
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "operating/uring_needed.h"
#include "service/disk/disk_priv.h"
#include "service/disk/disk_rig.h"

enum { BLOCK = 4096, SECTORS = BLOCK / 512, MANY = 48 };

static const char *state_of_disk(struct block_rig *rig)
{
	return block_rig_field(rig, "disk", "d", "state");
}

static void write_version(struct guest *guest, uint64_t block, uint8_t version)
{
	uint8_t data[BLOCK];

	memset(data, version, sizeof(data));
	assert_int_equal(guest_io(guest, VIRTIO_BLK_T_OUT, block * SECTORS, data, BLOCK), VIRTIO_BLK_S_OK);
}

static void expect_version(struct guest *guest, uint64_t block, uint8_t version)
{
	uint8_t data[BLOCK], wanted[BLOCK];

	memset(wanted, version, sizeof(wanted));
	assert_int_equal(guest_io(guest, VIRTIO_BLK_T_IN, block * SECTORS, data, BLOCK), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, wanted, BLOCK);
}

static void offer_many(struct guest *guest, uint8_t version)
{
	uint8_t data[BLOCK];

	memset(data, version, sizeof(data));
	for (unsigned i = 0; i < MANY; i++)
		guest_offer(guest, VIRTIO_BLK_T_OUT, (uint64_t)i * SECTORS, data, BLOCK);
	run_for(&guest->rig->base, 50 * CLOCK_NS_PER_MS);
	while (guest_take(guest))
		;
	assert_true(guest->offered - guest->taken >= MANY - 2);
}

static void expect_all_taken(struct guest *guest)
{
	while (guest_take(guest))
		;
	assert_int_equal(guest->taken, guest->offered);
	for (unsigned i = 1; i <= MANY; i++)
		assert_int_equal(guest_status(guest, guest->offered - i), VIRTIO_BLK_S_OK);
}

/* ---- coming and going ---- */

static void attach_and_delete(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'volume': 'v'");
	guest_connect(&guest);
	assert_string_equal(state_of_disk(rig), "ready");
	assert_int_equal(guest_config_bytes(&guest), 16 << 20);
	write_version(&guest, 3, 7);
	expect_version(&guest, 3, 7);
	expect_version(&guest, 4, 0);
	assert_string_equal(block_rig_field(rig, "disk", "d", "reads"), "2");
	assert_string_equal(block_rig_field(rig, "volume", "v", "attachments"), "1");
	block_rig_delete(rig, "disk", "blue/d", false, NULL);
	assert_true(frontend_closed(&guest.frontend));
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "attachments"), "0") == 0);
	guest_free(&guest);
}

/* Nobody wonders why a VM does not see its disk. */
static void no_guest(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;
	char why[160];

	disk_rig_disk(rig, "'volume': 'v'");
	WAIT_FOR(&rig->base, strncmp(block_rig_field(rig, "disk", "d", "why"), "cannot", 6) == 0);
	snprintf(why, sizeof(why), "cannot connect to QEMU at %s/guest: No such file or directory", rig->dir);
	assert_string_equal(block_rig_field(rig, "disk", "d", "why"), why);
	assert_string_equal(state_of_disk(rig), "ready");
	guest_listen(&guest, rig);
	guest_connect(&guest);
	assert_string_equal(block_rig_field(rig, "disk", "d", "why"), "");
	guest_free(&guest);
}

/* The model's store says no when all else has been done: the disk goes on as if nothing had been. */
static void undone(void **state)
{
	struct block_rig *rig = *state;
	struct dpu_error err = { 0 };
	struct guest guest;

	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'volume': 'v'");
	guest_connect(&guest);
	assert_int_equal(guest_set_write_back(&guest, false), 0);
	write_version(&guest, 1, 5);
	block_rig_fail_commits(true);
	assert_int_not_equal(block_rig_delete(rig, "disk", "blue/d", false, &err), 0);
	assert_int_not_equal(block_rig_delete(rig, "volume", "blue/v", true, &err), 0);
	assert_int_not_equal(block_rig_change(rig, CHANGE_CREATE, "disk", "blue/e", "{'volume': 'v'}", &err), 0);
	block_rig_fail_commits(false);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "attachments"), "1") == 0);
	WAIT_FOR(&rig->base, strcmp(state_of_disk(rig), "ready") == 0);
	expect_version(&guest, 1, 5);
	assert_string_equal(block_rig_field(rig, "disk", "d", "write_back"), "false");
	/* Its mode has been kept for a successor, too. */
	frontend_disconnect(&guest.frontend);
	block_rig_down(rig);
	block_rig_up(rig);
	guest_connect(&guest);
	assert_string_equal(block_rig_field(rig, "disk", "d", "write_back"), "false");
	expect_version(&guest, 1, 5);
	block_rig_delete(rig, "volume", "blue/v", true, NULL);
	assert_null(block_rig_find(rig, "disk", "d"));
	guest_free(&guest);
}

/* Who fills a volume is alone with it until the end. */
static void import(void **state)
{
	struct block_rig *rig = *state;
	struct dpu_error err = { 0 };
	char command[256];

	snprintf(command, sizeof(command), "mkdir %s/images && head -c 8000000 /dev/urandom > %s/images/i", rig->dir,
		 rig->dir);
	assert_int_equal(system(command), 0);
	json_decref(block_rig_action(rig, "volume", "import-image", "blue/v", json_pack("{s:s}", "file", "i"), NULL));
	assert_int_not_equal(block_rig_change(rig, CHANGE_CREATE, "disk", "blue/d", "{'volume': 'v'}", &err), 0);
	assert_int_equal(err.code, DPU_E_IN_USE);
	assert_string_equal(err.path, "disk/blue/d.volume");
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "image"), "import of i done") == 0);
	disk_rig_disk(rig, "'volume': 'v'");
	assert_null(block_rig_action(rig, "volume", "import-image", "blue/v", json_pack("{s:s}", "file", "i"), &err));
	assert_int_equal(err.code, DPU_E_IN_USE);
}

static unsigned flushes(struct block_rig *rig)
{
	json_t *rows = block_rig_action(rig, "volume", "latency", "blue/v", NULL, NULL);
	unsigned count = 0;

	for (size_t i = 0; i < json_array_size(rows); i++) {
		json_t *row = json_array_get(rows, i);
		if (strcmp(json_string_value(json_object_get(row, "requests")), "other") == 0 &&
		    strcmp(json_string_value(json_object_get(row, "stage")), "whole") == 0)
			count = (unsigned)json_integer_value(json_object_get(row, "count"));
	}
	json_decref(rows);
	return count;
}

/* What a guest has written before it gave up flushing is safe when it is told so. */
static void write_through(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'volume': 'v'");
	guest_connect(&guest);
	write_version(&guest, 1, 5);
	assert_int_equal(flushes(rig), 0);
	assert_int_equal(guest_set_write_back(&guest, false), 0);
	assert_int_equal(flushes(rig), 1);
	assert_string_equal(block_rig_field(rig, "disk", "d", "write_back"), "false");
	assert_int_equal(guest_set_write_back(&guest, false), 0);
	write_version(&guest, 1, 6);
	assert_int_equal(flushes(rig), 1);
	assert_int_equal(guest_set_write_back(&guest, true), 0);
	assert_string_equal(block_rig_field(rig, "disk", "d", "write_back"), "true");
	/* Where nothing can be flushed the mode stays. */
	block_rig_quarantine(rig, "v");
	WAIT_FOR(&rig->base, strcmp(state_of_disk(rig), "waiting") == 0);
	assert_int_not_equal(guest_set_write_back(&guest, false), 0);
	assert_string_equal(block_rig_field(rig, "disk", "d", "write_back"), "true");
	guest_free(&guest);
}

/* ---- what is behind it ---- */

static void resize(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'volume': 'v'");
	guest_connect(&guest);
	assert_int_equal(guest_io(&guest, VIRTIO_BLK_T_IN, 5000 * SECTORS, (uint8_t[BLOCK]){ 0 }, BLOCK),
			 VIRTIO_BLK_S_IOERR);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': '32M'}", NULL);
	WAIT_FOR(&rig->base, guest_config_bytes(&guest) == 32 << 20);
	write_version(&guest, 5000, 3);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'size': '8M', 'shrinkable': true}", NULL);
	WAIT_FOR(&rig->base, guest_config_bytes(&guest) == 8 << 20);
	assert_int_equal(guest_io(&guest, VIRTIO_BLK_T_IN, 5000 * SECTORS, (uint8_t[BLOCK]){ 0 }, BLOCK),
			 VIRTIO_BLK_S_IOERR);
	guest_free(&guest);
}

/* A transaction that control does not wait for; the workers have time to do their part, and control has not heard of
 * it. */
static void begin(struct block_rig *rig, enum change_op op, const char *class_name, const char *key, const char *fields)
{
	struct dpu_error err;
	struct txn *txn;
	json_t *json = fields ? json_loads(fields, 0, NULL) : NULL;

	assert_int_equal(txn_new(rig->dpu.model, &txn), 0);
	assert_int_equal(txn_add(txn, op, class_name, NULL, key, json, 0, false, &err), 0);
	txn_commit(txn, NULL, NULL);
	txn_free(txn);
	json_decref(json);
	usleep(50000);
}

/* Word of a new size comes when the device is no more. */
static void resized_and_gone(void **state)
{
	struct block_rig *rig = *state;

	disk_rig_disk(rig, "'volume': 'v'");
	begin(rig, CHANGE_UPDATE, "volume", "blue/v", "{\"size\": 33554432}");
	begin(rig, CHANGE_DELETE, "disk", "blue/d", NULL);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "attachments"), "0") == 0);
}

/* What a queue has taken before it has the device again fails still. */
static bool works(struct guest *guest)
{
	return guest_io(guest, VIRTIO_BLK_T_IN, 0, (uint8_t[BLOCK]){ 0 }, BLOCK) == VIRTIO_BLK_S_OK;
}

static bool failed(struct block_rig *rig)
{
	return strcmp(state_of_disk(rig), "failing") == 0;
}

/* Away while requests are under way: they are done first. Then requests wait, fail, and work again. */
static void goes_in_use(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'remote': 'far', 'wait_seconds': 1");
	guest_connect(&guest);
	write_version(&guest, 1, 5);
	block_rig_remote_hang(rig, "far", true);
	offer_many(&guest, 8);
	block_rig_remote_hang(rig, "far", false);
	block_rig_remote_away(rig, "far", true);
	expect_all_taken(&guest);
	assert_string_equal(state_of_disk(rig), "waiting");
	assert_string_equal(block_rig_field(rig, "disk", "d", "why"), "its path is lost");
	unsigned waiting = guest_offer(&guest, VIRTIO_BLK_T_IN, 0, NULL, BLOCK);
	run_for(&rig->base, 100 * CLOCK_NS_PER_MS);
	assert_false(guest_take(&guest));
	block_rig_remote_away(rig, "far", false);
	WAIT_FOR(&rig->base, guest_take(&guest));
	assert_int_equal(guest_status(&guest, waiting), VIRTIO_BLK_S_OK);
	block_rig_remote_away(rig, "far", true);
	WAIT_FOR(&rig->base, failed(rig));
	assert_int_equal(guest_io(&guest, VIRTIO_BLK_T_IN, 0, (uint8_t[BLOCK]){ 0 }, BLOCK), VIRTIO_BLK_S_IOERR);
	block_rig_remote_away(rig, "far", false);
	WAIT_FOR(&rig->base, works(&guest));
	assert_string_equal(state_of_disk(rig), "ready");
	expect_version(&guest, 1, 8);
	guest_free(&guest);
}

static void quarantine(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'volume': 'v', 'wait_seconds': 1");
	guest_connect(&guest);
	write_version(&guest, 1, 5);
	block_rig_quarantine(rig, "v");
	WAIT_FOR(&rig->base, failed(rig));
	assert_int_equal(guest_io(&guest, VIRTIO_BLK_T_IN, 0, (uint8_t[BLOCK]){ 0 }, BLOCK), VIRTIO_BLK_S_IOERR);
	json_decref(block_rig_action(rig, "pool", "open", "p", NULL, NULL));
	WAIT_FOR(&rig->base, works(&guest));
	assert_string_equal(state_of_disk(rig), "ready");
	expect_version(&guest, 1, 5);
	guest_free(&guest);
}

/* ---- nobody waits for a cap ---- */

static void slow(struct block_rig *rig, struct guest *guest)
{
	block_rig_change(rig, CHANGE_SET, "qos_policy", "blue/slow", "{'cap_iops': 1, 'burst_ms': 1}", NULL);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'qos': 'slow'}", NULL);
	guest_listen(guest, rig);
	disk_rig_disk(rig, "'volume': 'v'");
	guest_connect(guest);
}

/* A guest that resets gets its queue at once, with all that was under way done; its cap is owed what went past. */
static void reset_under_way(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	slow(rig, &guest);
	offer_many(&guest, 9);
	uint64_t begin = clock_ns();
	guest_stop(&guest);
	assert_true(clock_ns() - begin < 5 * CLOCK_NS_PER_S);
	expect_all_taken(&guest);
	frontend_disconnect(&guest.frontend);
	guest_connect(&guest);
	guest_offer(&guest, VIRTIO_BLK_T_IN, 0, NULL, BLOCK);
	run_for(&rig->base, 1500 * CLOCK_NS_PER_MS);
	assert_false(guest_take(&guest));
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'qos': null}", NULL);
	WAIT_FOR(&rig->base, guest_take(&guest));
	for (unsigned i = 0; i < MANY; i++)
		expect_version(&guest, i, 9);
	guest_free(&guest);
}

static void delete_under_way(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	slow(rig, &guest);
	offer_many(&guest, 9);
	block_rig_delete(rig, "disk", "blue/d", false, NULL);
	WAIT_FOR(&rig->base, strcmp(block_rig_field(rig, "volume", "v", "attachments"), "0") == 0);
	expect_all_taken(&guest);
	guest_free(&guest);
}

static void death_and_stop_under_way(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	slow(rig, &guest);
	offer_many(&guest, 9);
	frontend_disconnect(&guest.frontend); /* its successor is let in */
	guest_connect(&guest);
	offer_many(&guest, 7);
	block_rig_down(rig);
	expect_all_taken(&guest);
	guest_free(&guest);
	block_rig_up(rig);
}

/* ---- nobody waits for what is away ---- */

static bool is_idle(struct block_rig *rig, const char *volume)
{
	return strcmp(block_rig_field(rig, "volume", volume, "attachments"), "0") == 0;
}

/* Reads, a flush, and writes of blocks and of parts. */
static void offer_all_kinds(struct guest *guest)
{
	uint8_t data[BLOCK];

	memset(data, 9, sizeof(data));
	for (unsigned i = 0; i < MANY; i++) {
		if (i == MANY / 2)
			guest_offer(guest, VIRTIO_BLK_T_FLUSH, 0, NULL, 0);
		else if (i % 4 == 0)
			guest_offer(guest, VIRTIO_BLK_T_IN, i * SECTORS, NULL, BLOCK);
		else
			guest_offer(guest, VIRTIO_BLK_T_OUT, i * SECTORS, data, i % 4 == 1 ? BLOCK / 2 : BLOCK);
	}
	run_for(&guest->rig->base, 50 * CLOCK_NS_PER_MS);
	while (guest_take(guest))
		;
}

/* The volume's pool is on a remote that is away: the disk lets go of it soon. When the remote is back the pool has lost
 * nothing, and goes on; a write that was given up is there or not. */
static void delete_while_away(void **state)
{
	struct block_rig *rig = *state;
	struct guest guest;

	block_rig_apply(rig, "{'pools': [{'name': 'q', 'remotes': ['far']}],"
			     " 'volumes': [{'name': 'w', 'tenant': 'blue', 'pool': 'q', 'size': 16777216}]}");
	guest_listen(&guest, rig);
	disk_rig_disk(rig, "'volume': 'w'");
	guest_connect(&guest);
	for (unsigned i = 0; i < MANY; i++)
		write_version(&guest, i, 5);
	block_rig_remote_hang(rig, "far", true);
	offer_all_kinds(&guest);
	assert_true(guest.offered - guest.taken > MANY / 2);
	uint64_t begin = clock_ns();
	block_rig_delete(rig, "disk", "blue/d", false, NULL);
	WAIT_FOR(&rig->base, is_idle(rig, "w"));
	assert_true(clock_ns() - begin < CLOCK_NS_PER_S);
	while (guest_take(&guest))
		;
	assert_int_equal(guest.taken, guest.offered);
	frontend_disconnect(&guest.frontend);
	block_rig_remote_hang(rig, "far", false);
	disk_rig_disk(rig, "'volume': 'w'");
	guest_connect(&guest);
	for (unsigned i = 0; i < MANY; i++) {
		uint8_t data[BLOCK];

		assert_int_equal(guest_io(&guest, VIRTIO_BLK_T_IN, i * SECTORS, data, BLOCK), VIRTIO_BLK_S_OK);
		assert_true(data[BLOCK - 1] == 5 || data[BLOCK - 1] == 9);
		assert_true(data[0] == 5 || data[0] == 9);
		write_version(&guest, i, 7);
	}
	assert_string_equal(block_rig_field(rig, "pool", "q", "state"), "ready");
	assert_string_equal(block_rig_field(rig, "pool", "q", "medium_errors"), "0");
	for (unsigned i = 0; i < MANY; i++)
		expect_version(&guest, i, 7);
	guest_free(&guest);
}

/* ---- memory of requests ---- */

enum { LONG = 1024 /* descriptors */, LONG_BYTES = 1024, LONG_QUEUE = 1024, LONG_QUEUES = 3 };

/* A read of 1 KiB in as many pieces as there may be. */
static uint64_t long_table(struct guest *guest)
{
	struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_IN };
	uint64_t area = frontend_alloc(&guest->frontend, 4096, 4096);
	uint64_t table = frontend_alloc(&guest->frontend, LONG * sizeof(struct vring_desc), 4096);
	struct vring_desc *desc = frontend_at(&guest->frontend, table);

	memcpy(frontend_at(&guest->frontend, area), &header, sizeof(header));
	desc[0] = (struct vring_desc){ FRONTEND_GPA + area, sizeof(header), VRING_DESC_F_NEXT, 1 };
	for (uint16_t i = 1; i < LONG - 1; i++)
		desc[i] = (struct vring_desc){ FRONTEND_GPA + area + 512, i <= LONG_BYTES - (LONG - 2) ? 2 : 1,
					       VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, i + 1 };
	desc[LONG - 1] = (struct vring_desc){ FRONTEND_GPA + area + 1024, 1, VRING_DESC_F_WRITE, 0 };
	return table;
}

/* Queues full of the longest requests that there may be, which wait for a cap: what the tenant pays for is under way,
 * the rest waits in the rings, and goes when there is memory again, whichever queue had it. */
static void long_requests(void **state)
{
	struct block_rig *rig = *state;
	struct frontend_queue *queues[LONG_QUEUES];
	struct guest guest;
	unsigned taken = 0;
	uint32_t length;
	uint16_t id;

	slow(rig, &guest);
	const struct virtio_blk_account *account =
		&((struct disk *)block_rig_find(rig, "disk", "d")->runtime)->account->requests;
	uint64_t table = long_table(&guest);
	for (unsigned i = 0; i < LONG_QUEUES; i++) {
		queues[i] = frontend_queue_new(&guest.frontend, 1 + i, LONG_QUEUE);
		frontend_queue_start(queues[i], frontend_queue_base(queues[i]));
		for (unsigned k = 0; k < LONG_QUEUE; k++)
			assert_true(frontend_offer_table(queues[i], table, LONG) >= 0);
		frontend_kick(queues[i]);
	}
	WAIT_FOR(&rig->base, account->waits >= 2);
	run_for(&rig->base, 20 * CLOCK_NS_PER_MS); /* all are asleep */
	assert_int_equal(account->most, account->limit);
	block_rig_change(rig, CHANGE_UPDATE, "volume", "blue/v", "{'qos': null}", NULL);
	for (unsigned i = 0; i < LONG_QUEUES; i++)
		for (unsigned k = 0; k < LONG_QUEUE; k++, taken++)
			WAIT_FOR(&rig->base, frontend_take(queues[i], &id, &length) && length == LONG_BYTES + 1);
	assert_int_equal(taken, LONG_QUEUES * LONG_QUEUE);
	WAIT_FOR(&rig->base, account->used == 0);
	assert_int_equal(account->most, account->limit);
	guest_free(&guest);
}

static int setup(void **state)
{
	struct block_rig *rig = malloc(sizeof(*rig));

	disk_rig_new(rig, 2);
	*state = rig;
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, block_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(attach_and_delete), TEST(no_guest),        TEST(undone),           TEST(import),
		TEST(write_through),     TEST(resize),          TEST(resized_and_gone), TEST(goes_in_use),
		TEST(quarantine),        TEST(reset_under_way), TEST(delete_under_way), TEST(death_and_stop_under_way),
		TEST(delete_while_away), TEST(long_requests),
	};

	uring_needed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
