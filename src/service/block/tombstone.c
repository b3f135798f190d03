// SPDX-License-Identifier: BSD-3-Clause
/* Deletions that a pool has not carried out yet, in a file: a kill between the model's commit and the pool's command
 * would leave a volume that nobody knows any more. A line is written before the commit and counts only if the model
 * does not have the object at the next start; the file is emptied when nothing is outstanding. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "service/block/block_priv.h"

struct tombstone {
	struct uuid pool, volume;
	TAILQ_ENTRY(tombstone) link;
};

static void file_path(const struct block *block, char *path, size_t bytes)
{
	snprintf(path, bytes, "%s/block-deleted", block->dpu->store_dir);
}

static struct tombstone *add(struct block *block, const struct uuid *pool, const struct uuid *volume)
{
	struct tombstone *tombstone = block_alloc(sizeof(*tombstone));

	*tombstone = (struct tombstone){ .pool = *pool, .volume = *volume };
	TAILQ_INSERT_TAIL(&block->tombstones, tombstone, link);
	return tombstone;
}

static void drop(struct block *block, struct tombstone *tombstone)
{
	char path[PATH_MAX];

	TAILQ_REMOVE(&block->tombstones, tombstone, link);
	free(tombstone);
	file_path(block, path, sizeof(path));
	if (TAILQ_EMPTY(&block->tombstones) && truncate(path, 0) < 0 && errno != ENOENT)
		log_warn("block", "the list of deletions cannot be emptied", "error=\"%s\"", strerror(errno));
}

static int write_all(const struct block *block, const char *text, size_t bytes)
{
	char path[PATH_MAX];

	file_path(block, path, sizeof(path));
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, bytes) != (ssize_t)bytes || fdatasync(fd) < 0)
		return -errno;
	return 0;
}

/* Of the transaction that has been applied, or of none when it was undone. */
void tombstones_write(void *ctx)
{
	struct block *block = ctx;
	CLEANUP(text_free) struct text text = { 0 };
	const struct subject *subject;
	char pool[UUID_TEXT];

	if (block->ended || block->stopping)
		return;
	TAILQ_FOREACH(subject, &block->noted, noted_link)
	{
		struct volume *volume = volume_of_subject(subject);
		if (!subject->leaving || !volume || volume->tombstone || volume->pool->subject.leaving)
			continue;
		volume->tombstone = add(block, &volume->pool->subject.uuid, &subject->uuid);
		text_printf(&text, "%s %s\n", uuid_format(&volume->pool->subject.uuid, pool), volume->key);
	}
	if (text.failed)
		abort(); /* out of memory */
	int rc = text.length ? write_all(block, text.data, text.length) : 0;
	if (rc < 0)
		log_warn("block", "deletions cannot be noted: one that a crash interrupts must be purged by hand",
			 "error=\"%s\"", strerror(-rc));
}

void tombstone_drop(struct volume *volume)
{
	if (volume->tombstone)
		drop(volume->subject.block, volume->tombstone);
	volume->tombstone = NULL;
}

/* The pool is gone, and all that it had. */
void tombstones_drop_pool(struct block *block, const struct uuid *pool)
{
	struct tombstone *tombstone, *next;

	for (tombstone = TAILQ_FIRST(&block->tombstones); tombstone; tombstone = next) {
		next = TAILQ_NEXT(tombstone, link);
		if (uuid_equal(&tombstone->pool, pool))
			drop(block, tombstone);
	}
}

static struct tombstone *find(struct block *block, const struct uuid *volume)
{
	struct tombstone *tombstone;

	TAILQ_FOREACH(tombstone, &block->tombstones, link)
	{
		if (uuid_equal(&tombstone->volume, volume))
			return tombstone;
	}
	return NULL;
}

bool tombstone_is(struct block *block, const char *name)
{
	struct uuid volume;

	return !TAILQ_EMPTY(&block->tombstones) && uuid_parse(name, &volume) == 0 && find(block, &volume);
}

void tombstone_done(struct block *block, const char *name)
{
	struct uuid volume;
	struct tombstone *tombstone = uuid_parse(name, &volume) == 0 ? find(block, &volume) : NULL;

	if (tombstone)
		drop(block, tombstone);
}

/* At the start, the model being loaded. What it has was not deleted. */
void tombstones_load(struct block *block)
{
	char path[PATH_MAX], pool_text[40], volume_text[40];
	struct uuid pool, volume;

	file_path(block, path, sizeof(path));
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	while (fscanf(file, "%39s %39s", pool_text, volume_text) == 2)
		if (uuid_parse(pool_text, &pool) == 0 && uuid_parse(volume_text, &volume) == 0 &&
		    !find(block, &volume) && !model_find_uuid(block->dpu->model, &volume) &&
		    model_find_uuid(block->dpu->model, &pool))
			add(block, &pool, &volume);
	fclose(file);
	if (TAILQ_EMPTY(&block->tombstones) && truncate(path, 0) < 0)
		log_warn("block", "the list of deletions cannot be emptied", "error=\"%s\"", strerror(errno));
}

void tombstones_free(struct block *block)
{
	struct tombstone *tombstone;

	while ((tombstone = TAILQ_FIRST(&block->tombstones))) {
		TAILQ_REMOVE(&block->tombstones, tombstone, link);
		free(tombstone);
	}
}
