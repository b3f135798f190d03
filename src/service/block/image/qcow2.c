// SPDX-License-Identifier: BSD-3-Clause
/* What is read of a qcow2 image before qemu-img is let near it. */
#include "service/block/image/qcow2.h"

#include <endian.h>
#include <string.h>

enum {
	OFFSET_VERSION = 4,
	OFFSET_BACKING = 8,
	OFFSET_CRYPT = 32,
	OFFSET_SIZE = 24,
	OFFSET_INCOMPATIBLE = 72,
	HEADER_V2 = 72,
	/* incompatible features */
	DIRTY = 1 << 0,
	EXTERNAL_DATA = 1 << 2,
	COMPRESSION = 1 << 3,
	EXTENDED_L2 = 1 << 4,
};

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return be32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return be64toh(value);
}

int qcow2_check(const uint8_t *header, uint32_t bytes, uint64_t *ret_disk_bytes, struct dpu_error *err)
{
	if (bytes < HEADER_V2 || memcmp(header, "QFI\xfb", 4) != 0)
		return error_set(err, DPU_E_INVALID, "file", "is not a qcow2 image");
	uint32_t version = get32(header + OFFSET_VERSION);
	if (version != 2 && version != 3)
		return error_set(err, DPU_E_UNSUPPORTED, "file", "is a qcow image of version %u; 2 and 3 are known",
				 version);
	if (version == 3 && bytes < QCOW2_HEADER_BYTES)
		return error_set(err, DPU_E_INVALID, "file", "ends within its header");
	uint64_t features = version == 3 ? get64(header + OFFSET_INCOMPATIBLE) : 0;
	if (get64(header + OFFSET_BACKING) != 0)
		return error_set(err, DPU_E_DENIED, "file",
				 "has a backing file: flatten it first (qemu-img convert), so that it names no other "
				 "file of this machine");
	if (features & EXTERNAL_DATA)
		return error_set(err, DPU_E_DENIED, "file", "keeps its data in another file, which is not followed");
	if (features & ~(uint64_t)(DIRTY | COMPRESSION | EXTENDED_L2))
		return error_set(err, DPU_E_UNSUPPORTED, "file", "is damaged or has features that are not known: %#llx",
				 (unsigned long long)features);
	if (get32(header + OFFSET_CRYPT) != 0)
		return error_set(err, DPU_E_UNSUPPORTED, "file", "is encrypted");
	*ret_disk_bytes = get64(header + OFFSET_SIZE);
	return 0;
}
