/* SPDX-License-Identifier: BSD-3-Clause */
/* Time: CLOCK_MONOTONIC and the boot id. */
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

uint64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

int clock_boot_id(struct uuid *ret)
{
	char text[UUID_TEXT] = { 0 };
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	ssize_t count = read(fd, text, sizeof(text) - 1);
	int error = errno;
	close(fd);
	if (count < 0)
		return -error;
	return uuid_parse(text, ret);
}
