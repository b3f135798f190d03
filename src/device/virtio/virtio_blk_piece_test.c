// SPDX-License-Identifier: BSD-3-Clause
/* Transfers that are larger than the device takes in one request: carried out in pieces, wherever these end in the
 * guest's segments, and whole for the guest again; wrong ones, and ones that fail half-way. */
#include <linux/virtio_blk.h>
#include <sys/mman.h>
#include "device/virtio/test_blk.h"

enum { MOST = 8192, BYTES = 5 * MOST, AWAY = 0x80000, PIECES = 6 }; /* from sector 1 on: the first ends at a block */

static void open_small(struct disk *disk, uint64_t features)
{
	disk_open(disk, features | FLUSH);
	disk->holder.device.max_bytes = MOST;
}

static uint8_t *medium(struct disk *disk, uint64_t offset)
{
	return (uint8_t *)block_ram_data(disk->holder.below) + offset;
}

static void write_and_read(uint64_t features, bool indirect)
{
	const struct frontend_buffer header = { HEADER, 16, false };
	struct frontend_buffer one[] = { header, { DATA, BYTES, false }, { STATUS, 1, true } };
	struct frontend_buffer several[] = { header,
					     { DATA, 100, false },
					     { DATA + 100, 7580, false }, /* ends with a piece */
					     { DATA + 7680, 25000, false },
					     { DATA + 32680, BYTES - 32680, false },
					     { STATUS, 1, true } };
	struct frontend_buffer tail[] = { header, { AWAY, 512, true }, { AWAY + 512, BYTES - 512 + 1, true } };
	struct disk disk;

	open_small(&disk, features);
	for (unsigned round = 0; round < 2; round++) {
		header_set(&disk, VIRTIO_BLK_T_OUT, 1);
		pattern(guest(&disk, DATA), BYTES, round);
		assert_int_equal(serve(&disk, round ? several : one, round ? 6 : 3, indirect), 1);
		assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_OK);
		assert_memory_equal(medium(&disk, 512), guest(&disk, DATA), BYTES);
		assert_int_equal(*medium(&disk, 512 + BYTES), 0);
	}
	header_set(&disk, VIRTIO_BLK_T_IN, 1);
	assert_int_equal(serve(&disk, tail, 3, indirect), BYTES + 1);
	assert_int_equal(*guest(&disk, AWAY + BYTES), VIRTIO_BLK_S_OK);
	assert_memory_equal(guest(&disk, AWAY), medium(&disk, 512), BYTES);
	assert_int_equal(disk.stats.requests[DPU_BLOCK_WRITE], 2);
	assert_int_equal(disk.stats.bytes[DPU_BLOCK_WRITE], 2 * BYTES);
	assert_int_equal(disk.stats.bytes[DPU_BLOCK_READ], BYTES);
	assert_int_equal(disk.stats.statuses[DPU_BLOCK_OK], 3 * PIECES);
	disk_close(&disk);
}

static void test_pieces(void **state)
{
	write_and_read(MODERN, false);
	write_and_read(MODERN, true);
	write_and_read(PACKED, false);
	write_and_read(PACKED, true);
}

/* While a guest is migrated all that was read into its memory is marked. */
static void test_dirty_pages(void **state)
{
	struct vhost_log place = { .size = (FRONTEND_GPA + (4 << 20)) / 4096 / 8 };
	struct disk disk;
	uint32_t reply;
	int log_fd = memfd_create("log", MFD_CLOEXEC);

	assert_int_equal(ftruncate(log_fd, (off_t)place.size), 0);
	const uint8_t *log = mmap(NULL, place.size, PROT_READ, MAP_SHARED, log_fd, 0);
	assert_ptr_not_equal(log, MAP_FAILED);
	open_small(&disk, MODERN);
	frontend_send(&disk.frontend, VHOST_SET_LOG_BASE, 1, &place, sizeof(place), &log_fd, 1);
	frontend_reply(&disk.frontend, VHOST_SET_LOG_BASE, &reply, sizeof(reply), NULL);
	frontend_set_u64(&disk.frontend, VHOST_SET_FEATURES, MODERN | FLUSH | VHOST_BIT(VHOST_F_LOG_ALL_BIT));
	frontend_sync(&disk.frontend);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_IN, 1, BYTES, true), VIRTIO_BLK_S_OK);
	for (uint64_t at = DATA - 4096; at <= DATA + BYTES; at += 4096) {
		uint64_t page = (FRONTEND_GPA + at) / 4096;
		assert_int_equal(log[page / 8] >> page % 8 & 1, at >= DATA && at < DATA + BYTES);
	}
	disk_close(&disk);
	munmap((void *)(uintptr_t)log, place.size);
	close(log_fd);
}

/* Nothing of it is carried out. */
static void test_wrong_transfers(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t bytes;
	} wrong[] = {
		{ DISK_BYTES / 512 - 16, MOST + 512 },
		{ DISK_BYTES / 512 + 1, MOST + 512 },
		{ UINT64_MAX / 512, MOST + 512 },
		{ 0, MOST + 100 },
	};
	struct disk disk;

	open_small(&disk, MODERN);
	memset(guest(&disk, DATA), 0x55, BYTES);
	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].bytes, false),
				 VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk.stats.bad, 4);
	assert_int_equal(disk.stats.requests[DPU_BLOCK_WRITE], 0);
	assert_int_equal(request(&disk, VIRTIO_BLK_T_OUT, DISK_BYTES / 512 - 17, MOST + 512, false), VIRTIO_BLK_S_OK);
	disk_close(&disk);
}

/* A device that becomes smaller meanwhile gets nothing that it cannot take. */
static void becomes_smaller(uint32_t type, const struct frontend_buffer *data, unsigned parts)
{
	struct frontend_buffer buffers[] = { { HEADER, 16, false }, *data, { STATUS, 1, true } };
	uint16_t id;
	uint32_t length;
	struct disk disk;

	open_small(&disk, MODERN);
	struct virtio_blk_discard_write_zeroes ranges[2] = { { .num_sectors = 8 }, { .sector = 64, .num_sectors = 8 } };
	memcpy(guest(&disk, DATA), ranges, sizeof(ranges));
	memset(medium(&disk, 0), 0xaa, DISK_BYTES);
	header_set(&disk, type, 0);
	assert_true(frontend_offer(disk.queue, buffers, 3, false) >= 0);
	virtio_blk_poll(disk.blk);
	for (unsigned part = 0; part < parts; part++) {
		assert_int_equal(disk.holder.count, 1);
		if (part == parts - 1)
			disk.holder.device.bytes = 2 * MOST;
		holder_release(&disk.holder, 0);
	}
	assert_int_equal(disk.holder.count, 0);
	virtio_blk_poll(disk.blk);
	assert_true(frontend_take(disk.queue, &id, &length));
	assert_int_equal(*guest(&disk, STATUS), VIRTIO_BLK_S_IOERR);
	assert_int_equal(*medium(&disk, 2 * MOST), 0xaa);
	assert_int_equal(disk.stats.statuses[DPU_BLOCK_RANGE], 1);
	disk_close(&disk);
}

static void test_device_becomes_smaller(void **state)
{
	becomes_smaller(VIRTIO_BLK_T_OUT, &(struct frontend_buffer){ DATA, BYTES, false }, 2);
	becomes_smaller(VIRTIO_BLK_T_DISCARD, &(struct frontend_buffer){ DATA, 32, false }, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_dirty_pages),
		cmocka_unit_test(test_wrong_transfers),
		cmocka_unit_test(test_device_becomes_smaller),
	};

	return cmocka_run_group_tests_name("virtio_blk_piece", tests, NULL, NULL);
}
