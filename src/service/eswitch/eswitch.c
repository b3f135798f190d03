/* SPDX-License-Identifier: BSD-3-Clause */
/* The service "eswitch": its start and stop. */
#include <stdlib.h>
#include "base/clock.h"
#include "device/packet/rcu_map.h"
#include "service/eswitch/eswitch.h"
#include "service/eswitch/eswitch_priv.h"

static int eswitch_init(struct dpu *dpu, void **ret_state, struct dpu_error *err)
{
	struct eswitch *eswitch = eswitch_alloc(sizeof(*eswitch));
	struct vswitch_members members = { .worker = engine_members,
					   .changed = control_changed,
					   .iface_name = control_iface_name,
					   .why = explain_member,
					   .tunnel_holder = control_tunnel_holder,
					   .ctx = eswitch };

	members.worker.ctx = eswitch;
	eswitch->dpu = dpu;
	eswitch->vswitch = service_find(dpu, &vswitch_service);
	eswitch->workers = workers_count(dpu->workers);
	eswitch->listen_fd = -1;
	if (rcu_map_new(sizeof(struct tunnel_key), vswitch_retire, eswitch->vswitch, &eswitch->tunnels) != 0) {
		free(eswitch);
		return error_set(err, DPU_E_INTERNAL, NULL, "out of memory for the eswitch's tables");
	}
	vswitch_set_members(eswitch->vswitch, &members);
	*ret_state = eswitch;
	return 0;
}

static int eswitch_start(void *state, struct dpu_error *err)
{
	struct eswitch *eswitch = state;
	int rc = eswitch->engine ? engine_start(eswitch, err) : 0;

	if (rc == 0)
		rc = server_start(eswitch, err);
	eswitch->started = rc == 0;
	return rc;
}

/* Clients, their ports and the engine end each in its own time. */
static void wait_for_others(void *arg)
{
	struct eswitch *eswitch = arg;

	if (!LIST_EMPTY(&eswitch->clients) || eswitch->closing > 0) {
		loop_timer_rearm(eswitch->stop_timer, CLOCK_NS_PER_MS);
		return;
	}
	if (eswitch->engine)
		engine_end(eswitch);
	if (eswitch->engines > 0) {
		loop_timer_rearm(eswitch->stop_timer, CLOCK_NS_PER_MS);
		return;
	}
	loop_timer_remove(eswitch->stop_timer);
	eswitch->stop_timer = NULL;
	eswitch->stopped(eswitch->stopped_arg);
}

static void eswitch_stop(void *state, void (*done)(void *arg), void *arg)
{
	struct eswitch *eswitch = state;

	eswitch->stopping = true;
	eswitch->stopped = done;
	eswitch->stopped_arg = arg;
	server_stop(eswitch);
	if (loop_timer_add(eswitch->dpu->loop, 0, 0, wait_for_others, eswitch, &eswitch->stop_timer) != 0)
		abort();
}

static void eswitch_fini(void *state)
{
	enum { FINI_TURNS = 1000 };
	struct eswitch *eswitch = state;

	if (eswitch->engine) /* the start has failed half-way */
		engine_end(eswitch);
	for (unsigned i = 0; eswitch->engines > 0 && i < FINI_TURNS; i++)
		loop_once(eswitch->dpu->loop, 10);
	rcu_map_free(eswitch->tunnels);
	free(eswitch);
}

static const struct object_class *const classes[] = { &eswitch_class, &representor_class, NULL };
static const char *const requires[] = { "vswitch", NULL };

const struct service eswitch_service = {
	.name = "eswitch",
	.requires = requires,
	.classes = classes,
	.init = eswitch_init,
	.start = eswitch_start,
	.stop = eswitch_stop,
	.fini = eswitch_fini,
	.metrics = eswitch_metrics,
};
