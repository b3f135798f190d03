/* SPDX-License-Identifier: BSD-3-Clause */
/* An import or export under way: image.c begins and ends it, image_stream.c moves the data. */
#pragma once

#include <sys/stat.h>
#include "service/block/image/image.h"
#include "service/block/image/tool.h"

#define IMAGE_NEITHER "the volume has neither the image nor what it had before"
enum { IMAGE_CHUNK = 1 << 20 };

struct image_job {
	struct block *block;
	struct volume *volume;
	bool import, qcow2, overwrite;
	bool guessed; /* the format, by the name */
	char name[132];
	char path[PATH_MAX], raw[PATH_MAX], made[PATH_MAX]; /* the image; a raw file in between; the export before it
							     * has its name */
	char mark[PATH_MAX];                                /* of an import */
	struct stat source;                                 /* the image as it was opened for an import */
	struct action_reply *reply;
	struct block_attachment *attachment;
	struct dpu_block_device *device; /* NULL: it has not come, or was given back */
	struct worker *worker;
	bool asked;                     /* the device is wanted back */
	bool moving;                    /* a request or a helper is under way */
	bool failed, cancelled, ending; /* cancelled: that is why it failed */
	struct dpu_error error;
	struct tool *tool;
	const char *phase;
	/* the stream */
	int fd;
	uint64_t at, total; /* bytes of the volume, or of the image */
	uint64_t length;    /* of the chunk that is under way */
	uint64_t found;     /* by the helper: where the file goes on; control reads `at` meanwhile */
	bool marked;        /* import: the mark says so, and is this one's to remove */
	bool changed;       /* import: the volume has no longer what it had */
	bool erased, ended; /* import: the volume was discarded; the file has no more data */
	bool altered;       /* by the helper, import: the image is not what was opened */
	bool hole;          /* export: where it is there may be nothing for long */
	int helper_rc;      /* of the helper */
	void (*then)(struct image_job *job);
	struct dpu_block_request request;
	struct iovec iov;
	struct store_command seek;
	struct note note;
	uint8_t *buffer;
	TAILQ_ENTRY(image_job) link;
};

/* image.c */
void image_fail(struct image_job *job, enum dpu_error_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The stream has ended, well or not. */
void image_streamed(struct image_job *job);

/* image_stream.c: from job->fd into the device, or the other way; then image_streamed(). */
void image_stream(struct image_job *job);
/* Whether what is imported now is still what was opened. */
bool image_unchanged(const struct image_job *job, const struct stat *now);

/* image_mark.c */
int image_mark_set(struct image_job *job); /* 0 or -errno */
/* At a start: what the last import of the volume was, if it was cut short. */
void image_mark_read(struct volume *volume, const char *path);
