/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of a port while it is in use: dpud is lost and back, the representor changes or goes; and how the
 * application hears of it. Its functions run from EAL's thread of alarms, as the events of other drivers do, and so
 * with nothing of ours locked: they may call what they like, but for closing the port. */
#include "driver.h"

#include <rte_alarm.h>

RTE_LOG_REGISTER(driver_logtype, pmd.net.softdpu, NOTICE);

enum { EVENT_LINK = 1 << 0, EVENT_REMOVED = 1 << 1 };

static void deliver(void *arg)
{
	static const enum rte_eth_event_type types[] = { RTE_ETH_EVENT_INTR_LSC, RTE_ETH_EVENT_INTR_RMV };
	struct driver_port *port = arg;
	struct rte_eth_dev *dev = port->dev;
	unsigned events = atomic_exchange(&port->events, 0);

	for (unsigned i = 0; i < RTE_DIM(types); i++)
		if (events & 1u << i && dev->state == RTE_ETH_DEV_ATTACHED)
			rte_eth_dev_callback_process(dev, types[i], NULL);
}

static void post(struct driver_port *port, unsigned event)
{
	if (atomic_fetch_or(&port->events, event) == 0 && rte_eal_alarm_set(1, deliver, port) < 0)
		DRIVER_LOG(port, ERR, "there is no alarm to be had: the application is not told of events %#x", event);
}

void driver_events_stop(struct driver_port *port)
{
	rte_eal_alarm_cancel(deliver, port);
}

static bool set_link(struct rte_eth_dev *dev, bool up)
{
	struct rte_eth_link link = {
		.link_speed = RTE_ETH_SPEED_NUM_100G,
		.link_duplex = RTE_ETH_LINK_FULL_DUPLEX,
		.link_status = up ? RTE_ETH_LINK_UP : RTE_ETH_LINK_DOWN,
		.link_autoneg = RTE_ETH_LINK_FIXED,
	};

	return rte_eth_linkstatus_set(dev, &link) == 0;
}

void driver_tell_link(struct driver_port *port, bool up)
{
	if (set_link(port->dev, up))
		post(port, EVENT_LINK);
}

static void on_lost(struct hub_port *in_hub)
{
	struct driver_port *port = (struct driver_port *)in_hub;

	rings_lost(&port->rings);
	driver_tell_link(port, false);
}

static void on_changed(struct hub_port *in_hub, const struct eswitch_port_info *info)
{
	struct driver_port *port = (struct driver_port *)in_hub;

	port->member_mtu = info->mtu;
	driver_tell_link(port, info->link_up);
}

/* It may come back under the same name: who has not detached the port by then has it again. */
static void on_gone(struct hub_port *in_hub)
{
	struct driver_port *port = (struct driver_port *)in_hub;

	in_hub->number = -1;
	rings_lost(&port->rings);
	driver_tell_link(port, false);
	post(port, EVENT_REMOVED);
}

void driver_opened(void *arg, const struct eswitch_port_info *info)
{
	struct driver_port *port = arg;

	port->member_mtu = info->mtu;
	port->in_hub.number = (int32_t)info->number;
	port->openings++;
	driver_queues_nudge(port);
	driver_tell_link(port, info->link_up);
}

static int reopen(struct hub_port *in_hub)
{
	struct driver_port *port = (struct driver_port *)in_hub;
	char sentence[LINK_SENTENCE_BYTES] = "";
	int status = rings_reopen(&port->rings, sentence);

	if (status < 0 && status != port->complaint)
		DRIVER_LOG(port, WARNING, "not open again yet: %s", sentence);
	else if (status > 0)
		DRIVER_LOG(port, NOTICE, "open again");
	port->complaint = status < 0 ? status : 0;
	return status;
}

void driver_port_callbacks(struct driver_port *port)
{
	port->in_hub.lost = on_lost;
	port->in_hub.changed = on_changed;
	port->in_hub.gone = on_gone;
	port->in_hub.reopen = reopen;
}
