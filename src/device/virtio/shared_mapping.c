/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking and mapping a descriptor that a front end shares. */
#include "device/virtio/shared_mapping.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "device/virtio/memory_fault.h"

static int refuse(const char **ret_why, int error, const char *why)
{
	*ret_why = why;
	return error;
}

int shared_mapping_open(int fd, uint64_t offset, uint64_t length, _Atomic bool *faulted, struct shared_mapping *ret,
			const char **ret_why)
{
	struct stat st;
	uint64_t end;

	if (length == 0 || __builtin_add_overflow(offset, length, &end) || end > INT64_MAX)
		return refuse(ret_why, -EINVAL, "a shared region is empty or wraps around");
	/* Asked before anything that the file system behind the descriptor would have to answer. */
	if (fcntl(fd, F_GET_SEALS) < 0)
		return refuse(ret_why, -EINVAL, "a shared region is no memfd, tmpfs or hugetlbfs file");
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < end)
		return refuse(ret_why, -EINVAL, "a shared region is larger than its file");

	/* Mappings start at a page boundary of the file; a huge page's size is st_blksize. */
	uint64_t page = st.st_blksize > 4096 && !(st.st_blksize & (st.st_blksize - 1)) ? st.st_blksize : 4096;
	uint64_t lead = offset % page;
	size_t bytes = (lead + length + page - 1) & ~(page - 1);
	void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, (off_t)(offset - lead));
	if (base == MAP_FAILED)
		return refuse(ret_why, -errno, "a shared region cannot be mapped for reading and writing");
	madvise(base, bytes, MADV_DONTDUMP);

	int watch = memory_fault_watch(base, bytes, faulted);
	if (watch < 0) {
		munmap(base, bytes);
		return refuse(ret_why, watch, "no room to watch a shared region for faults");
	}
	*ret = (struct shared_mapping){ .data = (uint8_t *)base + lead,
					.base = base,
					.bytes = bytes,
					.watch = watch,
					.device = st.st_dev,
					.inode = st.st_ino };
	return 0;
}

void shared_mapping_close(struct shared_mapping *mapping)
{
	if (!mapping->data)
		return;
	memory_fault_unwatch(mapping->watch);
	munmap(mapping->base, mapping->bytes);
	mapping->data = NULL;
}
