/* SPDX-License-Identifier: BSD-3-Clause */
/* YAML documents: what is read, the line of each mistake, the bounds, and that what is written reads back the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "yaml_tree.h"

static struct yaml_document *read_text(const char *text)
{
	struct yaml_document *document = NULL;
	struct dpu_error err = { 0 };
	if (yaml_tree_read(text, strlen(text), "t.yaml", &document, &err))
		fail_msg("%s: %s", err.path, err.message);
	return document;
}

static void check_refused_bytes(const char *text, size_t length, const char *path, const char *words)
{
	struct yaml_document *document = NULL;
	struct dpu_error err = { 0 };
	assert_true(yaml_tree_read(text, length, "t.yaml", &document, &err) < 0);
	assert_null(document);
	if (path)
		assert_string_equal(err.path, path);
	if (!strstr(err.message, words))
		fail_msg("'%s' does not say '%s'", err.message, words);
}

static void check_refused(const char *text, const char *path, const char *words)
{
	check_refused_bytes(text, strlen(text), path, words);
}

static void values_and_lines(void **state)
{
	struct yaml_document *document = read_text("# a comment\n"
						   "version: 1\n"
						   "vnics:\n"
						   "  - name: 123\n"
						   "    quoted: '123'\n"
						   "    list: [a, \"b\"]\n"
						   "    empty:\n"
						   "    tilde: ~\n"
						   "    text: 'null'\n");
	const struct yaml_node *root = yaml_tree_root(document);
	assert_int_equal(root->kind, YAML_MAP);
	assert_int_equal(root->count, 2);
	const struct yaml_node *item = yaml_tree_get(root, "vnics")->items[0];
	assert_int_equal(item->line, 4);
	assert_string_equal(yaml_tree_get(item, "name")->text, "123");
	assert_true(yaml_tree_get(item, "name")->plain);
	assert_false(yaml_tree_get(item, "quoted")->plain);
	assert_int_equal(yaml_tree_get(item, "quoted")->line, 5);
	assert_int_equal(yaml_tree_get(item, "list")->count, 2);
	assert_true(yaml_tree_is_null(yaml_tree_get(item, "empty")));
	assert_true(yaml_tree_is_null(yaml_tree_get(item, "tilde")));
	assert_false(yaml_tree_is_null(yaml_tree_get(item, "text")));
	assert_null(yaml_tree_get(item, "missing"));
	assert_null(yaml_tree_get(yaml_tree_get(item, "name"), "x"));
	yaml_tree_free(document);

	document = read_text("");
	assert_null(yaml_tree_root(document));
	yaml_tree_free(document);
	document = read_text("{\"json\": [1, \"two\"]}");
	assert_int_equal(yaml_tree_get(yaml_tree_root(document), "json")->count, 2);
	yaml_tree_free(document);
}

static void mistakes(void **state)
{
	check_refused("a: 1\nb: 2\na: 3\n", "t.yaml:3", "'a' was already given in line 1");
	check_refused("a: [1\n", "t.yaml:2", "");
	check_refused("a: b: c\n", "t.yaml:1", "mapping values are not allowed");
	check_refused("\ta: 1\n", "t.yaml:1", "cannot start any token");
	check_refused("a: !!int 7\n", "t.yaml:1", "tags");
	check_refused("a: 1\n---\nb: 2\n", "t.yaml:2", "a second document");
	check_refused("? [x]\n: 1\n", "t.yaml:1", "a key must be a word");
	check_refused_bytes("a: \"\\0\"\n", 8, "t.yaml:1", "zero byte");
	check_refused_bytes("a: \xff\xfe\n", 6, NULL, "");
}

static void anchors(void **state)
{
	struct yaml_document *document = read_text("a: &x {k: v}\nb: *x\nc: &x w\nd: *x\n");
	const struct yaml_node *root = yaml_tree_root(document);
	assert_ptr_equal(yaml_tree_get(root, "a"), yaml_tree_get(root, "b"));
	assert_string_equal(yaml_tree_get(root, "d")->text, "w");
	yaml_tree_free(document);
	check_refused("a: *x\n", "t.yaml:1", "an anchor that is not above it");
	/* A node cannot hold itself. */
	check_refused("a: &x [*x]\n", "t.yaml:1", "an anchor that is not above it");
}

/* Each level holds the one before nine times: the classic way to make a parser eat all memory. */
static void aliases_are_bounded(void **state)
{
	char text[2048] = "a0: &a0 x\n";
	for (unsigned i = 1; i < 12; i++) {
		char line[160];
		snprintf(line, sizeof line, "a%u: &a%u [*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u,*a%u]\n", i, i, i - 1,
			 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
		strcat(text, line);
	}
	check_refused(text, "t.yaml:8", "with its aliases the document has more than 4000000 values");

	/* Depth adds up over aliases, too. */
	char deep[4096] = "a0: &a0 [x]\n";
	for (unsigned i = 1; i < 40; i++) {
		char line[64];
		snprintf(line, sizeof line, "a%u: &a%u [[*a%u]]\n", i, i, i - 1);
		strcat(deep, line);
	}
	check_refused(deep, NULL, "nests deeper than 32 levels");
}

static void nesting_is_bounded(void **state)
{
	char text[128];
	memset(text, '[', 64);
	memset(text + 64, ']', 63);
	text[127] = '\0';
	check_refused(text, "t.yaml:1", "nests deeper than 32 levels");
	char *many = malloc(300 * 8 + 1), *at = many;
	for (unsigned i = 0; i < 300; i++)
		at += sprintf(at, "k%u: 1\n", i);
	check_refused(many, "t.yaml:1", "at most 256 keys");
	free(many);
}

static char *write_text(const json_t *value)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	assert_int_equal(yaml_tree_write(out, value), 0);
	fclose(out);
	return text;
}

static void check_written(const char *json, const char *expect)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	assert_non_null(value);
	char *text = write_text(value);
	assert_string_equal(text, expect);
	free(text);
	json_decref(value);
}

static void writes(void **state)
{
	check_written("{\"a\": [{\"b\": 1, \"c\": []}, {\"b\": true}], \"d\": {}, \"e\": null}",
		      "a:\n  - b: 1\n    c: []\n  - b: true\nd: {}\ne: null\n");
	check_written(
		"[\"plain\", \"yes\", \"123\", \"\", \"a b\", \"- x\", \"10.0.0.1\", \"x:y\", \"é\", \"#c\", \"k=v\"]",
		"- plain\n- \"yes\"\n- \"123\"\n- \"\"\n- \"a b\"\n- \"- x\"\n- \"10.0.0.1\"\n- x:y\n- \"é\"\n- "
		"\"#c\"\n- k=v\n");
	check_written("7", "7\n");
	check_written("[[1, 2], [3]]", "- - 1\n  - 2\n- - 3\n");
	/* What other readers take for a number (1.1 has base 60) is quoted. */
	check_written("\"1:30\"", "\"1:30\"\n");
}

/* Strings come back as they were, whatever is in them. */
static void reads_back(void **state)
{
	static const char *const texts[] = { "a",
					     "true",
					     "~",
					     "null",
					     "a: b",
					     "'",
					     "\"",
					     "\\",
					     "line\nline",
					     "\t",
					     " lead",
					     "trail ",
					     "[x]",
					     "{x}",
					     "&a",
					     "*a",
					     "!t",
					     "%d",
					     "@x",
					     "`",
					     "\x7f",
					     "\xc2\x80\xc2\x9f",
					     "\xef\xbb\xbf",
					     "\xef\xbf\xbe",
					     "a \xe2\x80\xa8 \xe2\x80\xa9",
					     "\xf0\x9f\x98\x80",
					     "\x01\x1f",
					     "ü",
					     "---",
					     "0x1f",
					     "1e3",
					     ".inf",
					     "2001-01-01",
					     "=",
					     "<<" };
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		json_t *value = json_pack("{s:s, s:[s]}", "k", texts[i], "l", texts[i]);
		char *text = write_text(value);
		struct yaml_document *document = read_text(text);
		const struct yaml_node *root = yaml_tree_root(document);
		assert_string_equal(yaml_tree_get(root, "k")->text, texts[i]);
		assert_string_equal(yaml_tree_get(root, "l")->items[0]->text, texts[i]);
		yaml_tree_free(document);
		free(text);
		json_decref(value);
	}
}

static void writes_long_keys(void **state)
{
	char key[2000];
	memset(key, '"', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	json_t *value = json_pack("[{s:i, s:[i], s:i}]", "a", 1, key, 2, "b", 3);
	char *text = write_text(value);
	struct yaml_document *document = read_text(text);
	const struct yaml_node *map = yaml_tree_root(document)->items[0];
	assert_int_equal(map->count, 3);
	assert_string_equal(yaml_tree_get(map, key)->items[0]->text, "2");
	assert_string_equal(yaml_tree_get(map, "b")->text, "3");
	yaml_tree_free(document);
	free(text);
	json_decref(value);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_and_lines),    cmocka_unit_test(mistakes),           cmocka_unit_test(anchors),
		cmocka_unit_test(aliases_are_bounded), cmocka_unit_test(nesting_is_bounded), cmocka_unit_test(writes),
		cmocka_unit_test(reads_back),          cmocka_unit_test(writes_long_keys),
	};
	return cmocka_run_group_tests_name("yaml", tests, NULL, NULL);
}
