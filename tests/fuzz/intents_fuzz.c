/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the list of intents as a start finds it: lines that are whole, torn, of other objects, of no form at all. What
 * counts is what this file's own reading of the form says, each refers to what it speaks of and to nothing else, and a
 * list that is written from it reads the same. */
#include <fcntl.h>
#include <unistd.h>
#include "input.h"
#include "operating/uring_needed.h"
#include "service/block/block_priv.h"
#include "service/block/block_rig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NAMES = 10, LINE = 6 + 1 + 36 + 1 + 36, TEXT_MAX = 1 << 16 };

static struct block_rig rig;
static struct block *block;
static char path[160];
static struct uuid names[NAMES]; /* two pools, what they have, what is neither, and what nobody has */
static struct volume *volumes[3];
static struct uuid volume_pools[3];
static char text[TEXT_MAX];
static size_t length;

static const struct {
	const char *class_name, *name;
} objects[] = { { "pool", "p" },     { "pool", "q" },      { "volume", "v" }, { "volume", "w" },
		{ "snapshot", "s" }, { "tenant", "blue" }, { "medium", "m" } };
enum { OBJECTS = sizeof(objects) / sizeof(objects[0]), POOLS = 2, VOLUME_AT = 2 };

static void end(void)
{
	block_rig_free(&rig);
}

static void world_once(void)
{
	if (block)
		return;
	uring_needed();
	block_rig_new(&rig, 1, NULL);
	block_rig_pool(&rig);
	block_rig_apply(&rig,
			"{'media': [{'name': 'n', 'path': '%s/n', 'size': 33554432}],"
			" 'pools': [{'name': 'q', 'media': ['n']}],"
			" 'volumes': [{'name': 'w', 'tenant': 'blue', 'pool': 'q', 'size': 4096}]}",
			rig.dir);
	block_rig_change(&rig, CHANGE_CREATE, "snapshot", "blue/s", "{'volume': 'v'}", NULL);
	block = block_of(&rig.dpu);
	snprintf(path, sizeof(path), "%s/block-intents", rig.dir);
	for (unsigned i = 0; i < NAMES; i++) {
		if (i >= OBJECTS) {
			memset(&names[i], (int)i, sizeof(names[i]));
			continue;
		}
		const struct object *object = block_rig_find(&rig, objects[i].class_name, objects[i].name);
		input_require(object);
		names[i] = object->uuid;
		if (i >= VOLUME_AT && i < VOLUME_AT + 3) {
			volumes[i - VOLUME_AT] = volume_of(object);
			volume_pools[i - VOLUME_AT] = volume_of(object)->pool->subject.uuid;
		}
	}
	input_require(TAILQ_EMPTY(&block->intents));
	atexit(end);
}

/* ---- the file ---- */

static void put(const void *bytes, size_t count)
{
	if (count > sizeof(text) - length)
		count = sizeof(text) - length;
	memcpy(text + length, bytes, count);
	length += count;
}

static void put_line(struct input *in, uint8_t kind)
{
	static const char *const verbs[] = { "create", "delete", "create", "delete", "remove", "Create", "", "creat" };
	static const char *const ends[] = { "\n", "\n", "", " \n", "\r\n", "\nx", "\n\n", " more\n" };
	char line[128], pool[UUID_TEXT], volume[UUID_TEXT];
	uint8_t which = input_byte(in), form = input_byte(in);
	unsigned at = kind >> 3 < 28 ? (form >> 3) & 1 : kind % NAMES;

	int bytes = snprintf(line, sizeof(line), "%s %s %s%s", verbs[which >> 5], uuid_format(&names[at], pool),
			     uuid_format(&names[(which & 31) % NAMES], volume), ends[form & 7]);
	if (form >= 0xf0) { /* torn, or one byte another */
		if (form & 1)
			bytes = input_byte(in) % bytes;
		else
			line[input_byte(in) % bytes] = (char)input_byte(in);
	}
	put(line, (size_t)bytes);
}

static void file_make(struct input *in)
{
	uint8_t bytes[256];

	length = 0;
	while (input_left(in) && length < sizeof(text)) {
		uint8_t kind = input_byte(in);
		if (kind & 7)
			put_line(in, kind);
		else
			put(bytes, input_bytes(in, bytes, kind >> 3));
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	input_require(fd >= 0 && write(fd, text, length) == (ssize_t)length);
	close(fd);
}

/* ---- what must hold ---- */

struct expected {
	unsigned count;
	struct {
		unsigned pool, name;
		struct uuid volume; /* that nobody has */
		bool deletion;
	} of[TEXT_MAX / LINE + 1];
};

static int name_of(const char *at, struct uuid *ret)
{
	char copy[UUID_TEXT];

	memcpy(copy, at, UUID_TEXT - 1);
	copy[UUID_TEXT - 1] = '\0';
	if (strlen(copy) != UUID_TEXT - 1 || uuid_parse(copy, ret) != 0)
		return -1;
	for (int i = 0; i < OBJECTS; i++)
		if (uuid_equal(ret, &names[i]))
			return i;
	return OBJECTS;
}

static bool is_known(const struct expected *expected, const struct uuid *volume)
{
	for (unsigned i = 0; i < expected->count; i++)
		if (uuid_equal(&expected->of[i].volume, volume))
			return true;
	return false;
}

static void expect_line(struct expected *expected, const char *line)
{
	bool deletion = memcmp(line, "delete ", 7) == 0;
	struct uuid pool, volume;

	if ((!deletion && memcmp(line, "create ", 7) != 0) || line[7 + 36] != ' ')
		return;
	int at = name_of(line + 7, &pool), name = name_of(line + 7 + 36 + 1, &volume);
	if (at < 0 || at >= POOLS || name < 0 || is_known(expected, &volume) || deletion != (name == OBJECTS))
		return;
	if (!deletion &&
	    (name < VOLUME_AT || name >= VOLUME_AT + 3 || !uuid_equal(&volume_pools[name - VOLUME_AT], &pool)))
		return;
	expected->of[expected->count].pool = (unsigned)at;
	expected->of[expected->count].name = (unsigned)name;
	expected->of[expected->count].deletion = deletion;
	expected->of[expected->count++].volume = volume;
}

static void expect(struct expected *expected)
{
	expected->count = 0;
	for (size_t at = 0; at < length;) {
		const char *newline = memchr(text + at, '\n', length - at);
		size_t next = newline ? (size_t)(newline - text) + 1 : length;
		if ((newline ? next - 1 : next) - at == LINE)
			expect_line(expected, text + at);
		at = next;
	}
}

static void forget(void)
{
	intents_free(block);
	for (unsigned i = 0; i < 3; i++)
		volumes[i]->intent = NULL;
}

static bool is_listed(const struct expected *expected, unsigned name)
{
	for (unsigned i = 0; i < expected->count; i++)
		if (expected->of[i].name == name)
			return true;
	return false;
}

static void require_as(const struct expected *expected)
{
	char name[UUID_TEXT];

	input_require(block->intent_count == expected->count);
	input_require(TAILQ_EMPTY(&block->intents) == (expected->count == 0));
	for (unsigned i = 0; i < expected->count; i++)
		input_require(intent_is_deletion(block, uuid_format(&expected->of[i].volume, name)) ==
			      expected->of[i].deletion);
	for (unsigned i = 0; i < 3; i++)
		input_require(!!volumes[i]->intent == is_listed(expected, VOLUME_AT + i));
}

/* Carried out in some order, or the pool goes. */
static void finish(struct input in, struct expected *expected)
{
	char name[UUID_TEXT];

	if (input_byte(&in) & 1) {
		intents_drop_pool(pool_of(block_rig_find(&rig, "pool", "p")));
		for (unsigned i = 0; i < expected->count; i++)
			if (expected->of[i].pool == 0)
				expected->of[i--] = expected->of[--expected->count];
		require_as(expected);
	}
	for (unsigned i = 0; i < 3; i++)
		intent_made(volumes[i]);
	for (unsigned i = 0; i < expected->count; i++)
		if (expected->of[i].deletion)
			intent_done(block, uuid_format(&expected->of[i].volume, name));
	input_require(TAILQ_EMPTY(&block->intents) && block->intent_count == 0);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	input_require(fd >= 0 && read(fd, name, 1) == 0); /* nothing is outstanding */
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct expected expected;
	struct input in = { data, data + size };

	world_once();
	file_make(&in);
	expect(&expected);
	for (unsigned i = 0; i < 2; i++) {
		forget();
		intents_load(block);
		require_as(&expected);
	}
	finish((struct input){ data, data + size }, &expected);
	return 0;
}
