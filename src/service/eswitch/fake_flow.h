/* SPDX-License-Identifier: BSD-3-Clause */
/* What the flow engine of the tests was told. */
#pragma once

#include "device/flow/flow.h"

struct fake_flow {
	unsigned switches, clients, flows, looks;
	_Atomic unsigned grows; /* by another thread */
	bool bypass;
	struct flow_port ports[ESWITCH_MAX_PORTS + 1];
	bool bound[ESWITCH_MAX_PORTS + 1];
	const struct flow_client *opened[ESWITCH_MAX_PORTS + 1];
};
extern struct fake_flow fake_flow;
