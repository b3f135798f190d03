// SPDX-License-Identifier: BSD-3-Clause
/* Between the model's transactions and what they ask for: apply() and remove() only note their objects; once the
 * transaction is durable, what was noted is made so, and the transaction is answered when all of it has been tried.
 *
 * A transaction that is undone leaves nothing: what it created is freed, what it deleted is found again. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "service/block/block_priv.h"

/* A transaction that waits for its subjects. Those that were under way already have older tickets, and then it waits
 * for what was begun in between, too. One that does not end holds up nobody who has nothing to do with it. */
struct settler {
	uint64_t first, last; /* tickets; first after last: it has none */
	void (*done)(void *arg);
	void *arg;
	TAILQ_ENTRY(settler) link;
};

static void note(struct subject *subject)
{
	if (subject->noted)
		return;
	subject->noted = &subject->block->noted;
	TAILQ_INSERT_TAIL(subject->noted, subject, noted_link);
}

static void unnote(struct subject *subject)
{
	if (!subject->noted)
		return;
	TAILQ_REMOVE(subject->noted, subject, noted_link);
	subject->noted = NULL;
}

void subject_init(struct subject *subject, struct block *block, struct object *object)
{
	subject->block = block;
	subject->class = object->class;
	subject->uuid = object->uuid;
	subject->fresh = true;
}

void subject_apply(struct subject *subject, struct object *new)
{
	subject->object = new;
	subject->leaving = false;
	object_path(new, subject->name, sizeof(subject->name));
	note(subject);
}

void subject_remove(struct subject *subject)
{
	subject->object = NULL;
	subject->leaving = true;
	if (subject->block->ended || subject->fresh) {
		unnote(subject);
		subject->free(subject);
		return;
	}
	note(subject);
}

struct subject *subject_undelete(struct block *block, struct object *object)
{
	struct subject *subject;

	TAILQ_FOREACH(subject, &block->noted, noted_link)
	{
		if (subject->leaving && subject->class == object->class && uuid_equal(&subject->uuid, &object->uuid))
			return subject;
	}
	return NULL;
}

void subject_fini(struct subject *subject)
{
	unnote(subject);
	subject_settled(subject);
}

/* ---- waiting ---- */

static bool waits(const struct block *block, const struct settler *settler)
{
	const struct subject *subject;

	TAILQ_FOREACH(subject, &block->work, work_link)
	{
		if (subject->ticket > settler->last)
			return false;
		if (subject->ticket >= settler->first)
			return true;
	}
	return false;
}

static struct settler *first_settled(const struct block *block)
{
	struct settler *settler;

	TAILQ_FOREACH(settler, &block->settlers, link)
	{
		if (!waits(block, settler))
			return settler;
	}
	return NULL;
}

static void settlers_answer(void *arg)
{
	struct block *block = arg;
	struct settler *settler;

	block->settle_posted = false;
	while ((settler = first_settled(block)) != NULL) {
		TAILQ_REMOVE(&block->settlers, settler, link);
		settler->done(settler->arg);
		free(settler);
	}
}

/* Not at once: an answer may begin the next transaction. */
static void settlers_check(struct block *block)
{
	if (block->settle_posted || TAILQ_EMPTY(&block->settlers))
		return;
	block->settle_posted = true;
	if (loop_post(block->dpu->loop, settlers_answer, block) != 0)
		abort(); /* out of memory */
}

void subject_settled(struct subject *subject)
{
	if (!subject->ticket)
		return;
	subject->ticket = 0;
	TAILQ_REMOVE(&subject->block->work, subject, work_link);
	settlers_check(subject->block);
}

void block_settle(void *state, void (*done)(void *arg), void *arg)
{
	struct block *block = state;
	struct subject_list noted = TAILQ_HEAD_INITIALIZER(noted);
	struct settler *settler = block_alloc(sizeof(*settler));
	uint64_t first = UINT64_MAX;
	struct subject *subject;

	/* All have their tickets before the first begins: what it needs may be among the others. */
	TAILQ_CONCAT(&noted, &block->noted, noted_link);
	TAILQ_FOREACH(subject, &noted, noted_link)
	{
		subject->noted = &noted; /* one may end another that is still in line */
		if (!subject->ticket) {
			subject->ticket = ++block->ticket;
			TAILQ_INSERT_TAIL(&block->work, subject, work_link);
		}
		if (subject->ticket < first)
			first = subject->ticket;
	}
	*settler = (struct settler){ .first = first, .last = block->ticket, .done = done, .arg = arg };
	TAILQ_INSERT_TAIL(&block->settlers, settler, link);
	while ((subject = TAILQ_FIRST(&noted))) {
		unnote(subject);
		subject->fresh = false;
		subject->committed = subject->leaving;
		subject->settle(subject);
	}
	settlers_check(block);
}

/* ---- notices ---- */

static void tell(const struct subject *subject, enum log_level level, const char *notice, const char *sentence)
{
	log_event(level, "block", notice, "object=%s why=\"%s\"", subject->name, sentence);
	if (subject->object)
		model_notice(subject->block->dpu->model, subject->object, notice, json_pack("{s:s}", "why", sentence));
}

void subject_why(char ret[BLOCK_WHY_BYTES], const struct dpu_error *err)
{
	snprintf(ret, BLOCK_WHY_BYTES, "%.100s%s%.150s", err->path, err->path[0] ? ": " : "", err->message);
}

void subject_notice(const struct subject *subject, const char *notice, const char *sentence)
{
	tell(subject, LOG_LEVEL_WARN, notice, sentence);
}

void subject_notice_info(const struct subject *subject, const char *notice, const char *sentence)
{
	tell(subject, LOG_LEVEL_INFO, notice, sentence);
}
