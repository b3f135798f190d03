/* SPDX-License-Identifier: BSD-3-Clause */
/* Listening Unix sockets with permissions, over what a killed process left behind. */
#pragma once

#include <sys/types.h>
#include "base/error.h"

/* A non-blocking listening socket at path with mode 0660 and the group (or -1: as it comes). A stale socket is
 * replaced; one that somebody listens on, or a file that is no socket, is refused. Returns the descriptor or a negative
 * errno. */
int listen_unix(const char *path, gid_t group, struct dpu_error *err);
