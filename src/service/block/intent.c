// SPDX-License-Identifier: BSD-3-Clause
/* Pools that are to be formatted, volumes that are to be made or deleted, and are not yet, in a file: a line is written
 * before the model's commit, and the file is emptied when nothing is outstanding. After a kill between the commit and
 * the pool's command it tells what was never answered from what was lost: only a pool whose formatting was noted is
 * formatted again, only a volume whose making was noted is made, only one whose deletion was noted and that the model
 * does not have is deleted. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/log.h"
#include "base/str.h"
#include "service/block/block_priv.h"

enum { MOST_LINES = 200 }; /* of which so many may be done with */

enum verb { CREATE, DELETE, FORMAT, VERBS };
enum { VERB_LENGTH = 6 };
static const char verbs[VERBS][VERB_LENGTH + 1] = { "create", "delete", "format" };

struct intent {
	struct uuid pool, volume; /* volume: the pool itself if it is to be formatted */
	bool formatting;
	bool creation, deletion; /* both: it was never made, and is to go */
	TAILQ_ENTRY(intent) link;
};

static void file_path(const struct block *block, char *path, size_t bytes)
{
	snprintf(path, bytes, "%s/block-intents", block->dpu->store_dir);
}

static struct intent *add(struct block *block, const struct uuid *pool, const struct uuid *volume)
{
	struct intent *intent = block_alloc(sizeof(*intent));

	*intent = (struct intent){ .pool = *pool, .volume = *volume };
	TAILQ_INSERT_TAIL(&block->intents, intent, link);
	block->intent_count++;
	return intent;
}

static void file_empty(struct block *block)
{
	char path[PATH_MAX];

	file_path(block, path, sizeof(path));
	block->intent_lines = 0;
	if (truncate(path, 0) < 0 && errno != ENOENT)
		log_warn("block", "the list of intents cannot be emptied", "error=\"%s\"", strerror(errno));
}

static void drop(struct block *block, struct intent *intent)
{
	TAILQ_REMOVE(&block->intents, intent, link);
	free(intent);
	block->intent_count--;
	if (TAILQ_EMPTY(&block->intents))
		file_empty(block);
}

static int folder_sync(const struct block *block)
{
	CLEANUP(close_fd) int fd = open(block->dpu->store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int write_text(int fd, const char *text, size_t bytes)
{
	while (bytes > 0) {
		ssize_t written = write(fd, text, bytes);
		if (written <= 0)
			return written < 0 && errno ? -errno : -ENOSPC;
		text += written;
		bytes -= (size_t)written;
	}
	return fdatasync(fd) < 0 ? -errno : 0;
}

/* All or nothing: a torn line would spoil the next one. */
static int write_all(const struct block *block, const char *text, size_t bytes)
{
	char path[PATH_MAX];
	struct stat before;

	file_path(block, path, sizeof(path));
	CLEANUP(close_fd) int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || fstat(fd, &before) < 0)
		return -errno;
	int rc = write_text(fd, text, bytes);
	if (rc == 0 && before.st_size == 0) /* it may be new */
		rc = folder_sync(block);
	if (rc < 0 && ftruncate(fd, before.st_size) < 0)
		log_warn("block", "a torn list of intents cannot be cut", "error=\"%s\"", strerror(errno));
	return rc;
}

static void line_add(const struct intent *intent, enum verb verb, struct text *text)
{
	char pool[UUID_TEXT], volume[UUID_TEXT];

	text_printf(text, "%s %s %s\n", verbs[verb], uuid_format(&intent->pool, pool),
		    uuid_format(&intent->volume, volume));
}

/* What is outstanding, without the lines that are not any more. */
static int rewrite(struct block *block)
{
	CLEANUP(text_free) struct text text = { 0 };
	char path[PATH_MAX], new[PATH_MAX + 8];
	const struct intent *intent;

	/* The deletion of one that was never made may not be committed: then it is to be made. */
	TAILQ_FOREACH(intent, &block->intents, link)
	{
		if (intent->formatting)
			line_add(intent, FORMAT, &text);
		if (intent->creation)
			line_add(intent, CREATE, &text);
		if (intent->deletion)
			line_add(intent, DELETE, &text);
	}
	if (text.failed)
		abort(); /* out of memory */
	file_path(block, path, sizeof(path));
	snprintf(new, sizeof(new), "%s.new", path);
	CLEANUP(close_fd) int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	int rc = write_text(fd, text.data, text.length);
	if (rc == 0 && rename(new, path) < 0)
		rc = -errno;
	if (rc == 0)
		block->intent_lines = block->intent_count;
	return rc ? rc : folder_sync(block);
}

static struct intent *find(struct block *block, const struct uuid *uuid)
{
	struct intent *intent;

	TAILQ_FOREACH(intent, &block->intents, link)
	{
		if (uuid_equal(&intent->volume, uuid))
			return intent;
	}
	return NULL;
}

static bool is_news(const struct volume *volume)
{
	if (volume->subject.leaving)
		return !volume->intent || !volume->intent->deletion;
	return volume->subject.fresh && !volume->intent;
}

/* What is new with a subject; NULL: nothing that need be noted. */
static struct intent *news(const struct subject *subject, enum verb *ret)
{
	struct block *block = subject->block;
	struct volume *volume = volume_of_subject(subject);

	*ret = volume && subject->leaving ? DELETE : volume ? CREATE : FORMAT;
	if (subject->class == &pool_class && subject->fresh && !subject->leaving && !find(block, &subject->uuid)) {
		struct intent *intent = add(block, &subject->uuid, &subject->uuid);
		intent->formatting = true;
		return intent;
	}
	if (!volume || volume->pool->subject.leaving || !is_news(volume))
		return NULL;
	if (!volume->intent) {
		volume->intent = add(block, &volume->pool->subject.uuid, &subject->uuid);
		volume->intent->creation = !subject->leaving;
	}
	volume->intent->deletion = subject->leaving;
	return volume->intent;
}

/* Of the transaction that has been applied, or of none when it was undone. */
void intents_write(void *ctx)
{
	struct block *block = ctx;
	CLEANUP(text_free) struct text text = { 0 };
	const struct subject *subject;

	if (block->ended || block->stopping || model_loading(block->dpu->model))
		return;
	TAILQ_FOREACH(subject, &block->noted, noted_link)
	{
		enum verb verb;
		const struct intent *intent = news(subject, &verb);
		if (!intent)
			continue;
		if (!text.length) /* a power failure may have left the last line without its end */
			text_printf(&text, "\n");
		line_add(intent, verb, &text);
		block->intent_lines++;
	}
	if (text.failed)
		abort(); /* out of memory */
	int rc = !text.length ? 0
		 : block->intent_lines > MOST_LINES + 2 * block->intent_count
			 ? rewrite(block)
			 : write_all(block, text.data, text.length);
	if (rc < 0)
		log_warn("block", "intents cannot be noted: what a crash interrupts must be put right by hand",
			 "error=\"%s\"", strerror(-rc));
}

void intent_drop(struct volume *volume)
{
	if (volume->intent)
		drop(volume->subject.block, volume->intent);
	volume->intent = NULL;
}

void intent_made(struct volume *volume)
{
	if (volume->intent && !volume->intent->deletion)
		intent_drop(volume);
}

void intent_undelete(struct volume *volume)
{
	if (volume->id)
		intent_drop(volume);
	else if (volume->intent)
		volume->intent->deletion = false; /* it is still to be made */
}

/* The pool is gone, and all that it had. */
void intents_drop_pool(struct pool *pool)
{
	struct block *block = pool->subject.block;
	struct intent *intent, *next;
	struct volume *volume;

	TAILQ_FOREACH(volume, &pool->volumes, link)
	volume->intent = NULL;
	for (intent = TAILQ_FIRST(&block->intents); intent; intent = next) {
		next = TAILQ_NEXT(intent, link);
		if (uuid_equal(&intent->pool, &pool->subject.uuid))
			drop(block, intent);
	}
}

/* Durably, before anything else is done with the pool: a line that came back would have it formatted. */
int intent_formatted(struct pool *pool, struct dpu_error *err)
{
	struct block *block = pool->subject.block;
	struct intent *intent = find(block, &pool->subject.uuid);

	if (!intent)
		return 0;
	intent->formatting = false;
	int rc = rewrite(block);
	if (rc < 0) {
		intent->formatting = true;
		return error_set(err, DPU_E_IO, NULL, "that it is formatted cannot be noted: %s", strerror(-rc));
	}
	drop(block, intent);
	return 0;
}

bool intent_is_deletion(struct block *block, const char *name)
{
	struct uuid volume;

	const struct intent *intent = uuid_parse(name, &volume) == 0 ? find(block, &volume) : NULL;

	return intent && intent->deletion;
}

void intent_done(struct block *block, const char *name)
{
	struct uuid volume;
	struct intent *intent = uuid_parse(name, &volume) == 0 ? find(block, &volume) : NULL;

	if (intent)
		drop(block, intent);
}

static struct volume *volume_known(const struct object *object)
{
	return object->class == &volume_class || object->class == &snapshot_class ? volume_of(object) : NULL;
}

/* What the model has was not deleted; what it does not have was not created. */
static void load_line(struct block *block, enum verb verb, const struct uuid *pool, const struct uuid *uuid)
{
	bool deletion = verb == DELETE, formatting = verb == FORMAT;
	const struct object *in = model_find_uuid(block->dpu->model, pool);
	struct object *object = model_find_uuid(block->dpu->model, uuid);
	struct volume *volume = object ? volume_known(object) : NULL;

	if (find(block, uuid) || !in || in->class != &pool_class || deletion != (object == NULL))
		return;
	if (object && formatting != (object == in))
		return;
	if (object && !formatting && (!volume || !uuid_equal(&volume->pool->subject.uuid, pool)))
		return;
	struct intent *intent = add(block, pool, uuid);
	intent->creation = verb == CREATE;
	intent->deletion = deletion;
	intent->formatting = formatting;
	if (formatting)
		pool_of(object)->unmade = true;
	if (volume)
		volume->intent = intent;
}

/* As line_add() writes it, without the end of the line. */
static bool line_parse(char *line, size_t length, enum verb *ret_verb, struct uuid *ret_pool, struct uuid *ret_volume)
{
	enum { POOL_AT = VERB_LENGTH + 1, POOL_END = POOL_AT + UUID_TEXT - 1, LENGTH = POOL_END + UUID_TEXT };
	unsigned verb = 0;

	if (length != LENGTH || line[VERB_LENGTH] != ' ' || line[POOL_END] != ' ')
		return false;
	line[VERB_LENGTH] = line[POOL_END] = '\0';
	while (verb < VERBS && strcmp(line, verbs[verb]) != 0)
		verb++;
	*ret_verb = (enum verb)verb;
	return verb < VERBS && uuid_parse(line + POOL_AT, ret_pool) == 0 &&
	       uuid_parse(line + POOL_END + 1, ret_volume) == 0;
}

/* What a power failure has torn, or something else has damaged, counts no further than its line. */
static void load_file(struct block *block, FILE *file, const char *path)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	unsigned long long at = 0;
	struct uuid pool, volume;
	enum verb verb;

	for (; (length = getline(&line, &room, file)) >= 0; at += (size_t)length) {
		size_t text = (size_t)length - (length > 0 && line[length - 1] == '\n');

		line[text] = '\0';
		if (line_parse(line, text, &verb, &pool, &volume))
			load_line(block, verb, &pool, &volume);
		else if (text > 0)
			log_warn("block", "a line of the list of intents is none", "path=%s offset=%llu", path, at);
	}
	free(line);
}

/* At the start, the model being loaded. */
void intents_load(struct block *block)
{
	char path[PATH_MAX];

	file_path(block, path, sizeof(path));
	FILE *file = fopen(path, "re");
	if (!file && errno != ENOENT)
		log_warn("block", "the list of intents cannot be read", "path=%s error=\"%s\"", path, strerror(errno));
	if (!file)
		return;
	load_file(block, file, path);
	fclose(file);
	block->intent_lines = MOST_LINES + block->intent_count; /* those that do not count are seen to soon */
	if (TAILQ_EMPTY(&block->intents))
		file_empty(block);
}

void intents_free(struct block *block)
{
	struct intent *intent;

	while ((intent = TAILQ_FIRST(&block->intents))) {
		TAILQ_REMOVE(&block->intents, intent, link);
		free(intent);
	}
	block->intent_count = 0;
}
