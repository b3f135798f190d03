/* SPDX-License-Identifier: BSD-3-Clause */
/* Attributes of a flow; the rest is in translate_pattern.c and translate_actions.c. */
#include "translate.h"

#include <errno.h>
#include <string.h>

static int check_attributes(const struct rte_flow_attr *attr, struct rte_flow_error *error)
{
	if (!attr)
		return rte_flow_error_set(error, EINVAL, RTE_FLOW_ERROR_TYPE_ATTR, NULL, "a flow needs attributes");
	if (attr->group)
		return rte_flow_error_set(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ATTR_GROUP, attr,
					  "there is group 0 only");
	if (attr->priority)
		return rte_flow_error_set(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY, attr,
					  "there is priority 0 only: flows of a port are to be disjoint");
	if (attr->egress)
		return rte_flow_error_set(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ATTR_EGRESS, attr,
					  "what the application sends is not looked at: use transfer or ingress");
	if (!attr->transfer && !attr->ingress)
		return rte_flow_error_set(
			error, EINVAL, RTE_FLOW_ERROR_TYPE_ATTR, attr,
			"the attribute must be transfer (forward in the DPU) or ingress (MARK and RSS)");
	return 0;
}

int translate_flow(const struct translate_port *port, const struct rte_flow_attr *attr,
		   const struct rte_flow_item *pattern, const struct rte_flow_action *actions, struct eswitch_rule *ret,
		   struct rte_flow_error *error)
{
	int status = check_attributes(attr, error);

	if (status < 0)
		return status;
	if (!pattern)
		return rte_flow_error_set(error, EINVAL, RTE_FLOW_ERROR_TYPE_ITEM_NUM, NULL, "there is no pattern");
	if (!actions)
		return rte_flow_error_set(error, EINVAL, RTE_FLOW_ERROR_TYPE_ACTION_NUM, NULL, "there are no actions");
	status = translate_pattern(port, pattern, ret, error);
	return status < 0 ? status : translate_actions(port, !attr->transfer, actions, ret, error);
}
