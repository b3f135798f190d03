// SPDX-License-Identifier: BSD-3-Clause
/* What long requests take beside their slots is paid for: who finds no room waits in the ring, in turn, and asleep. */
#include <linux/virtio_blk.h>
#include "device/virtio/test_blk.h"

enum {
	LONG = 100,             /* descriptors, all in one table */
	LONG_BYTES = LONG * 16, /* of struct iovec */
	RANGES = VIRTIO_BLK_MAX_RANGES,
	RANGES_BYTES = RANGES * 24, /* of struct virtio_blk_range */
};

/* A write of 98 times 512 bytes, or less. Places are shared by all of them. */
static void offer(struct disk *disk, unsigned descriptors)
{
	struct frontend_buffer buffers[LONG] = { { HEADER, 16, false } };

	header_set(disk, VIRTIO_BLK_T_OUT, 0);
	for (unsigned i = 1; i + 1 < descriptors; i++)
		buffers[i] = (struct frontend_buffer){ DATA + i * 512, 512, false };
	buffers[descriptors - 1] = (struct frontend_buffer){ STATUS, 1, true };
	assert_true(frontend_offer(disk->queue, buffers, descriptors, true) >= 0);
}

static void offer_discard(struct disk *disk, unsigned ranges)
{
	struct frontend_buffer buffers[] = { { HEADER, 16, false }, { DATA, ranges * 16, false }, { STATUS, 1, true } };
	struct virtio_blk_discard_write_zeroes range = { .num_sectors = 8 };

	header_set(disk, VIRTIO_BLK_T_DISCARD, 0);
	for (unsigned i = 0; i < ranges; i++)
		memcpy(guest(disk, DATA + i * 16), &range, sizeof(range));
	assert_true(frontend_offer(disk->queue, buffers, 3, true) >= 0);
}

/* How many it has under way after it was polled. */
static unsigned polled(struct disk *disk)
{
	while (virtio_blk_poll(disk->blk) > 0)
		;
	return virtio_blk_outstanding(disk->blk);
}

static unsigned answers(struct disk *disk)
{
	unsigned count = 0;
	uint32_t length;
	uint16_t id;

	while (frontend_take(disk->queue, &id, &length))
		count++;
	assert_true(count == 0 || *guest(disk, STATUS) == VIRTIO_BLK_S_OK);
	return count;
}

static unsigned finish(struct disk *disk)
{
	unsigned count = answers(disk);

	while (polled(disk) > 0)
		holder_release_all(&disk->holder);
	return count + answers(disk);
}

/* Two disks of a tenant and memory for two long requests. */
static void turns(uint64_t features)
{
	struct virtio_blk_account account;
	struct disk a, b;

	virtio_blk_account_init(&account, 2 * LONG_BYTES + 100);
	disk_open_for(&a, features, &account);
	disk_open_for(&b, features, &account);
	for (unsigned i = 0; i < 6; i++)
		offer(&a, LONG);
	assert_int_equal(polled(&a), 2);
	assert_int_equal(account.used, 2 * LONG_BYTES);
	offer(&b, 5); /* needs nothing, and passes */
	assert_int_equal(polled(&b), 1);
	offer(&b, LONG);
	offer(&b, 5); /* waits behind it */
	assert_int_equal(polled(&b), 1);
	assert_int_equal(account.waits, 2);
	/* There is something in both rings, and still nothing to do until there is memory. */
	assert_int_equal(virtio_blk_arm(a.blk), 0);
	assert_int_equal(virtio_blk_arm(b.blk), 0);
	assert_int_equal(a.ready + b.ready, 0);
	holder_release(&a.holder, 0);
	assert_true(a.ready > 0);
	assert_int_equal(b.ready, 0);
	assert_int_equal(polled(&b), 1); /* it is the other's turn */
	virtio_blk_disarm(a.blk);
	assert_int_equal(polled(&a), 2); /* one of the four that are left, then it is last in line */
	assert_int_equal(b.ready, 0);
	holder_release(&a.holder, 0);
	virtio_blk_poll(a.blk);
	assert_true(b.ready > 0);
	assert_int_equal(polled(&a), 1);
	virtio_blk_disarm(b.blk);
	assert_int_equal(polled(&b), 3);
	assert_int_equal(account.used, 2 * LONG_BYTES);
	for (unsigned i = 0; i < 4; i++) {
		holder_release_all(&a.holder);
		holder_release_all(&b.holder);
		polled(&a);
		polled(&b);
	}
	assert_int_equal(finish(&a), 6);
	assert_int_equal(finish(&b), 3);
	assert_int_equal(account.used, 0);
	assert_int_equal(account.most, 2 * LONG_BYTES);
	disk_close(&b);
	disk_close(&a);
}

static void test_turns(void **state)
{
	turns(MODERN | FLUSH);
	turns(PACKED | FLUSH);
}

/* Ranges count, too; a request that is larger than all that there is goes alone. */
static void test_alone(void **state)
{
	struct virtio_blk_account account;
	struct disk disk;

	virtio_blk_account_init(&account, 100);
	disk_open_for(&disk, MODERN | FLUSH, &account);
	offer(&disk, LONG);
	assert_int_equal(polled(&disk), 1);
	assert_int_equal(account.used, LONG_BYTES);
	offer_discard(&disk, RANGES);
	offer_discard(&disk, 2);
	assert_int_equal(polled(&disk), 1);
	holder_release(&disk.holder, 0);
	assert_int_equal(polled(&disk), 1);
	assert_int_equal(account.used, RANGES_BYTES);
	assert_int_equal(finish(&disk), 3);
	assert_int_equal(account.used, 0);
	disk_close(&disk);
}

/* A discard in many pieces needs both, and gets both: neither half is held while the other is waited for. */
static void test_both(void **state)
{
	struct virtio_blk_account account;
	struct disk a, b;
	struct frontend_buffer pieces[RANGES + 2] = { { HEADER, 16, false } };

	virtio_blk_account_init(&account, LONG_BYTES + 200);
	disk_open_for(&a, MODERN | FLUSH, &account);
	disk_open_for(&b, MODERN | FLUSH, &account);
	offer(&b, LONG);
	assert_int_equal(polled(&b), 1);
	offer_discard(&a, RANGES);
	assert_int_equal(polled(&a), 0);
	for (unsigned i = 0; i < RANGES; i++)
		pieces[1 + i] = (struct frontend_buffer){ DATA + i * 16, 16, false };
	pieces[RANGES + 1] = (struct frontend_buffer){ STATUS, 1, true };
	assert_true(frontend_offer(a.queue, pieces, RANGES + 2, true) >= 0);
	offer(&b, LONG);
	assert_int_equal(polled(&b), 1);
	holder_release(&b.holder, 0);
	assert_int_equal(polled(&b), 0);
	assert_int_equal(polled(&a), 1);
	assert_int_equal(account.used, RANGES_BYTES);
	while (a.holder.count > 0)
		holder_release(&a.holder, 0);
	assert_int_equal(polled(&a), 0); /* b was first */
	assert_int_equal(account.used, 0);
	assert_int_equal(polled(&b), 1);
	holder_release(&b.holder, 0);
	assert_int_equal(polled(&b), 0);
	assert_int_equal(polled(&a), 1);
	assert_int_equal(account.used, (RANGES + 2) * 16 + RANGES_BYTES); /* more than the limit: alone */
	finish(&a);
	finish(&b);
	assert_int_equal(account.used, 0);
	disk_close(&b);
	disk_close(&a);
}

static void on_drained(void *arg)
{
	*(bool *)arg = true;
}

/* A queue that is to stop waits no more, and keeps nobody back. */
static void test_drain(void **state)
{
	struct virtio_blk_account account;
	struct disk a, b;
	bool drained = false;

	virtio_blk_account_init(&account, LONG_BYTES);
	disk_open_for(&a, MODERN | FLUSH, &account);
	disk_open_for(&b, MODERN | FLUSH, &account);
	offer(&a, LONG);
	offer(&a, LONG);
	assert_int_equal(polled(&a), 1);
	offer(&b, LONG);
	assert_int_equal(polled(&b), 0);
	virtio_blk_drain(a.blk, on_drained, &drained);
	assert_false(drained);
	holder_release(&a.holder, 0);
	assert_true(drained);
	assert_true(b.ready > 0);
	assert_int_equal(polled(&b), 1);
	assert_int_equal(finish(&b), 1);
	disk_close(&b);
	disk_close(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_alone),
		cmocka_unit_test(test_both),
		cmocka_unit_test(test_drain),
	};

	return cmocka_run_group_tests_name("virtio_blk_account", tests, NULL, NULL);
}
