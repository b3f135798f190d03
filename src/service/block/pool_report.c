// SPDX-License-Identifier: BSD-3-Clause
/* Damage that a store finds: counted, shown, and told in notices, so many a second. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/block/block_priv.h"

enum { NOTICES_PER_SECOND = 5 };

static const char *const names[] = {
	[STORE_DAMAGE_DATA] = "block-damaged",    [STORE_DAMAGE_VOLUME] = "map-damaged",
	[STORE_DAMAGE_COUNTS] = "counts-damaged", [STORE_DAMAGE_DIRECTORY] = "directory-damaged",
	[STORE_DAMAGE_MEDIUM] = "pool-read-only",
};

static struct volume *volume_by_id(const struct pool *pool, uint64_t id)
{
	struct volume *volume;

	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		if (id && volume->id == id)
			return volume;
	}
	return NULL;
}

/* Those that are left out are counted in the next one. */
static bool may_notice(struct pool *pool)
{
	uint64_t now = clock_ns();

	if (now - pool->notices_since_ns >= CLOCK_NS_PER_S) {
		pool->notices_since_ns = now;
		pool->notices = 0;
	}
	if (pool->notices++ < NOTICES_PER_SECOND)
		return true;
	pool->notices_left_out++;
	return false;
}

static void tell(struct pool *pool, const struct pool_report *report, const struct volume *volume)
{
	const struct store_report *what = &report->report;
	const struct subject *subject = volume ? &volume->subject : &pool->subject;
	unsigned left_out = pool->notices_left_out + (unsigned)atomic_exchange(&pool->reports_lost, 0);

	log_error("block", names[what->damage], "object=%s medium=%s offset=%llu block=%llu why=\"%s\" left_out=%u",
		  subject->name, report->medium, (unsigned long long)what->offset, (unsigned long long)what->block,
		  report->why, left_out);
	if (subject->object)
		model_notice(pool->subject.block->dpu->model, subject->object, names[what->damage],
			     json_pack("{s:s,s:I,s:I,s:s,s:i}", "medium", report->medium, "offset",
				       (json_int_t)what->offset, "block", (json_int_t)what->block, "why", report->why,
				       "left_out", (int)left_out));
	pool->notices_left_out = 0;
}

static void reported(struct note *note)
{
	struct pool_report *report = (struct pool_report *)note;
	struct pool *pool = report->pool;
	struct volume *volume = volume_by_id(pool, report->report.volume);

	if (report->report.damage == STORE_DAMAGE_MEDIUM && pool->ready) {
		pool->state = BLOCK_READ_ONLY;
		snprintf(pool->why, sizeof(pool->why), "medium %.60s fails at offset %llu: %.100s", report->medium,
			 (unsigned long long)report->report.offset, report->why);
	}
	if (may_notice(pool) || report->report.damage == STORE_DAMAGE_MEDIUM)
		tell(pool, report, volume);
	atomic_store_explicit(&report->busy, false, memory_order_release);
}

/* What only makes a notice is lost if there is too much of it. A medium that fails is reported once in a store's life,
 * and has a place of its own. */
void pool_report(void *ctx, const struct store_report *report)
{
	struct pool *pool = ctx;
	unsigned first = report->damage == STORE_DAMAGE_MEDIUM ? POOL_REPORTS : 0;
	unsigned end = first ? POOL_REPORTS + 1 : POOL_REPORTS;

	pool->unpublished = true;
	for (unsigned i = first; i < end; i++) {
		struct pool_report *slot = &pool->reports[i];
		if (atomic_load_explicit(&slot->busy, memory_order_acquire))
			continue;
		atomic_store_explicit(&slot->busy, true, memory_order_relaxed);
		slot->report = *report;
		snprintf(slot->medium, sizeof(slot->medium), "%s", report->medium ? report->medium : "");
		snprintf(slot->why, sizeof(slot->why), "%s", report->why ? report->why : "");
		note_send(pool->subject.block, &slot->note);
		return;
	}
	atomic_fetch_add_explicit(&pool->reports_lost, 1, memory_order_relaxed);
}

/* ---- volumes that are quarantined: a state, which no shortage of reports hides ---- */

void pool_volume_damaged(struct volume *volume)
{
	struct pool *pool = volume->pool;

	if (atomic_exchange(&volume->damaged, true) || atomic_exchange(&pool->damage_noted, true))
		return;
	note_send(pool->subject.block, &pool->damage_note);
}

static void volumes_damaged(struct note *note)
{
	struct pool *pool = (struct pool *)((uint8_t *)note - offsetof(struct pool, damage_note));
	struct volume *volume;

	atomic_store(&pool->damage_noted, false);
	TAILQ_FOREACH(volume, &pool->volumes, link)
	{
		if (volume->id && atomic_load(&volume->damaged))
			volume_quarantined(volume, "its map is damaged");
	}
}

void pool_reports_init(struct pool *pool)
{
	for (unsigned i = 0; i <= POOL_REPORTS; i++) {
		pool->reports[i].note.fn = reported;
		pool->reports[i].pool = pool;
	}
	pool->damage_note.fn = volumes_damaged;
}
