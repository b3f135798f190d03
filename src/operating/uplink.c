/* SPDX-License-Identifier: BSD-3-Clause */
/* Uplinks by their device string: which kind it names, and everything that can be wrong with it. */
#include "operating/port.h"

#include <ctype.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <net/if.h>
#include <rte_ethdev.h>
#include "base/str.h"
#include "operating/port_kinds.h"

enum { DEVICE_MAX = 1023, MTU_MIN = 68, MTU_MAX = 9216 };

struct uplink {
	const char *device, *name;
	uint16_t mtu;
	unsigned queues;
	struct loop *loop;
	struct rte_mempool *pool;
	const struct port_callbacks *callbacks;
};

static int wrong(struct dpu_error *err, const char *device)
{
	return error_set(err, DPU_E_INVALID, "device",
			 "\"%.128s\" names no device: write af_packet:INTERFACE, af_xdp:INTERFACE, tap:NAME, "
			 "memif:PATH[,server][,queues=N], a PCI address (0000:03:00.0) or a DPDK virtual device "
			 "(net_NAME0,key=value).",
			 device);
}

static bool is_interface_name(const char *name)
{
	size_t length = strlen(name);

	if (length < 1 || length >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (; *name; name++)
		if (!isgraph((unsigned char)*name) || strchr("/:%,", *name))
			return false;
	return true;
}

static int check_interface(const char *interface, struct dpu_error *err)
{
	if (!is_interface_name(interface))
		return error_set(
			err, DPU_E_INVALID, "device",
			"\"%.32s\" is no interface name: 1 to %d bytes without '/', ':', ',', '%%' and blanks.",
			interface, IFNAMSIZ - 1);
	return 0;
}

static int open_ethdev(const struct uplink *uplink, const char *devargs, struct port **ret, struct dpu_error *err)
{
	if (!eal_started())
		return error_set(err, DPU_E_UNSUPPORTED, "device", "DPDK is not running in this process.");
	return port_ethdev_open(devargs, uplink->name, uplink->mtu, uplink->queues, uplink->loop, uplink->pool,
				uplink->callbacks, ret, err);
}

static int open_af_packet(const struct uplink *uplink, const char *interface, struct port **ret, struct dpu_error *err)
{
	int status = check_interface(interface, err);

	if (status < 0)
		return status;
	return port_af_packet_open(interface, uplink->name, uplink->mtu, uplink->queues, uplink->loop, uplink->pool,
				   uplink->callbacks, ret, err);
}

/* The address of the interface is the host's; ours must differ, and stay what it is while the interface lives. */
static int open_tap(const struct uplink *uplink, const char *interface, struct port **ret, struct dpu_error *err)
{
	struct port_tap_options options = {
		.name = interface,
		.queue_pairs = (uint16_t)uplink->queues,
		.mtu = uplink->mtu,
		.persist = true,
		.adopt = true,
		.far_end = true,
	};
	int status = check_interface(interface, err);

	if (status == 0)
		status = port_tap_open(&options, uplink->name, uplink->loop, uplink->pool, uplink->callbacks, ret, err);
	if (status < 0 && err && strcmp(err->path, "mtu") != 0)
		snprintf(err->path, sizeof(err->path), "%s",
			 strcmp(err->path, "queue_pairs") == 0 ? "queues" : "device");
	return status;
}

/* Virtual devices of DPDK are named for the process. A number is never used twice: a device that could not be plugged
 * in may keep its name. */
static unsigned next_number(void)
{
	static atomic_uint number;

	return atomic_fetch_add(&number, 1);
}

static int open_af_xdp(const struct uplink *uplink, const char *interface, struct port **ret, struct dpu_error *err)
{
	char devargs[256];
	int status = check_interface(interface, err);

	if (status < 0)
		return status;
	if (if_nametoindex(interface) == 0)
		return error_set(err, DPU_E_NOT_FOUND, "device",
				 "There is no interface \"%s\" in this network namespace.", interface);
	snprintf(devargs, sizeof(devargs), "net_af_xdp%u,iface=%s,start_queue=0,queue_count=%u", next_number(),
		 interface, uplink->queues);
	return open_ethdev(uplink, devargs, ret, err);
}

/* ---- memif ---- */

enum { SOCKET_PATH_MAX = sizeof(((struct sockaddr_un *)0)->sun_path) - 1 };

static int memif_option(const char *option, struct port_memif_options *memif, struct dpu_error *err)
{
	char *end;

	if (strcmp(option, "server") == 0) {
		memif->server = true;
		return 0;
	}
	if (strncmp(option, "queues=", 7) == 0 && isdigit((unsigned char)option[7])) {
		unsigned long queues = strtoul(option + 7, &end, 10);
		if (*end == '\0' && queues >= 1 && queues <= PORT_MAX_QUEUES) {
			memif->queues = (unsigned)queues;
			return 0;
		}
	}
	return error_set(err, DPU_E_INVALID, "device",
			 "\"%.64s\" is no option of memif: write \"server\" or \"queues=N\" with N from 1 to %d.",
			 option, PORT_MAX_QUEUES);
}

static int memif_parse(char *text, struct port_memif_options *memif, struct dpu_error *err)
{
	char *rest = text, *path = strsep(&rest, ",");

	if (path[0] != '/')
		return error_set(err, DPU_E_INVALID, "device",
				 "\"%.64s\" is no absolute path of a socket: write memif:/PATH[,server][,queues=N].",
				 path);
	if (strlen(path) > SOCKET_PATH_MAX)
		return error_set(err, DPU_E_INVALID, "device", "A socket path has at most %d bytes.", SOCKET_PATH_MAX);
	for (const char *c = path; *c; c++)
		if (!isgraph((unsigned char)*c))
			return error_set(err, DPU_E_INVALID, "device",
					 "The path \"%.64s\" has blanks or other than printable characters.", path);
	memif->path = path;
	while (rest) {
		int status = memif_option(strsep(&rest, ","), memif, err);
		if (status < 0)
			return status;
	}
	return 0;
}

static int open_memif(const struct uplink *uplink, const char *text, struct port **ret, struct dpu_error *err)
{
	CLEANUP(free_pointer) char *copy = strdup(text);
	struct port_memif_options options = { .queues = uplink->queues, .mtu = uplink->mtu };

	int status = copy ? memif_parse(copy, &options, err) : error_set(err, DPU_E_LIMIT, "device", "No memory.");
	if (status < 0)
		return status;
	return port_memif_open(&options, uplink->name, uplink->loop, uplink->pool, uplink->callbacks, ret, err);
}

/* ---- DPDK device arguments ---- */

static bool is_pci_address(const char *text)
{
	static const char *const forms[] = { "xxxx:xx:xx.x", "xx:xx.x" };

	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		const char *form = forms[i], *at = text;
		while (*form && (*form == 'x' ? isxdigit((unsigned char)*at) : *at == *form))
			form++, at++;
		if (!*form && (*at == '\0' || *at == ','))
			return true;
	}
	return false;
}

static bool is_virtual_device(const char *text)
{
	size_t name = strcspn(text, ",");

	if (strncmp(text, "net_", 4) != 0 || name <= 4 || name >= RTE_ETH_NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < name; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-')
			return false;
	for (const char *c = text; *c; c++)
		if (!isgraph((unsigned char)*c))
			return false;
	return true;
}

/* ---- the entry ---- */

static const char *after(const char *text, const char *prefix)
{
	size_t length = strlen(prefix);

	return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

static int open_device(const struct uplink *uplink, struct port **ret, struct dpu_error *err)
{
	const char *rest;

	if ((rest = after(uplink->device, "af_packet:")))
		return open_af_packet(uplink, rest, ret, err);
	if ((rest = after(uplink->device, "af_xdp:")))
		return open_af_xdp(uplink, rest, ret, err);
	if ((rest = after(uplink->device, "tap:")))
		return open_tap(uplink, rest, ret, err);
	if ((rest = after(uplink->device, "memif:")))
		return open_memif(uplink, rest, ret, err);
	if (is_pci_address(uplink->device) || is_virtual_device(uplink->device))
		return open_ethdev(uplink, uplink->device, ret, err);
	return wrong(err, uplink->device);
}

int port_uplink_open(const char *device, const char *name, uint16_t mtu, unsigned queues, struct loop *loop,
		     struct rte_mempool *pool, const struct port_callbacks *callbacks, struct port **ret,
		     struct dpu_error *err)
{
	struct uplink uplink = {
		.device = device,
		.name = name,
		.mtu = mtu,
		.queues = queues,
		.loop = loop,
		.pool = pool,
		.callbacks = callbacks,
	};

	if (!device || strlen(device) > DEVICE_MAX)
		return wrong(err, device ? device : "");
	if (queues < 1 || queues > PORT_MAX_QUEUES)
		return error_set(err, DPU_E_INVALID, "queues", "There are 1 to %d queues, not %u.", PORT_MAX_QUEUES,
				 queues);
	if (mtu != 0 && (mtu < MTU_MIN || mtu > MTU_MAX))
		return error_set(err, DPU_E_INVALID, "mtu", "The MTU of an uplink is %d to %d, not %u.", MTU_MIN,
				 MTU_MAX, mtu);
	return open_device(&uplink, ret, err);
}
