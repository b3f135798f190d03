/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes the adoption of session files: a file that a former process left, damaged anywhere. Whatever is taken over
 * must be a sound table: every session is found under its own key and only there, can be removed and expires, new ones
 * go in; and what the table then leaves behind is adopted whole. */
#include <fcntl.h>
#include <sys/stat.h>
#include "device/packet/session_priv.h"
#include "device/packet/session_test_util.h"
#include "input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_SESSIONS = 1200, FLOWS = 700, NOW = 5000, TEMPLATE_BYTES = 512 << 10, MAX_DAMAGES = 64 };

static char path[128];
static uint8_t templates[2][TEMPLATE_BYTES]; /* as sound files begin; the rest is a hole */
static off_t file_bytes;

static void remove_file(void)
{
	unlink(path);
}

static struct session_table *table_open(bool v6, uint32_t *ret_adopted)
{
	struct session_table_options options = {
		.path = path, .v6 = v6, .max_sessions = MAX_SESSIONS, .seed = TEST_SEED, .now = NOW
	};
	struct session_table *table = NULL;
	int rc = session_table_open(&options, &table, ret_adopted, NULL);

	input_require(rc == 0 && table);
	return table;
}

static void template_make(bool v6)
{
	static const uint8_t protos[] = { IPPROTO_UDP, IPPROTO_TCP, IPPROTO_ICMP, IPPROTO_ESP };
	struct stat st;

	remove_file();
	struct session_table *table = table_open(v6, NULL);
	for (uint32_t i = 0; i < FLOWS; i++) {
		struct flow_key key = test_key(i, v6, protos[i % 4]);
		struct session_dir action = test_action(i);
		struct session *session = session_new(table, &key, flow_key_hash(&key, TEST_SEED), NOW - i % 100);
		session_set_action(session, 0, &action);
		session_set_action(session, 1, &action);
		session_publish(table, session, session_initial_timeout(&key));
		if (protos[i % 4] == IPPROTO_TCP && i % 3)
			session_tcp_advance(table, session, session->initiator, RTE_TCP_SYN_FLAG);
		if (i % 10 == 9)
			session_remove(table, session);
	}
	session_table_close(table);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	input_require(fd >= 0 && read(fd, templates[v6], TEMPLATE_BYTES) == TEMPLATE_BYTES && fstat(fd, &st) == 0);
	file_bytes = st.st_size;
	close(fd);
}

static void templates_once(void)
{
	static bool made;

	if (made)
		return;
	made = true;
	test_path(path, sizeof(path), "session-fuzz");
	template_make(false);
	template_make(true);
	atexit(remove_file);
}

/* The header as somebody wrote it who knows how. */
static void fix_header(uint8_t *bytes)
{
	struct session_file_header header;
	uint64_t mix = SESSION_FILE_MAGIC;

	memcpy(&header, bytes, sizeof(header));
	for (size_t i = 0; i < offsetof(struct session_file_header, checksum); i += 8)
		mix = flow_key_fold(mix ^ flow_key_load64((const uint8_t *)&header + i), flow_key_secret(i, 1));
	header.checksum = mix;
	memcpy(bytes, &header, sizeof(header));
}

/* Words anywhere in a record, in the header, in the chunk map; records copied over others. */
static void damage(struct input *in, uint8_t *bytes, bool v6)
{
	uint32_t record = v6 ? sizeof(struct session_v6) : sizeof(struct session);
	uint32_t first = RECORD_HEADER_CHUNKS * RECORD_SMALL_CHUNK * record;
	uint8_t kind = input_byte(in);
	uint32_t cell = first + (input_word(in) & 1023) * record, other = first + (kind >> 3) * record;

	switch (kind & 7) {
	case 0:
		input_bytes(in, bytes + (input_byte(in) % sizeof(struct session_file_header)), 4);
		if (kind & 8)
			fix_header(bytes);
		break;
	case 1:
		bytes[RECORD_CHUNK_STATES_OFFSET + input_byte(in)] = kind >> 3;
		break;
	case 2:
		memcpy(bytes + cell, bytes + other, record);
		break;
	case 3: /* live, whatever it holds */
		bytes[cell + offsetof(struct session, state)] = SESSION_LIVE;
		break;
	case 4: /* what is found by its key, but says something else */
		input_bytes(in, bytes + cell + offsetof(struct session, state), kind >> 3);
		break;
	default:
		input_bytes(in, bytes + cell + input_byte(in) % (record - 8), 1 + (kind >> 3 & 7));
	}
}

static void file_make(struct input *in, bool v6)
{
	static uint8_t bytes[TEMPLATE_BYTES];
	uint8_t options = input_byte(in);

	memcpy(bytes, templates[v6], TEMPLATE_BYTES);
	for (unsigned i = 0; i < MAX_DAMAGES && input_left(in); i++)
		damage(in, bytes, v6);
	remove_file();
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	size_t length = options & 0x40 ? (size_t)options << 8 : TEMPLATE_BYTES;
	input_require(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
	/* Most often as long as it should be. */
	off_t whole = options & 0x80 ? (off_t)((options & 7) << RECORD_BLOCK_SHIFT) + (options & 8) : file_bytes;
	input_require(ftruncate(fd, whole) == 0);
	close(fd);
}

/* ---- what must hold ---- */

struct inspection {
	struct session_table *table;
	uint32_t count;
};

static void inspect(void *arg, struct session *session)
{
	struct inspection *inspection = arg;
	struct flow_key key, back;

	for (unsigned i = 0; i < 2; i++) {
		unsigned direction;
		session_key(inspection->table, session, i, &key);
		uint32_t hash = flow_key_hash(&key, session_table_seed(inspection->table));
		input_require(hash == session->hash);
		input_require(session_find(inspection->table, &key, hash, &direction) == session);
		flow_key_reverse(&key, &back);
		/* A flow from an endpoint to itself has one direction. */
		input_require(direction == i || flow_key_equal(&key, &back));
		input_require(session->dir[i].epoch == 0 && (int32_t)(session->dir[i].last_seen - NOW) <= 0);
	}
	input_require(session->initiator <= 1 && session->tcp_state <= TCP_CLOSED);
	inspection->count++;
}

static void inspect_all(struct session_table *table)
{
	struct inspection inspection = { .table = table };
	uint32_t cursor = 0;

	while (session_table_scan(table, &cursor, 500, inspect, &inspection))
		;
	input_require(inspection.count == session_table_count(table));
}

static void remove_some(void *arg, struct session *session)
{
	struct inspection *inspection = arg;

	if (inspection->count++ % 3 == 0)
		session_remove(inspection->table, session);
	else if (session->dir[0].rest >> 56 == IPPROTO_TCP)
		session_tcp_advance(inspection->table, session, inspection->count & 1, (uint8_t)inspection->count);
}

/* A day of a table's life. */
static void use(struct session_table *table, bool v6)
{
	struct inspection inspection = { .table = table };
	uint32_t cursor = 0;
	unsigned direction;

	while (session_table_scan(table, &cursor, 500, remove_some, &inspection))
		;
	for (uint32_t i = 5000; i < 5400; i++)
		test_insert(table, i, v6, NOW, 100);
	for (uint32_t i = 5000; i < 5400; i++)
		input_require(test_find(table, i, v6, &direction) || session_table_count(table) == MAX_SESSIONS);
	session_table_expire(table, NOW + 200, 100000);
	for (uint32_t i = 5000; i < 5400; i++)
		input_require(!test_find(table, i, v6, &direction));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	uint32_t adopted = 0, kept;
	uint64_t seed;

	templates_once();
	uint8_t families = input_byte(&in);
	file_make(&in, families & 1);
	/* Seldom the table of the other family. */
	bool v6 = (families & 1) != ((families & 0xe) == 0xe);
	session_file_seed(path, &seed);
	struct session_table *table = table_open(v6, &adopted);
	input_require(adopted == session_table_count(table) && adopted <= MAX_SESSIONS);
	inspect_all(table);
	use(table, v6);
	kept = session_table_count(table);
	session_table_close(table);

	table = table_open(v6, &adopted);
	input_require(adopted == kept);
	inspect_all(table);
	session_table_expire(table, NOW + 8 * 86400 * SESSION_TICKS_PER_SECOND, UINT32_MAX);
	session_table_close(table);
	return 0;
}
