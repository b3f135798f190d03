// SPDX-License-Identifier: BSD-3-Clause
/* An example of a back end: a file, read and written by a thread of its own. Its arguments are the path of the file.
 *
 * submit puts requests in line for the thread; the thread puts them in line for poll and wakes dpud; poll completes. */
#include <dpu/block_module.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct line {
	struct dpu_block_request *first, **tail;
};

struct threadfile {
	struct dpu_block_device device; /* first: others see this part */
	const struct dpu_block_host *host;
	int fd;
	pthread_t thread;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t more;
	struct line todo, finished;
	bool ending;
};

static void line_init(struct line *line)
{
	line->first = NULL;
	line->tail = &line->first;
}

static void line_add(struct line *line, struct dpu_block_request *request)
{
	request->next = NULL;
	*line->tail = request;
	line->tail = &request->next;
}

static struct dpu_block_request *line_take(struct line *line)
{
	struct dpu_block_request *request = line->first;

	if (request) {
		line->first = request->next;
		if (!line->first)
			line->tail = &line->first;
	}
	return request;
}

/* ---- the thread ---- */

static enum dpu_block_status transfer(struct threadfile *file, const struct dpu_block_request *request)
{
	uint64_t offset = request->offset;

	for (unsigned i = 0; i < request->segments; i++) {
		uint8_t *data = request->iov[i].iov_base;
		size_t left = request->iov[i].iov_len;
		while (left > 0) {
			ssize_t moved = request->op == DPU_BLOCK_READ ? pread(file->fd, data, left, (off_t)offset)
								      : pwrite(file->fd, data, left, (off_t)offset);
			if (moved < 0 && errno == EINTR)
				continue;
			if (moved <= 0)
				return DPU_BLOCK_IO_ERROR;
			data += moved;
			left -= (size_t)moved;
			offset += (uint64_t)moved;
		}
	}
	return DPU_BLOCK_OK;
}

static enum dpu_block_status carry_out(struct threadfile *file, const struct dpu_block_request *request)
{
	enum dpu_block_status status = DPU_BLOCK_UNSUPPORTED;

	if (request->op == DPU_BLOCK_READ || request->op == DPU_BLOCK_WRITE)
		status = transfer(file, request);
	else if (request->op == DPU_BLOCK_FLUSH)
		status = DPU_BLOCK_OK;
	bool durable = request->op == DPU_BLOCK_FLUSH || (request->flags & DPU_BLOCK_FUA);
	if (status == DPU_BLOCK_OK && durable && fdatasync(file->fd) < 0)
		status = DPU_BLOCK_IO_ERROR;
	return status;
}

static void *thread_run(void *arg)
{
	struct threadfile *file = arg;
	struct dpu_block_request *request;

	pthread_mutex_lock(&file->lock);
	for (;;) {
		while (!(request = line_take(&file->todo)) && !file->ending)
			pthread_cond_wait(&file->more, &file->lock);
		if (!request)
			break;
		pthread_mutex_unlock(&file->lock);
		request->status = (uint8_t)carry_out(file, request);
		pthread_mutex_lock(&file->lock);
		bool first = !file->finished.first;
		line_add(&file->finished, request);
		if (first)
			file->host->wake(file->host);
	}
	pthread_mutex_unlock(&file->lock);
	return NULL;
}

/* ---- the worker ---- */

static void threadfile_submit(struct dpu_block_device *device, struct dpu_block_request *request)
{
	struct threadfile *file = (struct threadfile *)device;

	pthread_mutex_lock(&file->lock);
	line_add(&file->todo, request);
	pthread_cond_signal(&file->more);
	pthread_mutex_unlock(&file->lock);
}

static unsigned threadfile_poll(struct dpu_block_device *device)
{
	struct threadfile *file = (struct threadfile *)device;
	struct dpu_block_request *request;
	unsigned count = 0;

	pthread_mutex_lock(&file->lock);
	struct line finished = file->finished;
	line_init(&file->finished);
	pthread_mutex_unlock(&file->lock);
	for (request = finished.first; request; count++) {
		struct dpu_block_request *next = request->next; /* once it is completed, it is no longer ours */
		dpu_block_complete(request, request->status);
		request = next;
	}
	return count;
}

static void threadfile_close(struct dpu_block_device *device, void (*done)(void *arg), void *arg)
{
	struct threadfile *file = (struct threadfile *)device;

	pthread_mutex_lock(&file->lock);
	file->ending = true;
	pthread_cond_signal(&file->more);
	pthread_mutex_unlock(&file->lock);
	pthread_join(file->thread, NULL); /* it finishes what is in line */
	threadfile_poll(device);
	close(file->fd);
	free(file);
	if (done)
		done(arg);
}

static const struct dpu_block_ops threadfile_ops = {
	.submit = threadfile_submit,
	.poll = threadfile_poll,
	.close = threadfile_close,
};

/* ---- opening ---- */

static int threadfile_open(const struct dpu_block_open *open_, struct dpu_block_device **ret, char *why,
			   size_t why_bytes)
{
	struct threadfile *file;
	struct stat stat_of;
	int fd;

	if (open_->arguments[0] != '/') {
		snprintf(why, why_bytes, "its arguments must be the absolute path of a file");
		return -EINVAL;
	}
	fd = open(open_->arguments, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat_of) < 0 || stat_of.st_size < DPU_BLOCK_BYTES) {
		snprintf(why, why_bytes, "%s: %s", open_->arguments,
			 fd < 0 ? strerror(errno) : "is smaller than a block of 4096 bytes");
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	file = calloc(1, sizeof(*file));
	if (!file) {
		close(fd);
		return -ENOMEM;
	}
	file->device = (struct dpu_block_device){
		.ops = &threadfile_ops,
		.name = open_->name,
		.bytes = (uint64_t)stat_of.st_size / DPU_BLOCK_BYTES * DPU_BLOCK_BYTES,
		.sector = DPU_BLOCK_SECTOR,
		.features = DPU_BLOCK_F_FLUSH,
		.max_bytes = DPU_BLOCK_MAX_BYTES,
		.alignment = 1,
	};
	file->host = open_->host;
	file->fd = fd;
	pthread_mutex_init(&file->lock, NULL);
	pthread_cond_init(&file->more, NULL);
	line_init(&file->todo);
	line_init(&file->finished);
	if (pthread_create(&file->thread, NULL, thread_run, file) != 0) {
		snprintf(why, why_bytes, "there is no thread to be had");
		close(fd);
		free(file);
		return -EAGAIN;
	}
	open_->host->log(open_->host, "opened");
	*ret = &file->device;
	return 0;
}

__attribute__((visibility("default"))) const struct dpu_block_module dpu_block_module = {
	DPU_BLOCK_MODULE_HEAD,
	.name = "threadfile",
	.open = threadfile_open,
};
