/* SPDX-License-Identifier: BSD-3-Clause */
/* The class "port": an uplink, where the DPU is joined to the underlay network. */
#include "service/vswitch/objects.h"
#include "service/vswitch/control.h"

static const struct field port_fields[] = {
	FIELD(struct port_object, device, .flags = FIELD_F_REQUIRED | FIELD_F_IMMUTABLE | FIELD_F_UNIQUE, .min = 1,
	      .max = 1024,
	      .doc = "What drives the port: af_packet:IF, af_xdp:IF, tap:NAME, memif:PATH[,server][,queues=N], a PCI "
		     "address or "
		     "DPDK device arguments."),
	FIELD(struct port_object, mtu, .flags = FIELD_F_IMMUTABLE, .unit = "bytes", .min = 576, .max = 9600,
	      .def = "1600",
	      .doc = "Largest layer-3 packet of the underlay; encapsulation takes 50 to 70 bytes of it."),
	FIELD(struct port_object, queues, .flags = FIELD_F_IMMUTABLE, .unit = "queues", .min = 1, .max = 64, .def = "1",
	      .doc = "Receive queues, spread over the workers."),
	FIELD(struct port_object, admin_up, .def = "true", .doc = "Whether the port is to carry traffic."),
	FIELD(struct port_object, up, .flags = FIELD_F_STATE, .doc = "Whether the link is up."),
	FIELD(struct port_object, driver, .flags = FIELD_F_STATE, .doc = "Kind of driver behind the port."),
	FIELD(struct port_object, error, .flags = FIELD_F_STATE,
	      .doc = "Why the port does not work, when it does not."),
	FIELD(struct port_object, mac, .flags = FIELD_F_STATE, .doc = "MAC address of the device."),
	FIELD(struct port_object, queue_states, .flags = FIELD_F_STATE,
	      .doc = "For each receive queue the worker that serves it."),
	FIELD(struct port_object, drop_reasons, .flags = FIELD_F_STATE,
	      .doc = "Drops by reason, as REASON=PACKETS; port-REASON are frames that the port could not receive."),
	FIELD(struct port_object, rx_packets, .flags = FIELD_F_COUNTER, .unit = "packets", .doc = "Packets received."),
	FIELD(struct port_object, rx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes", .doc = "Bytes received."),
	FIELD(struct port_object, tx_packets, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets handed to the device."),
	FIELD(struct port_object, tx_bytes, .flags = FIELD_F_COUNTER, .unit = "bytes",
	      .doc = "Bytes handed to the device."),
	FIELD(struct port_object, rx_drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Received packets that were dropped."),
	FIELD(struct port_object, tx_drops, .flags = FIELD_F_COUNTER, .unit = "packets",
	      .doc = "Packets that the device did not take."),
	{ 0 },
};

static int port_validate(void *ctx, const struct object *old, const struct object *new, struct dpu_error *err)
{
	(void)old;
	return control_check_claims(ctx, new, err);
}

const struct object_class port_class = {
	.name = "port",
	.plural = "ports",
	.doc = "An uplink of the DPU to the underlay network.",
	.flags = CLASS_F_GLOBAL,
	.size = sizeof(struct port_object),
	.fields = port_fields,
	.max_objects = PATH_FIRST_VNIC - 1,
	.validate = port_validate,
	.apply = control_port_apply,
	.remove = control_port_remove,
	.commit = control_commit,
	.forget = control_forget,
	.observe = control_port_observe,
};
