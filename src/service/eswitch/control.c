/* SPDX-License-Identifier: BSD-3-Clause */
/* The objects in force: the eswitch's engine, what each representor stands for, tunnels. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/packet/rcu_map.h"
#include "service/eswitch/eswitch_priv.h"

/* ---- the eswitch ---- */

static int engine_new(struct eswitch *eswitch, const struct eswitch_object *object, struct dpu_error *err)
{
	struct engine *engine = eswitch_alloc(sizeof(*engine));
	const struct flow_switch_options options = { .config = vswitch_config(eswitch->vswitch),
						     .workers = eswitch->workers,
						     .max_rules = object->max_rules,
						     .huge_pages = eswitch->dpu->huge_pages,
						     .retire = vswitch_retire,
						     .retire_ctx = eswitch->vswitch };
	int rc = flow_switch_new(&options, &engine->sw, err);

	if (rc != 0) {
		free(engine);
		return rc;
	}
	engine->eswitch = eswitch;
	eswitch->engine = engine;
	eswitch->engines++;
	rc = eswitch->started ? engine_start(eswitch, err) : 0;
	if (rc != 0)
		engine_end(eswitch);
	return rc;
}

int control_eswitch_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct eswitch *eswitch = ctx;
	struct eswitch_object *object = (struct eswitch_object *)new;
	int rc = old ? 0 : engine_new(eswitch, object, err);

	if (rc != 0)
		return rc;
	if (!old)
		eswitch->representors[0] = eswitch_alloc(sizeof(*eswitch->representors[0]));
	new->runtime = eswitch;
	eswitch->object = object;
	if (eswitch->engine)
		flow_switch_set_bypass(eswitch->engine->sw, object->bypass);
	return 0;
}

void control_eswitch_remove(void *ctx, struct object *object)
{
	struct eswitch *eswitch = ctx;
	struct client *client, *next;

	object->runtime = NULL;
	for (client = LIST_FIRST(&eswitch->clients); client; client = next) {
		next = LIST_NEXT(client, link);
		eswitch_dismiss(client, "the eswitch was deleted");
	}
	eswitch->object = NULL;
	free(eswitch->representors[0]);
	eswitch->representors[0] = NULL;
	if (eswitch->engine)
		engine_end(eswitch);
}

/* ---- tunnels: a slot behind each VNI, a number behind each slot and sender ---- */

static uint16_t group_take(struct eswitch *eswitch, const struct representor *object)
{
	unsigned vacant = 0;

	for (unsigned i = 1; i <= ESWITCH_MAX_PORTS; i++) {
		struct vni_group *group = &eswitch->groups[i];

		if (group->users > 0 && group->vni == object->vni && group->encapsulation == object->encapsulation) {
			group->users++;
			return PATH_FIRST_REPRESENTOR + i;
		}
		if (group->users == 0 && vacant == 0)
			vacant = i;
	}
	eswitch->groups[vacant] =
		(struct vni_group){ .encapsulation = object->encapsulation, .vni = object->vni, .users = 1 };
	return PATH_FIRST_REPRESENTOR + vacant;
}

static struct tunnel_key key_of(const struct eswitch *eswitch, const struct representor *object, uint16_t slot)
{
	return (struct tunnel_key){ .slot = slot,
				    .tag = path_vtep_tag(vswitch_config(eswitch->vswitch), object->tunnel_remote.bytes,
							 object->tunnel_remote.family == IP_V6) };
}

static void tunnel_down(struct eswitch *eswitch, struct control_representor *representor)
{
	const struct representor *object = representor->object;
	struct vni_group *group = &eswitch->groups[representor->vni_slot - PATH_FIRST_REPRESENTOR];
	struct tunnel_key key = key_of(eswitch, object, representor->vni_slot);

	rcu_map_remove(eswitch->tunnels, &key);
	if (--group->users == 0)
		vswitch_vni_set(eswitch->vswitch, object->encapsulation, object->vni, 0);
	vswitch_tunnel_put(eswitch->vswitch, representor->tunnel);
}

static int tunnel_up(struct eswitch *eswitch, struct control_representor *representor, struct dpu_error *err)
{
	const struct representor *object = representor->object;
	struct tunnel_key key;

	representor->tunnel = vswitch_tunnel_get(eswitch->vswitch, object->tunnel_underlay.object,
						 object->encapsulation, &object->tunnel_remote);
	if (!representor->tunnel)
		return error_set(err, DPU_E_LIMIT, "tunnel_remote", "needs a tunnel, and there are too many already");
	representor->vni_slot = group_take(eswitch, object);
	key = key_of(eswitch, object, representor->vni_slot);
	if (rcu_map_set(eswitch->tunnels, &key, (void *)(uintptr_t)object->number, NULL) == 0 &&
	    vswitch_vni_set(eswitch->vswitch, object->encapsulation, object->vni, representor->vni_slot) == 0)
		return 0;
	tunnel_down(eswitch, representor);
	return error_set(err, DPU_E_LIMIT, "vni", "cannot be registered: out of memory");
}

struct holder_question {
	uint8_t encapsulation;
	uint32_t vni;
	const struct object *found;
};

static int holds_vni(void *arg, struct object *object)
{
	struct holder_question *question = arg;
	const struct representor *representor = (const struct representor *)object;

	if (!representor->tunnel_underlay.object || representor->vni != question->vni ||
	    representor->encapsulation != question->encapsulation)
		return 0;
	question->found = object;
	return 1;
}

const struct object *control_tunnel_holder(void *ctx, uint8_t encapsulation, uint32_t vni)
{
	const struct eswitch *eswitch = ctx;
	struct holder_question question = { .encapsulation = encapsulation, .vni = vni };

	model_each(eswitch->dpu->model, "representor", NULL, holds_vni, &question);
	return question.found;
}

/* ---- representors ---- */

int control_flow_port(struct eswitch *eswitch, uint16_t number)
{
	const struct control_representor *representor = eswitch->representors[number];
	const struct representor *object = representor->object;
	struct eswitch_port_info info;
	struct flow_port port = { .number = number, .representor = PATH_FIRST_REPRESENTOR + number };

	if (!eswitch->engine)
		return 0;
	representor_info(eswitch, number, &info);
	port.mtu = info.mtu;
	if (representor->tunnel) {
		port.tunnelled = true;
		port.tunnel = vswitch_tunnel_index(representor->tunnel);
		port.vni = object->vni;
	} else if (object) {
		port.member = vswitch_member_attachment(object->vnic.object ? object->vnic.object : object->port.object)
				      ->iface;
	}
	return flow_port_set(eswitch->engine->sw, &port);
}

int control_representor_apply(void *ctx, struct object *old, struct object *new, struct dpu_error *err)
{
	struct eswitch *eswitch = ctx;
	struct representor *object = (struct representor *)new;
	struct control_representor *representor = old ? new->runtime : eswitch_alloc(sizeof(*representor));
	const struct object *member = object->vnic.object ? object->vnic.object : object->port.object;
	int rc = 0;

	representor->object = object;
	new->runtime = representor;
	if (old)
		return 0; /* name and labels: all else stays as it is */
	if (!member)
		rc = tunnel_up(eswitch, representor, err);
	if (rc != 0) {
		new->runtime = NULL;
		free(representor);
		return rc;
	}
	eswitch->representors[object->number] = representor;
	if (control_flow_port(eswitch, object->number) != 0)
		abort(); /* out of memory */
	if (member)
		vswitch_member_bind(eswitch->vswitch, member, object->number);
	return 0;
}

void control_representor_remove(void *ctx, struct object *object)
{
	struct eswitch *eswitch = ctx;
	struct control_representor *representor = object->runtime;
	const struct representor *old = representor->object;
	const struct object *member = old->vnic.object ? old->vnic.object : old->port.object;

	if (representor->open) {
		struct eswitch_message gone = { .type = ESWITCH_PORT_GONE, .number = old->number };
		struct client *client = representor->open->client;

		representor_close(representor);
		eswitch_tell(client, &gone, NULL, 0);
	}
	if (member)
		vswitch_member_bind(eswitch->vswitch, member, 0);
	if (eswitch->engine)
		flow_port_clear(eswitch->engine->sw, old->number);
	if (representor->tunnel)
		tunnel_down(eswitch, representor);
	eswitch->representors[old->number] = NULL;
	object->runtime = NULL;
	free(representor);
}

const char *control_iface_name(void *ctx, uint16_t iface)
{
	const struct eswitch *eswitch = ctx;
	unsigned number = iface - PATH_FIRST_REPRESENTOR;
	const struct control_representor *representor =
		number <= ESWITCH_MAX_PORTS ? eswitch->representors[number] : NULL;

	if (!representor)
		return "";
	return representor->object ? representor->object->base.name : "trunk";
}

void control_changed(void *ctx, uint16_t number)
{
	struct eswitch *eswitch = ctx;

	if (!eswitch->representors[number])
		return;
	control_flow_port(eswitch, number);
	representor_tell(eswitch, number);
}
