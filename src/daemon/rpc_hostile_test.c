/* SPDX-License-Identifier: BSD-3-Clause */
/* The management face against clients that are wrong, slow, greedy or many: it refuses them by name, and serves on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "daemon/rpc_peer.h"
#include "daemon/rpc_priv.h"

static void check_serves(struct peer_world *world)
{
	int fd = peer_dial(world, world->path);
	peer_call(world, fd, "dpu.version", NULL, NULL);
	close(fd);
}

/* The next line is an error with these words. */
static void check_error(struct peer_world *world, int fd, const char *words)
{
	char *line = peer_line(world, fd);
	assert_non_null(line);
	if (!strstr(line, "\"error\"") || !strstr(line, words))
		fail_msg("'%s' does not say '%s'", line, words);
	free(line);
}

static void garbage(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	char bytes[256];
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)(i == '\n' ? 0 : i);
	bytes[255] = '\n';
	peer_send(world, fd, bytes, sizeof bytes);
	check_error(world, fd, "not JSON");
	peer_send(world, fd, "GET / HTTP/1.1\r\n\r\n", 18);
	check_error(world, fd, "not JSON");
	/* The connection is still good. */
	peer_call(world, fd, "dpu.version", NULL, NULL);
	close(fd);
}

static void endless_message(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	size_t length = JSONRPC_MAX_BYTES + 1;
	char *bytes = malloc(length);
	memset(bytes, 'a', length);
	peer_send(world, fd, bytes, length);
	check_error(world, fd, "at most 32 MiB");
	assert_true(peer_ended(world, fd));
	close(fd);

	/* One byte less is a message. */
	fd = peer_dial(world, world->path);
	bytes[length - 2] = '\n';
	peer_send(world, fd, bytes, length - 1);
	check_error(world, fd, "not JSON");
	peer_call(world, fd, "dpu.version", NULL, NULL);
	close(fd);
	free(bytes);
	check_serves(world);
}

static void many_large_messages_at_once(void **state)
{
	struct peer_world *world = *state;
	enum { MANY = 6 };
	int fds[MANY];
	size_t length = JSONRPC_MAX_BYTES - 100;
	char *bytes = malloc(length);
	memset(bytes, 'a', length);
	unsigned refused = 0;
	for (unsigned i = 0; i < MANY; i++) {
		fds[i] = peer_dial(world, world->path);
		peer_send(world, fds[i], bytes, length);
		peer_run(world, 300);
	}
	for (unsigned i = 0; i < MANY; i++) {
		char reply[512] = "";
		if (recv(fds[i], reply, sizeof reply - 1, 0) > 0) {
			assert_non_null(strstr(reply, "too many large messages"));
			refused++;
		}
	}
	free(bytes);
	/* 128 MiB hold four of them, and not six. */
	assert_in_range(refused, 1, 3);
	check_serves(world);
	for (unsigned i = 0; i < MANY; i++)
		close(fds[i]);
	peer_run(world, 100);
	check_serves(world);
}

static void half_closed(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	/* The last request has no end of line. */
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dpu.version\"}\n"
				   "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"dpu.version\"}";
	peer_send(world, fd, text, sizeof text - 1);
	shutdown(fd, SHUT_WR);
	char *line = peer_line(world, fd);
	assert_non_null(strstr(line, "\"id\":1"));
	free(line);
	line = peer_line(world, fd);
	assert_non_null(strstr(line, "\"id\":2"));
	free(line);
	assert_true(peer_ended(world, fd));
	close(fd);

	/* Silence, then the end; half a message, then the end. */
	fd = peer_dial(world, world->path);
	shutdown(fd, SHUT_WR);
	assert_true(peer_ended(world, fd));
	close(fd);
	fd = peer_dial(world, world->path);
	peer_send(world, fd, "{\"jsonrpc\":", 11);
	shutdown(fd, SHUT_WR);
	check_error(world, fd, "not JSON");
	assert_true(peer_ended(world, fd));
	close(fd);
	/* Gone without a word. */
	fd = peer_dial(world, world->path);
	peer_send(world, fd, text, sizeof text - 1);
	close(fd);
	peer_run(world, 20);
	check_serves(world);
}

static void five_hundred_connections(void **state)
{
	struct peer_world *world = *state;
	enum { MANY = 500 };
	static int fds[MANY];
	int early = peer_dial(world, world->path);
	int watcher = peer_dial(world, world->path);
	peer_call(world, watcher, "dpu.subscribe", NULL, NULL);
	for (unsigned i = 0; i < MANY; i++)
		fds[i] = peer_dial(world, world->path);
	peer_run(world, 50);
	struct rpc_stats stats;
	rpc_stats(world->rpc, &stats);
	assert_int_equal(stats.clients, RPC_MAX_CLIENTS);
	/* Who was silent longest made room; who subscribed stayed; newcomers are served. */
	assert_true(peer_ended(world, early));
	check_serves(world);
	peer_call(world, watcher, "dpu.version", NULL, NULL);
	peer_call(world, fds[MANY - 1], "dpu.version", NULL, NULL);
	for (unsigned i = 0; i < MANY; i++)
		close(fds[i]);
	close(early);
	close(watcher);
	peer_run(world, 50);
	rpc_stats(world->rpc, &stats);
	assert_int_equal(stats.clients, 0);
	assert_int_equal(stats.evicted, stats.accepted - RPC_MAX_CLIENTS);
}

static void nobody_idle_to_make_room(void **state)
{
	struct peer_world *world = *state;
	static int fds[RPC_MAX_CLIENTS];
	for (unsigned i = 0; i < RPC_MAX_CLIENTS; i++) {
		fds[i] = peer_dial(world, world->path);
		peer_call(world, fds[i], "dpu.subscribe", NULL, NULL);
	}
	int fd = peer_dial(world, world->path);
	check_error(world, fd, "all connections are busy; try again");
	assert_true(peer_ended(world, fd));
	close(fd);
	/* The other socket has connections of its own. */
	fd = peer_dial(world, world->read_only_path);
	peer_call(world, fd, "dpu.version", NULL, NULL);
	close(fd);
	for (unsigned i = 0; i < RPC_MAX_CLIENTS; i++)
		close(fds[i]);
	peer_run(world, 50);
	check_serves(world);
}

/* Asks on and on and reads nothing: after a while nothing more is taken from it, so memory stays bounded. */
static void reads_no_replies(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dpu.schema\"}\n";
	for (unsigned i = 0; i < 20000; i++) {
		if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL) < 0)
			assert_int_equal(errno, EAGAIN);
		loop_once(world->loop, 0);
	}
	struct rpc_stats before, after;
	rpc_stats(world->rpc, &before);
	peer_run(world, 100);
	rpc_stats(world->rpc, &after);
	assert_int_equal(after.requests, before.requests); /* it pauses */
	assert_true(after.requests < 500);
	check_serves(world);
	/* It reads on: everything that it asked for is answered. */
	for (unsigned i = 0; i < 300; i++) {
		char *line = peer_line(world, fd);
		assert_non_null(line);
		free(line);
	}
	close(fd);
}

static void reads_no_events(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path), deaf = peer_dial(world, world->path);
	peer_call(world, deaf, "dpu.subscribe", NULL, NULL);
	struct rpc_stats stats = { 0 };
	char description[101];
	memset(description, 'd', 100);
	description[100] = '\0';
	for (unsigned i = 0; i < 30000 && stats.events_lost < 10; i++) {
		description[i % 100] = (char)('a' + i % 26);
		json_t *fields = json_pack("{s:s}", "description", description);
		struct dpu_error err = { 0 };
		struct txn *txn;
		assert_int_equal(txn_new(world->model, &txn), 0);
		assert_int_equal(txn_add(txn, CHANGE_SET, "group", NULL, "blue/deaf", fields, 0, false, &err), 0);
		json_decref(fields);
		txn_commit(txn, NULL, NULL);
		txn_free(txn);
		rpc_stats(world->rpc, &stats);
	}
	assert_int_equal(stats.events_lost, 10);
	peer_call(world, fd, "dpu.version", NULL, NULL);
	/* It reads what it has, is told how much it missed with the next event, and has missed nothing else. */
	unsigned lines = 0;
	for (char *line; (line = peer_line(world, deaf)); lines++)
		free(line);
	assert_true(lines > 100);
	peer_call(world, fd, "group.update", "{'name':'blue/deaf','fields':{'description':'end'}}", NULL);
	char *line = peer_line(world, deaf);
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"method\":\"dpu.events_lost\",\"params\":{\"count\":10}}");
	free(line);
	line = peer_line(world, deaf);
	assert_non_null(strstr(line, "dpu.event\""));
	free(line);
	close(deaf);
	close(fd);
}

static struct rpc_client *only_client(struct peer_world *world)
{
	struct rpc_client *client = TAILQ_FIRST(&world->rpc->clients);
	assert_non_null(client);
	assert_null(TAILQ_NEXT(client, link));
	return client;
}

static void slow_message(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_send(world, fd, "{\"jsonrpc\"", 10);
	peer_run(world, 20);
	client_check_time(only_client(world), clock_ns() + (RPC_MESSAGE_TIMEOUT_S - 1) * CLOCK_NS_PER_S);
	client_check_time(only_client(world), clock_ns() + (RPC_MESSAGE_TIMEOUT_S + 1) * CLOCK_NS_PER_S);
	check_error(world, fd, "complete within 30 seconds");
	assert_true(peer_ended(world, fd));
	close(fd);
	/* Silence between messages is no offence. */
	fd = peer_dial(world, world->path);
	peer_call(world, fd, "dpu.version", NULL, NULL);
	client_check_time(only_client(world), clock_ns() + 3600 * CLOCK_NS_PER_S);
	peer_call(world, fd, "dpu.version", NULL, NULL);
	close(fd);
}

static void stuck_reader(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dpu.schema\"}\n";
	for (unsigned i = 0; i < 200; i++) {
		(void)!send(fd, text, sizeof text - 1, MSG_NOSIGNAL);
		loop_once(world->loop, 0);
	}
	assert_true(only_client(world)->out.length > 0);
	client_check_time(only_client(world), clock_ns() + (RPC_PROGRESS_TIMEOUT_S - 1) * CLOCK_NS_PER_S);
	assert_non_null(only_client(world));
	client_check_time(only_client(world), clock_ns() + (RPC_PROGRESS_TIMEOUT_S + 1) * CLOCK_NS_PER_S);
	assert_null(TAILQ_FIRST(&world->rpc->clients));
	assert_int_equal(world->rpc->output_bytes, 0);
	close(fd);
	check_serves(world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_world_make, peer_world_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(garbage),
		TEST(endless_message),
		TEST(many_large_messages_at_once),
		TEST(half_closed),
		TEST(reads_no_replies),
		TEST(five_hundred_connections),
		TEST(nobody_idle_to_make_room),
		TEST(reads_no_events),
		TEST(slow_message),
		TEST(stuck_reader),
	};
	return cmocka_run_group_tests_name("rpc_hostile", tests, NULL, NULL);
}
