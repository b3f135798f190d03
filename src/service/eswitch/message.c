/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages of clients: what makes one a request that can be served. */
#include "service/eswitch/message.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { RING_SLOTS_MIN = 64, RING_SLOTS_MAX = 32768 };

void message_answer(struct eswitch_message *answer, const struct eswitch_message *request, enum eswitch_status status,
		    const char *fmt, ...)
{
	va_list args;

	memset(answer, 0, sizeof(*answer));
	answer->type = ESWITCH_REPLY;
	answer->request = request->request;
	answer->status = status;
	va_start(args, fmt);
	vsnprintf(answer->sentence, sizeof(answer->sentence), fmt, args);
	va_end(args);
}

#define refuse(status, ...) (message_answer(ret, request, status, __VA_ARGS__), status)

static bool is_text(const char *text, size_t room)
{
	return memchr(text, '\0', room) != NULL;
}

static enum eswitch_status check_hello(const struct eswitch_message *request, struct eswitch_message *ret)
{
	if (request->hello.magic != ESWITCH_MAGIC)
		return refuse(ESWITCH_E_INVALID, "hello.magic: must be %#x, is %#x", ESWITCH_MAGIC,
			      request->hello.magic);
	if (request->hello.version != ESWITCH_ABI_VERSION)
		return refuse(ESWITCH_E_VERSION, "hello.version: this dpud speaks version %u, the client version %u",
			      ESWITCH_ABI_VERSION, request->hello.version);
	if (request->hello.command_rings < 1 || request->hello.command_rings > ESWITCH_MAX_COMMAND_RINGS)
		return refuse(ESWITCH_E_LIMIT, "hello.command_rings: must be 1 to %u, is %u", ESWITCH_MAX_COMMAND_RINGS,
			      request->hello.command_rings);
	if (!is_text(request->hello.program, sizeof(request->hello.program)))
		return refuse(ESWITCH_E_INVALID, "hello.program: must end with a NUL");
	if (!is_text(request->hello.eswitch, sizeof(request->hello.eswitch)))
		return refuse(ESWITCH_E_INVALID, "hello.eswitch: must end with a NUL");
	return ESWITCH_OK;
}

static enum eswitch_status check_open(const struct eswitch_message *request, struct eswitch_message *ret)
{
	uint32_t slots = request->open_port.ring_slots;
	uint16_t queues[] = { request->open_port.to_host_queues, request->open_port.from_host_queues };

	if (!is_text(request->open_port.name, sizeof(request->open_port.name)))
		return refuse(ESWITCH_E_INVALID, "open_port.name: must end with a NUL");
	for (unsigned i = 0; i < 2; i++)
		if (queues[i] < 1 || queues[i] > ESWITCH_MAX_QUEUES)
			return refuse(ESWITCH_E_LIMIT, "open_port.%s_host_queues: must be 1 to %u, is %u",
				      i ? "from" : "to", ESWITCH_MAX_QUEUES, queues[i]);
	if (slots < RING_SLOTS_MIN || slots > RING_SLOTS_MAX || (slots & (slots - 1)))
		return refuse(ESWITCH_E_INVALID, "open_port.ring_slots: must be a power of two from %u to %u, is %u",
			      RING_SLOTS_MIN, RING_SLOTS_MAX, slots);
	return ESWITCH_OK;
}

static enum eswitch_status check_report(const struct eswitch_message *request, struct eswitch_message *ret)
{
	if (!is_text(request->sentence, sizeof(request->sentence)) || !request->sentence[0])
		return refuse(ESWITCH_E_INVALID, "sentence: must say something and end with a NUL");
	if (request->report.what >= ESWITCH_REPORTS)
		return refuse(ESWITCH_E_INVALID, "report.what: must be 0 to %u, is %u", ESWITCH_REPORTS - 1,
			      request->report.what);
	return ESWITCH_OK;
}

enum eswitch_status message_check(const struct eswitch_message *request, size_t bytes, bool greeted,
				  struct eswitch_message *ret)
{
	static const struct eswitch_message none;

	if (bytes != sizeof(*request)) {
		request = &none; /* not to be read */
		return refuse(ESWITCH_E_INVALID, "a message has %zu bytes, this one %zu", sizeof(none), bytes);
	}
	if ((request->type == ESWITCH_HELLO) == greeted)
		return greeted ? refuse(ESWITCH_E_INVALID, "HELLO is said once")
			       : refuse(ESWITCH_E_INVALID, "the first message must be HELLO, not type %u",
					request->type);
	switch (request->type) {
	case ESWITCH_HELLO:
		return check_hello(request, ret);
	case ESWITCH_OPEN_PORT:
		return check_open(request, ret);
	case ESWITCH_CLOSE_PORT:
		return request->number <= ESWITCH_MAX_PORTS
			       ? ESWITCH_OK
			       : refuse(ESWITCH_E_INVALID, "number: must be 0 to %u, is %u", ESWITCH_MAX_PORTS,
					request->number);
	case ESWITCH_LIST_PORTS:
		return ESWITCH_OK;
	case ESWITCH_REPORT:
		return check_report(request, ret);
	default:
		return refuse(ESWITCH_E_INVALID, "type: %u is no request", request->type);
	}
}
