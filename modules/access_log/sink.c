/* SPDX-License-Identifier: Apache-2.0
 *
 * Where lines go: buffered, written once a second or when enough has come
 * together.  A worker must never wait for a log: a sink that takes nothing
 * keeps a bounded backlog, then lines are dropped and counted; so does one that
 * cannot be opened, which is tried again each second.
 *
 * Several workers append to one file or pipe: writes end at line ends, and to
 * pipes they are at most PIPE_BUF long, so lines do not mix.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access_log.h"

#define FLUSH_BYTES 65536u
#define BACKLOG_BYTES (1024u * 1024)
#define FLUSH_MS 1000

struct al_sink {
    cn_list_t link;
    char *path;
    int fd; /* -1: could not be opened */
    bool pipe;
    bool owned;   /* close it */
    bool missing; /* that it cannot be opened was said */
    al_buf_t buf;
    size_t line; /* where the line being written begins */
};

struct al_sinks {
    cn_loop_t *loop;
    cn_task_t task;
    cn_timer_t timer;
    cn_list_t all;
    cn_series_t *dropped;
};

/* The inherited descriptors are used as they are: reopening /dev/stdout fails
 * for sockets and after privileges were dropped. */
static void open_sink(al_sink_t *s)
{
    struct stat st;

    s->owned = false;
    if (strcmp(s->path, "/dev/stdout") == 0) {
        s->fd = STDOUT_FILENO;
    } else if (strcmp(s->path, "/dev/stderr") == 0) {
        s->fd = STDERR_FILENO;
    } else {
        s->fd = open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
        s->owned = s->fd >= 0;
    }
    if (s->fd < 0 && !s->missing)
        cn_log(CN_LOG_ERROR, "access_log", "cannot open %s: %s; trying again each second", s->path,
               strerror(errno));
    s->missing = s->fd < 0;
    s->pipe = s->fd >= 0 && fstat(s->fd, &st) == 0 && !S_ISREG(st.st_mode);
}

static bool is_writable(const al_sink_t *s)
{
    struct pollfd p = {s->fd, POLLOUT, 0};

    return !s->pipe || (poll(&p, 1, 0) == 1 && (p.revents & POLLOUT));
}

/* As much as one write may take: whole lines. */
static size_t portion(const al_sink_t *s, size_t from)
{
    size_t left = s->buf.n - from, max = s->pipe ? PIPE_BUF : FLUSH_BYTES;
    const char *end;

    if (left <= max)
        return left;
    end = memrchr(s->buf.p + from, '\n', max);
    if (!end) /* one line longer than that: whole, mixing is the lesser evil */
        end = memchr(s->buf.p + from, '\n', left);
    return end ? (size_t)(end - (s->buf.p + from)) + 1 : left;
}

static void flush(al_sink_t *s)
{
    size_t done = 0;

    while (s->fd >= 0 && done < s->buf.n && is_writable(s)) {
        ssize_t n = write(s->fd, s->buf.p + done, portion(s, done));

        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (done && done < s->buf.n)
        memmove(s->buf.p, s->buf.p + done, s->buf.n - done);
    s->buf.n -= done;
    if (s->buf.n == 0 && s->buf.cap > 2 * FLUSH_BYTES) {
        free(s->buf.p);
        s->buf = (al_buf_t){0};
    }
}

static void run(cn_task_t *task, uint32_t why CN_UNUSED)
{
    al_sinks_t *all = cn_container_of(task, al_sinks_t, task);
    bool pending = false;

    cn_list_each (node, &all->all) {
        al_sink_t *s = cn_list_entry(node, al_sink_t, link);

        if (s->fd < 0)
            open_sink(s);
        flush(s);
        pending = pending || s->buf.n;
    }
    if (pending)
        cn_timer_set(&all->timer, FLUSH_MS);
}

al_sinks_t *al_sinks_create(cn_loop_t *loop, cn_series_t *dropped)
{
    al_sinks_t *all = cn_xzalloc(sizeof(*all));

    all->loop = loop;
    all->dropped = dropped;
    cn_list_init(&all->all);
    cn_task_init(&all->task, loop, run);
    cn_timer_init(&all->timer, &all->task, CN_WAKE_TIMER);
    return all;
}

static void close_sink(al_sink_t *s)
{
    if (s->owned)
        close(s->fd);
    s->fd = -1;
}

void al_sinks_destroy(al_sinks_t *all)
{
    if (!all)
        return;
    cn_timer_stop(&all->timer);
    cn_task_fini(&all->task);
    cn_list_each (node, &all->all) {
        al_sink_t *s = cn_list_entry(node, al_sink_t, link);

        flush(s);
        close_sink(s);
        cn_list_remove(&s->link);
        free(s->buf.p);
        free(s->path);
        free(s);
    }
    free(all);
}

al_sink_t *al_sink_get(al_sinks_t *all, cn_str_t path)
{
    al_sink_t *s;

    cn_list_each (node, &all->all) {
        s = cn_list_entry(node, al_sink_t, link);
        if (cn_str_eq(cn_str_c(s->path), path))
            return s;
    }
    s = cn_xzalloc(sizeof(*s));
    s->path = cn_xmalloc(path.n + 1);
    memcpy(s->path, path.p, path.n);
    s->path[path.n] = '\0';
    open_sink(s);
    cn_list_push(&all->all, &s->link);
    return s;
}

al_buf_t *al_sink_buf(al_sink_t *s)
{
    s->line = s->buf.n;
    return &s->buf;
}

void al_sink_line(al_sinks_t *all, al_sink_t *s)
{
    if (s->buf.n >= FLUSH_BYTES)
        flush(s);
    if (s->buf.n > BACKLOG_BYTES) {
        s->buf.n = s->line;
        cn_series_add(all->dropped, 1);
    }
    if (s->buf.n && !cn_timer_is_set(&all->timer))
        cn_timer_set(&all->timer, FLUSH_MS);
}

void al_sinks_reopen(al_sinks_t *all)
{
    cn_list_each (node, &all->all) {
        al_sink_t *s = cn_list_entry(node, al_sink_t, link);

        flush(s);
        close_sink(s);
        open_sink(s);
    }
}
