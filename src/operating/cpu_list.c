/* SPDX-License-Identifier: BSD-3-Clause */
/* Parsing of CPU lists. */
#include "operating/cpu_list.h"

#include <ctype.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>

struct parser {
	const char *text, *at;
	cpu_set_t allowed, seen;
	int *cpus;
	unsigned count, max;
	struct dpu_error *err;
};

/* One number; strtol alone would accept signs and blanks. */
static int number(struct parser *parser)
{
	if (!isdigit((unsigned char)*parser->at))
		return error_set(parser->err, DPU_E_INVALID, "cpus",
				 "\"%.64s\" is not a CPU list: write numbers and ranges, as in \"2-5,8\".",
				 parser->text);
	char *end;
	long value = strtol(parser->at, &end, 10);
	if (value >= CPU_SETSIZE)
		return error_set(parser->err, DPU_E_INVALID, "cpus", "CPU numbers are at most %d.", CPU_SETSIZE - 1);
	parser->at = end;
	return (int)value;
}

static int take(struct parser *parser, int cpu)
{
	if (CPU_ISSET(cpu, &parser->seen))
		return error_set(parser->err, DPU_E_INVALID, "cpus", "CPU %d is named twice.", cpu);
	if (!CPU_ISSET(cpu, &parser->allowed))
		return error_set(parser->err, DPU_E_INVALID, "cpus",
				 "CPU %d does not exist or this process may not run on it.", cpu);
	if (parser->count == parser->max)
		return error_set(parser->err, DPU_E_LIMIT, "cpus", "More than %u CPUs.", parser->max);
	CPU_SET(cpu, &parser->seen);
	parser->cpus[parser->count++] = cpu;
	return 0;
}

static int range(struct parser *parser)
{
	int first = number(parser);

	if (first < 0)
		return first;
	int last = first;
	if (*parser->at == '-') {
		parser->at++;
		last = number(parser);
		if (last < 0)
			return last;
		if (last < first)
			return error_set(parser->err, DPU_E_INVALID, "cpus", "The range %d-%d runs backwards.", first,
					 last);
	}
	for (int cpu = first; cpu <= last; cpu++) {
		int status = take(parser, cpu);
		if (status < 0)
			return status;
	}
	return 0;
}

int cpu_list_parse(const char *text, int *ret_cpus, unsigned max, struct dpu_error *err)
{
	struct parser parser = { .text = text, .at = text, .cpus = ret_cpus, .max = max, .err = err };

	CPU_ZERO(&parser.seen);
	if (sched_getaffinity(0, sizeof(parser.allowed), &parser.allowed) < 0)
		return error_set(err, DPU_E_INTERNAL, "cpus", "The CPUs of this process cannot be found out.");
	for (;;) {
		int status = range(&parser);
		if (status < 0)
			return status;
		if (*parser.at == '\0')
			return (int)parser.count;
		if (*parser.at++ != ',')
			return error_set(err, DPU_E_INVALID, "cpus",
					 "\"%.64s\" is not a CPU list: write numbers and ranges, as in \"2-5,8\".",
					 text);
	}
}

void cpu_list_leave(const int *cpus, unsigned count)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	for (unsigned i = 0; i < count; i++)
		CPU_CLR(cpus[i], &set);
	if (CPU_COUNT(&set) > 0)
		sched_setaffinity(0, sizeof(set), &set);
}
