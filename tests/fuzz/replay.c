/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a fuzz target over the files of a folder: what was found once is a unit test from then on. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20 };

static int run_file(int dir, const char *name)
{
	static uint8_t whole[INPUT_MAX];
	int fd = openat(dir, name, O_RDONLY);
	ssize_t length = fd < 0 ? -1 : read(fd, whole, sizeof(whole));
	if (fd >= 0)
		close(fd);
	if (length < 0) {
		perror(name);
		return -1;
	}
	/* A copy of just this length, so that a byte too many is seen. */
	uint8_t *data = malloc(length ? (size_t)length : 1);
	for (ssize_t i = 0; data && i < length; i++)
		data[i] = whole[i];
	if (data)
		LLVMFuzzerTestOneInput(data, (size_t)length);
	free(data);
	return data ? 0 : -1;
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	unsigned files = 0;
	if (!dir) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (entry->d_name[0] == '.')
			continue;
		if (run_file(dirfd(dir), entry->d_name) < 0)
			return 1;
		files++;
	}
	closedir(dir);
	printf("%u inputs\n", files);
	return files == 0; /* an empty corpus tests nothing */
}
