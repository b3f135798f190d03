/* SPDX-License-Identifier: BSD-3-Clause */
/* rte_flow of a port. A handle is a rule; every flow is counted. */
#include "driver.h"

#include <stdio.h>
#include <rte_flow_driver.h>
#include "translate.h"

static struct translate_port translate_port_of(const struct rte_eth_dev *dev)
{
	struct driver_port *port = driver_port(dev);

	return (struct translate_port){
		.dpdk_port = dev->data->port_id,
		.number = (uint16_t)port->in_hub.number,
		.rx_queues = dev->data->nb_rx_queues,
		.number_of = hub_number_of,
		.ctx = port->hub,
	};
}

static int translate(struct rte_eth_dev *dev, const struct rte_flow_attr *attr, const struct rte_flow_item *pattern,
		     const struct rte_flow_action *actions, struct eswitch_rule *ret, struct rte_flow_error *error)
{
	struct translate_port port = translate_port_of(dev);

	if (driver_port(dev)->in_hub.number < 0)
		return rte_flow_error_set(error, ENODEV, RTE_FLOW_ERROR_TYPE_UNSPECIFIED, NULL,
					  "the representor is gone");
	return translate_flow(&port, attr, pattern, actions, ret, error);
}

static int flow_validate(struct rte_eth_dev *dev, const struct rte_flow_attr *attr, const struct rte_flow_item *pattern,
			 const struct rte_flow_action *actions, struct rte_flow_error *error)
{
	struct eswitch_rule rule;

	return translate(dev, attr, pattern, actions, &rule, error);
}

static enum eswitch_report what_of(enum rte_flow_error_type type)
{
	if (type >= RTE_FLOW_ERROR_TYPE_ATTR_GROUP && type <= RTE_FLOW_ERROR_TYPE_ATTR)
		return ESWITCH_REPORT_ATTRIBUTE;
	if (type >= RTE_FLOW_ERROR_TYPE_ITEM_NUM && type <= RTE_FLOW_ERROR_TYPE_ITEM)
		return ESWITCH_REPORT_PATTERN;
	if (type >= RTE_FLOW_ERROR_TYPE_ACTION_NUM && type <= RTE_FLOW_ERROR_TYPE_ACTION)
		return ESWITCH_REPORT_ACTION;
	return ESWITCH_REPORT_RESOURCE;
}

/* So that `dpuctl offload refused` says it. */
static void report(struct rte_eth_dev *dev, enum eswitch_report what, const char *sentence,
		   const struct eswitch_rule *wanted)
{
	struct hub *hub = driver_port(dev)->hub;

	reports_add(hub->reports, what, sentence, &wanted->match, &wanted->mask);
	reports_flush(hub->reports, hub->link);
}

static struct rte_flow *flow_create(struct rte_eth_dev *dev, const struct rte_flow_attr *attr,
				    const struct rte_flow_item *pattern, const struct rte_flow_action *actions,
				    struct rte_flow_error *error)
{
	struct eswitch_rule wanted = { .match.in_port = (uint16_t)driver_port(dev)->in_hub.number,
				       .mask.in_port = UINT16_MAX };
	struct rte_flow_error own;
	const char *sentence;
	struct rule *rule;

	error = error ? error : &own;
	if (translate(dev, attr, pattern, actions, &wanted, error) < 0) {
		report(dev, what_of(error->type), error->message, &wanted);
		return NULL;
	}
	int status = rules_create(driver_port(dev)->hub->rules, &wanted, &rule, &sentence);
	if (status == 0)
		return (struct rte_flow *)rule;
	report(dev, ESWITCH_REPORT_RESOURCE, sentence, &wanted);
	rte_flow_error_set(error, -status,
			   status == -ENOSPC ? RTE_FLOW_ERROR_TYPE_HANDLE : RTE_FLOW_ERROR_TYPE_UNSPECIFIED, NULL,
			   sentence);
	return NULL;
}

static int flow_destroy(struct rte_eth_dev *dev, struct rte_flow *flow, struct rte_flow_error *error)
{
	rules_destroy(driver_port(dev)->hub->rules, (struct rule *)flow);
	return 0;
}

static void forget(void *ctx, struct rule *rule)
{
}

void driver_flow_close(struct driver_port *port)
{
	rules_destroy_port(port->hub->rules, (uint16_t)port->number, forget, NULL);
}

static int flow_flush(struct rte_eth_dev *dev, struct rte_flow_error *error)
{
	driver_flow_close(driver_port(dev));
	return 0;
}

static int flow_isolate(struct rte_eth_dev *dev, int set, struct rte_flow_error *error)
{
	if (!set)
		return 0;
	return rte_flow_error_set(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_UNSPECIFIED, NULL,
				  "a representor is never isolated: what no flow decides about comes up");
}

static int flow_query(struct rte_eth_dev *dev, struct rte_flow *flow, const struct rte_flow_action *action, void *data,
		      struct rte_flow_error *error)
{
	struct rte_flow_query_count *count = data;
	struct hub *hub = driver_port(dev)->hub;

	reports_flush(hub->reports, hub->link); /* what came too fast to be told at once */
	for (; action->type != RTE_FLOW_ACTION_TYPE_END; action++) {
		if (action->type == RTE_FLOW_ACTION_TYPE_VOID)
			continue;
		if (action->type != RTE_FLOW_ACTION_TYPE_COUNT)
			return rte_flow_error_set(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_ACTION, action,
						  "of a flow its COUNT can be asked");
		rule_query(driver_port(dev)->hub->rules, (struct rule *)flow, count->reset, &count->hits,
			   &count->bytes);
		count->hits_set = count->bytes_set = 1;
	}
	return 0;
}

static int flow_dump(struct rte_eth_dev *dev, struct rte_flow *flow, FILE *file, struct rte_flow_error *error)
{
	static const char *const states[] = {
		[RULE_UNDER_WAY] = "under way",
		[RULE_ACTIVE] = "active",
		[RULE_REFUSED] = "refused",
		[RULE_AWAY] = "dpud is away",
	};
	struct rules *rules = driver_port(dev)->hub->rules;
	enum eswitch_refusal refusal = 0;
	uint64_t packets, bytes;

	if (!flow)
		return rte_flow_error_set(error, ENOTSUP, RTE_FLOW_ERROR_TYPE_HANDLE, NULL,
					  "single flows can be dumped; all of them: dpuctl offload flows");
	enum rule_state state = rule_state(rules, (struct rule *)flow, &refusal);
	rule_query(rules, (struct rule *)flow, false, &packets, &bytes);
	fprintf(file, "%s, %lu packets, %lu bytes", states[state], (unsigned long)packets, (unsigned long)bytes);
	if (state == RULE_REFUSED)
		fprintf(file, ", reason %d: dpuctl offload refused says more", refusal);
	fprintf(file, "\n");
	return 0;
}

static const struct rte_flow_ops flow_ops = {
	.validate = flow_validate,
	.create = flow_create,
	.destroy = flow_destroy,
	.flush = flow_flush,
	.isolate = flow_isolate,
	.query = flow_query,
	.dev_dump = flow_dump,
};

int driver_flow_ops(struct rte_eth_dev *dev, const struct rte_flow_ops **ret)
{
	*ret = &flow_ops;
	return 0;
}
