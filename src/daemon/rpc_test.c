/* SPDX-License-Identifier: BSD-3-Clause */
/* The management face's methods: each verb, and the exact answer to what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "daemon/rpc_peer.h"

static void versions(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path), ro = peer_dial(world, world->read_only_path);
	peer_call(world, fd, "dpu.version", NULL,
		  "{'dpu':'1.0','instance':'test','read_only':false,'software':'1.2.3'}");
	peer_call(world, ro, "dpu.version", NULL,
		  "{'dpu':'1.0','instance':'test','read_only':true,'software':'1.2.3'}");
	peer_call(world, fd, "dpu.hello", "{'dpu':'1','client':'me'}", NULL);
	peer_call(world, fd, "dpu.hello", "{'dpu':'1.0'}", NULL);
	peer_call(world, fd, "dpu.hello", "{}", NULL);
	peer_fail(world, fd, "dpu.hello", "{'dpu':'2'}", "unsupported", "dpu",
		  "this daemon (softdpu 1.2.3) speaks version 1.0 of the protocol, not 2.0; use the client of the same "
		  "release");
	peer_fail(world, fd, "dpu.hello", "{'dpu':'1.7'}", "unsupported", "dpu",
		  "this daemon (softdpu 1.2.3) speaks version 1.0 of the protocol, not 1.7; use the client of the same "
		  "release");
	peer_fail(world, fd, "dpu.hello", "{'dpu':'one'}", "invalid", "dpu",
		  "must be the protocol's version, such as \"1\"");
	peer_fail(world, fd, "dpu.hello", "{'dpu':1}", "invalid", "dpu", "must be a string");
	close(fd);
	close(ro);
}

static void life_of_an_object(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_call(world, fd, "group.create", "{'tenant':'blue','name':'g9','fields':{'description':'nine'}}", NULL);
	json_t *reply =
		peer_exchange(world, fd, "{'jsonrpc':'2.0','id':1,'method':'group.get','params':{'name':'blue/g9'}}");
	json_t *object = json_object_get(reply, "result");
	assert_string_equal(json_string_value(json_object_get(object, "description")), "nine");
	assert_int_equal(json_integer_value(json_object_get(object, "generation")), 1);
	json_decref(reply);

	peer_call(world, fd, "group.update",
		  "{'tenant':'blue','name':'g9','fields':{'description':'IX'},'generation':1}", NULL);
	reply = peer_exchange(world, fd,
			      "{'jsonrpc':'2.0','id':1,'method':'group.update','params':{'name':'blue/g9','fields':{"
			      "'description':'9'},'generation':1}}");
	json_t *error = json_object_get(reply, "error");
	assert_int_equal(json_integer_value(json_object_get(error, "code")), -32004);
	json_decref(reply);
	peer_call(world, fd, "group.update", "{'name':'blue/g9','fields':{'name':'g10'}}", NULL);
	peer_fail(world, fd, "group.get", "{'name':'blue/g9'}", "not_found", "group", "there is no group \"blue/g9\"");

	/* A dry run changes nothing. */
	peer_call(world, fd, "group.delete", "{'name':'blue/g10','dry_run':true}", NULL);
	peer_call(world, fd, "group.get", "{'name':'g10','tenant':'blue'}", NULL);
	peer_call(world, fd, "group.delete", "{'name':'blue/g10'}", NULL);
	peer_fail(world, fd, "group.get", "{'name':'g10','tenant':'blue'}", "not_found", "group",
		  "there is no group \"g10\" in tenant \"blue\"");
	peer_call(world, fd, "dpu.get", NULL, NULL);
	peer_call(world, fd, "dpu.update", "{'fields':{'contact':'noc'}}", NULL);
	close(fd);
}

static void wrong_requests(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_fail(world, fd, "vnics.list", NULL, "not_found", "",
		  "there is no method \"vnics.list\"; dpu.schema tells what there is");
	peer_fail(world, fd, "vnic.lst", NULL, "not_found", "",
		  "there is no method \"vnic.lst\"; did you mean vnic.list?");
	peer_fail(world, fd, "dpu.versoin", NULL, "not_found", "",
		  "there is no method \"dpu.versoin\"; did you mean dpu.version?");
	peer_fail(world, fd, "vnic.get", "{'nmae':'x'}", "invalid", "nmae",
		  "there is no such parameter; there are tenant, name, observe");
	peer_fail(world, fd, "vnic.get", "{'name':7}", "invalid", "name", "must be a string");
	peer_fail(world, fd, "vnic.get", "{'name':'x','observe':1}", "invalid", "observe", "must be true or false");
	peer_fail(world, fd, "vnic.get", "{}", "invalid", "name", "is required: a string");
	peer_fail(world, fd, "vnic.get", "{'name':'x'}", "invalid", "vnic",
		  "say whose vnic: write TENANT/NAME instead of \"x\"");
	peer_fail(world, fd, "vnic.get", "{'name':'x','tenant':'nobody'}", "not_found", "",
		  "there is no tenant \"nobody\"");
	peer_fail(world, fd, "vnic.update", "{'name':'x'}", "invalid", "fields", "is required: an object");
	peer_fail(world, fd, "vnic.update", "{'name':'x','fields':{},'generation':-1}", "invalid", "generation",
		  "must be a whole number, zero or more");
	peer_fail(world, fd, "dpu.log_level", "{'level':'loud'}", "invalid", "level",
		  "must be error, warn, info or debug");
	peer_fail(world, fd, "dpu.manual", "{'class':'nothing'}", "not_found", "class",
		  "there is no such class; dpu.schema tells what there is");
	close(fd);
}

static void lists(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	for (unsigned i = 0; i < 25; i++) {
		char params[160];
		snprintf(params, sizeof params,
			 "{'tenant':'blue','name':'p%02u','fields':{'description':'%s','labels':['rack=%u','x=y']}}", i,
			 i % 2 ? "odd" : "even", i / 10);
		peer_call(world, fd, "group.create", params, NULL);
	}
	/* Page by page; an object deleted in between disturbs nothing. */
	size_t seen = 0;
	char cursor[64] = "";
	for (unsigned page = 0; page < 20; page++) {
		char text[256];
		snprintf(text, sizeof text,
			 "{'jsonrpc':'2.0','id':1,'method':'group.list','params':{'labels':['x'],'limit':4%s}}",
			 cursor);
		json_t *reply = peer_exchange(world, fd, text), *result = json_object_get(reply, "result");
		seen += json_array_size(json_object_get(result, "objects"));
		const char *next = json_string_value(json_object_get(result, "cursor"));
		snprintf(cursor, sizeof cursor, ",'cursor':'%s'", next ? next : "");
		if (page == 1)
			peer_call(world, fd, "group.delete", "{'name':'blue/p01'}", NULL);
		json_decref(reply);
		if (!next)
			break;
	}
	assert_int_equal(seen, 25);

	static const struct {
		const char *params;
		size_t count;
	} cases[] = {
		{ "{'labels':['rack=1']}", 10 },
		{ "{'labels':['rack=1','x=y'],'filter':{'description':'odd'}}", 5 },
		{ "{'filter':{'description':'odd'},'tenant':'blue'}", 11 },
		{ "{'filter':{'generation':'1','name':'p02'}}", 1 },
		{ "{'filter':{'labels':'rack=2'}}", 5 },
		{ "{'filter':{'description':'none'}}", 0 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char text[256];
		snprintf(text, sizeof text, "{'jsonrpc':'2.0','id':1,'method':'group.list','params':%s}",
			 cases[i].params);
		json_t *reply = peer_exchange(world, fd, text);
		assert_int_equal(json_array_size(json_object_get(json_object_get(reply, "result"), "objects")),
				 cases[i].count);
		json_decref(reply);
	}
	peer_fail(world, fd, "group.list", "{'limit':0}", "invalid", "limit", "must be from 1 to 10000");
	peer_fail(world, fd, "group.list", "{'limit':10001}", "invalid", "limit", "must be from 1 to 10000");
	peer_fail(world, fd, "group.list", "{'cursor':'x'}", "invalid", "cursor",
		  "must be the cursor of the page before");
	peer_fail(world, fd, "group.list", "{'filter':{'colour':1}}", "not_found", "filter.colour",
		  "a group has no such field");
	peer_fail(world, fd, "group.list", "{'labels':[1]}", "invalid", "labels",
		  "must be an array of \"key=value\" or \"key\" strings");
	peer_fail(world, fd, "port.list", "{'tenant':'blue'}", "invalid", "tenant", "a port belongs to no tenant");
	close(fd);
}

static void observed_fields(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_call(world, fd, "vnic.create", "{'tenant':'blue','name':'v1','fields':{'subnet':'s'}}", NULL);
	json_t *reply = peer_exchange(
		world, fd,
		"{'jsonrpc':'2.0','id':1,'method':'vnic.list','params':{'filter':{'link':'up','name':'v1'}}}");
	json_t *objects = json_object_get(json_object_get(reply, "result"), "objects");
	assert_int_equal(json_array_size(objects), 1);
	assert_string_equal(json_string_value(json_object_get(json_array_get(objects, 0), "link")), "up");
	assert_null(json_object_get(json_array_get(objects, 0), "password"));
	json_decref(reply);
	close(fd);
}

static void transactions(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_call(world, fd, "dpu.transaction",
		  "{'dry_run':true,'changes':[{'op':'create','class':'tenant','name':'pink'},{'op':'create','class':'"
		  "group',"
		  "'tenant':'pink','name':'g'}]}",
		  NULL);
	peer_fail(world, fd, "tenant.get", "{'name':'pink'}", "not_found", "tenant", "there is no tenant \"pink\"");
	peer_call(world, fd, "dpu.transaction",
		  "{'changes':[{'op':'create','class':'tenant','name':'pink'},{'op':'create','class':'group',"
		  "'tenant':'pink','name':'g'}]}",
		  NULL);
	peer_call(world, fd, "tenant.get", "{'name':'pink'}", NULL);
	/* All or nothing. */
	peer_fail(world, fd, "dpu.transaction",
		  "{'changes':[{'op':'set','class':'group','tenant':'pink','name':'h'},{'op':'frob','class':'group'}]}",
		  "invalid", "changes[1].op", "must be create, update, set or delete");
	peer_fail(world, fd, "group.get", "{'name':'pink/h'}", "not_found", "group", "there is no group \"pink/h\"");
	peer_fail(world, fd, "dpu.transaction", "{'changes':[{'op':'create'}]}", "invalid", "changes[0].class",
		  "is required: a string");
	peer_fail(world, fd, "dpu.transaction", "{'changes':[{'op':'create','class':'nothing'}]}", "not_found",
		  "changes[0]", "there is no class \"nothing\"");
	peer_fail(world, fd, "dpu.transaction", "{'changes':7}", "invalid", "changes", "must be an array");
	peer_fail(world, fd, "dpu.transaction",
		  "{'changes':[{'op':'update','class':'group','name':'pink/g','fields':{},'generation':-1}]}",
		  "invalid", "changes[0].generation", "must be a whole number, zero or more");
	peer_call(world, fd, "dpu.transaction", "{'changes':[]}", "{'applied':true,'changes':[]}");
	/* Who loads much may do without the diff. */
	peer_call(world, fd, "dpu.transaction",
		  "{'diff':false,'changes':[{'op':'create','class':'group','tenant':'pink','name':'quiet'}]}",
		  "{'applied':true}");
	peer_call(world, fd, "group.get", "{'name':'pink/quiet'}", NULL);
	close(fd);
}

static void declared_state(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	json_t *reply = peer_exchange(world, fd, "{'jsonrpc':'2.0','id':1,'method':'dpu.export'}");
	char *document = json_dumps(json_object_get(reply, "result"), 0), *params;
	json_decref(reply);
	assert_true(asprintf(&params, "{\"prune\":true,\"document\":%s}", document) > 0);
	peer_call(world, fd, "dpu.apply", params, "{'applied':true,'changes':[]}");
	free(params);
	free(document);
	peer_call(world, fd, "dpu.apply", "{'dry_run':true,'document':{'version':1,'tenants':[{'name':'green'}]}}",
		  NULL);
	peer_fail(world, fd, "tenant.get", "{'name':'green'}", "not_found", "tenant", "there is no tenant \"green\"");
	peer_call(world, fd, "dpu.apply", "{'document':{'version':1,'tenants':[{'name':'green'}]}}", NULL);
	peer_call(world, fd, "tenant.get", "{'name':'green'}", NULL);
	close(fd);
}

static void documents(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_call(world, fd, "dpu.schema", NULL, NULL);
	peer_call(world, fd, "dpu.json_schema", NULL, NULL);
	peer_call(world, fd, "dpu.manual", NULL, NULL);
	peer_call(world, fd, "dpu.manual", "{'class':'vnic'}", NULL);
	peer_call(world, fd, "dpu.log_level", "{'level':'error'}", "{'level':'error'}");
	close(fd);
}

static void actions(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	peer_call(world, fd, "vnic.create", "{'tenant':'blue','name':'v1','fields':{'subnet':'s'}}", NULL);
	peer_call(world, fd, "vnic.probe", "{'name':'blue/v1','args':{'note':'hi'}}",
		  "{'count':3,'note':'hi','object':'v1'}");
	peer_fail(world, fd, "vnic.probe", "{'name':'blue/v1','args':{'note':'fail'}}", "timeout", "probe.note",
		  "nobody answered");

	/* One that answers later: the next request of this connection waits, another connection does not. */
	int other = peer_dial(world, world->path);
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vnic.count-later\"}\n"
				   "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"dpu.version\"}\n";
	peer_send(world, fd, text, sizeof text - 1);
	peer_run(world, 20);
	assert_non_null(world->service.pending);
	peer_call(world, other, "dpu.version", NULL, NULL);
	action_answer(world->service.pending, 0, json_integer(17), NULL);
	char *line = peer_line(world, fd);
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"result\":17,\"id\":1}");
	free(line);
	line = peer_line(world, fd);
	assert_non_null(strstr(line, "\"id\":2"));
	free(line);

	/* Nobody waits any more when the answer comes. */
	world->service.pending = NULL;
	peer_send(world, fd, text, sizeof text - 1);
	peer_run(world, 20);
	close(fd);
	peer_run(world, 20);
	action_answer(world->service.pending, 0, json_integer(18), NULL);
	peer_call(world, other, "dpu.version", NULL, NULL);
	close(other);
}

static void read_only(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->read_only_path);
	char sentence[160];
	snprintf(sentence, sizeof sentence, "nothing can be changed on this socket; use %s", world->path);
	peer_fail(world, fd, "group.create", "{'tenant':'blue','name':'g9'}", "denied", "", sentence);
	peer_fail(world, fd, "group.update", "{'name':'blue/g1','fields':{}}", "denied", "", sentence);
	peer_fail(world, fd, "group.delete", "{'name':'blue/g1'}", "denied", "", sentence);
	peer_fail(world, fd, "dpu.transaction", "{'changes':[]}", "denied", "", sentence);
	peer_fail(world, fd, "dpu.apply", "{'document':{}}", "denied", "", sentence);
	peer_fail(world, fd, "dpu.log_level", "{'level':'info'}", "denied", "", sentence);
	peer_fail(world, fd, "vnic.count-later", NULL, "denied", "", sentence);
	peer_call(world, fd, "group.list", NULL, NULL);
	peer_call(world, fd, "group.create", "{'tenant':'blue','name':'g9','dry_run':true}", NULL);
	peer_fail(world, fd, "vnic.probe", "{'name':'blue/v1','args':{'note':'x'}}", "not_found", "vnic",
		  "there is no vnic \"blue/v1\"");
	close(fd);
}

static void batches(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path);
	json_t *replies = peer_exchange(world, fd,
					"[{'jsonrpc':'2.0','id':1,'method':'group.create','params':{'name':'blue/b1'}},"
					"{'jsonrpc':'2.0','method':'group.create','params':{'name':'blue/b2'}},"
					"7,"
					"{'jsonrpc':'2.0','id':'x','method':'group.get','params':{'name':'blue/b2'}}]");
	assert_int_equal(json_array_size(replies), 3);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(replies, 0), "id")), 1);
	assert_true(json_is_null(json_object_get(json_array_get(replies, 1), "id")));
	assert_string_equal(json_string_value(json_object_get(json_array_get(replies, 2), "id")), "x");
	assert_non_null(json_object_get(json_array_get(replies, 2), "result"));
	json_decref(replies);
	/* Notifications are not answered, one by one or all together; nor are their failures. */
	static const char silent[] = "[{\"jsonrpc\":\"2.0\",\"method\":\"dpu.version\"}]\n"
				     "{\"jsonrpc\":\"2.0\",\"method\":\"no.such\"}\n\n  \r\n";
	peer_send(world, fd, silent, sizeof silent - 1);
	peer_call(world, fd, "dpu.version", NULL, NULL);
	close(fd);
}

static json_t *next_event(struct peer_world *world, int fd)
{
	char *line = peer_line(world, fd);
	assert_non_null(line);
	json_t *message = json_loads(line, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(message, "method")), "dpu.event");
	json_t *event = json_incref(json_object_get(message, "params"));
	json_decref(message);
	free(line);
	return event;
}

static void events(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path), watcher = peer_dial(world, world->read_only_path);
	int choosy = peer_dial(world, world->path);
	peer_call(world, watcher, "dpu.subscribe", NULL, "{'subscribed':true}");
	peer_call(world, choosy, "dpu.subscribe", "{'classes':['tenant']}", "{'subscribed':true}");
	peer_fail(world, fd, "dpu.subscribe", "{'classes':['tenant','nothing']}", "not_found", "classes[1]",
		  "there is no class \"nothing\"; dpu.schema tells what there is");
	peer_call(world, fd, "group.create", "{'name':'blue/e1'}", NULL);
	peer_call(world, fd, "tenant.create", "{'name':'pink'}", NULL);
	json_t *event = next_event(world, watcher);
	assert_string_equal(json_string_value(json_object_get(event, "kind")), "created");
	assert_string_equal(json_string_value(json_object_get(event, "name")), "e1");
	json_decref(event);
	json_decref(next_event(world, watcher));
	event = next_event(world, choosy);
	assert_string_equal(json_string_value(json_object_get(event, "name")), "pink");
	json_decref(event);
	peer_call(world, watcher, "dpu.unsubscribe", NULL, "{'subscribed':false}");
	peer_call(world, fd, "group.delete", "{'name':'blue/e1'}", NULL);
	peer_call(world, watcher, "dpu.version", NULL, NULL); /* and nothing before it */
	close(watcher);
	close(choosy);
	peer_run(world, 20);
	peer_call(world, fd, "tenant.delete", "{'name':'pink'}", NULL);
	close(fd);
}

static void note_stop(void *arg)
{
	(*(unsigned *)arg)++;
}

static void stops_after_the_last_answer(void **state)
{
	struct peer_world *world = *state;
	int fd = peer_dial(world, world->path), idle = peer_dial(world, world->path);
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"vnic.count-later\"}\n";
	peer_send(world, fd, text, sizeof text - 1);
	peer_run(world, 20);
	unsigned stopped = 0;
	rpc_stop(world->rpc, note_stop, &stopped);
	assert_int_equal(stopped, 0);
	assert_true(peer_ended(world, idle));
	assert_int_equal(access(world->path, F_OK), -1);
	action_answer(world->service.pending, 0, json_integer(17), NULL);
	assert_int_equal(stopped, 1);
	char *line = peer_line(world, fd);
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"result\":17,\"id\":1}");
	free(line);
	assert_true(peer_ended(world, fd));
	close(fd);
	close(idle);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, peer_world_make, peer_world_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(versions),
		TEST(life_of_an_object),
		TEST(wrong_requests),
		TEST(lists),
		TEST(observed_fields),
		TEST(transactions),
		TEST(declared_state),
		TEST(documents),
		TEST(actions),
		TEST(read_only),
		TEST(batches),
		TEST(events),
		TEST(stops_after_the_last_answer),
	};
	return cmocka_run_group_tests_name("rpc", tests, NULL, NULL);
}
