// SPDX-License-Identifier: BSD-3-Clause
/* Listeners: sockets on the control loop; one that cannot be bound is tried again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "service/nvmf/target/target_priv.h"

enum { ACCEPT_BURST = 64 };

static const struct listener_object *object_of(const struct listener *listener)
{
	return (const struct listener_object *)listener->item.object;
}

/* ---- ANA ---- */

const char *const listener_ana_names[] = { "optimized", "non-optimized", "inaccessible", "change", NULL };
static const uint8_t ana_states[] = { NVME_ANA_OPTIMIZED, NVME_ANA_NON_OPTIMIZED, NVME_ANA_STATE_INACCESSIBLE,
				      NVME_ANA_STATE_CHANGE };

bool listener_ana_group(const char *text)
{
	uint8_t states[NVME_TARGET_ANA_GROUPS];

	return listener_ana_parse(text, states);
}

bool listener_ana_parse(const char *text, uint8_t states[NVME_TARGET_ANA_GROUPS])
{
	char *end;
	unsigned long group = strtoul(text, &end, 10);

	if (group == 0 || group > NVME_TARGET_ANA_GROUPS || *end != '=')
		return false;
	for (unsigned i = 0; listener_ana_names[i]; i++) {
		if (strcmp(end + 1, listener_ana_names[i]) == 0) {
			states[group - 1] = ana_states[i];
			return true;
		}
	}
	return false;
}

void listener_ana(const struct listener *listener, uint8_t ret[NVME_TARGET_ANA_GROUPS])
{
	const struct listener_object *object = object_of(listener);

	memset(ret, ana_states[object->ana_state], NVME_TARGET_ANA_GROUPS);
	for (size_t i = 0; i < object->ana_groups.count; i++)
		listener_ana_parse(object->ana_groups.items[i], ret);
}

/* ---- the socket ---- */

static socklen_t address_make(const struct listener_object *object, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (object->address.family == IP_V4) {
		struct sockaddr_in *in = (struct sockaddr_in *)ret;

		in->sin_family = AF_INET;
		in->sin_port = htons(object->port);
		memcpy(&in->sin_addr, object->address.bytes, sizeof(in->sin_addr));
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(object->port);
	memcpy(&in6->sin6_addr, object->address.bytes, sizeof(in6->sin6_addr));
	return sizeof(*in6);
}

static void on_accept(void *ctx, uint32_t events);

static void accept_again(void *ctx)
{
	struct listener *listener = ctx;
	struct loop *loop = listener->item.target->nvmf->dpu->loop;

	loop_timer_remove(listener->retry);
	listener->retry = NULL;
	if (loop_fd_add(loop, listener->fd, EPOLLIN, on_accept, listener, &listener->watch) != 0)
		abort(); /* out of memory */
}

/* There is no descriptor or memory for who waits: it waits, and the loop does not spin. */
static void accept_pause(struct listener *listener, int error)
{
	struct loop *loop = listener->item.target->nvmf->dpu->loop;

	if (listener->pauses++ == 0)
		log_warn("nvmf", "a listener cannot accept", "listener=%s why=\"%s\"", listener->item.object->name,
			 strerror(error));
	loop_fd_remove(listener->watch);
	listener->watch = NULL;
	if (loop_timer_add(loop, ACCEPT_PAUSE_MS * CLOCK_NS_PER_MS, 0, accept_again, listener, &listener->retry) != 0)
		abort();
}

static void on_accept(void *ctx, uint32_t events)
{
	struct listener *listener = ctx;
	struct target *target = listener->item.target;

	for (unsigned i = 0; i < ACCEPT_BURST; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t bytes = sizeof(peer);
		int fd = accept4(listener->fd, (struct sockaddr *)&peer, &bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
				accept_pause(listener, errno);
			return;
		}
		if (atomic_load_explicit(&target->connections, memory_order_relaxed) >= CONNECTIONS_MAX) {
			listener->dropped++;
			close(fd);
			continue;
		}
		listener->accepted++;
		handshake_begin(listener, fd, &peer);
	}
}

static int socket_open(const struct sockaddr_storage *address, socklen_t bytes)
{
	int on = 1, fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    (address->ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0) ||
	    bind(fd, (const struct sockaddr *)address, bytes) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
		int error = errno;

		close(fd);
		return -error;
	}
	return fd;
}

static void socket_close(struct listener *listener)
{
	loop_fd_remove(listener->watch);
	loop_timer_remove(listener->retry);
	listener->watch = NULL;
	listener->retry = NULL;
	if (listener->fd > 0)
		close(listener->fd);
	listener->fd = 0;
}

static void try_again(void *ctx)
{
	struct listener *listener = ctx;

	loop_timer_remove(listener->retry);
	listener->retry = NULL;
	target_step(listener->item.target);
}

static void why_not(struct listener *listener, int error)
{
	const struct listener_object *object = object_of(listener);
	char text[IP_TEXT];
	const char *what = error == EADDRINUSE      ? ", by another program"
			   : error == EADDRNOTAVAIL ? ": no interface of this machine has it"
						    : "";

	snprintf(listener->why, sizeof(listener->why), "%s port %u: %s%s", ip_format(&object->address, text),
		 object->port, strerror(error), what);
}

static void socket_try(struct listener *listener)
{
	struct loop *loop = listener->item.target->nvmf->dpu->loop;
	struct sockaddr_storage address;
	socklen_t bytes = address_make(object_of(listener), &address);
	int fd = socket_open(&address, bytes);

	if (fd >= 0 && loop_fd_add(loop, fd, EPOLLIN, on_accept, listener, &listener->watch) == 0) {
		listener->fd = fd;
		listener->why[0] = '\0';
		return;
	}
	if (fd >= 0)
		close(fd);
	bool told = listener->why[0] != '\0';
	why_not(listener, fd < 0 ? -fd : ENOMEM);
	if (!told)
		log_warn("nvmf", "a listener cannot listen", "listener=%s why=\"%s\"", listener->item.object->name,
			 listener->why);
	if (loop_timer_add(loop, CLOCK_NS_PER_S, 0, try_again, listener, &listener->retry) != 0)
		abort();
}

/* Address and port are fixed: another listener is another object. */
void listener_step(struct listener *listener)
{
	struct target *target = listener->item.target;

	if (target->stopping || !listener->item.object) {
		handshakes_end(target, &listener->item);
		socket_close(listener);
		if (!target->stopping)
			item_free(&target->listeners, &listener->item);
		return;
	}
	listener->port_id = (uint16_t)listener->item.object->slot;
	if (listener->fd == 0 && !listener->retry)
		socket_try(listener);
}
