/* SPDX-License-Identifier: BSD-3-Clause */
/* The socket of clients: connections, messages in and out, and the end of a client. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/event_signal.h"
#include "base/fds.h"
#include "base/log.h"
#include "service/eswitch/eswitch_priv.h"

static const uint64_t HELLO_NS = 5 * CLOCK_NS_PER_S;  /* a connection that says nothing is ended */
static const uint64_t DRAIN_NS = 5 * CLOCK_NS_PER_MS; /* between two looks whether rules are gone */

/* ---- out ---- */

void eswitch_tell(struct client *client, const struct eswitch_message *message, const int *fds, unsigned count)
{
	const struct iovec bytes = { .iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message) };

	if (client->fd < 0)
		return;
	ssize_t sent = fds_send(client->fd, &bytes, 1, fds, count, MSG_DONTWAIT);
	if (sent < 0)
		eswitch_dismiss(client, sent == -EAGAIN ? "it does not read what it is told" : strerror((int)-sent));
}

/* ---- the end of a client: its socket, its ports; its rules, by the worker; the rest ---- */

static void notice(const struct eswitch *eswitch, const char *name, const struct client *client, const char *why)
{
	log_info("eswitch", name, "client=\"%s\" why=\"%s\"", client->name, why);
	if (eswitch->object && !eswitch->stopping)
		model_notice(eswitch->dpu->model, &eswitch->object->base, name,
			     json_pack("{s:s, s:s}", "client", client->name, "sentence", why));
}

static void client_free(void *arg)
{
	struct client *client = arg;
	struct engine *engine = client->engine;

	LIST_REMOVE(client, link);
	if (client->flow)
		flow_client_free(client->flow);
	free(client);
	if (engine)
		engine_release(engine);
}

static void look_drained(void *arg)
{
	struct client *client = arg;

	if (!flow_client_drained(client->flow)) {
		/* The client, if it lives, can have taken the wake-up from under us. */
		event_signal(flow_client_wake_fd(client->flow));
		loop_timer_rearm(client->timer, DRAIN_NS);
		return;
	}
	loop_timer_remove(client->timer);
	worker_remove_source(workers_get(client->eswitch->dpu->workers, COMMAND_WORKER), &client->source, client_free,
			     client);
}

static void free_later(void *arg)
{
	struct client *client = arg;

	loop_timer_remove(client->timer);
	client_free(client);
}

/* The struct lives on: callers up the stack may still hold it. */
void eswitch_dismiss(struct client *client, const char *why)
{
	struct eswitch *eswitch = client->eswitch;

	if (client->fd < 0)
		return;
	loop_fd_remove(client->watch);
	close(client->fd);
	client->fd = -1;
	eswitch->connections--;
	if (client->flow)
		notice(eswitch, "client-gone", client, why);
	else
		log_debug("eswitch", "a connection without HELLO has ended", "why=\"%s\"", why);
	for (unsigned i = 0; i <= ESWITCH_MAX_PORTS; i++)
		if (eswitch->representors[i] && eswitch->representors[i]->open &&
		    eswitch->representors[i]->open->client == client)
			representor_close(eswitch->representors[i]);
	if (client->flow)
		flow_client_close(client->flow);
	loop_timer_remove(client->timer);
	if (loop_timer_add(eswitch->dpu->loop, 0, 0, client->flow ? look_drained : free_later, client,
			   &client->timer) != 0)
		abort();
}

/* ---- in ---- */

static void readable(void *ctx, uint32_t events)
{
	struct client *client = ctx;
	struct eswitch_message message;

	(void)events;
	for (unsigned i = 0; i < MESSAGES_AT_ONCE && client->fd >= 0; i++) {
		/* MSG_TRUNC: its true length. Descriptors that come along are closed by the kernel. */
		ssize_t bytes = recv(client->fd, &message, sizeof(message), MSG_DONTWAIT | MSG_TRUNC);

		if (bytes < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (bytes <= 0)
			eswitch_dismiss(client, bytes == 0 ? "it has closed the connection" : strerror(errno));
		else
			eswitch_request(client, &message, (size_t)bytes);
	}
}

static void hello_late(void *arg)
{
	eswitch_dismiss(arg, "it has not said HELLO in 5 seconds");
}

static void client_new(struct eswitch *eswitch, int fd)
{
	struct client *client = eswitch_alloc(sizeof(*client));

	*client = (struct client){ .eswitch = eswitch, .fd = fd, .since_ns = clock_ns() };
	snprintf(client->name, sizeof(client->name), "somebody");
	if (loop_fd_add(eswitch->dpu->loop, fd, EPOLLIN, readable, client, &client->watch) != 0 ||
	    loop_timer_add(eswitch->dpu->loop, HELLO_NS, 0, hello_late, client, &client->timer) != 0) {
		loop_fd_remove(client->watch);
		close(fd);
		free(client);
		return;
	}
	LIST_INSERT_HEAD(&eswitch->clients, client, link);
	eswitch->connections++;
}

static void acceptable(void *ctx, uint32_t events)
{
	struct eswitch *eswitch = ctx;
	int fd = accept4(eswitch->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	if (eswitch->connections < CONNECTIONS_MAX) {
		client_new(eswitch, fd);
		return;
	}
	struct eswitch_message none = { 0 }, answer;
	message_answer(&answer, &none, ESWITCH_E_LIMIT, "there are %u connections already", CONNECTIONS_MAX);
	if (send(fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("eswitch", "one connection too many could not be told", "error=\"%s\"", strerror(errno));
	close(fd);
}

/* The run directory is ours alone (it is locked): a socket that is there was left by one that was killed. */
int server_start(struct eswitch *eswitch, struct dpu_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd, rc;

	rc = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", eswitch->dpu->run_dir, ESWITCH_SOCKET);
	if (rc >= (int)sizeof(address.sun_path))
		return error_set(err, DPU_E_INVALID, eswitch->dpu->run_dir, "is too long for the path of a socket");
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, DPU_E_IO, address.sun_path, "socket: %s", strerror(errno));
	unlink(address.sun_path);
	mode_t old = umask(0177);
	rc = bind(fd, (struct sockaddr *)&address, sizeof(address));
	umask(old);
	if (rc != 0 || listen(fd, CONNECTIONS_MAX) != 0) {
		close(fd);
		return error_set(err, DPU_E_IO, address.sun_path, "cannot be listened on: %s", strerror(errno));
	}
	rc = loop_fd_add(eswitch->dpu->loop, fd, EPOLLIN, acceptable, eswitch, &eswitch->listen_watch);
	if (rc != 0) {
		close(fd);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	eswitch->listen_fd = fd;
	return 0;
}

void server_stop(struct eswitch *eswitch)
{
	char path[PATH_MAX];
	struct client *client, *next;

	if (eswitch->listen_fd >= 0) {
		loop_fd_remove(eswitch->listen_watch);
		close(eswitch->listen_fd);
		eswitch->listen_fd = -1;
		snprintf(path, sizeof(path), "%s/%s", eswitch->dpu->run_dir, ESWITCH_SOCKET);
		unlink(path);
	}
	for (client = LIST_FIRST(&eswitch->clients); client; client = next) {
		next = LIST_NEXT(client, link);
		eswitch_dismiss(client, "dpud stops");
	}
}
