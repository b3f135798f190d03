/* SPDX-License-Identifier: BSD-3-Clause */
/* Arguments of actions that are taken from files. */
#pragma once

#include "base/error.h"

/* word begins with @ and goes on with a file's path: the file's text; of a pcap or pcapng file the first packet, or
 * with :N behind the path the N-th, in hexadecimal. malloc'd; a negative errno with err filled. */
int packet_file_text(const char *word, char **ret_text, struct dpu_error *err);
