// SPDX-License-Identifier: BSD-3-Clause
/* The mark of a volume that an import has begun to fill: a file beside the images, which goes when all of the image is
 * in the volume, or the volume goes. Whoever finds it knows that the volume has neither what it had nor the image. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/str.h"
#include "service/block/image/image_priv.h"
#include "service/block/image/words.h"

/* In a helper, before anything is changed. */
int image_mark_set(struct image_job *job)
{
	job->changed = access(job->mark, F_OK) == 0; /* by one before */
	job->marked = true;
	CLEANUP(close_fd)
	int fd = open(job->mark, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	char folder[PATH_MAX];

	if (fd < 0 || write(fd, job->name, strlen(job->name)) != (ssize_t)strlen(job->name) || fsync(fd) < 0)
		return errno ? -errno : -EIO;
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(job->mark, '/') - job->mark), job->mark);
	CLEANUP(close_fd) int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return directory < 0 || fsync(directory) < 0 ? -errno : 0;
}

void image_mark_read(struct volume *volume, const char *path)
{
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char name[132] = "";
	ssize_t got = fd < 0 ? -1 : read(fd, name, sizeof(name) - 1);

	if (got < 0)
		return;
	tool_words_clean(name);
	volume->image_state = WORK_FAILED;
	str_format(volume->image_last, sizeof(volume->image_last),
		   "import of %s failed: it was cut short, and " IMAGE_NEITHER, name);
}
