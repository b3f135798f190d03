/* SPDX-License-Identifier: BSD-3-Clause */
/* Watching an interface: a routing netlink socket says that something changed, ioctls say what it is now. */
#include "operating/link_watch.h"

#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include "base/str.h"

struct link_watch {
	char name[IFNAMSIZ];
	int fd;
	struct loop_fd *watch;
	struct link_state state;
	void (*changed)(void *ctx, const struct link_state *state);
	void *ctx;
};

static void request_for(struct ifreq *request, const char *name)
{
	memset(request, 0, sizeof(*request));
	snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", name);
}

int link_state_read(const char *name, struct link_state *ret)
{
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct link_state state = { 0 };
	struct ifreq request;

	if (fd < 0)
		return -errno;
	request_for(&request, name);
	if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
		goto gone;
	state.index = request.ifr_ifindex;
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		goto gone;
	state.running = (request.ifr_flags & (IFF_UP | IFF_RUNNING)) == (IFF_UP | IFF_RUNNING);
	if (ioctl(fd, SIOCGIFMTU, &request) < 0)
		goto gone;
	state.mtu = (unsigned)request.ifr_mtu;
	if (ioctl(fd, SIOCGIFHWADDR, &request) < 0)
		goto gone;
	state.ethernet = request.ifr_hwaddr.sa_family == ARPHRD_ETHER;
	if (state.ethernet)
		memcpy(state.mac.bytes, request.ifr_hwaddr.sa_data, sizeof(state.mac.bytes));
	*ret = state;
	return 0;
gone:
	if (errno != ENODEV)
		return -errno;
	*ret = (struct link_state){ 0 };
	return 0;
}

int link_configure(const char *name, unsigned mtu)
{
	CLEANUP(close_fd) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request;

	if (fd < 0)
		return -errno;
	request_for(&request, name);
	request.ifr_mtu = (int)mtu;
	if (mtu > 0 && ioctl(fd, SIOCSIFMTU, &request) < 0)
		return -errno;
	request_for(&request, name);
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
		return -errno;
	if (request.ifr_flags & IFF_UP)
		return 0;
	request.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static bool same(const struct link_state *a, const struct link_state *b)
{
	return a->index == b->index && a->running == b->running && a->ethernet == b->ethernet && a->mtu == b->mtu &&
	       mac_equal(&a->mac, &b->mac);
}

static void readable(void *ctx, uint32_t events)
{
	struct link_watch *watch = ctx;
	struct link_state state;
	char buffer[8192];

	/* What it says is not looked at, so that nothing is lost when it says it lost something (ENOBUFS). */
	while (recv(watch->fd, buffer, sizeof(buffer), MSG_DONTWAIT) >= 0 || errno == ENOBUFS)
		;
	if (link_state_read(watch->name, &state) < 0 || same(&state, &watch->state))
		return;
	watch->state = state;
	watch->changed(watch->ctx, &state);
}

int link_watch_new(struct loop *loop, const char *name, void (*changed)(void *ctx, const struct link_state *state),
		   void *ctx, struct link_watch **ret)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK };
	struct link_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	snprintf(watch->name, sizeof(watch->name), "%s", name);
	watch->changed = changed;
	watch->ctx = ctx;
	watch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int status = watch->fd < 0 ? -errno : 0;
	if (status == 0 && bind(watch->fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		status = -errno;
	if (status == 0)
		status = link_state_read(name, &watch->state);
	if (status == 0)
		status = loop_fd_add(loop, watch->fd, EPOLLIN, readable, watch, &watch->watch);
	if (status < 0) {
		link_watch_free(watch);
		return status;
	}
	*ret = watch;
	return 0;
}

void link_watch_seen(struct link_watch *watch, const struct link_state *state)
{
	watch->state = *state;
}

void link_watch_free(struct link_watch *watch)
{
	if (!watch)
		return;
	loop_fd_remove(watch->watch);
	close_fd(&watch->fd);
	free(watch);
}
