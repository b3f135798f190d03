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
	char path[PATH_MAX], made[PATH_MAX]; /* the image; what has no name or not yet its own, as long as it has one */
	char mark[PATH_MAX];                 /* of an import */
	int qcow2_fd;                        /* the image, if it is a qcow2 one */
	struct stat source;                  /* the image as it was opened for an import */
	struct action_reply *reply;
	struct block_attachment *attachment;
	struct dpu_block_device *device; /* NULL: it has not come, or was given back */
	struct worker *worker;
	bool asked;                     /* the device is wanted back */
	bool moving;                    /* a request or a helper is under way */
	bool at_device;                 /* the worker's: it is a request, and the device has it */
	bool failed, cancelled, ending; /* cancelled: that is why it failed */
	struct dpu_error error;
	struct tool *tool;
	const char *phase;
	/* the stream */
	int fd;                 /* the raw image, or the raw file in between */
	uint64_t at, total;     /* bytes of the volume, or of the image */
	uint64_t length;        /* of the chunk that is under way */
	uint64_t found;         /* by the helper: where the file goes on; control reads `at` meanwhile */
	bool marked;            /* import: the mark says so, and is this one's to remove */
	bool changed;           /* import: the volume has no longer what it had */
	bool erased, ended;     /* import: the volume was discarded; the file has no more data */
	bool altered;           /* by the helper, import: the image is not what was opened */
	bool hole;              /* export: where it is there may be nothing for long */
	int helper_rc, mark_rc; /* of the helper, and of its mark */
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

/* image_file.c: what the job needs is opened, with a sentence if not; image_files_close() follows in any case. */
int image_files_open(struct image_job *job, const struct image_args *args, struct dpu_error *err);
/* The export gets its name when it is safe, and is done when its name is safe, too. May block. 0 or -errno. */
int image_file_publish(struct image_job *job);
void image_files_close(struct image_job *job);

/* image_stream.c: from job->fd into the device, or the other way; then image_streamed(). */
void image_stream(struct image_job *job);
void image_stream_cancel(struct image_job *job); /* it has failed: what waits in the device need not go on */
/* Whether what is imported now is still what was opened. */
bool image_unchanged(const struct image_job *job, const struct stat *now);

/* image_mark.c */
int image_mark_set(struct image_job *job); /* 0 or -errno */
/* At a start: what the last import of the volume was, if it was cut short. */
void image_mark_read(struct volume *volume, const char *path);
