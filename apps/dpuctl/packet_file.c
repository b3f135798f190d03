/* SPDX-License-Identifier: BSD-3-Clause */
/* An argument written @FILE or @FILE:N: the text of a file, or a packet of a pcap or pcapng file in hexadecimal. */
#include "packet_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/str.h"

enum {
	FILE_MAX = 256 << 20, /* bytes that are read of a file */
	LINKTYPE_ETHERNET = 1,
	LINKTYPES_MAX = 256, /* interfaces of a pcapng section whose kind is kept */
	PCAP_HEAD = 24,
	PCAP_RECORD_HEAD = 16,
	BLOCK_SECTION = 0x0a0d0d0a, /* reads the same in both byte orders */
	BLOCK_INTERFACE = 1,
	BLOCK_SIMPLE_PACKET = 3,
	BLOCK_PACKET = 6,
};

struct bytes {
	const uint8_t *data;
	size_t length;
};

/* Where reading stands: which packet is wanted, how many there were. */
struct search {
	struct bytes file;
	bool swapped; /* written in the other byte order */
	unsigned wanted, seen;
	struct bytes found;
	bool damaged, other_link;
	uint16_t linktypes[LINKTYPES_MAX];
	uint32_t interfaces;
};

static uint32_t word_at(const struct search *search, size_t offset)
{
	uint32_t word;
	memcpy(&word, search->file.data + offset, sizeof word);
	return search->swapped ? __builtin_bswap32(word) : word;
}

static uint16_t half_at(const struct search *search, size_t offset)
{
	uint16_t half;
	memcpy(&half, search->file.data + offset, sizeof half);
	return search->swapped ? __builtin_bswap16(half) : half;
}

static void take_packet(struct search *search, size_t offset, size_t length, uint16_t linktype)
{
	if (++search->seen != search->wanted)
		return;
	search->found = (struct bytes){ search->file.data + offset, length };
	search->other_link = linktype != LINKTYPE_ETHERNET;
}

/* draft-ietf-opsawg-pcap: a header, then records of 16 bytes and a packet. */
static void read_pcap(struct search *search)
{
	size_t at = PCAP_HEAD;
	while (at < search->file.length) {
		size_t left = search->file.length - at;
		uint32_t length = left >= PCAP_RECORD_HEAD ? word_at(search, at + 8) : 0;
		if (left < PCAP_RECORD_HEAD || length > left - PCAP_RECORD_HEAD) {
			search->damaged = true;
			return;
		}
		take_packet(search, at + PCAP_RECORD_HEAD, length, (uint16_t)word_at(search, 20));
		at += PCAP_RECORD_HEAD + length;
	}
}

static void take_block(struct search *search, size_t at, uint32_t type, uint32_t length)
{
	uint32_t interface, captured;
	if (type == BLOCK_INTERFACE && length >= 20) {
		if (search->interfaces < LINKTYPES_MAX)
			search->linktypes[search->interfaces] = half_at(search, at + 8);
		search->interfaces++;
	} else if (type == BLOCK_PACKET && length >= 32) {
		interface = word_at(search, at + 8);
		captured = word_at(search, at + 20);
		search->damaged = captured > length - 32 || interface >= search->interfaces;
		if (!search->damaged)
			take_packet(search, at + 28, captured,
				    interface < LINKTYPES_MAX ? search->linktypes[interface] : LINKTYPE_ETHERNET);
	} else if (type == BLOCK_SIMPLE_PACKET && length >= 16) {
		captured = word_at(search, at + 8);
		take_packet(search, at + 12, captured < length - 16 ? captured : length - 16, search->linktypes[0]);
	}
}

/* draft-ietf-opsawg-pcapng: blocks of type, length, body, length again. */
static void read_pcapng(struct search *search)
{
	for (size_t at = 0; at < search->file.length && !search->damaged;) {
		size_t left = search->file.length - at;
		search->damaged = left < 16;
		if (search->damaged)
			return;
		uint32_t type = word_at(search, at);
		if (type == BLOCK_SECTION) {
			search->swapped = false;
			search->swapped = word_at(search, at + 8) != 0x1a2b3c4d;
			search->interfaces = 0;
		}
		uint32_t length = word_at(search, at + 4);
		search->damaged = length < 12 || length % 4 || length > left;
		if (!search->damaged)
			take_block(search, at, type, length);
		at += length;
	}
}

static char *to_hex(const struct bytes *bytes)
{
	struct text text = { 0 };
	for (size_t i = 0; i < bytes->length; i++)
		text_printf(&text, "%02x", bytes->data[i]);
	return text_take(&text);
}

/* 0 with *ret_text NULL when the file is no capture. */
static int packet_of(const struct bytes *file, const char *path, unsigned number, char **ret_text,
		     struct dpu_error *err)
{
	struct search search = { .file = *file, .wanted = number };
	uint32_t magic = file->length >= PCAP_HEAD ? word_at(&search, 0) : 0;
	*ret_text = NULL;
	search.swapped = magic == 0xd4c3b2a1 || magic == 0x4d3cb2a1;
	if (magic == BLOCK_SECTION)
		read_pcapng(&search);
	else if (search.swapped || magic == 0xa1b2c3d4 || magic == 0xa1b23c4d)
		read_pcap(&search);
	else
		return 0;
	if (!search.found.data && search.damaged)
		return error_set(err, DPU_E_IO, NULL, "%s is damaged: it ends within a packet", path);
	if (!search.found.data)
		return error_set(err, DPU_E_NOT_FOUND, NULL, "%s has %u packets, and no packet %u", path, search.seen,
				 number);
	if (search.other_link)
		return error_set(err, DPU_E_UNSUPPORTED, NULL, "packet %u of %s is no Ethernet frame", number, path);
	*ret_text = to_hex(&search.found);
	return *ret_text ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

/* The file's text without blanks at its end. */
static char *text_of(const struct bytes *file)
{
	size_t length = file->length;
	while (length > 0 && isspace(file->data[length - 1]))
		length--;
	return strndup((const char *)file->data, length);
}

static int read_file(const char *path, struct bytes *ret, struct dpu_error *err)
{
	CLEANUP(text_free) struct text text = { 0 };
	char buffer[65536];
	size_t got;
	FILE *in = fopen(path, "re");
	if (!in)
		return error_set(err, DPU_E_IO, NULL, "%s cannot be opened: %s", path, strerror(errno));
	while (text.length < FILE_MAX && (got = fread(buffer, 1, sizeof buffer, in)) > 0)
		text_add_bytes(&text, buffer, got);
	int failed = ferror(in) ? errno : 0;
	fclose(in);
	if (failed)
		return error_set(err, DPU_E_IO, NULL, "%s cannot be read: %s", path, strerror(failed));
	ret->length = text.length;
	ret->data = (const uint8_t *)text_take(&text);
	return ret->data ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
}

/* "FILE:N" or "FILE", where FILE may have colons. */
static unsigned split_number(char *path)
{
	char *colon = strrchr(path, ':'), *end;
	unsigned long number = colon && isdigit((unsigned char)colon[1]) ? strtoul(colon + 1, &end, 10) : 0;
	if (number == 0 || number > UINT32_MAX || *end)
		return 1;
	*colon = '\0';
	return (unsigned)number;
}

int packet_file_text(const char *word, char **ret_text, struct dpu_error *err)
{
	CLEANUP(free_pointer) char *path = strdup(word + 1);
	struct bytes file = { 0 };
	if (!path)
		return error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	unsigned number = split_number(path);
	int status = read_file(path, &file, err);
	if (status == 0)
		status = packet_of(&file, path, number, ret_text, err);
	if (status == 0 && !*ret_text) {
		*ret_text = text_of(&file);
		status = *ret_text ? 0 : error_set(err, DPU_E_LIMIT, NULL, "out of memory");
	}
	free((void *)file.data);
	return status;
}
