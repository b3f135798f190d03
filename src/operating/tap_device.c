/* SPDX-License-Identifier: BSD-3-Clause */
/* Creating and adopting TAP interfaces (Documentation/networking/tuntap.rst). */
#include "operating/tap_device.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include "base/str.h"
#include "operating/link_info.h"

#ifndef TUN_F_USO4 /* headers older than Linux 6.2 */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

struct setup {
	const struct port_tap_options *options;
	struct tap_device *device;
	unsigned opened; /* descriptors */
	bool adopted, multi_queue;
	int (*work)(struct setup *setup);
	int status;
	struct dpu_error *err;
};

static const char *where(const struct setup *setup)
{
	return setup->options->netns ? setup->options->netns : "our own";
}

/* ---- the namespace ---- */

static int netns_path(const char *netns, char *path, size_t size)
{
	int length = snprintf(path, size, "%s%s", strchr(netns, '/') ? "" : "/run/netns/", netns);

	return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

bool tap_netns_is(const char *netns, ino_t inode)
{
	char path[PATH_MAX];
	struct stat status;

	return netns_path(netns, path, sizeof(path)) == 0 && stat(path, &status) == 0 && status.st_ino == inode;
}

static int enter_namespace(struct setup *setup)
{
	char path[PATH_MAX];
	struct stat status;

	if (!setup->options->netns)
		return 0;
	if (netns_path(setup->options->netns, path, sizeof(path)) < 0)
		return error_set(setup->err, DPU_E_INVALID, "netns", "The path is longer than %zu bytes.",
				 sizeof(path) - 1);
	CLEANUP(close_fd) int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return error_set(setup->err, errno == EACCES ? DPU_E_DENIED : DPU_E_NOT_FOUND, "netns",
				 "Network namespace \"%.200s\" cannot be opened: %s.", path, strerror(errno));
	setup->device->netns = status.st_ino;
	if (setns(fd, CLONE_NEWNET) == 0)
		return 0;
	if (errno == EINVAL)
		return error_set(setup->err, DPU_E_INVALID, "netns", "\"%.200s\" is no network namespace.", path);
	return error_set(setup->err, DPU_E_DENIED, "netns",
			 "Network namespace \"%.200s\" cannot be entered: %s. That needs CAP_SYS_ADMIN.", path,
			 strerror(errno));
}

/* ---- the interface ---- */

/* May we take what is there? */
static int check_existing(struct setup *setup, const struct link_info *info)
{
	const struct port_tap_options *options = setup->options;

	if (!info->tap)
		return error_set(setup->err, DPU_E_EXISTS, "name",
				 "\"%s\" exists in namespace %s already and is no TAP: choose another name.",
				 options->name, where(setup));
	if (info->queues > 0)
		return error_set(setup->err, DPU_E_IN_USE, "name", "Another process has TAP \"%s\" open.",
				 options->name);
	bool ours = info->owner == (int64_t)geteuid(), nobodys = info->owner < 0;
	if (!ours && !(nobodys && options->adopt))
		return error_set(setup->err, DPU_E_EXISTS, "name",
				 "TAP \"%s\" exists in namespace %s already and belongs to %s: choose another name.",
				 options->name, where(setup), nobodys ? "nobody" : "another user");
	if (!info->multi_queue && options->queue_pairs > 1)
		return error_set(setup->err, DPU_E_UNSUPPORTED, "queue_pairs",
				 "TAP \"%s\" exists already and was made for a single queue.", options->name);
	setup->adopted = true;
	setup->multi_queue = info->multi_queue;
	return 0;
}

static int inspect(struct setup *setup)
{
	struct link_info info;
	int status = link_info_read(setup->options->name, &info);

	/* The kernel gives an interface of several queues 256 of them, with a queueing discipline each: that costs
	 * milliseconds and 180 KiB. */
	setup->multi_queue = setup->options->queue_pairs > 1;
	if (status == -ENODEV)
		return 0;
	if (status < 0)
		return error_set(setup->err, DPU_E_IO, "name", "Interface \"%s\" cannot be looked up: %s.",
				 setup->options->name, strerror(-status));
	return check_existing(setup, &info);
}

static int open_queue(struct setup *setup)
{
	const struct port_tap_options *options = setup->options;
	struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR };
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return error_set(setup->err, errno == ENOENT ? DPU_E_UNSUPPORTED : DPU_E_DENIED, "name",
				 "/dev/net/tun cannot be opened: %s.", strerror(errno));
	setup->device->fds[setup->opened++] = fd;
	if (setup->multi_queue)
		request.ifr_flags |= IFF_MULTI_QUEUE;
	if (!setup->adopted && setup->opened == 1) /* nobody has made it since we looked */
		request.ifr_flags = (short)(request.ifr_flags | IFF_TUN_EXCL);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", options->name);
	if (ioctl(fd, TUNSETIFF, &request) == 0)
		return 0;
	if (errno == EPERM)
		return error_set(setup->err, DPU_E_DENIED, "name",
				 "TAP \"%s\" cannot be made: that needs CAP_NET_ADMIN.", options->name);
	return error_set(setup->err, errno == EBUSY ? DPU_E_IN_USE : DPU_E_IO, "name",
			 "TAP \"%s\" cannot be opened (queue %u): %s.", options->name, setup->opened, strerror(errno));
}

/* USO is younger than the rest (Linux 6.2). */
static int set_offloads(struct setup *setup)
{
	unsigned long offloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN, uso = TUN_F_USO4 | TUN_F_USO6;

	if (ioctl(setup->device->fds[0], TUNSETOFFLOAD, offloads | uso) == 0 ||
	    ioctl(setup->device->fds[0], TUNSETOFFLOAD, offloads) == 0)
		return 0;
	return error_set(setup->err, DPU_E_UNSUPPORTED, "name", "TAP \"%s\" takes no offloads: %s.",
			 setup->options->name, strerror(errno));
}

static int set_persistence(struct setup *setup)
{
	if (setup->adopted && !setup->options->persist)
		return 0;
	if (ioctl(setup->device->fds[0], TUNSETOWNER, (unsigned long)geteuid()) == 0 &&
	    ioctl(setup->device->fds[0], TUNSETPERSIST, (unsigned long)setup->options->persist) == 0)
		return 0;
	return error_set(setup->err, DPU_E_IO, "name", "TAP \"%s\" cannot be kept: %s.", setup->options->name,
			 strerror(errno));
}

static int set_mac(struct setup *setup, int fd, struct ifreq *request)
{
	const struct mac_addr *wanted = &setup->options->mac;

	if (ioctl(fd, SIOCGIFHWADDR, request) < 0)
		return -errno;
	if (!mac_is_zero(wanted) && memcmp(request->ifr_hwaddr.sa_data, wanted->bytes, sizeof(wanted->bytes)) != 0) {
		request->ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(request->ifr_hwaddr.sa_data, wanted->bytes, sizeof(wanted->bytes));
		if (ioctl(fd, SIOCSIFHWADDR, request) < 0)
			return -errno;
	}
	memcpy(setup->device->mac.bytes, request->ifr_hwaddr.sa_data, sizeof(setup->device->mac.bytes));
	return 0;
}

static int set_mtu(const struct port_tap_options *options, int fd, struct ifreq *request)
{
	request->ifr_mtu = options->mtu;
	return ioctl(fd, SIOCSIFMTU, request) < 0 ? -errno : 0;
}

static int set_up(int fd, struct ifreq *request)
{
	if (ioctl(fd, SIOCGIFFLAGS, request) < 0)
		return -errno;
	request->ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, request) < 0 ? -errno : 0;
}

static int configure(struct setup *setup)
{
	const struct port_tap_options *options = setup->options;
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = { 0 };
	const char *path = "name";

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", options->name);
	int status = fd < 0 ? -errno : 0;
	if (status == 0 && (status = set_mac(setup, fd, &request)) < 0)
		path = "mac";
	if (status == 0 && (status = set_mtu(options, fd, &request)) < 0)
		path = "mtu";
	if (status == 0)
		status = set_up(fd, &request);
	if (status == 0)
		return 0;
	return error_set(setup->err, status == -EPERM ? DPU_E_DENIED : DPU_E_INVALID, path,
			 "TAP \"%s\" does not take its settings (MTU %u): %s.", options->name, options->mtu,
			 strerror(-status));
}

static int set_up_device(struct setup *setup)
{
	int status = enter_namespace(setup);

	if (status == 0)
		status = inspect(setup);
	for (unsigned i = 0; i < setup->options->queue_pairs && status == 0; i++)
		status = open_queue(setup);
	if (status == 0)
		status = set_offloads(setup);
	if (status == 0)
		status = configure(setup);
	if (status == 0)
		status = set_persistence(setup);
	return status;
}

static int change_mtu(struct setup *setup)
{
	const struct port_tap_options *options = setup->options;
	struct ifreq request = { 0 };
	int status = enter_namespace(setup);

	if (status < 0)
		return status;
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", options->name);
	status = fd < 0 ? -errno : set_mtu(options, fd, &request);
	if (status == 0)
		return 0;
	return error_set(setup->err, status == -EPERM ? DPU_E_DENIED : DPU_E_INVALID, "mtu",
			 "TAP \"%s\" does not take an MTU of %u: %s.", options->name, options->mtu, strerror(-status));
}

static void *setup_thread(void *arg)
{
	struct setup *setup = arg;

	setup->status = setup->work(setup);
	return NULL;
}

/* In a thread of its own if it is to enter a namespace. Returns setup->status. */
static int setup_run(struct setup *setup)
{
	pthread_t thread;

	if (!setup->options->netns) {
		setup_thread(setup);
		return setup->status;
	}
	int status = pthread_create(&thread, NULL, setup_thread, setup);
	if (status != 0)
		return error_set(setup->err, DPU_E_LIMIT, "netns", "No thread to enter the namespace: %s.",
				 strerror(status));
	pthread_join(thread, NULL);
	return setup->status;
}

/* ---- for the port ---- */

/* As the kernel has it, and no '%', which would make it a template. */
static bool is_interface_name(const char *name)
{
	size_t length = strlen(name);

	if (length < 1 || length >= IFNAMSIZ || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	for (; *name; name++)
		if (*name == '/' || *name == ':' || *name == '%' || isspace((unsigned char)*name) ||
		    iscntrl((unsigned char)*name))
			return false;
	return true;
}

int tap_device_open(const struct port_tap_options *options, struct tap_device *ret, struct dpu_error *err)
{
	struct tap_device device = { 0 };
	struct setup setup = { .options = options, .device = &device, .err = err, .work = set_up_device };

	if (!is_interface_name(options->name))
		return error_set(err, DPU_E_INVALID, "name",
				 "\"%.32s\" is no interface name: 1 to %d bytes without '/', ':', '%%' and blanks.",
				 options->name, IFNAMSIZ - 1);
	if (options->queue_pairs < 1 || options->queue_pairs > PORT_MAX_QUEUES)
		return error_set(err, DPU_E_INVALID, "queue_pairs", "There are 1 to %d queues, not %u.",
				 PORT_MAX_QUEUES, options->queue_pairs);
	int status = setup_run(&setup);
	if (status < 0) {
		for (unsigned i = 0; i < setup.opened; i++)
			close(device.fds[i]);
		return status;
	}
	*ret = device;
	return 0;
}

int tap_device_set_mtu(const struct port_tap_options *options, uint16_t mtu, struct dpu_error *err)
{
	struct port_tap_options changed = *options;
	struct tap_device device = { 0 };
	struct setup setup = { .options = &changed, .device = &device, .err = err, .work = change_mtu };

	changed.mtu = mtu;
	return setup_run(&setup);
}

/* ---- closing ---- */

struct closing {
	struct loop *loop;
	void (*done)(void *arg);
	void *arg;
	bool remove;
	unsigned count;
	int fds[];
};

static void close_all(const int *fds, unsigned count, bool remove)
{
	if (remove && count > 0)
		ioctl(fds[0], TUNSETPERSIST, 0UL); /* fails only when the interface has gone already */
	for (unsigned i = 0; i < count; i++)
		close(fds[i]);
}

static void *closing_thread(void *arg)
{
	struct closing *closing = arg;

	close_all(closing->fds, closing->count, closing->remove);
	while (loop_post(closing->loop, closing->done, closing->arg) < 0)
		usleep(1000); /* no memory just now; somebody waits for it */
	free(closing);
	return NULL;
}

static int start_detached(struct closing *closing)
{
	pthread_attr_t attributes;
	pthread_t thread;

	if (pthread_attr_init(&attributes) != 0)
		return -ENOMEM;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int status = -pthread_create(&thread, &attributes, closing_thread, closing);
	pthread_attr_destroy(&attributes);
	return status;
}

int tap_device_close(const int *fds, unsigned count, bool remove, struct loop *loop, void (*done)(void *arg), void *arg)
{
	struct closing *closing = malloc(sizeof(*closing) + count * sizeof(closing->fds[0]));

	if (closing) {
		*closing = (struct closing){ .loop = loop, .done = done, .arg = arg, .remove = remove, .count = count };
		memcpy(closing->fds, fds, count * sizeof(fds[0]));
		if (start_detached(closing) == 0)
			return -EINPROGRESS;
	}
	free(closing);
	close_all(fds, count, remove);
	return 0;
}
