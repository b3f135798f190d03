// SPDX-License-Identifier: BSD-3-Clause
/* virtio-blk queues with a front end of our own: requests framed in every way, wrong ones, durability, answers out of
 * order, queues that are left alone or drained. */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include "device/block/block_queue.h"
#include "device/virtio/test_blk.h"

/* ---- what is right ---- */

static void framings(uint64_t features, bool indirect)
{
	struct disk disk;
	uint8_t expected[8192];
	struct frontend_buffer write_odd[] = { { HEADER, 3, false },
					       { HEADER + 3, 13, false },
					       { DATA, 1, false },
					       { DATA + 1, 8191, false },
					       { STATUS, 1, true } };
	struct frontend_buffer write_joined[] = { { HEADER, 16 + 8192, false }, { STATUS, 1, true } };
	struct frontend_buffer read_tail[] = { { HEADER, 16, false },
					       { DATA, 5000, true },
					       { DATA + 5000, 3193, true } };

	disk_open(&disk, features | FLUSH);
	header_set(&disk, VIRTIO_BLK_T_OUT, 8);
	pattern(guest(&disk, DATA), 8192, 1);
	assert_int_equal(serve(&disk, write_odd, 5, indirect), 1);
	assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_OK);
	pattern(expected, 8192, 1);
	assert_memory_equal((uint8_t *)block_ram_data(disk.holder.below) + 4096, expected, 8192);

	header_set(&disk, VIRTIO_BLK_T_OUT, 100);
	pattern(guest(&disk, HEADER + 16), 8192, 2);
	*guest(&disk, STATUS) = 0; /* part of the data, as it lies */
	pattern(expected, 8192, 2);
	memcpy(expected, guest(&disk, HEADER + 16), 8192);
	struct frontend_buffer away[] = { write_joined[0], { DATA + 0x8000, 1, true } };
	assert_int_equal(serve(&disk, away, 2, indirect), 1);
	assert_int_equal(*guest(&disk, DATA + 0x8000), VIRTIO_BLK_S_OK);
	assert_memory_equal((uint8_t *)block_ram_data(disk.holder.below) + 51200, expected, 8192);

	header_set(&disk, VIRTIO_BLK_T_IN, 100);
	assert_int_equal(serve(&disk, read_tail, 3, indirect), 8193);
	assert_memory_equal(guest(&disk, DATA), expected, 8192);
	assert_int_equal(*guest(&disk, DATA + 8192), VIRTIO_BLK_S_OK);
	disk_close(&disk);
}

static void test_framings(void **state)
{
	framings(MODERN, false);
	framings(MODERN, true);
	framings(PACKED, false);
	framings(PACKED, true);
}

/* More segments than a slot has room for. */
static void test_many_segments(void **state)
{
	struct disk disk;
	struct frontend_buffer buffers[130] = { { HEADER, 16, false } };

	disk_open(&disk, MODERN | FLUSH);
	for (unsigned i = 1; i < 129; i++)
		buffers[i] = (struct frontend_buffer){ DATA + (129 - i) * 512, 512, false };
	buffers[129] = (struct frontend_buffer){ STATUS, 1, true };
	header_set(&disk, VIRTIO_BLK_T_OUT, 0);
	pattern(guest(&disk, DATA), 130 * 512, 3);
	serve(&disk, buffers, 130, true);
	assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_OK);
	for (unsigned i = 1; i < 129; i++)
		assert_memory_equal((uint8_t *)block_ram_data(disk.holder.below) + (i - 1) * 512,
				    guest(&disk, DATA + (129 - i) * 512), 512);
	disk_close(&disk);
}

static void test_other_requests(void **state)
{
	struct disk disk;
	uint8_t zeroes[8192] = { 0 };
	struct virtio_blk_discard_write_zeroes ranges[2] = { { .sector = 8, .num_sectors = 8 },
							     { .sector = 24, .num_sectors = 8 } };

	disk_open(&disk, MODERN | FLUSH);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.stats.requests[DPU_BLOCK_FLUSH], 1);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(guest(&disk, DATA), "softdpu-0123456789-a", 20);

	uint8_t *medium = block_ram_data(disk.holder.below);
	memset(medium, 0xaa, 32 * 512);
	memcpy(guest(&disk, DATA), ranges, sizeof(ranges));
	assert_int_equal(request(&disk, VIRTIO_BLK_T_DISCARD, 0, sizeof(ranges), false), VIRTIO_BLK_S_OK);
	assert_memory_equal(medium + 4096, zeroes, 4096);
	assert_memory_equal(medium + 3 * 4096, zeroes, 4096);
	assert_int_equal(medium[4095], 0xaa);
	assert_int_equal(medium[8192], 0xaa);
	assert_int_equal(disk.holder.last_flags, 0);

	ranges[0].sector = 17;
	ranges[0].num_sectors = 1;
	memcpy(guest(&disk, DATA), ranges, sizeof(ranges[0]));
	assert_int_equal(request(&disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof(ranges[0]), false), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.holder.last_flags, DPU_BLOCK_KEEP);
	assert_memory_equal(medium + 17 * 512, zeroes, 512);
	ranges[0].flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	memcpy(guest(&disk, DATA), ranges, sizeof(ranges[0]));
	assert_int_equal(request(&disk, VIRTIO_BLK_T_WRITE_ZEROES, 0, sizeof(ranges[0]), false), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.holder.last_flags, 0);
	disk_close(&disk);
}

static void durable(uint64_t features, bool write_back, uint8_t expected)
{
	struct disk disk;

	disk_open(&disk, features);
	disk.write_back = write_back;
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_OK);
	assert_int_equal(disk.holder.last_flags, expected);
	disk_close(&disk);
}

static void test_durability(void **state)
{
	durable(MODERN | FLUSH, true, 0);
	durable(MODERN | FLUSH, false, DPU_BLOCK_FUA);
	durable(MODERN, true, DPU_BLOCK_FUA);
}

/* ---- what is wrong ---- */

static void test_wrong_requests(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t sector;
		uint32_t bytes;
		bool to_guest;
		uint8_t status;
	} wrong[] = {
		{ VIRTIO_BLK_T_IN, DISK_BYTES / 512, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, DISK_BYTES / 512 - 1, 1024, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_MAX, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, UINT64_C(1) << 55, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 511, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 0, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_IN, 0, 512, false, VIRTIO_BLK_S_IOERR }, /* the guest offers data instead of room */
		{ VIRTIO_BLK_T_OUT, 0, 512, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_OUT, 1, 513, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_GET_ID, 0, 19, true, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, 0, 15, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, 0, 0, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_DISCARD, 0, 65 * 16, false, VIRTIO_BLK_S_IOERR },
		{ VIRTIO_BLK_T_SECURE_ERASE, 0, 16, false, VIRTIO_BLK_S_UNSUPP },
		{ 2, 0, 512, false, VIRTIO_BLK_S_UNSUPP },
		{ UINT32_MAX, 0, 512, true, VIRTIO_BLK_S_UNSUPP },
	};
	struct disk disk;

	disk_open(&disk, MODERN | FLUSH);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memset(guest(&disk, DATA), 0, 2048);
		assert_int_equal(request(&disk, wrong[i].type, wrong[i].sector, wrong[i].bytes, wrong[i].to_guest),
				 wrong[i].status);
	}
	assert_int_equal(disk.stats.bad, 13);
	assert_int_equal(disk.stats.unsupported, 3);
	assert_int_equal(disk.stats.requests[DPU_BLOCK_READ], 0);
	disk_close(&disk);
}

static void test_wrong_ranges(void **state)
{
	static const struct {
		struct virtio_blk_discard_write_zeroes range;
		uint32_t type;
		uint8_t status;
	} wrong[] = {
		{ { .sector = UINT64_MAX, .num_sectors = 1 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
		{ { .sector = 0, .num_sectors = UINT32_MAX }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
		{ { .num_sectors = 8, .flags = 1 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_UNSUPP },
		{ { .num_sectors = 8, .flags = 2 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP },
	};
	struct disk disk;

	disk_open(&disk, MODERN | FLUSH);
	memset(block_ram_data(disk.holder.below), 0x55, DISK_BYTES);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		/* The first range is right: nothing of it is carried out either. */
		struct virtio_blk_discard_write_zeroes ranges[2] = { { .num_sectors = 1 }, wrong[i].range };

		memcpy(guest(&disk, DATA), ranges, sizeof(ranges));
		assert_int_equal(request(&disk, wrong[i].type, 0, sizeof(ranges), false), wrong[i].status);
		assert_int_equal(*(uint8_t *)block_ram_data(disk.holder.below), 0x55);
	}
	disk_close(&disk);
}

/* Chains that are no request at all come back, and the queue goes on. */
static void test_chains_that_are_no_request(void **state)
{
	struct disk disk;
	struct frontend_buffer only_status = { STATUS, 1, true }, only_header = { HEADER, 16, false };
	struct frontend_buffer short_header[] = { { HEADER, 15, false }, { STATUS, 1, true } };

	disk_open(&disk, MODERN | FLUSH);
	header_set(&disk, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(serve(&disk, &only_status, 1, false), 1);
	assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(serve(&disk, &only_header, 1, false), 0);
	header_set(&disk, VIRTIO_BLK_T_IN, 0);
	assert_int_equal(serve(&disk, short_header, 2, false), 1);
	assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk.stats.bad, 3);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	disk_close(&disk);
}

/* Descriptors that make no sense fail their request alone: with a status where it can be told, and what is offered
 * behind them on the same queue is carried out. */
static void bad_descriptors(uint64_t features, bool indirect)
{
	const uint64_t nowhere = UINT64_C(1) << 40;
	const struct frontend_buffer header = { HEADER, 16, false }, status = { STATUS, 1, true };
	const struct {
		struct frontend_buffer buffers[4];
		unsigned count;
		bool told;
	} bad[] = {
		{ { header, { nowhere, 512, true }, status }, 3, true },
		{ { { nowhere, 16, false }, { DATA, 512, true }, status }, 3, true },
		{ { header, { DATA, 512, true }, { nowhere, 1, true } }, 3, false },
		{ { status, header }, 2, true },
		{ { header, { DATA, 512, true }, { DATA, 512, false }, status }, 4, true },
		{ { header, { nowhere, 512, false } }, 2, false },
	};
	struct disk disk;
	uint64_t count = 0;

	disk_open(&disk, features | FLUSH);
	memset(block_ram_data(disk.holder.below), 0x55, 4096);
	for (unsigned round = 0; round < 30; round++) {
		unsigned which = round % (sizeof(bad) / sizeof(bad[0]));
		disk.frontend.allocated = 0x300000;
		header_set(&disk, VIRTIO_BLK_T_OUT, 0);
		assert_int_equal(serve(&disk, bad[which].buffers, bad[which].count, indirect), bad[which].told);
		assert_int_equal(*guest(&disk, STATUS), bad[which].told ? VIRTIO_BLK_S_IOERR : 0xee);
		assert_int_equal(disk.stats.bad_chains, ++count);
		assert_int_equal(*(uint8_t *)block_ram_data(disk.holder.below), 0x55);
		assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
		assert_int_equal(*guest(&disk, DATA), 0x55);
	}
	assert_int_equal(disk.stats.bad, 0);
	assert_int_equal(disk.stats.requests[DPU_BLOCK_READ], count);
	assert_int_equal(disk.stats.requests[DPU_BLOCK_WRITE], 0);
	assert_int_equal(disk.device.notices, 0);
	disk_close(&disk);
}

static void test_bad_descriptors(void **state)
{
	bad_descriptors(MODERN, false);
	bad_descriptors(MODERN, true);
	bad_descriptors(PACKED, false);
	bad_descriptors(PACKED, true);
}

/* ---- several at once ---- */

/* Offers up to a full ring of writes of one sector each, each with its own status. */
static unsigned offer_writes(struct disk *disk, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_OUT, .sector = i };
		struct frontend_buffer buffers[] = { { HEADER + i * 16, 16, false },
						     { DATA + i * 512, 512, false },
						     { STATUS + i, 1, true } };

		memcpy(guest(disk, HEADER + i * 16), &header, sizeof(header));
		*guest(disk, STATUS + i) = 0xee;
		pattern(guest(disk, DATA + i * 512), 512, i);
		if (frontend_offer(disk->queue, buffers, 3, true) < 0)
			return i;
	}
	return count;
}

static void out_of_order(uint64_t features)
{
	struct disk disk;
	uint16_t id;
	uint32_t length;
	unsigned offered, taken = 0;

	disk_open(&disk, features | FLUSH);
	srand(7);
	for (unsigned round = 0; round < 20; round++) {
		offered = offer_writes(&disk, SIZE);
		assert_int_equal(offered, SIZE);
		while (virtio_blk_poll(disk.blk) > 0)
			;
		assert_int_equal(disk.holder.count, SIZE);
		for (taken = 0; taken < SIZE;) {
			holder_release(&disk.holder, (unsigned)rand() % disk.holder.count);
			if (rand() % 4 == 0 || disk.holder.count == 0)
				virtio_blk_poll(disk.blk);
			while (frontend_take(disk.queue, &id, &length))
				taken++;
		}
		for (unsigned i = 0; i < SIZE; i++) {
			assert_int_equal(*guest(&disk, STATUS + i), VIRTIO_BLK_S_OK);
			assert_memory_equal((uint8_t *)block_ram_data(disk.holder.below) + i * 512,
					    guest(&disk, DATA + i * 512), 512);
		}
	}
	disk_close(&disk);
}

/* A full ring has its worker for a turn, not for all of it: others have theirs in between. */
static void test_turns(void **state)
{
	struct disk disk;
	unsigned before = 0;

	disk_open(&disk, MODERN | FLUSH);
	assert_int_equal(offer_writes(&disk, SIZE), SIZE);
	for (unsigned turn = 0; disk.holder.count < SIZE; turn++) {
		assert_true(turn < SIZE);
		assert_true(virtio_blk_poll(disk.blk) > 0);
		assert_in_range(disk.holder.count - before, 1, 16);
		before = disk.holder.count;
	}
	holder_release_all(&disk.holder);
	while (virtio_blk_poll(disk.blk) > 0)
		;
	disk_close(&disk);
}

static void test_out_of_order(void **state)
{
	out_of_order(MODERN);
	out_of_order(PACKED);
}

/* What completes while nobody polls is answered at once, and the guest interrupted. */
static void test_left_alone(void **state)
{
	struct disk disk;
	uint16_t id;
	uint32_t length;

	disk_open(&disk, MODERN | FLUSH);
	assert_int_equal(offer_writes(&disk, 2), 2);
	assert_int_equal(virtio_blk_arm(disk.blk), 1);
	virtio_blk_poll(disk.blk);
	assert_int_equal(virtio_blk_arm(disk.blk), 0);
	frontend_interrupted(disk.queue);
	holder_release(&disk.holder, 0);
	assert_true(frontend_interrupted(disk.queue));
	assert_true(frontend_take(disk.queue, &id, &length));
	virtio_blk_disarm(disk.blk);
	holder_release(&disk.holder, 0);
	assert_false(frontend_take(disk.queue, &id, &length));
	assert_int_equal(virtio_blk_arm(disk.blk), 1);
	virtio_blk_poll(disk.blk);
	assert_true(frontend_take(disk.queue, &id, &length));
	disk_close(&disk);
}

static void on_drained(void *arg)
{
	*(bool *)arg = true;
}

static void test_drain(void **state)
{
	struct disk disk;
	uint16_t id;
	uint32_t length;
	bool drained = false;

	disk_open(&disk, MODERN | FLUSH);
	assert_int_equal(offer_writes(&disk, 3), 3);
	virtio_blk_poll(disk.blk);
	virtio_blk_drain(disk.blk, on_drained, &drained);
	holder_release(&disk.holder, 1);
	holder_release(&disk.holder, 1);
	assert_int_equal(offer_writes(&disk, 1), 1);
	virtio_blk_poll(disk.blk);
	assert_false(drained);
	holder_release(&disk.holder, 0);
	assert_true(drained);
	for (unsigned i = 0; i < 3; i++)
		assert_true(frontend_take(disk.queue, &id, &length));
	assert_false(frontend_take(disk.queue, &id, &length));
	assert_int_equal(disk.holder.count, 0);
	disk_close(&disk);
}

/* What the device has is cancelled there, not what has been answered or is free, and none is begun after that. */
static void test_cancel(void **state)
{
	struct virtio_blk_discard_write_zeroes ranges[] = { { .sector = 8, .num_sectors = 8 },
							    { .sector = 32, .num_sectors = 8 } };
	struct frontend_buffer buffers[] = { { HEADER, sizeof(struct virtio_blk_outhdr), false },
					     { DATA, sizeof(ranges), false },
					     { STATUS, 1, true } };
	struct disk disk;
	uint16_t id;
	uint32_t length;
	bool drained = false;

	disk_open(&disk, MODERN | FLUSH);
	for (unsigned i = 0; i < SIZE; i++) /* each slot has been used */
		assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	assert_int_equal(offer_writes(&disk, 3), 3);
	virtio_blk_poll(disk.blk);
	holder_release(&disk.holder, 1); /* answered, and nobody was told */
	header_set(&disk, VIRTIO_BLK_T_DISCARD, 0);
	memcpy(guest(&disk, DATA), ranges, sizeof(ranges));
	assert_true(frontend_offer(disk.queue, buffers, 3, false) >= 0);
	virtio_blk_poll(disk.blk);
	virtio_blk_drain(disk.blk, on_drained, &drained);
	assert_int_equal(disk.holder.count, 3);
	virtio_blk_cancel(disk.blk);
	assert_int_equal(disk.holder.cancels, 3);
	holder_release_all(&disk.holder); /* the second range is not begun */
	assert_true(drained);
	assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_IOERR);
	for (unsigned i = 0; i < 4; i++)
		assert_true(frontend_take(disk.queue, &id, &length));
	disk_close(&disk);
}

static void test_configuration(void **state)
{
	struct virtio_blk_disk disk = {
		.bytes = DISK_BYTES, .sector = 512, .physical_bytes = 4096, .queues = 4, .discard = true
	};
	struct virtio_blk_config config = { 0 };
	bool write_back = true;
	uint64_t wce = VHOST_BIT(VIRTIO_BLK_F_CONFIG_WCE);

	virtio_blk_config_fill(&disk, false, (uint8_t *)&config);
	assert_int_equal(config.capacity, 2048);
	assert_int_equal(config.physical_block_exp, 3);
	assert_int_equal(config.discard_sector_alignment, 8);
	assert_int_equal(config.num_queues, 4);
	assert_int_equal(config.wce, 0);
	assert_int_equal(virtio_blk_set_config(wce, 32, 1, (uint8_t[]){ 0 }, &write_back), 0);
	assert_false(write_back);
	assert_int_equal(virtio_blk_set_config(wce, 32, 1, (uint8_t[]){ 2 }, &write_back), -EINVAL);
	assert_int_equal(virtio_blk_set_config(wce, 0, 8, (uint8_t[8]){ 1 }, &write_back), -EINVAL);
	assert_int_equal(virtio_blk_set_config(0, 32, 1, (uint8_t[]){ 1 }, &write_back), -EINVAL);
	disk.read_only = true;
	assert_int_equal(virtio_blk_features(&disk) & VHOST_BIT(VIRTIO_BLK_F_DISCARD), 0);
	assert_true(virtio_blk_features(&disk) & VHOST_BIT(VIRTIO_BLK_F_RO));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framings),
		cmocka_unit_test(test_many_segments),
		cmocka_unit_test(test_other_requests),
		cmocka_unit_test(test_durability),
		cmocka_unit_test(test_wrong_requests),
		cmocka_unit_test(test_wrong_ranges),
		cmocka_unit_test(test_chains_that_are_no_request),
		cmocka_unit_test(test_bad_descriptors),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_out_of_order),
		cmocka_unit_test(test_left_alone),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_configuration),
	};

	return cmocka_run_group_tests_name("virtio_blk", tests, NULL, NULL);
}
