/* SPDX-License-Identifier: BSD-3-Clause */
/* The metrics server: libmicrohttpd, driven by the control thread's loop. */
#include "daemon/metrics.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "daemon/listen.h"

enum {
	MAX_CONNECTIONS = 32,
	CONNECTION_BYTES = 16 << 10, /* of request line and headers */
	CONNECTION_TIMEOUT_S = 10,
};

struct metrics {
	struct loop *loop;
	struct MHD_Daemon *http;
	struct loop_fd *watch;
	struct loop_timer *timer;
	char *(*content)(void *ctx);
	void *ctx;
	struct MHD_Response *last; /* served again until fresh_until_ns */
	uint64_t fresh_until_ns;
	struct metrics_address address;
};

static struct MHD_Response *text_response(char *text, enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, mode);
	if (response)
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
					"text/plain; version=0.0.4; charset=utf-8");
	return response;
}

/* Collecting costs time in proportion to the number of objects. Whoever asks in a tight loop gets the same text again
 * for ten times as long as collecting took: a tenth of the control thread at most. */
static struct MHD_Response *current(struct metrics *metrics)
{
	uint64_t start = clock_ns();
	if (metrics->last && start < metrics->fresh_until_ns)
		return metrics->last;
	char *text = metrics->content(metrics->ctx);
	if (!text)
		return NULL;
	struct MHD_Response *response = text_response(text, MHD_RESPMEM_MUST_FREE);
	if (!response)
		return NULL;
	if (metrics->last)
		MHD_destroy_response(metrics->last);
	metrics->last = response;
	uint64_t end = clock_ns();
	metrics->fresh_until_ns = end + 10 * (end - start);
	return response;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *response = text_response((char *)text, MHD_RESPMEM_PERSISTENT);
	if (!response)
		return MHD_NO;
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	enum MHD_Result result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer(void *ctx, struct MHD_Connection *connection, const char *url, const char *method,
			      const char *version, const char *upload, size_t *upload_size, void **request)
{
	struct metrics *metrics = ctx;
	/* A first call tells of the headers, the next of the end of the request; a body is swallowed in between. */
	if (!*request) {
		*request = metrics;
		return MHD_YES;
	}
	if (*upload_size > 0) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "Only GET and HEAD.\n");
	if (strcmp(url, "/metrics") != 0)
		return answer_text(connection, MHD_HTTP_NOT_FOUND, "Metrics are at /metrics.\n");
	struct MHD_Response *response = current(metrics);
	return response ? MHD_queue_response(connection, MHD_HTTP_OK, response) : MHD_NO;
}

static void run(void *ctx)
{
	struct metrics *metrics = ctx;
	MHD_UNSIGNED_LONG_LONG wait_ms;
	MHD_run(metrics->http);
	/* At its limit of connections it stops listening, and looks whether to listen again only at the beginning of a
	 * round: closed connections of this round would not be noticed until something else happens. */
	MHD_run(metrics->http);
	if (MHD_get_timeout(metrics->http, &wait_ms) == MHD_YES)
		loop_timer_rearm(metrics->timer, wait_ms * CLOCK_NS_PER_MS);
}

static void readable(void *ctx, uint32_t events)
{
	run(ctx);
}

static int listen_tcp(const struct metrics_address *address, const char *text, struct dpu_error *err)
{
	int one = 1;
	int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set(err, DPU_E_IO, "--metrics", "socket: %s", strerror(errno));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)&address->storage, address->length) || listen(fd, 64)) {
		int rc = error_set(err, DPU_E_IO, "--metrics", "cannot listen on %s: %s", text, strerror(errno));
		close(fd);
		return rc;
	}
	return fd;
}

/* Takes over fd. */
static int start_http(struct metrics *metrics, int fd, struct dpu_error *err)
{
	metrics->http = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, metrics, MHD_OPTION_LISTEN_SOCKET, fd,
					 MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
					 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_TIMEOUT_S,
					 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES, MHD_OPTION_END);
	if (!metrics->http) {
		close(fd);
		return error_set(err, DPU_E_IO, "--metrics", "the HTTP server does not start");
	}
	int epoll = MHD_get_daemon_info(metrics->http, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	int rc = loop_timer_add(metrics->loop, CLOCK_NS_PER_S, 0, run, metrics, &metrics->timer);
	if (!rc)
		rc = loop_fd_add(metrics->loop, epoll, EPOLLIN, readable, metrics, &metrics->watch);
	return rc ? error_set(err, DPU_E_IO, "--metrics", "%s", strerror(-rc)) : 0;
}

int metrics_start(struct loop *loop, const char *address, gid_t group, char *(*content)(void *ctx), void *ctx,
		  struct metrics **ret, struct dpu_error *err)
{
	struct metrics *metrics = calloc(1, sizeof *metrics);
	if (!metrics)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	*metrics = (struct metrics){ .loop = loop, .content = content, .ctx = ctx };
	int rc = metrics_address_parse(address, &metrics->address, err);
	if (!rc)
		rc = address[0] == '/' ? listen_unix(address, group, err) : listen_tcp(&metrics->address, address, err);
	if (rc >= 0)
		rc = start_http(metrics, rc, err);
	if (rc) {
		metrics_stop(metrics);
		return rc;
	}
	log_info("metrics", "listening", "address=%s", address);
	*ret = metrics;
	return 0;
}

void metrics_stop(struct metrics *metrics)
{
	if (!metrics)
		return;
	loop_fd_remove(metrics->watch);
	if (metrics->timer)
		loop_timer_remove(metrics->timer);
	if (metrics->http)
		MHD_stop_daemon(metrics->http);
	if (metrics->http && metrics->address.storage.ss_family == AF_UNIX)
		unlink(((struct sockaddr_un *)&metrics->address.storage)->sun_path);
	if (metrics->last)
		MHD_destroy_response(metrics->last);
	free(metrics);
}
