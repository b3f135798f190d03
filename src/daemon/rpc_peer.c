/* SPDX-License-Identifier: BSD-3-Clause */
/* Server and client of the management face in one thread. */
#include "daemon/rpc_peer.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"

int peer_world_make(void **state)
{
	static unsigned number;
	struct peer_world *world = calloc(1, sizeof *world);
	struct dpu_error err = { 0 };
	snprintf(world->path, sizeof world->path, "/tmp/dpud-rpc-%d-%u.sock", (int)getpid(), number);
	snprintf(world->read_only_path, sizeof world->read_only_path, "/tmp/dpud-rpc-%d-%u-ro.sock", (int)getpid(),
		 number++);
	log_set_level(LOG_LEVEL_ERROR);
	assert_int_equal(loop_new(&world->loop), 0);
	world->model = test_model(&world->service, NULL);
	test_seed(world->model);
	const struct rpc_options options = { .loop = world->loop,
					     .model = world->model,
					     .instance = "test",
					     .software = "1.2.3",
					     .socket_path = world->path,
					     .read_only_path = world->read_only_path,
					     .group = (gid_t)-1 };
	if (rpc_start(&options, &world->rpc, &err))
		fail_msg("%s: %s", err.path, err.message);
	*state = world;
	return 0;
}

int peer_world_remove(void **state)
{
	struct peer_world *world = *state;
	rpc_free(world->rpc);
	model_free(world->model);
	json_decref(world->service.last_args);
	loop_free(world->loop);
	int left = access(world->path, F_OK) == 0 || access(world->read_only_path, F_OK) == 0;
	free(world);
	return left;
}

int peer_dial(struct peer_world *world, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	while (connect(fd, (struct sockaddr *)&address, sizeof address)) {
		assert_int_equal(errno, EAGAIN); /* its backlog is full */
		loop_once(world->loop, 0);
	}
	return fd;
}

void peer_run(struct peer_world *world, unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++)
		loop_once(world->loop, 0);
}

void peer_send(struct peer_world *world, int fd, const char *text, size_t length)
{
	for (unsigned stuck = 0; length > 0 && stuck < 1000;) {
		ssize_t sent = send(fd, text, length, MSG_NOSIGNAL);
		if (sent > 0) {
			text += sent;
			length -= (size_t)sent;
			stuck = 0;
			continue;
		}
		if (errno != EAGAIN)
			return; /* the server ended it: the test looks at what it said */
		loop_once(world->loop, 0);
		stuck++;
	}
}

static bool readable(struct peer_world *world, int fd)
{
	struct pollfd poller = { .fd = fd, .events = POLLIN };
	for (unsigned i = 0; i < 300; i++) {
		loop_once(world->loop, 0);
		if (poll(&poller, 1, 1) > 0)
			return true;
	}
	return false;
}

char *peer_line(struct peer_world *world, int fd)
{
	size_t length = 0, size = 1 << 16;
	char *line = malloc(size);
	while (readable(world, fd)) {
		ssize_t seen = recv(fd, line + length, size - length - 1, MSG_PEEK);
		if (seen <= 0)
			break;
		char *end = memchr(line + length, '\n', (size_t)seen);
		size_t take = end ? (size_t)(end - line - (ptrdiff_t)length) + 1 : (size_t)seen;
		assert_int_equal(recv(fd, line + length, take, 0), (ssize_t)take);
		length += take;
		if (end) {
			line[length - 1] = '\0';
			return line;
		}
		if (size - length < 1 << 15)
			line = realloc(line, size *= 2);
	}
	free(line);
	return NULL;
}

bool peer_ended(struct peer_world *world, int fd)
{
	char byte;
	return readable(world, fd) && recv(fd, &byte, 1, MSG_PEEK) <= 0;
}

json_t *peer_exchange(struct peer_world *world, int fd, const char *text)
{
	char *copy = strdup(text);
	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	peer_send(world, fd, copy, strlen(copy));
	peer_send(world, fd, "\n", 1);
	free(copy);
	char *line = peer_line(world, fd);
	assert_non_null(line);
	json_t *reply = json_loads(line, 0, NULL);
	assert_non_null(reply);
	free(line);
	return reply;
}

static json_t *call(struct peer_world *world, int fd, const char *method, const char *params)
{
	char *text;
	assert_true(asprintf(&text, "{'jsonrpc':'2.0','id':1,'method':'%s','params':%s}", method,
			     params ? params : "{}") > 0);
	json_t *reply = peer_exchange(world, fd, text);
	free(text);
	return reply;
}

static char *plain(const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
	for (char *c = text; c && *c; c++)
		*c = *c == '"' ? '\'' : *c;
	return text;
}

void peer_call(struct peer_world *world, int fd, const char *method, const char *params, const char *expect)
{
	json_t *reply = call(world, fd, method, params);
	const json_t *result = json_object_get(reply, "result");
	char *text = plain(result ? result : reply);
	if (!result)
		fail_msg("%s %s: %s", method, params ? params : "", text);
	if (expect)
		assert_string_equal(text, expect);
	free(text);
	json_decref(reply);
}

void peer_fail(struct peer_world *world, int fd, const char *method, const char *params, const char *code,
	       const char *path, const char *message)
{
	json_t *reply = call(world, fd, method, params);
	const json_t *error = json_object_get(reply, "error"), *data = json_object_get(error, "data");
	if (!error)
		fail_msg("%s %s was not refused", method, params ? params : "");
	assert_string_equal(json_string_value(json_object_get(error, "message")), message);
	assert_string_equal(json_string_value(json_object_get(data, "code")), code);
	assert_string_equal(json_string_value(json_object_get(data, "path")), path);
	json_decref(reply);
}
