/* SPDX-License-Identifier: BSD-3-Clause */
/* The in-flight region as a whole: making, adopting, finding a queue's part. */
#include "device/virtio/virtq_inflight.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Queues' parts start at cache lines. */
static uint64_t queue_stride(uint16_t queue_size, bool packed)
{
	uint64_t bytes = packed ? sizeof(struct inflight_packed) + queue_size * sizeof(struct inflight_packed_desc)
				: sizeof(struct inflight_split) + queue_size * sizeof(struct inflight_split_desc);
	return (bytes + 63) & ~UINT64_C(63);
}

int inflight_region_create(uint16_t queues, uint16_t queue_size, bool packed, _Atomic bool *faulted,
			   struct inflight_region **ret, const char **ret_why)
{
	uint64_t bytes = queues * queue_stride(queue_size, packed);
	int fd = memfd_create("inflight", MFD_CLOEXEC | MFD_ALLOW_SEALING), r;

	*ret_why = "the in-flight region cannot be made";
	if (fd < 0)
		return -errno;
	/* The front end gets the descriptor: it shall neither take memory from under us nor fill the machine's. */
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		r = -errno;
	else
		r = inflight_region_adopt(fd, 0, bytes, queues, queue_size, packed, faulted, ret, ret_why);
	close(fd);
	return r;
}

int inflight_region_adopt(int fd, uint64_t offset, uint64_t bytes, uint16_t queues, uint16_t queue_size, bool packed,
			  _Atomic bool *faulted, struct inflight_region **ret, const char **ret_why)
{
	*ret_why = "the in-flight region is smaller than its queues need";
	if (queues == 0 || queue_size == 0 || bytes < queues * queue_stride(queue_size, packed) || offset % 64)
		return -EINVAL;
	struct inflight_region *region = calloc(1, sizeof(*region));
	*ret_why = "no memory for the in-flight region";
	if (!region)
		return -ENOMEM;
	*region = (struct inflight_region){
		.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
		.bytes = bytes,
		.offset = offset,
		.queues = queues,
		.queue_size = queue_size,
		.packed = packed,
	};
	int r = region->fd < 0 ? -errno : shared_mapping_open(fd, offset, bytes, faulted, &region->mapping, ret_why);
	if (r < 0) {
		inflight_region_free(region);
		return r;
	}
	*ret = region;
	return 0;
}

void inflight_region_free(struct inflight_region *region)
{
	if (!region)
		return;
	shared_mapping_close(&region->mapping);
	if (region->fd >= 0)
		close(region->fd);
	free(region);
}

void *inflight_region_queue(const struct inflight_region *region, unsigned index, uint16_t size, bool packed)
{
	if (!region || index >= region->queues || size != region->queue_size || packed != region->packed)
		return NULL;
	return region->mapping.data + index * queue_stride(size, packed);
}

void virtq_inflight_fini(struct virtq_inflight *inflight)
{
	free(inflight->entries);
	free(inflight->resubmit);
	*inflight = (struct virtq_inflight){ 0 };
}
