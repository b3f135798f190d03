/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of what is made from the tables: schema, JSON Schema, manual, man pages, metrics, objects as JSON. */
#include <ctype.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "model/test_classes.h"

static struct test_service service;
static struct model *model;

static int set_up(void **state)
{
	model = test_model(&service, NULL);
	test_seed(model);
	return 0;
}

static int tear_down(void **state)
{
	model_free(model);
	return 0;
}

static const char *string_of(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

/* ---- schema ---- */

static json_t *find_named(const json_t *list, const char *name)
{
	size_t index;
	json_t *item;

	json_array_foreach((json_t *)list, index, item)
	{
		if (strcmp(string_of(item, "name"), name) == 0)
			return item;
	}
	return NULL;
}

static void check_field(const json_t *fields, const char *name, const char *expected)
{
	json_t *wanted = test_json(expected), *field = find_named(fields, name);

	assert_non_null(field);
	if (!json_equal(field, wanted))
		fail_msg("%s is %s", name, json_dumps(field, 0));
	json_decref(wanted);
}

static void schema_says_everything(void **state)
{
	json_t *schema = model_schema(model), *classes = json_object_get(schema, "classes");
	json_t *vnic = find_named(classes, "vnic"), *fields = json_object_get(vnic, "fields");

	assert_int_equal(json_integer_value(json_object_get(schema, "protocol_version")), MODEL_PROTOCOL_VERSION);
	assert_int_equal(json_array_size(classes), 8);
	assert_string_equal(string_of(vnic, "plural"), "vnics");
	assert_true(json_is_false(json_object_get(vnic, "global")));
	assert_true(json_is_true(json_object_get(find_named(classes, "dpu"), "singleton")));
	assert_int_equal(json_integer_value(json_object_get(find_named(classes, "group"), "max_objects")), 1000);
	assert_null(find_named(json_object_get(find_named(classes, "port"), "fields"), "tenant"));
	assert_string_equal(string_of(json_array_get(fields, 0), "name"), "name");
	assert_int_equal(json_array_size(fields), 5 + 15);
	check_field(fields, "mtu",
		    "{'name': 'mtu', 'doc': 'Largest packet.', 'type': 'u16', 'flags': [], 'unit': 'bytes', 'min': 68,"
		    " 'max': 9216, 'default': 1500}");
	check_field(fields, "mode",
		    "{'name': 'mode', 'doc': 'Who listens on the socket.', 'type': 'enum', 'flags': ['immutable'],"
		    " 'values': ['client', 'server', 'tap']}");
	check_field(fields, "hostname",
		    "{'name': 'hostname', 'doc': 'Name that DHCP gives out.', 'type': 'string', 'flags': [], 'min': 0,"
		    " 'max': 63, 'format': 'must be letters, digits and hyphens'}");
	check_field(fields, "rx_packets",
		    "{'name': 'rx_packets', 'doc': 'Packets received.', 'type': 'u64', 'flags': ['counter'],"
		    " 'unit': 'packets'}");
	check_field(fields, "uuid",
		    "{'name': 'uuid', 'doc': 'Identity that never changes.', 'type': 'uuid',"
		    " 'flags': ['immutable', 'generated'], 'base': true}");
	json_t *probe = find_named(json_object_get(vnic, "actions"), "probe");
	assert_true(json_is_true(json_object_get(probe, "per_object")));
	assert_true(json_is_true(json_object_get(probe, "read_only")));
	check_field(json_object_get(probe, "args"), "via",
		    "{'name': 'via', 'doc': 'The group that it goes through.', 'type': 'ref', 'flags': [], 'target': "
		    "'group'}");
	json_decref(schema);
}

static size_t place_of(const json_t *classes, const char *name)
{
	size_t index;
	json_t *class;

	json_array_foreach((json_t *)classes, index, class)
	{
		if (strcmp(string_of(class, "name"), name) == 0)
			return index;
	}
	fail_msg("no class %s", name);
	return 0;
}

static void schema_is_in_reference_order(void **state)
{
	json_t *schema = model_schema(model), *classes = json_object_get(schema, "classes"), *class, *field;
	size_t i, j, references = 0;

	json_array_foreach(classes, i, class)
	{
		json_array_foreach(json_object_get(class, "fields"), j, field)
		{
			const char *target = string_of(field, "target");
			if (!target || strcmp(target, string_of(class, "name")) == 0)
				continue;
			assert_true(place_of(classes, target) < i);
			references++;
		}
	}
	assert_int_equal(references, 5 + 3); /* tenants of five classes, and the references of two */
	json_decref(schema);
}

static void json_schema_knows_documents(void **state)
{
	json_t *schema = model_json_schema(model), *properties = json_object_get(schema, "properties");
	json_t *definitions = json_object_get(schema, "$defs"), *value;
	json_t *vnic = json_object_get(definitions, "vnic"), *document = model_export(model);
	const char *key;

	assert_string_equal(string_of(schema, "$schema"), "https://json-schema.org/draft/2020-12/schema");
	json_object_foreach(document, key, value) assert_non_null(json_object_get(properties, key));
	assert_non_null(json_object_get(properties, "dpu"));
	assert_int_equal(json_object_size(properties), 1 + 8);
	json_t *items = json_object_get(json_object_get(properties, "vnics"), "items");
	assert_string_equal(string_of(items, "$ref"), "#/$defs/vnic");
	json_t *required = test_json("['name', 'tenant', 'subnet']");
	assert_true(json_equal(json_object_get(vnic, "required"), required));
	json_decref(required);
	json_t *mtu = test_json("{'anyOf': [{'anyOf': [{'type': 'integer', 'minimum': 68, 'maximum': 9216},"
				" {'type': 'string', 'pattern': '^[0-9]+[KMGTP](iB)?$'}]}, {'type': 'null'}],"
				" 'description': 'Largest packet.', 'default': 1500}");
	assert_true(json_equal(json_object_get(json_object_get(vnic, "properties"), "mtu"), mtu));
	json_decref(mtu);
	assert_null(json_object_get(json_object_get(vnic, "properties"), "rx_packets"));
	json_decref(document);
	json_decref(schema);
}

/* ---- manual ---- */

static void manual_names_everything(void **state)
{
	char *manual = model_manual_markdown(model), text[100];

	for (size_t i = 0; test_classes[i]; i++) {
		snprintf(text, sizeof(text), "\n## %s\n", test_classes[i]->name);
		assert_non_null(strstr(manual, text));
		for (const struct field *field = test_classes[i]->fields; field->name; field++) {
			snprintf(text, sizeof(text), "\n| `%s` | ", field->name);
			assert_non_null(strstr(manual, text));
		}
	}
	assert_non_null(strstr(manual, "| `mtu` | number, 68 to 9216 bytes, default 1500 | Largest packet. |"));
	assert_non_null(strstr(manual, "Its addresses \\| all of them."));
	assert_non_null(strstr(manual, "| `tenant` | "));
	assert_non_null(strstr(manual, "#### probe"));
	/* Every row of a table has three cells. */
	for (char *line = strtok(manual, "\n"); line; line = strtok(NULL, "\n")) {
		unsigned bars = 0;
		for (char *c = line; *c; c++)
			bars += *c == '|' && (c == line || c[-1] != '\\');
		assert_true(bars == 0 || bars == 4);
	}
	free(manual);
}

/* What mandoc has to say about a page: warnings and worse; the reply goes to buf. */
static int lint_page(const char *page, char *buf, size_t size)
{
	char path[] = "/tmp/derived_test.XXXXXX", command[100];
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, page, strlen(page)), strlen(page));
	close(fd);
	snprintf(command, sizeof(command), "mandoc -Tlint -Wwarning <%s 2>&1", path);
	FILE *pipe = popen(command, "r");
	buf[fread(buf, 1, size - 1, pipe)] = 0;
	int status = pclose(pipe);
	unlink(path);
	return status;
}

static void man_pages_are_clean(void **state)
{
	char complaints[2000];

	assert_null(model_manual_man(model, "nothing"));
	for (size_t i = 0; test_classes[i]; i++) {
		char *page = model_manual_man(model, test_classes[i]->name);
		assert_non_null(strstr(page, test_classes[i]->fields->doc));
		if (system("command -v mandoc >/dev/null") == 0 && lint_page(page, complaints, sizeof(complaints)) != 0)
			fail_msg("%s", complaints);
		free(page);
	}
	char *page = model_manual_man(model, "vnic");
	assert_non_null(strstr(page, ".It Cm mtu\nLargest packet.\nNumber, 68 to 9216 bytes, default 1500.\n"));
	assert_non_null(strstr(page, "Bytes sent \\e given out."));
	free(page);
}

/* ---- metrics ---- */

/* One sample line: name, labels with escapes, number. */
static void check_sample(const char *line, const char *family)
{
	const char *c = line + strlen(family);

	assert_memory_equal(line, family, strlen(family));
	assert_int_equal(*c++, '{');
	while (*c != '}') {
		assert_true(islower((unsigned char)*c));
		c += strspn(c, "abcdefghijklmnopqrstuvwxyz_");
		assert_int_equal(*c++, '=');
		assert_int_equal(*c++, '"');
		for (; *c != '"'; c++) {
			assert_true(*c != 0);
			if (*c == '\\')
				assert_non_null(strchr("\\\"n", *++c));
		}
		c++;
		c += *c == ',';
	}
	assert_int_equal(c[1], ' ');
	assert_int_equal(strspn(c + 2, "0123456789"), strlen(c + 2));
	assert_true(strlen(c + 2) > 0);
}

static void metrics_are_well_formed(void **state)
{
	char family[200] = "", seen[4000] = "";
	unsigned samples = 0;

	test_do(model, CHANGE_CREATE, "vnic", "blue/odd\\\"name", "{'subnet': 's'}");
	test_do(model, CHANGE_UPDATE, "tenant", "red", "{'name': 'r\xc3\xa9\\\"d'}");
	char *text = model_prometheus(model);
	assert_int_equal(text[strlen(text) - 1], '\n');
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			snprintf(family, sizeof(family), "%.*s", (int)strcspn(line + 7, " "), line + 7);
			assert_int_equal(strspn(family, "abcdefghijklmnopqrstuvwxyz_"), strlen(family));
			/* A family stands in one place. */
			strcat(strcat(seen, " "), family);
			strcat(seen, " ");
			assert_true(strlen(line + 7 + strlen(family)) > 10);
		} else if (strncmp(line, "# TYPE ", 7) == 0) {
			assert_memory_equal(line + 7, family, strlen(family));
			const char *type = line + 8 + strlen(family);
			bool total = strlen(family) > 6 && strcmp(family + strlen(family) - 6, "_total") == 0;
			assert_string_equal(type, total ? "counter" : "gauge");
		} else {
			check_sample(line, family);
			samples++;
		}
	}
	assert_int_equal(samples, 8 + 2 * 3 + 1);
	assert_non_null(strstr(seen, " dpu_vnic_rx_packets_total "));
	assert_non_null(strstr(seen, " dpu_vnic_tx_bytes_total "));
	assert_non_null(strstr(seen, " dpu_vnic_queue_depth_entries "));
	free(text);
	text = model_prometheus(model);
	assert_non_null(strstr(text, "dpu_vnic_rx_packets_total{class=\"vnic\",tenant=\"blue\",name=\"web\"} 1000\n"));
	assert_non_null(strstr(text, "name=\"odd\\\\\\\"name\"} 2000\n"));
	assert_non_null(strstr(text, "dpu_objects{class=\"vnic\"} 2\n"));
	assert_non_null(strstr(text, "# HELP dpu_vnic_tx_bytes_total Bytes sent \\\\ given out.\n"));
	free(text);
}

/* ---- objects ---- */

static void objects_as_json(void **state)
{
	struct object *web = model_find(model, "vnic", "blue", "web");
	json_t *plain = model_object_json(model, web, false), *full = model_object_json(model, web, true);
	char path[OBJECT_PATH_TEXT], uuid[UUID_TEXT];

	assert_string_equal(string_of(plain, "name"), "web");
	assert_string_equal(string_of(plain, "tenant"), "blue");
	assert_string_equal(string_of(plain, "uuid"), uuid_format(&web->uuid, uuid));
	assert_int_equal(json_integer_value(json_object_get(plain, "generation")), 1);
	assert_true(json_is_array(json_object_get(plain, "labels")));
	assert_true(json_is_null(json_object_get(plain, "hostname")));
	assert_null(json_object_get(plain, "password"));
	assert_null(json_object_get(plain, "rx_packets"));
	assert_null(json_object_get(full, "password"));
	assert_int_equal(json_integer_value(json_object_get(full, "rx_packets")), 1000);
	assert_int_equal(json_integer_value(json_object_get(full, "tx_bytes")), INT64_MAX); /* as far as JSON goes */
	assert_string_equal(string_of(full, "link"), "up");
	assert_string_equal(string_of(full, "peer"), "guest?"); /* what came from outside was not UTF-8 */
	assert_string_equal(object_path(web, path, sizeof(path)), "vnic/blue/web");
	assert_string_equal(object_path(web, path, 8), "vnic/bl");
	assert_string_equal(object_path(web->tenant, path, sizeof(path)), "tenant/blue");
	/* A path that is cut ends with a whole character. */
	test_do(model, CHANGE_CREATE, "group", "blue/\xe2\x82\xac", NULL);
	const struct object *euro = model_find(model, "group", "blue", "\xe2\x82\xac");
	assert_string_equal(object_path(euro, path, 13), "group/blue/");
	assert_string_equal(object_path(euro, path, 14), "group/blue/");
	assert_string_equal(object_path(euro, path, 15), "group/blue/\xe2\x82\xac");
	json_decref(plain);
	json_decref(full);
}

/* Derived texts need no load: documentation is built without a store. */
static void without_loading(void **state)
{
	const struct model_options options = { 0 };
	struct dpu_error err = { 0 };
	struct model *bare;

	assert_int_equal(model_new(&options, &bare, &err), 0);
	char *manual = model_manual_markdown(bare), *metrics = model_prometheus(bare);
	json_t *schema = model_schema(bare);
	assert_int_equal(json_array_size(json_object_get(schema, "classes")), 0);
	assert_string_equal(metrics, "");
	free(manual);
	free(metrics);
	json_decref(schema);
	for (size_t i = 0; test_classes[i]; i++)
		assert_int_equal(model_add_class(bare, test_classes[i], &service, &err), 0);
	schema = model_schema(bare);
	json_t *loaded = model_schema(model);
	assert_true(json_equal(schema, loaded));
	json_decref(loaded);
	json_decref(schema);
	model_free(bare);
}

int main(void)
{
#define TEST(name_) cmocka_unit_test_setup_teardown(name_, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(schema_says_everything),
		TEST(schema_is_in_reference_order),
		TEST(json_schema_knows_documents),
		TEST(manual_names_everything),
		TEST(man_pages_are_clean),
		TEST(metrics_are_well_formed),
		TEST(objects_as_json),
		TEST(without_loading),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
