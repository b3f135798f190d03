/* SPDX-License-Identifier: BSD-3-Clause */
/* What vNICs and ports show of who is behind them: what was negotiated, the state of each queue, drops by reason. */
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service/vswitch/vswitch_priv.h"

static const struct {
	uint8_t bit;
	const char *name;
} feature_names[] = {
	{ 0, "csum" },
	{ 1, "guest_csum" },
	{ 3, "mtu" },
	{ 5, "mac" },
	{ 7, "guest_tso4" },
	{ 8, "guest_tso6" },
	{ 9, "guest_ecn" },
	{ 10, "guest_ufo" },
	{ 11, "host_tso4" },
	{ 12, "host_tso6" },
	{ 13, "host_ecn" },
	{ 14, "host_ufo" },
	{ 15, "mrg_rxbuf" },
	{ 16, "status" },
	{ 17, "ctrl_vq" },
	{ 18, "ctrl_rx" },
	{ 21, "guest_announce" },
	{ 22, "mq" },
	{ 26, "log_all" },
	{ 28, "indirect_desc" },
	{ 29, "event_idx" },
	{ 30, "vhost_protocol" },
	{ 32, "version_1" },
	{ 34, "ring_packed" },
	{ 35, "in_order" },
	{ 54, "guest_uso4" },
	{ 55, "guest_uso6" },
	{ 56, "host_uso" },
};

static void list_add(struct string_list *list, const char *text)
{
	list->items = realloc(list->items, (list->count + 1) * sizeof(*list->items));
	if (!list->items)
		abort();
	list->items[list->count++] = control_text(text);
}

static void add_features(struct string_list *list, uint64_t features)
{
	for (size_t i = 0; i < sizeof(feature_names) / sizeof(feature_names[0]); i++) {
		if (features & UINT64_C(1) << feature_names[i].bit)
			list_add(list, feature_names[i].name);
		features &= ~(UINT64_C(1) << feature_names[i].bit);
	}
	for (unsigned bit = 0; bit < 64; bit++) {
		char text[16];

		snprintf(text, sizeof(text), "bit_%u", bit);
		if (features & UINT64_C(1) << bit)
			list_add(list, text);
	}
}

void queues_observe(const struct attachment *attachment, struct string_list *ret)
{
	const struct port *port = attachment->port;

	for (unsigned i = 0; port && i < port->rx_queues && i < PORT_MAX_QUEUES; i++) {
		const struct attachment_queue *queue = &attachment->queues[i];
		char text[160];
		struct port_queue_state state = { 0 };
		int used;

		if (port->ops->describe_queue)
			port->ops->describe_queue(port, i, &state);
		if (!queue->rx)
			used = snprintf(text, sizeof(text), "%u: not served", i);
		else
			used = snprintf(text, sizeof(text), "%u: worker %u", i, queue->worker);
		if (state.sizes[0])
			used += snprintf(text + used, sizeof(text) - used, "; %u descriptors to it and %u from it",
					 state.sizes[0], state.sizes[1]);
		if (state.broken)
			snprintf(text + used, sizeof(text) - used, "; broken: %.60s", state.broken);
		else if (state.fault)
			snprintf(text + used, sizeof(text) - used, "; last bad descriptors: %.60s", state.fault);
		list_add(ret, text);
	}
}

void guest_observe(const struct port *port, struct vnic *ret)
{
	struct port_guest guest = { 0 };

	if (!port || !port->ops->describe)
		return;
	port->ops->describe(port, &guest);
	ret->connected = guest.connected;
	if (!guest.connected)
		return;
	add_features(&ret->virtio_features, guest.features);
	ret->ring = control_text(guest.features & UINT64_C(1) << VIRTIO_F_RING_PACKED ? "packed" : "split");
}

void iface_drops(const struct vswitch *vswitch, uint16_t iface, uint64_t ret[DROP_REASON_COUNT])
{
	memset(ret, 0, DROP_REASON_COUNT * sizeof(*ret));
	for (unsigned i = 0; i < vswitch->dp.worker_count; i++)
		for (unsigned reason = 0; vswitch->dp.paths[i] && reason < DROP_REASON_COUNT; reason++)
			ret[reason] += path_iface_drops(vswitch->dp.paths[i], iface, reason);
}

static void add_drops(struct string_list *list, const char *reason, uint64_t packets)
{
	char text[96];

	snprintf(text, sizeof(text), "%s=%lu", reason, (unsigned long)packets);
	if (packets > 0)
		list_add(list, text);
}

void drops_observe(const struct vswitch *vswitch, const struct attachment *attachment, const uint64_t *base,
		   struct string_list *ret)
{
	uint64_t drops[DROP_REASON_COUNT];

	iface_drops(vswitch, attachment->iface, drops);
	for (enum drop_reason reason = 1; reason < DROP_REASON_COUNT; reason++)
		add_drops(ret, drop_reason_name(reason), drops[reason] - base[reason]);
	for (unsigned i = 0; attachment->port && i < PORT_RX_DROPS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "port-%s", port_rx_drop_name(i));
		add_drops(ret, name, atomic_load(&attachment->port->rx_drops[i]));
	}
}
