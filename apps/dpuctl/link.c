/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection: lines out, lines in, an answer for each call. */
#include "link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/clock.h"

enum { PROTOCOL = 1 };

struct link {
	int fd;
	char *path;
	uint64_t timeout_ns;
	char *in;
	size_t start, length, size;
	json_int_t last_id;
	json_t *notifications; /* that came while an answer was waited for */
};

static int lost(struct link *link, struct dpu_error *err, const char *sentence)
{
	error_set(err, DPU_E_IO, link->path, "%s", sentence);
	return -ENOTCONN;
}

static int dial(const char *path, int *ret_fd, struct dpu_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof address.sun_path) {
		error_set(err, DPU_E_INVALID, path, "the path of a socket has at most %zu bytes",
			  sizeof address.sun_path - 1);
		return -ENOTCONN;
	}
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
		*ret_fd = fd;
		return 0;
	}
	int why = errno;
	if (fd >= 0)
		close(fd);
	if (why == EACCES)
		error_set(err, DPU_E_DENIED, path,
			  "this user may not manage the DPU: be root or in the group that dpud gives the "
			  "socket to (dpud --group)");
	else if (why == ENOENT || why == ECONNREFUSED)
		error_set(err, DPU_E_IO, path,
			  "no dpud is there: start it, or name another one with -i INSTANCE or -s SOCKET");
	else
		error_set(err, DPU_E_IO, path, "%s", strerror(why));
	return -ENOTCONN;
}

int link_open(const char *path, unsigned timeout_s, struct link **ret, struct dpu_error *err)
{
	struct link *link = calloc(1, sizeof *link);
	json_t *result = NULL;
	if (!link || !(link->path = strdup(path))) {
		free(link);
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	link->fd = -1;
	link->timeout_ns = timeout_s * CLOCK_NS_PER_S;
	link->notifications = json_array();
	int rc = dial(path, &link->fd, err);
	if (!rc)
		rc = link_call(link, "dpu.hello", json_pack("{s:s, s:s}", "dpu", "1", "client", "dpuctl"), &result,
			       err);
	json_decref(result);
	if (rc)
		link_close(link);
	else
		*ret = link;
	return rc;
}

void link_close(struct link *link)
{
	if (!link)
		return;
	if (link->fd >= 0)
		close(link->fd);
	json_decref(link->notifications);
	free(link->in);
	free(link->path);
	free(link);
}

static int send_all(struct link *link, const char *text, size_t length, struct dpu_error *err)
{
	while (length > 0) {
		ssize_t sent = send(link->fd, text, length, MSG_NOSIGNAL);
		if (sent < 0 && errno != EINTR)
			return lost(link, err, "dpud closed the connection");
		if (sent > 0) {
			text += sent;
			length -= (size_t)sent;
		}
	}
	return 0;
}

/* Waits until there is something to read; deadline_ns 0: without end. */
static int wait_readable(struct link *link, uint64_t deadline_ns, struct dpu_error *err)
{
	struct pollfd poller = { .fd = link->fd, .events = POLLIN };
	for (;;) {
		uint64_t now = clock_ns();
		int wait_ms = -1;
		if (deadline_ns)
			wait_ms = now < deadline_ns ? (int)((deadline_ns - now) / CLOCK_NS_PER_MS) + 1 : 0;
		int ready = poll(&poller, 1, wait_ms);
		if (ready > 0)
			return 0;
		if (ready == 0)
			return lost(link, err, "dpud does not answer in time; what was asked for may still happen");
		if (errno != EINTR)
			return lost(link, err, strerror(errno));
		if (!deadline_ns)
			return -EINTR;
	}
}

static int receive(struct link *link, uint64_t deadline_ns, struct dpu_error *err)
{
	int rc = wait_readable(link, deadline_ns, err);
	if (rc)
		return rc;
	if (link->start > 0) {
		memmove(link->in, link->in + link->start, link->length);
		link->start = 0;
	}
	if (link->size - link->length < 4096) {
		size_t size = link->size ? 2 * link->size : 65536;
		char *in = realloc(link->in, size);
		if (!in)
			return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		link->in = in;
		link->size = size;
	}
	ssize_t got = recv(link->fd, link->in + link->length, link->size - link->length, 0);
	if (got <= 0)
		return got < 0 && errno == EINTR ? 0 : lost(link, err, "dpud closed the connection");
	link->length += (size_t)got;
	return 0;
}

/* The next message. */
static int next_message(struct link *link, uint64_t deadline_ns, json_t **ret, struct dpu_error *err)
{
	size_t scanned = 0;
	for (;;) {
		char *text = link->in + link->start;
		char *end = link->length > scanned ? memchr(text + scanned, '\n', link->length - scanned) : NULL;
		if (end) {
			size_t length = (size_t)(end - text);
			json_t *message = json_loadb(text, length, 0, NULL);
			link->start += length + 1;
			link->length -= length + 1;
			if (!json_is_object(message)) {
				json_decref(message);
				return lost(link, err, "what answers is no dpud");
			}
			*ret = message;
			return 0;
		}
		scanned = link->length;
		int rc = receive(link, deadline_ns, err);
		if (rc)
			return rc;
	}
}

static enum dpu_error_code code_of(const json_t *error)
{
	json_int_t number = -32000 - json_integer_value(json_object_get(error, "code"));
	return number > DPU_OK && number <= DPU_E_TIMEOUT ? (enum dpu_error_code)number : DPU_E_INVALID;
}

/* The outcome that a reply tells. */
static int take_reply(json_t *reply, json_t **ret_result, struct dpu_error *err)
{
	const json_t *error = json_object_get(reply, "error");
	if (!error) {
		*ret_result = json_incref(json_object_get(reply, "result"));
		return 0;
	}
	const char *message = json_string_value(json_object_get(error, "message"));
	const char *path = json_string_value(json_object_get(json_object_get(error, "data"), "path"));
	return error_set(err, code_of(error), path ? path : "", "%s", message ? message : "refused without a reason");
}

int link_call(struct link *link, const char *method, json_t *params, json_t **ret_result, struct dpu_error *err)
{
	json_int_t id = ++link->last_id;
	json_t *request = json_pack("{s:s, s:s, s:o, s:I}", "jsonrpc", "2.0", "method", method, "params",
				    params ? params : json_object(), "id", id);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_decref(request);
	if (!text)
		return error_set(err, DPU_E_INVALID, NULL, "the request cannot be written: its text is not UTF-8");
	int rc = send_all(link, text, strlen(text), err);
	free(text);
	/* Even if sending failed, dpud may have said why. */
	int sent = rc ? rc : send_all(link, "\n", 1, err);
	uint64_t deadline_ns = clock_ns() + link->timeout_ns;
	for (;;) {
		json_t *message;
		struct dpu_error broken = { 0 };
		rc = next_message(link, deadline_ns, &message, sent ? &broken : err);
		if (rc)
			return rc;
		const json_t *answered = json_object_get(message, "id");
		if (!json_object_get(message, "method") &&
		    (json_is_null(answered) || json_integer_value(answered) == id)) {
			rc = take_reply(message, ret_result, err);
			json_decref(message);
			return rc;
		}
		json_array_append_new(link->notifications, message);
	}
}

int link_next(struct link *link, json_t **ret_notification, struct dpu_error *err)
{
	if (json_array_size(link->notifications) > 0) {
		*ret_notification = json_incref(json_array_get(link->notifications, 0));
		json_array_remove(link->notifications, 0);
		return 0;
	}
	return next_message(link, 0, ret_notification, err);
}
