/* SPDX-License-Identifier: BSD-3-Clause */
/* The sessions of interfaces that are gone: each worker ends them in its own tables, a slice at a time, so that they
 * neither hold quotas nor are found when the number of the interface is used again. All that wait share a scan. */
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/vswitch_priv.h"

enum { SLICE = 4096, BITS = 64 };

struct waiting {
	struct waiting *next;
	uint16_t iface;
	void (*done)(void *arg);
	void *arg;
};

struct purge {
	struct vswitch *vswitch;
	struct waiting *queued, *scanned; /* for the next scan; of the one that runs */
	bool running;
	unsigned worker, table;
	uint32_t cursor;
	struct session_table *current;
	uint64_t wanted[PATH_MAX_IFACES / BITS];
};

static bool is_wanted(const struct purge *purge, uint16_t iface)
{
	return purge->wanted[iface / BITS] >> iface % BITS & 1;
}

static void visit(void *arg, struct session *session)
{
	struct purge *purge = arg;

	if (is_wanted(purge, session->vnic[0]) || is_wanted(purge, session->vnic[1]) ||
	    is_wanted(purge, session->dir[0].in_iface) || is_wanted(purge, session->dir[1].in_iface))
		session_remove(purge->current, session);
}

/* In the worker: a slice of one of its tables. */
static void look(void *arg, struct worker *worker)
{
	struct purge *purge = arg;
	struct path *path = purge->vswitch->dp.paths[purge->worker];

	(void)worker;
	for (; purge->table < 2 * PATH_SLOTS; purge->table++, purge->cursor = 0) {
		purge->current = path_table_at(path, purge->table);
		if (!purge->current || session_table_count(purge->current) == 0)
			continue;
		if (!session_table_scan(purge->current, &purge->cursor, SLICE, visit, purge)) {
			purge->table++;
			purge->cursor = 0;
		}
		return;
	}
}

static void finish(struct purge *purge)
{
	struct waiting *waiting = purge->scanned;

	purge->scanned = NULL;
	while (waiting) {
		struct waiting *next = waiting->next;

		purge->wanted[waiting->iface / BITS] &= ~(UINT64_C(1) << waiting->iface % BITS);
		waiting->done(waiting->arg);
		free(waiting);
		waiting = next;
	}
}

static void begin(struct purge *purge);

static void go_on(void *arg)
{
	struct purge *purge = arg;
	struct vswitch *vswitch = purge->vswitch;

	if (purge->table == 2 * PATH_SLOTS) {
		purge->worker++;
		purge->table = 0;
	}
	if (vswitch->running && purge->worker < vswitch->dp.worker_count &&
	    worker_call(workers_get(vswitch->dp.workers, purge->worker), look, purge, go_on) == 0)
		return;
	purge->running = false;
	finish(purge);
	begin(purge);
}

static void begin(struct purge *purge)
{
	if (purge->running || !purge->queued)
		return;
	purge->running = true;
	purge->scanned = purge->queued;
	purge->queued = NULL;
	for (struct waiting *waiting = purge->scanned; waiting; waiting = waiting->next)
		purge->wanted[waiting->iface / BITS] |= UINT64_C(1) << waiting->iface % BITS;
	purge->worker = purge->table = 0;
	purge->cursor = 0;
	go_on(purge);
}

void sessions_purge(struct vswitch *vswitch, uint16_t iface, void (*done)(void *arg), void *arg)
{
	struct waiting *waiting = control_alloc(sizeof(*waiting));

	if (!vswitch->purge) {
		vswitch->purge = control_alloc(sizeof(*vswitch->purge));
		vswitch->purge->vswitch = vswitch;
	}
	*waiting = (struct waiting){ .next = vswitch->purge->queued, .iface = iface, .done = done, .arg = arg };
	vswitch->purge->queued = waiting;
	begin(vswitch->purge);
}

void purge_free(struct vswitch *vswitch)
{
	free(vswitch->purge);
	vswitch->purge = NULL;
}
