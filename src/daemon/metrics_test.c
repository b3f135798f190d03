/* SPDX-License-Identifier: BSD-3-Clause */
/* The metrics server over a Unix socket: good requests, wrong ones, hostile ones. */
#include "daemon/metrics.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

static char path[64];
static struct loop *loop;
static struct metrics *metrics;
static unsigned collected;

static char *collect(void *ctx)
{
	collected++;
	return strdup("dpu_up 1\n");
}

static int setup(void **state)
{
	struct dpu_error err = { 0 };
	snprintf(path, sizeof path, "/tmp/dpud-metrics-%d.sock", (int)getpid());
	return loop_new(&loop) || metrics_start(loop, path, (gid_t)-1, collect, NULL, &metrics, &err);
}

static int teardown(void **state)
{
	metrics_stop(metrics);
	loop_free(loop);
	return access(path, F_OK) == 0;
}

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	return fd;
}

/* Runs the loop until the peer closes or nothing has come for a while. */
static void receive(int fd, char *buf, size_t size)
{
	size_t used = 0;
	for (unsigned idle = 0; idle < 40 && used < size - 1; idle++) {
		loop_once(loop, 5);
		ssize_t got = recv(fd, buf + used, size - 1 - used, 0);
		if (got == 0)
			break;
		if (got > 0) {
			used += (size_t)got;
			idle = 0;
		}
	}
	buf[used] = '\0';
}

static void check(const char *request, const char *status, const char *body)
{
	char reply[4096];
	int fd = dial();
	assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), (ssize_t)strlen(request));
	receive(fd, reply, sizeof reply);
	close(fd);
	if (strncmp(reply, "HTTP/1.1 ", 9) != 0 || strncmp(reply + 9, status, strlen(status)) != 0)
		fail_msg("'%s' is no %s", reply, status);
	if (!strstr(reply, body))
		fail_msg("'%s' has no '%s'", reply, body);
}

#define REQUEST(line) line " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void answers(void **state)
{
	check(REQUEST("GET /metrics"), "200", "\r\n\r\ndpu_up 1\n");
	check(REQUEST("GET /metrics"), "200", "text/plain; version=0.0.4");
	check(REQUEST("GET /"), "404", "Metrics are at /metrics.");
	check(REQUEST("DELETE /metrics"), "405", "Only GET and HEAD.");
	check("POST /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "405",
	      "Only");
	assert_true(collected >= 1);
}

static void nonsense_is_not_answered(void **state)
{
	char reply[4096];
	int fd = dial();
	assert_int_equal(send(fd, "nonsense\r\n\r\n", 12, MSG_NOSIGNAL), 12);
	receive(fd, reply, sizeof reply);
	assert_null(strstr(reply, "200"));
	close(fd);
	check(REQUEST("GET /metrics"), "200", "dpu_up 1\n");
}

static void bounds_headers(void **state)
{
	int fd = dial();
	char junk[1024], reply[4096];
	memset(junk, 'a', sizeof junk);
	(void)!send(fd, "GET /metrics HTTP/1.1\r\nX: ", 26, MSG_NOSIGNAL);
	/* Far more than a connection may hold: it is cut off, and the server goes on. */
	for (unsigned i = 0; i < 64; i++) {
		(void)!send(fd, junk, sizeof junk, MSG_NOSIGNAL);
		loop_once(loop, 0);
	}
	receive(fd, reply, sizeof reply);
	assert_null(strstr(reply, "dpu_up"));
	close(fd);
	check(REQUEST("GET /metrics"), "200", "dpu_up 1\n");
}

static void many_silent_connections(void **state)
{
	int fds[100];
	for (unsigned i = 0; i < 100; i++) {
		fds[i] = dial();
		loop_once(loop, 0);
	}
	for (unsigned i = 0; i < 100; i++)
		close(fds[i]);
	for (unsigned i = 0; i < 20; i++)
		loop_once(loop, 1);
	check(REQUEST("GET /metrics"), "200", "dpu_up 1\n");
}

static void refuses_taken_places(void **state)
{
	struct metrics *second = NULL;
	struct dpu_error err = { 0 };
	assert_int_equal(metrics_start(loop, path, (gid_t)-1, collect, NULL, &second, &err), -EEXIST);
	assert_null(second);
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers),
		cmocka_unit_test(nonsense_is_not_answered),
		cmocka_unit_test(bounds_headers),
		cmocka_unit_test(many_silent_connections),
		cmocka_unit_test(refuses_taken_places),
	};
	return cmocka_run_group_tests_name("metrics", tests, setup, teardown);
}
