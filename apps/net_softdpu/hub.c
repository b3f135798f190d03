/* SPDX-License-Identifier: BSD-3-Clause */
/* The ports of an eswitch in this process, and what becomes of them when dpud goes and comes. */
#include "hub.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <ethdev_driver.h>

struct shared_hub {
	struct hub hub; /* first */
	unsigned refs;
	struct link_listener listener;
	/* Of ports, which change with both held. The link may be called with the first, and has itself locked when it
	 * takes the second. */
	pthread_mutex_t attending, lock;
	LIST_HEAD(, hub_port) ports;
	LIST_ENTRY(shared_hub) link;
};

static pthread_mutex_t hubs_lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, shared_hub) hubs;

static void on_lost(void *ctx)
{
	struct shared_hub *hub = ctx;
	struct hub_port *port;

	rules_attach(hub->hub.rules, NULL);
	pthread_mutex_lock(&hub->lock);
	LIST_FOREACH(port, &hub->ports, link)
	{
		port->lost(port);
	}
	pthread_mutex_unlock(&hub->lock);
}

static void on_back(void *ctx)
{
	struct shared_hub *hub = ctx;

	rules_attach(hub->hub.rules, link_region(hub->hub.link));
}

/* Rules name ports, so they are tried again once all are open. */
static bool on_attend(void *ctx)
{
	struct shared_hub *hub = ctx;
	bool opened = false, more = false;
	struct hub_port *port;

	pthread_mutex_lock(&hub->attending);
	LIST_FOREACH(port, &hub->ports, link)
	{
		int status = port->reopen(port);
		opened |= status > 0;
		more |= status < 0;
	}
	pthread_mutex_unlock(&hub->attending);
	if (opened)
		rules_retry(hub->hub.rules);
	return more;
}

static void on_changed(void *ctx, const struct eswitch_port_info *info)
{
	struct shared_hub *hub = ctx;
	struct hub_port *port;

	pthread_mutex_lock(&hub->lock);
	LIST_FOREACH(port, &hub->ports, link)
	{
		if (port->number == (int32_t)info->number)
			port->changed(port, info);
	}
	pthread_mutex_unlock(&hub->lock);
}

static void on_gone(void *ctx, uint32_t number)
{
	struct shared_hub *hub = ctx;
	struct hub_port *port;

	pthread_mutex_lock(&hub->lock);
	LIST_FOREACH(port, &hub->ports, link)
	{
		if (port->number == (int32_t)number)
			port->gone(port);
	}
	pthread_mutex_unlock(&hub->lock);
}

static void hub_free(struct shared_hub *hub)
{
	if (hub->hub.domain != RTE_ETH_DEV_SWITCH_DOMAIN_ID_INVALID)
		rte_eth_switch_domain_free(hub->hub.domain);
	if (hub->hub.rules)
		rules_free(hub->hub.rules);
	reports_free(hub->hub.reports);
	pthread_mutex_destroy(&hub->lock);
	pthread_mutex_destroy(&hub->attending);
	free(hub);
}

/* Takes the reference to the link. */
static struct shared_hub *hub_new(struct link *link)
{
	struct shared_hub *hub = calloc(1, sizeof(*hub));

	if (!hub)
		return NULL;
	pthread_mutex_init(&hub->lock, NULL);
	pthread_mutex_init(&hub->attending, NULL);
	hub->hub.link = link;
	hub->hub.domain = RTE_ETH_DEV_SWITCH_DOMAIN_ID_INVALID;
	if (rules_new(&hub->hub.rules) < 0 || reports_new(&hub->hub.reports) < 0 ||
	    rte_eth_switch_domain_alloc(&hub->hub.domain) < 0) {
		hub_free(hub);
		return NULL;
	}
	hub->refs = 1;
	hub->listener = (struct link_listener){ on_lost, on_back, on_changed, on_gone, on_attend, hub, NULL };
	link_listen(link, &hub->listener);
	rules_attach(hub->hub.rules, link_region(link));
	LIST_INSERT_HEAD(&hubs, hub, link);
	return hub;
}

int hub_get(const char *socket_path, const char *eswitch, struct hub **ret, char sentence[LINK_SENTENCE_BYTES])
{
	struct shared_hub *hub;
	struct link *link;

	pthread_mutex_lock(&hubs_lock);
	int status = link_get(socket_path, eswitch, &link, sentence);
	if (status == 0) {
		LIST_FOREACH(hub, &hubs, link)
		{
			if (hub->hub.link == link)
				break;
		}
		if (hub) {
			hub->refs++;
			link_put(link); /* the hub has one */
		} else {
			hub = hub_new(link);
		}
		if (hub) {
			*ret = &hub->hub;
		} else {
			snprintf(sentence, LINK_SENTENCE_BYTES, "out of memory, or of switch domains");
			link_put(link);
			status = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&hubs_lock);
	return status;
}

void hub_put(struct hub *shared)
{
	struct shared_hub *hub = (struct shared_hub *)shared;

	pthread_mutex_lock(&hubs_lock);
	if (--hub->refs == 0) {
		LIST_REMOVE(hub, link);
		link_unlisten(hub->hub.link, &hub->listener);
		link_put(hub->hub.link);
		hub_free(hub);
	}
	pthread_mutex_unlock(&hubs_lock);
}

void hub_add(struct hub *shared, struct hub_port *port)
{
	struct shared_hub *hub = (struct shared_hub *)shared;

	pthread_mutex_lock(&hub->attending);
	pthread_mutex_lock(&hub->lock);
	LIST_INSERT_HEAD(&hub->ports, port, link);
	pthread_mutex_unlock(&hub->lock);
	pthread_mutex_unlock(&hub->attending);
}

void hub_remove(struct hub *shared, struct hub_port *port)
{
	struct shared_hub *hub = (struct shared_hub *)shared;

	pthread_mutex_lock(&hub->attending);
	pthread_mutex_lock(&hub->lock);
	LIST_REMOVE(port, link);
	pthread_mutex_unlock(&hub->lock);
	pthread_mutex_unlock(&hub->attending);
}

int hub_number_of(void *ctx, uint16_t dpdk_port)
{
	struct shared_hub *hub = ctx;
	struct hub_port *port;
	int number = -1;

	pthread_mutex_lock(&hub->lock);
	LIST_FOREACH(port, &hub->ports, link)
	{
		if (port->dpdk_port == dpdk_port)
			number = port->number;
	}
	pthread_mutex_unlock(&hub->lock);
	return number;
}
