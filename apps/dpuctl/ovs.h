/* SPDX-License-Identifier: BSD-3-Clause */
/* `dpuctl offload … --ovs`: dpud's rules beside the flows of the Open vSwitch that made them. */
#pragma once

#include "ctl.h"

/* For offload-flows and offload-refused: runs the request and joins its result with what OVS at ctl->options.ovs, the
 * control socket of an ovs-vswitchd, says. Returns enum ctl_exit. */
int ovs_join(struct ctl *ctl, struct request *request, json_t **ret_result, struct dpu_error *err);
