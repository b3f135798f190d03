/* SPDX-License-Identifier: BSD-3-Clause */
/* Field tables: one row per field of an object class or of an action's arguments. From a row come the JSON
 * codec, the store, the diff, command line and completion, JSON Schema, metrics and the reference manual.
 *
 * A field is a scalar, an enumeration, a reference, or a list of these; anything nested is a class of its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/netaddr.h"

enum field_type {
	FIELD_BOOL,
	FIELD_U8,
	FIELD_U16,
	FIELD_U32,
	FIELD_U64,
	FIELD_ENUM,   /* C type uint8_t, names in field.names */
	FIELD_STRING, /* char *, owned by the object, NULL = not set */
	FIELD_MAC,
	FIELD_IP,
	FIELD_PREFIX,
	FIELD_UUID,
	FIELD_REF,      /* struct ref */
	FIELD_STRINGS,  /* struct string_list: labels use "key=value" strings */
	FIELD_IPS,      /* struct ip_list */
	FIELD_PREFIXES, /* struct prefix_list */
	FIELD_REFS,     /* struct ref_list */
};

enum field_flags {
	FIELD_F_REQUIRED = 1 << 0,  /* must be given at creation */
	FIELD_F_IMMUTABLE = 1 << 1, /* fixed after creation */
	FIELD_F_SECRET = 1 << 2,    /* write-only: never shown, logged or exported */
	FIELD_F_STATE = 1 << 3,     /* read-only, filled by observe(); never stored */
	FIELD_F_COUNTER = 1 << 4,   /* read-only and monotonic; exported as a Prometheus counter */
	FIELD_F_GAUGE = 1 << 5,     /* read-only; exported as a Prometheus gauge */
	FIELD_F_UNIQUE = 1 << 6,    /* no two objects of the class (and tenant, if it has one) share a value */
	FIELD_F_PARENT = 1 << 7,    /* the reference is to the owner: deleting the owner with cascade deletes us */
	FIELD_F_GENERATED = 1 << 8, /* complete() fills it in when it is not given; a document that leaves it out keeps
				     * the value that the object has */
	FIELD_F_DETAIL = 1 << 9,    /* of no use in a list of many objects: shown of one, or when asked for */
	FIELD_F_LISTED = 1 << 10,   /* shown in a list even where all objects have its default */
};
#define FIELD_F_READ_ONLY (FIELD_F_STATE | FIELD_F_COUNTER | FIELD_F_GAUGE)

/* A reference to an object by identity; NULL when not set. In JSON it is the target's name (of the same tenant, or of
 * a class without tenants; "tenant/name" for one elsewhere) or its UUID. The pointer stays valid while the referrer
 * is in force: an object that is referred to cannot be deleted, and when it changes, the model moves the pointers of
 * its referrers to the new version. References form no circle. */
struct ref {
	struct object *object;
};

/* The type's limits where a row says max 0. Lists hold no value twice. u64 ends where JSON integers do. */
#define FIELD_STRING_MAX UINT64_C(4096) /* bytes */
#define FIELD_LIST_MAX   UINT64_C(4096) /* items */
#define FIELD_U64_MAX    ((uint64_t)INT64_MAX)

struct string_list {
	char **items;
	size_t count;
};
struct ip_list {
	struct ip_addr *items;
	size_t count;
};
struct prefix_list {
	struct ip_prefix *items;
	size_t count;
};
struct ref_list {
	struct ref *items;
	size_t count;
};

struct field {
	const char *name; /* snake_case; also the JSON key and the command-line word */
	const char *doc;  /* one sentence, ends with a full stop */
	const char *unit; /* "bytes", "seconds", "packets", … or NULL; "bytes…" can be written as 10K, 300M, 2GiB */
	enum field_type type;
	uint32_t flags;
	size_t offset;
	uint64_t min, max; /* inclusive: numbers by value, strings by bytes, lists by items; max 0 = type's limit.
			    * min does not bind a value that is not set (no default and not given) */
	const char *def;   /* default in text form, as a user would write it; NULL = zero / not set */
	const char *const *names;        /* FIELD_ENUM: NULL-terminated, index = value */
	const char *target;              /* FIELD_REF(S): name of the class referred to */
	bool (*check)(const char *text); /* FIELD_STRING, each of FIELD_STRINGS: optional format check … */
	const char *check_doc;           /* … and what it accepts: "must be …" in the error sentence */
	/* FIELD_STRING whose check was laxer once: what an object may have that has it already, or NULL. */
	bool (*check_stored)(const char *text);
};

/* The row's type follows from the C member's type; an unsupported type does not compile. Enumerations
 * (uint8_t) use FIELD_ENUM_ROW. Use: FIELD(struct vnic, mtu, .min = 68, .max = 9216, .def = "1500", .doc = "…") */
#define FIELD_TYPE_OF(member)                                                                                          \
	_Generic((member),                                                                                            \
		bool: FIELD_BOOL,                                                                                     \
		uint8_t: FIELD_U8,                                                                                    \
		uint16_t: FIELD_U16,                                                                                  \
		uint32_t: FIELD_U32,                                                                                  \
		uint64_t: FIELD_U64,                                                                                  \
		char *: FIELD_STRING,                                                                                 \
		struct mac_addr: FIELD_MAC,                                                                           \
		struct ip_addr: FIELD_IP,                                                                             \
		struct ip_prefix: FIELD_PREFIX,                                                                       \
		struct uuid: FIELD_UUID,                                                                              \
		struct ref: FIELD_REF,                                                                                \
		struct string_list: FIELD_STRINGS,                                                                    \
		struct ip_list: FIELD_IPS,                                                                            \
		struct prefix_list: FIELD_PREFIXES,                                                                   \
		struct ref_list: FIELD_REFS)

#define FIELD(type_, member_, ...)                                                                                     \
	{                                                                                                              \
		.name = #member_, .type = FIELD_TYPE_OF(((type_ *)0)->member_), .offset = offsetof(type_, member_),    \
		__VA_ARGS__                                                                                            \
	}
#define FIELD_ENUM_ROW(type_, member_, names_, ...)                                                                    \
	{                                                                                                              \
		.name = #member_, .type = FIELD_ENUM, .offset = offsetof(type_, member_), .names = names_, __VA_ARGS__ \
	}
