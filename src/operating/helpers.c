/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool of helper threads. */
#include "operating/helpers.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

struct job {
	void (*fn)(void *arg);
	void (*done)(void *arg);
	void *arg;
	STAILQ_ENTRY(job) link;
};

STAILQ_HEAD(job_list, job);

struct helpers {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct job_list waiting, finished; /* under lock */
	bool stop;                         /* under lock */
	int event_fd;
	struct loop_fd *watch;
	bool *freed; /* done() is on the stack: helpers_free() sets *freed */
	unsigned count;
	pthread_t threads[];
};

static void *helper_thread(void *arg)
{
	struct helpers *helpers = arg;

	pthread_mutex_lock(&helpers->lock);
	while (!helpers->stop) {
		struct job *job = STAILQ_FIRST(&helpers->waiting);
		if (!job) {
			pthread_cond_wait(&helpers->work, &helpers->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&helpers->waiting, link);
		pthread_mutex_unlock(&helpers->lock);
		job->fn(job->arg);
		pthread_mutex_lock(&helpers->lock);
		STAILQ_INSERT_TAIL(&helpers->finished, job, link);
		eventfd_write(helpers->event_fd, 1);
	}
	pthread_mutex_unlock(&helpers->lock);
	return NULL;
}

static struct job *next_finished(struct helpers *helpers)
{
	pthread_mutex_lock(&helpers->lock);
	struct job *job = STAILQ_FIRST(&helpers->finished);
	if (job)
		STAILQ_REMOVE_HEAD(&helpers->finished, link);
	pthread_mutex_unlock(&helpers->lock);
	return job;
}

static void finish(struct job *job)
{
	void (*done)(void *) = job->done;
	void *arg = job->arg;

	free(job);
	if (done)
		done(arg);
}

static void finished(void *ctx, uint32_t events)
{
	struct helpers *helpers = ctx;
	bool freed = false, *outer = helpers->freed;
	eventfd_t count;
	struct job *job;

	eventfd_read(helpers->event_fd, &count);
	helpers->freed = &freed;
	while (!freed && (job = next_finished(helpers)))
		finish(job);
	if (!freed)
		helpers->freed = outer;
	else if (outer)
		*outer = true;
}

static int start_threads(struct helpers *helpers, unsigned threads)
{
	sigset_t all, old;
	int status = 0;

	sigfillset(&all); /* signals are the control thread's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (status == 0 && helpers->count < threads) {
		status = -pthread_create(&helpers->threads[helpers->count], NULL, helper_thread, helpers);
		if (status == 0)
			pthread_setname_np(helpers->threads[helpers->count++], "helper");
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return status;
}

int helpers_new(struct loop *loop, unsigned threads, struct helpers **ret)
{
	struct helpers *helpers = calloc(1, sizeof(*helpers) + threads * sizeof(helpers->threads[0]));

	if (threads == 0 || !helpers) {
		free(helpers);
		return threads == 0 ? -EINVAL : -ENOMEM;
	}
	pthread_mutex_init(&helpers->lock, NULL);
	pthread_cond_init(&helpers->work, NULL);
	STAILQ_INIT(&helpers->waiting);
	STAILQ_INIT(&helpers->finished);
	helpers->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int status = helpers->event_fd < 0 ? -errno : 0;
	if (status == 0)
		status = loop_fd_add(loop, helpers->event_fd, EPOLLIN, finished, helpers, &helpers->watch);
	if (status == 0)
		status = start_threads(helpers, threads);
	if (status < 0) {
		helpers_free(helpers);
		return status;
	}
	*ret = helpers;
	return 0;
}

int helpers_run(struct helpers *helpers, void (*fn)(void *arg), void (*done)(void *arg), void *arg)
{
	struct job *job = malloc(sizeof(*job));

	if (!job)
		return -ENOMEM;
	*job = (struct job){ .fn = fn, .done = done, .arg = arg };
	pthread_mutex_lock(&helpers->lock);
	STAILQ_INSERT_TAIL(&helpers->waiting, job, link);
	pthread_cond_signal(&helpers->work);
	pthread_mutex_unlock(&helpers->lock);
	return 0;
}

void helpers_free(struct helpers *helpers)
{
	struct job *job;

	if (!helpers)
		return;
	if (helpers->freed)
		*helpers->freed = true;
	pthread_mutex_lock(&helpers->lock);
	helpers->stop = true;
	pthread_cond_broadcast(&helpers->work);
	pthread_mutex_unlock(&helpers->lock);
	for (unsigned i = 0; i < helpers->count; i++)
		pthread_join(helpers->threads[i], NULL);
	loop_fd_remove(helpers->watch);
	STAILQ_CONCAT(&helpers->finished, &helpers->waiting);
	while ((job = next_finished(helpers)))
		finish(job);
	if (helpers->event_fd >= 0)
		close(helpers->event_fd);
	pthread_cond_destroy(&helpers->work);
	pthread_mutex_destroy(&helpers->lock);
	free(helpers);
}
