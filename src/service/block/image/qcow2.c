// SPDX-License-Identifier: BSD-3-Clause
/* What is read of a qcow2 image before qemu-img is let near it. */
#include "service/block/image/qcow2.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

enum {
	OFFSET_VERSION = 4,
	OFFSET_BACKING = 8,
	OFFSET_CLUSTER_BITS = 20,
	OFFSET_SIZE = 24,
	OFFSET_CRYPT = 32,
	OFFSET_L1_ENTRIES = 36,
	OFFSET_L1 = 40,
	OFFSET_REFCOUNTS = 48,
	OFFSET_SNAPSHOTS = 64,
	HEADER_V2 = 72,
	OFFSET_INCOMPATIBLE = 72,
	OFFSET_REFCOUNT_ORDER = 96,
	OFFSET_HEADER_LENGTH = 100,
	/* incompatible features */
	DIRTY = 1 << 0,
	EXTERNAL_DATA = 1 << 2,
	COMPRESSION = 1 << 3,
	EXTENDED_L2 = 1 << 4,
	/* the format's limits */
	MIN_CLUSTER_BITS = 9,
	MAX_CLUSTER_BITS = 21,
	MAX_REFCOUNT_ORDER = 6,
	ENTRY_BYTES = 8,
};

struct image {
	const char *name;
	const uint8_t *header;
	uint64_t file_bytes;
	uint32_t version;
	struct dpu_error *err;
};

static uint32_t get32(const struct image *image, unsigned at)
{
	uint32_t value;

	memcpy(&value, image->header + at, sizeof(value));
	return be32toh(value);
}

static uint64_t get64(const struct image *image, unsigned at)
{
	uint64_t value;

	memcpy(&value, image->header + at, sizeof(value));
	return be64toh(value);
}

static int refuse(const struct image *image, enum dpu_error_code code, unsigned at, const char *why)
{
	return error_set(image->err, code, "file", "%s, offset %u: %s", image->name, at, why);
}

/* What would make qemu-img look at other files, or what it must know and we do not. */
static int features_check(const struct image *image)
{
	uint64_t features = image->version == 3 ? get64(image, OFFSET_INCOMPATIBLE) : 0;

	if (get64(image, OFFSET_BACKING) != 0)
		return refuse(image, DPU_E_DENIED, OFFSET_BACKING,
			      "the image has a backing file: flatten it first (qemu-img convert), so that it names no "
			      "other file of this machine");
	if (features & EXTERNAL_DATA)
		return refuse(image, DPU_E_DENIED, OFFSET_INCOMPATIBLE,
			      "the image keeps its data in another file, which is not followed");
	if (features & ~(uint64_t)(DIRTY | COMPRESSION | EXTENDED_L2))
		return refuse(image, DPU_E_UNSUPPORTED, OFFSET_INCOMPATIBLE,
			      "the image is damaged or has features that are not known");
	if (get32(image, OFFSET_CRYPT) != 0)
		return refuse(image, DPU_E_UNSUPPORTED, OFFSET_CRYPT, "the image is encrypted");
	return 0;
}

/* A table of the file, from a whole cluster on. */
static bool is_table(const struct image *image, unsigned at, uint64_t bytes)
{
	uint64_t offset = get64(image, at), cluster = UINT64_C(1) << get32(image, OFFSET_CLUSTER_BITS);

	return offset % cluster == 0 && offset <= image->file_bytes && bytes <= image->file_bytes - offset;
}

static int layout_check(const struct image *image)
{
	uint32_t cluster_bits = get32(image, OFFSET_CLUSTER_BITS);
	uint32_t length = image->version == 3 ? get32(image, OFFSET_HEADER_LENGTH) : HEADER_V2;

	if (cluster_bits < MIN_CLUSTER_BITS || cluster_bits > MAX_CLUSTER_BITS)
		return refuse(image, DPU_E_INVALID, OFFSET_CLUSTER_BITS,
			      "the image has clusters of an impossible size");
	if (!is_table(image, OFFSET_L1, (uint64_t)get32(image, OFFSET_L1_ENTRIES) * ENTRY_BYTES))
		return refuse(image, DPU_E_INVALID, OFFSET_L1, "the table of the image's data is not in the file");
	if (!is_table(image, OFFSET_REFCOUNTS, 1)) /* whoever reads needs no more */
		return refuse(image, DPU_E_INVALID, OFFSET_REFCOUNTS,
			      "the table of reference counts is not in the file");
	if (!is_table(image, OFFSET_SNAPSHOTS, 0))
		return refuse(image, DPU_E_INVALID, OFFSET_SNAPSHOTS, "the table of snapshots is not in the file");
	if (image->version == 3 && get32(image, OFFSET_REFCOUNT_ORDER) > MAX_REFCOUNT_ORDER)
		return refuse(image, DPU_E_INVALID, OFFSET_REFCOUNT_ORDER, "reference counts have an impossible width");
	if (image->version == 3 && (length < QCOW2_HEADER_BYTES || length % 8 || length > UINT32_C(1) << cluster_bits))
		return refuse(image, DPU_E_INVALID, OFFSET_HEADER_LENGTH, "the header has an impossible length");
	return 0;
}

int qcow2_check(const char *name, const uint8_t *header, uint32_t bytes, uint64_t file_bytes, uint64_t *ret_disk_bytes,
		struct dpu_error *err)
{
	struct image image = { .name = name, .header = header, .file_bytes = file_bytes, .err = err };

	if (bytes < HEADER_V2 || memcmp(header, "QFI\xfb", 4) != 0)
		return refuse(&image, DPU_E_INVALID, 0, "this is no qcow2 image");
	image.version = get32(&image, OFFSET_VERSION);
	if (image.version != 2 && image.version != 3)
		return refuse(&image, DPU_E_UNSUPPORTED, OFFSET_VERSION, "only versions 2 and 3 of qcow2 are known");
	if (image.version == 3 && bytes < QCOW2_HEADER_BYTES)
		return refuse(&image, DPU_E_INVALID, bytes, "the image ends within its header");
	int rc = features_check(&image);
	if (rc == 0)
		rc = layout_check(&image);
	if (rc == 0)
		*ret_disk_bytes = get64(&image, OFFSET_SIZE);
	return rc;
}
