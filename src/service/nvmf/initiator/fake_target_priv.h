/* SPDX-License-Identifier: BSD-3-Clause */
/* The inside of the target of the initiator's tests. */
#pragma once

#include <stddef.h>
#include "service/nvmf/initiator/fake_target.h"

struct fake_connection {
	struct fake_target *target;
	struct fake_port *port;
	struct fake_connection *next;
	struct stream *stream;
	bool greeted, header_digest, data_digest, closing, no_flow_control;
	int queue; /* -1: not connected */
	uint32_t cc;
	char subnqn[NVME_NQN_BYTES];
	uint16_t events[16];
	unsigned event_count;
	struct pending *pending;
	uint8_t *in;
	size_t have, room;
};

/* fake_admin.c */
void fake_fabrics(struct fake_connection *connection, const struct nvme_sqe *sqe, const uint8_t *data);
void fake_admin(struct fake_connection *connection, const struct nvme_sqe *sqe);
