/* SPDX-License-Identifier: BSD-3-Clause */
/* Mapping the dirty page log. */
#include "device/virtio/dirty_log.h"

#include <errno.h>
#include <stdlib.h>

int dirty_log_open(int fd, uint64_t offset, uint64_t bytes, _Atomic bool *faulted, struct dirty_log **ret,
		   const char **ret_why)
{
	struct dirty_log *log = calloc(1, sizeof(*log));

	*ret_why = "no memory for the dirty log";
	if (!log)
		return -ENOMEM;
	int r = shared_mapping_open(fd, offset, bytes, faulted, &log->mapping, ret_why);
	if (r < 0) {
		free(log);
		return r;
	}
	log->bits = log->mapping.data;
	log->bytes = bytes;
	*ret = log;
	return 0;
}

void dirty_log_close(struct dirty_log *log)
{
	if (!log)
		return;
	shared_mapping_close(&log->mapping);
	free(log);
}
