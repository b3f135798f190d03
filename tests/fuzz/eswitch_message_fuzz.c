/* SPDX-License-Identifier: BSD-3-Clause */
/* Fuzzes what a client of the eswitch says: a message of any length and content, before and after HELLO. What is let
 * through must be what the service relies on; what is refused has a sentence. And rules in words, of any content. */
#include "input.h"
#include "service/eswitch/message.h"
#include "service/eswitch/rule_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_accepted(const struct eswitch_message *message, bool greeted)
{
	input_require((message->type == ESWITCH_HELLO) == !greeted);
	if (message->type == ESWITCH_HELLO) {
		input_require(message->hello.magic == ESWITCH_MAGIC && message->hello.version == ESWITCH_ABI_VERSION);
		input_require(message->hello.command_rings - 1 < ESWITCH_MAX_COMMAND_RINGS);
		input_require(strnlen(message->hello.program, sizeof(message->hello.program)) <
			      sizeof(message->hello.program));
		input_require(strnlen(message->hello.eswitch, sizeof(message->hello.eswitch)) <
			      sizeof(message->hello.eswitch));
	} else if (message->type == ESWITCH_OPEN_PORT) {
		uint32_t slots = message->open_port.ring_slots;

		input_require(message->open_port.to_host_queues - 1u < ESWITCH_MAX_QUEUES);
		input_require(message->open_port.from_host_queues - 1u < ESWITCH_MAX_QUEUES);
		input_require(slots >= 64 && slots <= 32768 && (slots & (slots - 1)) == 0);
		input_require(strnlen(message->open_port.name, sizeof(message->open_port.name)) <
			      sizeof(message->open_port.name));
	} else if (message->type == ESWITCH_CLOSE_PORT) {
		input_require(message->number <= ESWITCH_MAX_PORTS);
	} else if (message->type == ESWITCH_REPORT) {
		input_require(message->report.what < ESWITCH_REPORTS && message->sentence[0]);
		input_require(strnlen(message->sentence, sizeof(message->sentence)) < sizeof(message->sentence));
	} else {
		input_require(message->type == ESWITCH_LIST_PORTS);
	}
}

static void rule_in_words(struct input *in)
{
	struct eswitch_fields match = { 0 }, mask = { 0 };
	struct eswitch_op ops[ESWITCH_MAX_OPS] = { 0 };
	char text[RULE_TEXT];
	size_t room = input_byte(in) + 64;

	input_bytes(in, &match, sizeof(match));
	input_bytes(in, &mask, sizeof(mask));
	size_t count = input_bytes(in, ops, sizeof(ops)) / sizeof(ops[0]);
	input_require(strlen(rule_match_text(&match, &mask, text, room)) < room);
	input_require(strlen(rule_actions_text(ops, (unsigned)count, 50, text, room)) < room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, data + size };
	uint8_t how = input_byte(&in);
	struct eswitch_message message = { 0 }, answer;
	bool greeted = how & 1;

	if (how & 2) {
		rule_in_words(&in);
		return 0;
	}
	size_t bytes = how & 4 ? input_bytes(&in, &message, sizeof(message)) : sizeof(message);

	if (!(how & 4))
		input_bytes(&in, &message, sizeof(message));
	if (how & 8) /* past the first gates */
		message.hello.magic = ESWITCH_MAGIC, message.hello.version = ESWITCH_ABI_VERSION;
	if (message_check(&message, bytes, greeted, &answer) == ESWITCH_OK) {
		input_require(bytes == sizeof(message));
		check_accepted(&message, greeted);
		return 0;
	}
	input_require(answer.type == ESWITCH_REPLY && answer.status != ESWITCH_OK);
	input_require(answer.sentence[0] && memchr(answer.sentence, '\0', sizeof(answer.sentence)));
	input_require(bytes != sizeof(message) || answer.request == message.request);
	return 0;
}
