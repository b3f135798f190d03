/* SPDX-License-Identifier: BSD-3-Clause */
/* Representors that clients have open: their packet rings as ports of the switch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "operating/port_representor.h"
#include "service/eswitch/eswitch_priv.h"

static const struct object *member_of(const struct representor *object)
{
	return object->vnic.object ? object->vnic.object : object->port.object;
}

void representor_info(struct eswitch *eswitch, uint16_t number, struct eswitch_port_info *ret)
{
	const struct representor *object = eswitch->representors[number]->object;
	const struct object *member = object ? member_of(object) : NULL;

	memset(ret, 0, sizeof(*ret));
	ret->number = number;
	ret->mtu = 1500;
	/* What a far side cannot do is done before a frame gets there. */
	ret->offloads = ESWITCH_PACKET_CSUM | ESWITCH_PACKET_TSO4 | ESWITCH_PACKET_TSO6 | ESWITCH_PACKET_USO;
	ret->link_up = 1;
	ret->kind = !object ? ESWITCH_PORT_TRUNK : ESWITCH_PORT_TUNNEL;
	ret->mac[0] = 2; /* locally administered, by number */
	ret->mac[4] = (uint8_t)(number >> 8);
	ret->mac[5] = (uint8_t)number;
	if (object)
		snprintf(ret->name, sizeof(ret->name), "%s", object->base.name);
	if (!member)
		return;
	bool vnic = object->vnic.object != NULL;
	ret->kind = vnic ? ESWITCH_PORT_VNIC : ESWITCH_PORT_UPLINK;
	ret->mtu = vnic ? ((const struct vnic *)member)->mtu : ((const struct port_object *)member)->mtu;
	ret->link_up = attachment_is_up(vswitch_member_attachment(member));
}

static struct path_iface *record_of(const struct open_port *open, const struct eswitch_port_info *info)
{
	struct path_iface *record = calloc(1, sizeof(*record));

	if (!record)
		abort();
	*record = (struct path_iface){ .id = open->attachment.iface,
				       .kind = PATH_IFACE_REPRESENTOR,
				       .mtu = info->mtu,
				       .representor = open->number };
	memcpy(record->mac.bytes, info->mac, sizeof(info->mac));
	return record;
}

static int opening(struct attachment *attachment, const struct port_callbacks *callbacks, struct port **ret,
		   struct dpu_error *err)
{
	struct open_port *open = (struct open_port *)attachment;
	struct eswitch_port_info info;

	representor_info(open->eswitch, open->number, &info);
	struct port_representor_options options = {
		.queue_pairs = open->queue_pairs, .slots = open->slots, .mtu = info.mtu, .offloads = open->offloads
	};
	memcpy(options.mac.bytes, info.mac, sizeof(info.mac));
	int rc = port_representor_open(&options, info.name[0] ? info.name : "trunk", open->eswitch->dpu->loop,
				       open->eswitch->dpu->pool, callbacks, ret, err);

	/* The region has pairs; the client looks at as many queues to it as it has asked for, and workers see nothing
	 * of the port before it is published. */
	if (rc == 0)
		(*ret)->tx_queues = open->to_host_queues;
	return rc;
}

static void refuse(struct open_port *open, enum eswitch_status status, const char *sentence)
{
	struct eswitch_message request = { .request = open->request }, reply;

	message_answer(&reply, &request, status, "open_port: %s", sentence);
	open->request = 0;
	eswitch_tell(open->client, &reply, NULL, 0);
}

/* The port is there: rules may name it, the client gets its rings. */
static void opened(struct open_port *open)
{
	struct eswitch *eswitch = open->eswitch;
	struct eswitch_message request = { .request = open->request }, reply;
	struct port_representor_share share;
	int fds[2 * ESWITCH_MAX_QUEUES + 1];

	message_answer(&reply, &request, ESWITCH_OK, "%s", "");
	representor_info(eswitch, open->number, &reply.open_port_reply.info);
	if (control_flow_port(eswitch, open->number) != 0 ||
	    flow_port_open(eswitch->engine->sw, open->number, open->client->flow) != 0) {
		refuse(open, ESWITCH_E_BUSY, "rules of its former client are still being removed; try again");
		representor_close(eswitch->representors[open->number]);
		return;
	}
	vswitch_iface_publish(&open->attachment, record_of(open, &reply.open_port_reply.info));
	eswitch->representors[open->number]->up = reply.open_port_reply.info.link_up;
	port_representor_share(open->attachment.port, &share);
	reply.open_port_reply.region_bytes = share.region_bytes;
	fds[0] = share.region_fd;
	memcpy(fds + 1, share.wake_fds, share.wake_fd_count * sizeof(fds[0]));
	open->request = 0;
	eswitch_tell(open->client, &reply, fds, 1 + share.wake_fd_count);
}

static void changed(struct attachment *attachment)
{
	struct open_port *open = (struct open_port *)attachment;

	if (open->request && attachment->port && attachment_may_publish(attachment))
		opened(open);
}

void representor_open(struct client *client, const struct eswitch_message *request, struct control_representor *to,
		      uint16_t number)
{
	static const struct attachment_ops ops = { .open = opening, .changed = changed };
	struct eswitch *eswitch = client->eswitch;
	struct open_port *open = eswitch_alloc(sizeof(*open));
	struct dpu_error err = { 0 };

	open->eswitch = eswitch;
	open->client = client;
	open->number = number;
	open->queue_pairs = RTE_MAX(request->open_port.to_host_queues, request->open_port.from_host_queues);
	open->to_host_queues = request->open_port.to_host_queues;
	open->slots = request->open_port.ring_slots;
	open->offloads = request->open_port.offloads;
	open->request = request->request;
	attachment_init(&open->attachment, eswitch->vswitch, PATH_FIRST_REPRESENTOR + number,
			to->object ? &to->object->base.uuid : &eswitch->object->base.uuid, &ops);
	to->open = open;
	if (attachment_open(&open->attachment, &err) == 0) {
		changed(&open->attachment); /* or later, when the number is free */
		return;
	}
	to->open = NULL;
	attachment_forget(&open->attachment);
	refuse(open, err.code == DPU_E_LIMIT ? ESWITCH_E_LIMIT : ESWITCH_E_INTERNAL, err.message);
	free(open);
}

static void closed(struct attachment *attachment)
{
	struct open_port *open = (struct open_port *)attachment;

	open->eswitch->closing--;
	free(open);
}

void representor_close(struct control_representor *representor)
{
	struct open_port *open = representor->open;
	struct eswitch *eswitch = open->eswitch;

	representor->open = NULL;
	if (eswitch->engine)
		flow_port_close(eswitch->engine->sw, open->number);
	if (!open->request)
		vswitch_iface_publish(&open->attachment, NULL);
	eswitch->closing++;
	attachment_close(&open->attachment, closed);
}

void representor_tell(struct eswitch *eswitch, uint16_t number)
{
	struct control_representor *representor = eswitch->representors[number];
	struct eswitch_message message = { .type = ESWITCH_PORT_CHANGED };

	if (!representor->open || representor->open->request)
		return;
	representor_info(eswitch, number, &message.port);
	vswitch_iface_publish(&representor->open->attachment, record_of(representor->open, &message.port));
	representor->up = message.port.link_up;
	eswitch_tell(representor->open->client, &message, NULL, 0);
}
