/* SPDX-License-Identifier: BSD-3-Clause */
/* Values by the type of their field, and the lines of dpud's error paths. */
#include "document.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "schema.h"

static const char schema_text_json[] =
	"{\"classes\": [{\"name\": \"vnic\", \"plural\": \"vnics\", \"fields\": ["
	"{\"name\": \"name\", \"type\": \"string\"}, {\"name\": \"mtu\", \"type\": \"u16\"},"
	"{\"name\": \"on\", \"type\": \"bool\"}, {\"name\": \"labels\", \"type\": \"strings\"},"
	"{\"name\": \"dns\", \"type\": \"ips\"}], \"actions\": [{\"name\": \"why\"}]},"
	"{\"name\": \"tenant\", \"plural\": \"tenants\", \"global\": true, \"fields\": ["
	"{\"name\": \"name\", \"type\": \"string\"}]},"
	"{\"name\": \"dpu\", \"plural\": \"dpus\", \"global\": true, \"singleton\": true, \"fields\": ["
	"{\"name\": \"contact\", \"type\": \"string\"}], \"actions\": [{\"name\": \"drops\", \"per_object\": true}]}]}";

static json_t *schema;

static int setup(void **state)
{
	schema = json_loads(schema_text_json, 0, NULL);
	return schema == NULL;
}

static int teardown(void **state)
{
	json_decref(schema);
	return 0;
}

static void check_value(const char *name, const char *word, const char *expect)
{
	json_t *value = field_value(schema_field(schema_class(schema, "vnic"), name), word);
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
	assert_string_equal(text, expect);
	free(text);
	json_decref(value);
}

static void words_by_type(void **state)
{
	check_value("name", "123", "\"123\"");
	check_value("name", "", "null");
	check_value("mtu", "9000", "9000");
	check_value("mtu", "0x10", "16");
	check_value("mtu", "010", "10");
	check_value("mtu", "-1", "-1");
	check_value("mtu", "9k", "\"9k\"");
	check_value("mtu", " 9", "\" 9\"");
	check_value("mtu", "99999999999999999999", "\"99999999999999999999\"");
	check_value("on", "yes", "true");
	check_value("on", "off", "false");
	check_value("on", "maybe", "\"maybe\"");
	check_value("dns", "1.1.1.1,9.9.9.9", "[\"1.1.1.1\",\"9.9.9.9\"]");
	check_value("dns", ",", "[]");
}

static struct yaml_document *read_text(const char *text)
{
	struct yaml_document *document = NULL;
	struct dpu_error err = { 0 };
	assert_int_equal(yaml_tree_read(text, strlen(text), "t", &document, &err), 0);
	return document;
}

static void check_json(const char *text, const char *expect)
{
	struct yaml_document *document = read_text(text);
	json_t *json = document_json(schema, document);
	char *dump = json_dumps(json, JSON_ENCODE_ANY | JSON_COMPACT);
	assert_string_equal(dump, expect);
	free(dump);
	json_decref(json);
	yaml_tree_free(document);
}

static void documents_by_type(void **state)
{
	check_json("version: 1\nvnics: [{name: 123, mtu: 9000, on: yes}]\n",
		   "{\"version\":1,\"vnics\":[{\"name\":\"123\",\"mtu\":9000,\"on\":true}]}");
	/* Quotes make text of it, which dpud refuses where it wants a number. */
	check_json("vnics: [{mtu: '9000'}]", "{\"vnics\":[{\"mtu\":\"9000\"}]}");
	check_json("vnics: [{mtu: , name: ~}]", "{\"vnics\":[{\"mtu\":null,\"name\":null}]}");
	check_json("vnics: [{labels: {rack: 7, empty: }, dns: 1.1.1.1}]",
		   "{\"vnics\":[{\"labels\":[\"rack=7\",\"empty=\"],\"dns\":[\"1.1.1.1\"]}]}");
	check_json("dpu: {contact: 7}", "{\"dpu\":{\"contact\":\"7\"}}");
	check_json("vnics:", "{\"vnics\":[]}");
	/* What is not known stays for dpud to refuse. */
	check_json("other: [1]\nvnics: [{colour: 7}, word]",
		   "{\"other\":[\"1\"],\"vnics\":[{\"colour\":\"7\"},\"word\"]}");
	check_json("version: one", "{\"version\":\"one\"}");
	check_json("", "{}");
	check_json("word", "\"word\"");
}

static void lines(void **state)
{
	struct yaml_document *document = read_text("version: 1\n"
						   "vnics:\n"
						   "  - {tenant: blue, name: web}\n"
						   "  - tenant: blue\n"
						   "    name: web.2\n"
						   "    mtu: 5\n"
						   "tenants:\n"
						   "  - name: blue\n"
						   "dpu:\n"
						   "  contact: x\n");
	assert_int_equal(document_line(schema, document, "vnics[1].mtu"), 6);
	assert_int_equal(document_line(schema, document, "vnics[1].other"), 4);
	assert_int_equal(document_line(schema, document, "vnics[0]"), 3);
	assert_int_equal(document_line(schema, document, "vnics[9]"), 3);
	assert_int_equal(document_line(schema, document, "vnic/blue/web.2.mtu"), 6);
	assert_int_equal(document_line(schema, document, "vnic/blue/web.mtu"), 3);
	assert_int_equal(document_line(schema, document, "vnic/red/web"), 0);
	assert_int_equal(document_line(schema, document, "tenant/blue.name"), 8);
	assert_int_equal(document_line(schema, document, "dpu.contact"), 10);
	assert_int_equal(document_line(schema, document, "nothing/x"), 0);
	assert_int_equal(document_line(schema, document, "nothing"), 0);
	assert_int_equal(document_line(schema, document, ""), 0);
	yaml_tree_free(document);
}

static void lookups(void **state)
{
	assert_ptr_equal(schema_class_by_plural(schema, "vnics"), schema_class(schema, "vnic"));
	assert_null(schema_class(schema, "vnics"));
	assert_ptr_equal(schema_class_of_action(schema, "why"), schema_class(schema, "vnic"));
	assert_ptr_equal(schema_class_of_action(schema, "drops"), schema_class(schema, "dpu"));
	assert_null(schema_class_of_action(schema, "other"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_by_type),
		cmocka_unit_test(documents_by_type),
		cmocka_unit_test(lines),
		cmocka_unit_test(lookups),
	};
	return cmocka_run_group_tests_name("document", tests, setup, teardown);
}
