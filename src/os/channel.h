/* SPDX-License-Identifier: Apache-2.0
 *
 * The channel between master and worker: whole messages, each with at most one
 * file descriptor, over a pair of SOCK_SEQPACKET sockets.  Either end sees the
 * other's death as the end of the channel.
 */
#ifndef CN_OS_CHANNEL_H
#define CN_OS_CHANNEL_H

#include <sys/types.h>

#include "core/str.h"

/* Longest text of a message; longer ones are cut. */
#define CN_CHANNEL_TEXT 1024

typedef struct {
    uint32_t type; /* the users' own numbering, not 0 */
    uint32_t len;  /* bytes in text */
    uint64_t number;
    int fd;                         /* -1: none.  Received: the receiver's, close-on-exec */
    char text[CN_CHANNEL_TEXT + 1]; /* NUL-terminated */
} cn_channel_msg_t;

/* Non-blocking, close-on-exec.  CN_ERR with errno. */
CN_MUST cn_rc cn_channel_pair(int fds[2]);
/* A child and a channel to it: each side has *pid (0 in the child) and its own end
 * in *fd.  far (may be NULL): the parent has the child's end, too, for what the child has not read
 * when it dies; *fd then tells nothing of its death.  CN_ERR with errno, *pid 0: there is none. */
CN_MUST cn_rc cn_channel_fork(pid_t *pid, int *fd, int *far);
/* A place in the abstract namespace where others may ask for a channel; it goes
 * with the descriptor.  CN_ERR with errno. */
CN_MUST cn_rc cn_channel_listen(cn_str_t name, int *fd);
/* The next one who asked: root, or whoever runs us; others are turned away.
 * CN_AGAIN: nobody. */
CN_MUST cn_rc cn_channel_accept(int fd, int *channel);
/* A channel to the process pid that listens under that name.  CN_ERR with errno. */
CN_MUST cn_rc cn_channel_connect(cn_str_t name, pid_t pid, int *channel);
/* An empty message of that type. */
void cn_channel_msg_init(cn_channel_msg_t *, uint32_t type, uint64_t number);
void cn_channel_msg_text(cn_channel_msg_t *, cn_str_t);
/* CN_AGAIN: the channel is full; CN_ERR: the other end is gone, or errno.  The
 * descriptor stays the caller's. */
CN_MUST cn_rc cn_channel_send(int channel, const cn_channel_msg_t *);
/* CN_OK: *msg is filled; CN_AGAIN; CN_DONE: the other end is gone; CN_ERR: a
 * malformed message (dropped, its descriptors closed) or errno. */
CN_MUST cn_rc cn_channel_recv(int channel, cn_channel_msg_t *msg);
/* Waits until something can be received, at most ms. CN_AGAIN: timed out. */
CN_MUST cn_rc cn_channel_wait(int channel, int ms);

#endif
