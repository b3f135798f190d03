/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a memif's greeting, and what both roles have in common. */
#include "operating/memif_link.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int memif_link_init(struct memif_link *link, const struct memif_link_options *options)
{
	*link = (struct memif_link){ .options = *options, .region_fd = -1 };
	link->regions = calloc(MEMIF_MAX_REGIONS, sizeof(*link->regions));
	return link->regions ? 0 : -ENOMEM;
}

void memif_link_fini(struct memif_link *link)
{
	for (unsigned direction = 0; direction < 2; direction++)
		for (unsigned i = 0; i < link->ring_count[direction]; i++)
			close(link->rings[direction][i].event_fd);
	for (unsigned i = 0; i < link->region_count; i++)
		shared_mapping_close(&link->regions[i].mapping);
	if (link->region_fd >= 0)
		close(link->region_fd);
	free(link->regions);
	*link = (struct memif_link){ .region_fd = -1, .stage = MEMIF_OVER };
}

int memif_link_refuse(struct memif_link *link, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(link->why, sizeof(link->why), fmt, args);
	va_end(args);
	return -EPROTO;
}

static void disconnect(struct memif_link *link, struct memif_answer *ret)
{
	link->stage = MEMIF_OVER;
	*ret = (struct memif_answer){ .send = true, .message.type = MEMIF_DISCONNECT, .fd = -1 };
	snprintf(ret->message.disconnect.why, sizeof(ret->message.disconnect.why), "%.95s", link->why);
}

void memif_link_end(struct memif_link *link, const char *why, struct memif_answer *ret)
{
	memif_link_refuse(link, "%s", why);
	disconnect(link, ret);
}

void memif_link_begin(struct memif_link *link, struct memif_answer *ret)
{
	uint16_t highest = (uint16_t)(link->options.queues - 1);

	*ret = (struct memif_answer){ .fd = -1 };
	if (!link->options.server)
		return;
	ret->send = true;
	ret->message.type = MEMIF_HELLO;
	ret->message.hello = (struct memif_hello){
		.name = "softdpu",
		.min_version = MEMIF_VERSION,
		.max_version = MEMIF_VERSION,
		.max_region = MEMIF_MAX_REGIONS - 1,
		.max_ring_to_client = highest,
		.max_ring_to_server = highest,
		.max_log2_ring = MEMIF_MAX_LOG2_RING,
	};
}

/* The words of another process, for our log. */
static void copy_words(char *to, size_t size, const char *words, size_t length)
{
	size_t i;

	for (i = 0; i < length && i + 1 < size && words[i]; i++)
		to[i] = isprint((unsigned char)words[i]) && words[i] != '"' ? words[i] : '?';
	to[i] = '\0';
}

static int disconnected(struct memif_link *link, const struct memif_disconnect *message)
{
	char words[sizeof(message->why) + 1];

	copy_words(words, sizeof(words), message->why, sizeof(message->why));
	link->stage = MEMIF_OVER;
	return memif_link_refuse(link, "it disconnects%s%s", words[0] ? ": " : "", words);
}

static void note_name(struct memif_link *link, const struct memif_message *message)
{
	if (message->type == MEMIF_HELLO)
		copy_words(link->peer, sizeof(link->peer), message->hello.name, sizeof(message->hello.name));
	else if (message->type == MEMIF_INIT)
		copy_words(link->peer, sizeof(link->peer), message->init.name, sizeof(message->init.name));
}

int memif_link_input(struct memif_link *link, const struct memif_message *message, int fd, struct memif_answer *ret)
{
	int status;

	*ret = (struct memif_answer){ .fd = -1 };
	if (message->type == MEMIF_DISCONNECT) {
		status = disconnected(link, &message->disconnect);
	} else if (link->stage != MEMIF_GREETING) {
		status = memif_link_refuse(link, "message %u comes after the greeting", message->type);
	} else {
		status = link->options.server ? memif_server_input(link, message, &fd, ret)
					      : memif_client_input(link, message, ret);
		note_name(link, message);
	}
	if (fd >= 0)
		close(fd);
	if (status < 0 && link->stage != MEMIF_OVER)
		disconnect(link, ret);
	return status;
}
