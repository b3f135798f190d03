/* SPDX-License-Identifier: BSD-3-Clause */
/* A class's verb or action with its words, resolved against the schema. */
#include <stdlib.h>
#include <string.h>
#include "base/str.h"
#include "base/suggest.h"
#include "ctl.h"
#include "packet_file.h"
#include "schema.h"

static int unknown_verb(const json_t *class, const char *word, struct dpu_error *err)
{
	struct suggestion suggestion = { .word = word };
	size_t index;
	json_t *action;
	if (verb_find(word)) /* a singleton has only some of the verbs */
		return usage_error(err, schema_name(class),
				   "there is always one, and only one: it can be shown and set");
	for (const struct verb *verb = verbs; verb->name; verb++)
		suggest(&suggestion, verb->name);
	json_array_foreach(json_object_get(class, "actions"), index, action)
	{
		suggest(&suggestion, schema_name(action));
	}
	if (suggestion.best)
		return usage_error(err, schema_name(class), "there is no verb '%s'; did you mean '%s'?", word,
				   suggestion.best);
	return usage_error(err, schema_name(class), "there is no verb '%s'; see dpuctl help %s", word,
			   schema_name(class));
}

/* Where the fields of a request's words stand: of the action's arguments, or of the class. */
static const json_t *field_of(const struct request *request, const char *name)
{
	return request->action ? schema_arg(request->action, name) : schema_field(request->class, name);
}

static int unknown_field(const struct request *request, const char *name, struct dpu_error *err)
{
	struct suggestion suggestion = { .word = name };
	const json_t *rows =
		request->action ? json_object_get(request->action, "args") : json_object_get(request->class, "fields");
	const char *what = request->action ? schema_name(request->action) : schema_name(request->class);
	size_t index;
	json_t *row;
	json_array_foreach(rows, index, row)
	{
		suggest(&suggestion, schema_name(row));
	}
	if (suggestion.best)
		return usage_error(err, what, "there is no %s '%s'; did you mean '%s'?",
				   request->action ? "argument" : "field", name, suggestion.best);
	return usage_error(err, what, "there is no %s '%s'; see dpuctl help %s", request->action ? "argument" : "field",
			   name, schema_name(request->class));
}

/* name=value, name+=value or name-=value: *ret_length of the name; NULL if it is none. */
static const char *split_word(const char *word, size_t *ret_length, enum word_op *ret_op)
{
	const char *equals = strchr(word, '=');
	if (!equals || equals == word)
		return NULL;
	*ret_op = equals[-1] == '+' ? WORD_ADD : equals[-1] == '-' ? WORD_REMOVE : WORD_SET;
	*ret_length = (size_t)(equals - word) - (*ret_op != WORD_SET);
	for (size_t i = 0; i < *ret_length; i++) {
		/* Names of fields are snake_case: what is not is a name with an = in it. */
		if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", word[i]))
			return NULL;
	}
	return *ret_length > 0 ? equals + 1 : NULL;
}

static int add_word(struct request *request, const json_t *field, enum word_op op, const char *text,
		    struct dpu_error *err)
{
	for (size_t i = 0; i < request->count; i++) {
		if (request->words[i].field == field && (op == WORD_SET || request->words[i].op == WORD_SET))
			return usage_error(err, schema_name(field), "is given twice");
	}
	if (op != WORD_SET && !field_is_list(field))
		return usage_error(err, schema_name(field), "is no list, and += and -= are for lists");
	request->words[request->count++] = (struct request_word){ field, op, text };
	return 0;
}

static int take_field(struct request *request, const char *name, enum word_op op, const char *text,
		      struct dpu_error *err)
{
	const json_t *field = field_of(request, name);
	if (op == WORD_SET && strcmp(name, "tenant") == 0 && (!request->action || !field)) {
		request->tenant = text;
		return 0;
	}
	if (op == WORD_SET && strcmp(name, "generation") == 0 && !request->action) {
		request->generation = text;
		return 0;
	}
	if (op == WORD_SET && strcmp(name, "name") == 0 && !request->action && !request->name) {
		request->name = text;
		return 0;
	}
	return field ? add_word(request, field, op, text, err) : unknown_field(request, name, err);
}

/* The next argument that has no value yet, for a word that does not name one. */
static const json_t *next_argument(const struct request *request)
{
	size_t index;
	json_t *arg;
	json_array_foreach(json_object_get(request->action, "args"), index, arg)
	{
		bool given = false;
		for (size_t i = 0; i < request->count; i++)
			given |= request->words[i].field == arg;
		if (!given)
			return arg;
	}
	return NULL;
}

static int take_positional(struct request *request, const char *word, struct dpu_error *err)
{
	bool has_name =
		!request->action ? strcmp(request->verb->name, "list") != 0 : schema_is(request->action, "per_object");
	if (has_name && !request->name && !(request->action && schema_is(request->class, "singleton"))) {
		request->name = word;
		return 0;
	}
	const json_t *arg = request->action ? next_argument(request) : NULL;
	if (arg)
		return add_word(request, arg, WORD_SET, word, err);
	return usage_error(err, NULL, "'%s' is one word too many here; fields are written name=value", word);
}

static int take_words(struct request *request, char *const *words, size_t count, struct dpu_error *err)
{
	for (size_t i = 0; i < count; i++) {
		size_t length;
		enum word_op op;
		char name[64];
		const char *text = split_word(words[i], &length, &op);
		int status;
		if (text && length < sizeof name) {
			memcpy(name, words[i], length);
			name[length] = '\0';
			status = take_field(request, name, op, text, err);
		} else {
			status = take_positional(request, words[i], err);
		}
		if (status)
			return status;
	}
	return EXIT_OK;
}

int request_parse(const struct ctl *ctl, const json_t *class, const char *verb, char *const *words, size_t count,
		  struct request *ret, struct dpu_error *err)
{
	struct request request = { .class = class, .verb = verb_find(verb) };
	bool singleton = schema_is(class, "singleton");
	request.action = schema_action(class, verb);
	if (request.action)
		request.verb = NULL;
	if (!request.action && (!request.verb || (singleton && !request.verb->for_singleton)))
		return unknown_verb(class, verb, err);
	request.words = calloc(count + 1, sizeof *request.words);
	if (!request.words) {
		error_set(err, DPU_E_LIMIT, NULL, "out of memory");
		return EXIT_REFUSED;
	}
	int status = take_words(&request, words, count, err);
	if (!status && !request.tenant && !schema_is(class, "global"))
		request.tenant = ctl->options.tenant;
	if (!status && singleton && !request.name)
		request.name = schema_name(class);
	if (status)
		request_fini(&request);
	else
		*ret = request;
	return status;
}

void request_fini(struct request *request)
{
	free(request->words);
	*request = (struct request){ 0 };
}

json_t *request_target(const struct request *request)
{
	return json_pack("{s:s*, s:s*}", "tenant", request->tenant, "name", request->name);
}

/* A text argument of an action may be in a file. NULL with err filled. */
static json_t *word_value(const struct request *request, const struct request_word *word, struct dpu_error *err)
{
	CLEANUP(free_pointer) char *text = NULL;
	if (!request->action || word->text[0] != '@' || strcmp(schema_text(word->field, "type"), "string") != 0)
		return field_value(word->field, word->text);
	if (packet_file_text(word->text, &text, err) < 0) {
		error_prefix(err, schema_name(word->field));
		return NULL;
	}
	return json_string(text);
}

json_t *request_fields(const struct request *request, struct dpu_error *err)
{
	json_t *fields = json_object();
	for (size_t i = 0; i < request->count; i++) {
		const struct request_word *word = &request->words[i];
		json_t *value = NULL;
		if (word->op != WORD_SET)
			usage_error(err, schema_name(word->field), "+= and -= change an object: they go with set");
		else
			value = word_value(request, word, err);
		if (!value && err->code == DPU_OK)
			usage_error(err, schema_name(word->field), "the file is not UTF-8 text");
		if (!value) {
			json_decref(fields);
			return NULL;
		}
		json_object_set_new(fields, schema_name(word->field), value);
	}
	return fields;
}
