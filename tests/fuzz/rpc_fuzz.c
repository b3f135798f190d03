/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the management face: the input is what a client sends over one connection before it half-closes it. Every
 * line that comes back must be JSON, the connection must end, and nothing may stay behind. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/log.h"
#include "daemon/rpc.h"
#include "model/test_classes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 64 << 10, OUTPUT_MAX = 32 << 20, ROUNDS_MAX = 20000 };

static char path[64];

static void check(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "%s\n", what);
	abort();
}

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "no connection");
	return fd;
}

/* Sends all of data and collects the answers until the server ends the connection. An action that waits for ever is
 * answered, so that the connection can go on. */
static char *converse(struct loop *loop, struct test_service *service, int fd, const uint8_t *data, size_t size)
{
	char *output = malloc(OUTPUT_MAX + 1);
	size_t sent = 0, got = 0;
	check(output != NULL, "no memory");
	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		if (sent < size) {
			ssize_t n = send(fd, data + sent, size - sent, MSG_NOSIGNAL);
			if (n > 0)
				sent += (size_t)n;
			else if (errno != EAGAIN)
				sent = size;
			if (sent == size)
				shutdown(fd, SHUT_WR);
		} else if (round == 0) {
			shutdown(fd, SHUT_WR);
		}
		loop_once(loop, 0);
		if (service->pending) {
			struct action_reply *reply = service->pending;
			service->pending = NULL;
			action_answer(reply, 0, json_integer(1), NULL);
		}
		ssize_t n = recv(fd, output + got, OUTPUT_MAX - got, 0);
		if (n == 0 || (n < 0 && errno != EAGAIN)) {
			output[got] = '\0';
			return output;
		}
		got += n > 0 ? (size_t)n : 0;
		check(got < OUTPUT_MAX, "more answers than can be");
	}
	check(false, "the connection does not end");
	return output;
}

static void check_answers(char *output)
{
	for (char *line = output, *end; (end = strchr(line, '\n')); line = end + 1) {
		json_t *message = json_loadb(line, (size_t)(end - line), 0, NULL);
		check(json_is_object(message) || json_is_array(message), "an answer is not JSON");
		json_decref(message);
	}
}

static void note_stopped(void *arg)
{
	*(bool *)arg = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct test_service service;
	struct loop *loop;
	struct rpc *rpc;
	struct dpu_error err = { 0 };
	bool stopped = false;
	if (size > INPUT_MAX)
		return 0;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(path, sizeof path, "/tmp/rpc-fuzz-%d.sock", (int)getpid());
	check(loop_new(&loop) == 0, "no loop");
	struct model *model = test_model(&service, NULL);
	test_seed(model);
	const struct rpc_options options = { .loop = loop,
					     .model = model,
					     .instance = "fuzz",
					     .software = "0",
					     .socket_path = path,
					     .group = (gid_t)-1 };
	check(rpc_start(&options, &rpc, &err) == 0, err.message);
	int fd = dial();
	char *output = converse(loop, &service, fd, data, size);
	check_answers(output);
	free(output);
	close(fd);
	rpc_stop(rpc, note_stopped, &stopped);
	check(stopped, "a request was never answered");
	check(service.fault == NULL, service.fault ? service.fault : "");
	rpc_free(rpc);
	model_free(model);
	json_decref(service.last_args);
	service.last_args = NULL;
	loop_free(loop);
	return 0;
}
