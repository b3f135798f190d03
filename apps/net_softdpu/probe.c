/* SPDX-License-Identifier: BSD-3-Clause */
/* The virtual device "net_softdpu": its arguments, and how a port comes and goes. */
#include "driver.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ethdev_vdev.h>
#include <rte_kvargs.h>

#define ARGUMENT_SOCKET      "socket"
#define ARGUMENT_ESWITCH     "eswitch"
#define ARGUMENT_REPRESENTOR "port" /* "representor" is what the ethdev library takes for its own */
#define ARGUMENT_TRUNK       "trunk"
#define ARGUMENT_QUEUES      "queues"
#define ARGUMENT_SLOTS       "slots"

#define LOG_ERROR(fmt_, ...) rte_log(RTE_LOG_ERR, driver_logtype, "net_softdpu: " fmt_ "\n" __VA_OPT__(, ) __VA_ARGS__)

struct arguments {
	char socket[PATH_MAX], eswitch[ESWITCH_NAME_BYTES], representor[ESWITCH_NAME_BYTES];
	bool trunk;
	unsigned queues, slots;
};

/* ---- arguments ---- */

static const char *value_of(const struct rte_kvargs *arguments, const char *key)
{
	return arguments ? rte_kvargs_get(arguments, key) : NULL;
}

static int read_text(const struct rte_kvargs *arguments, const char *key, char *to, size_t size)
{
	const char *value = value_of(arguments, key);

	if (value && strlen(value) >= size) {
		LOG_ERROR("%s: %zu bytes at most", key, size - 1);
		return -EINVAL;
	}
	if (value)
		strcpy(to, value);
	return 0;
}

static int read_number(const struct rte_kvargs *arguments, const char *key, unsigned low, unsigned high, unsigned *ret)
{
	const char *value = value_of(arguments, key);
	char *end;

	if (!value)
		return 0;
	unsigned long number = strtoul(value, &end, 10);
	if (end == value || *end || number < low || number > high) {
		LOG_ERROR("%s=%s: it must be a number from %u to %u", key, value, low, high);
		return -EINVAL;
	}
	*ret = (unsigned)number;
	return 0;
}

/* The socket of the only instance that runs here. */
static int find_socket(char *to, size_t size)
{
	glob_t found;
	int status = glob("/run/softdpu/*/" ESWITCH_SOCKET, 0, NULL, &found);

	if (status == 0 && found.gl_pathc == 1) {
		snprintf(to, size, "%s", found.gl_pathv[0]);
		globfree(&found);
		return 0;
	}
	LOG_ERROR("%s: say " ARGUMENT_SOCKET "=/run/softdpu/INSTANCE/" ESWITCH_SOCKET,
		  status == 0 ? "several dpuds run here" : "no dpud that this process could reach runs here");
	if (status == 0)
		globfree(&found);
	return -ENODEV;
}

static int read_arguments(const char *text, struct arguments *ret)
{
	static const char *const keys[] = { ARGUMENT_SOCKET,
					    ARGUMENT_ESWITCH,
					    ARGUMENT_REPRESENTOR,
					    ARGUMENT_TRUNK,
					    ARGUMENT_QUEUES,
					    ARGUMENT_SLOTS,
					    NULL };
	struct rte_kvargs *arguments = rte_kvargs_parse(text ? text : "", keys);
	unsigned trunk = 0;
	int status = -EINVAL;

	*ret = (struct arguments){ .queues = ESWITCH_MAX_QUEUES, .slots = DRIVER_SLOTS_DEFAULT };
	if (!arguments) {
		LOG_ERROR("%s: the arguments are socket=PATH,eswitch=NAME,port=NAME or trunk=1,queues=N,slots=N", text);
		return -EINVAL;
	}
	if (read_text(arguments, ARGUMENT_SOCKET, ret->socket, sizeof(ret->socket)) == 0 &&
	    read_text(arguments, ARGUMENT_ESWITCH, ret->eswitch, sizeof(ret->eswitch)) == 0 &&
	    read_text(arguments, ARGUMENT_REPRESENTOR, ret->representor, sizeof(ret->representor)) == 0 &&
	    read_number(arguments, ARGUMENT_TRUNK, 0, 1, &trunk) == 0 &&
	    read_number(arguments, ARGUMENT_QUEUES, 1, ESWITCH_MAX_QUEUES, &ret->queues) == 0 &&
	    read_number(arguments, ARGUMENT_SLOTS, 64, 32768, &ret->slots) == 0)
		status = 0;
	rte_kvargs_free(arguments);
	if (status < 0)
		return status;
	ret->trunk = trunk;
	if (ret->trunk == (ret->representor[0] != '\0')) {
		LOG_ERROR("give either port=NAME or trunk=1");
		return -EINVAL;
	}
	if (ret->slots & (ret->slots - 1)) {
		LOG_ERROR("slots=%u: it must be a power of two", ret->slots);
		return -EINVAL;
	}
	return ret->socket[0] ? 0 : find_socket(ret->socket, sizeof(ret->socket));
}

/* ---- coming and going ---- */

/* Opens the port for a moment: is it there, what number and MAC has it? */
static int look_at(struct driver_port *port, struct rte_ether_addr *ret_mac)
{
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct link_port open;
	int status = link_open_port(port->hub->link, port->representor, 1, 1, 64, 0, &open, sentence);

	if (status < 0) {
		LOG_ERROR("representor %s: %s", port->representor[0] ? port->representor : "(the trunk)", sentence);
		return status;
	}
	port->in_hub.number = (int32_t)open.info.number;
	port->number = open.info.number;
	port->member_mtu = open.info.mtu;
	memcpy(ret_mac->addr_bytes, open.info.mac, sizeof(open.info.mac));
	link_close_port(port->hub->link, &open);
	return 0;
}

static int fill(struct rte_eth_dev *dev, const struct arguments *arguments, struct hub *hub)
{
	struct driver_port *port = driver_port(dev);

	*port = (struct driver_port){
		.hub = hub, .dev = dev, .slots = arguments->slots, .max_queues = (uint16_t)arguments->queues
	};
	memcpy(port->representor, arguments->representor, sizeof(port->representor));
	port->in_hub.dpdk_port = dev->data->port_id;
	port->in_hub.number = -1;
	driver_port_callbacks(port);
	dev->data->mac_addrs = &port->mac;
	int status = look_at(port, &port->mac);
	if (status < 0)
		return status;
	rings_init(&port->rings, hub->link, driver_opened, port);
	dev->dev_ops = &driver_ethdev_ops;
	driver_queue_functions(dev);
	dev->data->dev_flags |= RTE_ETH_DEV_INTR_LSC | RTE_ETH_DEV_INTR_RMV | RTE_ETH_DEV_FLOW_OPS_THREAD_SAFE |
				RTE_ETH_DEV_AUTOFILL_QUEUE_XSTATS;
	dev->data->promiscuous = dev->data->all_multicast = 1;
	hub_add(hub, &port->in_hub);
	return 0;
}

static int probe(struct rte_vdev_device *vdev)
{
	char sentence[LINK_SENTENCE_BYTES] = "";
	struct arguments arguments;
	struct hub *hub;
	int status;

	if (rte_eal_process_type() != RTE_PROC_PRIMARY) {
		LOG_ERROR("a secondary process cannot use representors: connections and rules are the primary's; start "
			  "it as a "
			  "primary of its own, with another --file-prefix");
		return -ENOTSUP;
	}
	status = read_arguments(rte_vdev_device_args(vdev), &arguments);
	if (status < 0)
		return status;
	if (rte_eth_dev_count_total() == RTE_MAX_ETHPORTS) {
		LOG_ERROR(
			"DPDK has %d ports at most: give one device trunk=1, which carries all representors that have "
			"none, each by its number as VLAN id",
			RTE_MAX_ETHPORTS);
		return -ENOSPC;
	}
	status = hub_get(arguments.socket, arguments.eswitch, &hub, sentence);
	if (status < 0) {
		LOG_ERROR("%s", sentence);
		return status;
	}
	struct rte_eth_dev *dev = rte_eth_vdev_allocate(vdev, sizeof(struct driver_port));
	status = dev ? fill(dev, &arguments, hub) : -ENOMEM;
	if (status < 0) {
		if (dev) {
			dev->data->mac_addrs = NULL;
			rte_eth_dev_release_port(dev);
		}
		hub_put(hub);
		return status;
	}
	rte_eth_dev_probing_finish(dev);
	return 0;
}

static int dev_remove(struct rte_vdev_device *vdev)
{
	struct rte_eth_dev *dev = rte_eth_dev_allocated(rte_vdev_device_name(vdev));

	if (!dev)
		return 0;
	return rte_eth_dev_close(dev->data->port_id);
}

static struct rte_vdev_driver softdpu_driver = { .probe = probe, .remove = dev_remove };

RTE_PMD_REGISTER_VDEV(net_softdpu, softdpu_driver);
RTE_PMD_REGISTER_PARAM_STRING(net_softdpu, ARGUMENT_SOCKET "=<path> " ARGUMENT_ESWITCH "=<name> " ARGUMENT_REPRESENTOR
							   "=<name> " ARGUMENT_TRUNK "=<0|1> " ARGUMENT_QUEUES
							   "=<1-16> " ARGUMENT_SLOTS "=<64-32768>");
