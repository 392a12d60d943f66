/* SPDX-License-Identifier: Apache-2.0
 *
 * The error log.  A line is built in one buffer and written with one write(2)
 * to a descriptor in append mode, so lines of several processes do not mix.  A
 * log that cannot be written is not worth dying for, nor waiting: a line that
 * is not taken at once is lost, and the next one that is taken tells how many.
 *
 * The sink is process-wide; a forked worker inherits it.
 */
#include "core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"

#define LINE_MAX_BYTES 2048

static struct {
    int fd;
    int worker;
    cn_log_level level;
    unsigned lost;       /* lines since the last one that was taken */
    char path[PATH_MAX]; /* empty: standard error */
} sink = {.fd = STDERR_FILENO, .worker = -1, .level = CN_LOG_NOTICE};

static const char *const level_names[] = {"emerg", "error", "warn", "notice", "info", "debug"};

static int open_path(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0644);
}

static void sink_replace(int fd)
{
    if (sink.fd != STDERR_FILENO)
        close(sink.fd);
    sink.fd = fd;
}

cn_rc cn_log_open(const char *path, cn_log_level level)
{
    bool to_stderr = !path || strcmp(path, "stderr") == 0;
    int fd = STDERR_FILENO;
    size_t len = to_stderr ? 0 : strlen(path);

    if (len >= sizeof(sink.path)) {
        errno = ENAMETOOLONG;
        return CN_ERR;
    }
    if (!to_stderr) {
        fd = open_path(path);
        if (fd < 0)
            return CN_ERR;
        memmove(sink.path, path, len);
    }
    sink.path[len] = '\0';
    sink_replace(fd);
    sink.level = level;
    return CN_OK;
}

cn_rc cn_log_reopen(void)
{
    if (sink.path[0] == '\0')
        return CN_OK;
    int fd = open_path(sink.path);
    if (fd < 0)
        return CN_ERR;
    sink_replace(fd);
    return CN_OK;
}

void cn_log_set_level(cn_log_level level)
{
    sink.level = level;
}

cn_rc cn_log_parse_level(cn_str_t s, cn_log_level *out)
{
    for (size_t i = 0; i < CN_COUNT(level_names); i++) {
        if (cn_str_eq(s, cn_str_c(level_names[i]))) {
            *out = (cn_log_level)i;
            return CN_OK;
        }
    }
    return CN_ERR;
}

bool cn_log_enabled(cn_log_level level)
{
    return level <= sink.level;
}

void cn_log_set_worker(int id)
{
    sink.worker = id;
}

/* Copies the message into the line, control bytes as \xNN. */
static size_t put_message(char *out, size_t cap, const char *msg)
{
    static const char hex[] = "0123456789abcdef";
    size_t n = 0;
    for (; *msg && n + 4 <= cap; msg++) {
        unsigned char c = (unsigned char)*msg;
        if (c >= 0x20 && c != 0x7f) {
            out[n++] = (char)c;
            continue;
        }
        out[n++] = '\\';
        out[n++] = 'x';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }
    return n;
}

static size_t put_head(char *out, size_t cap, cn_log_level level, const char *area)
{
    char worker[16] = "";
    cn_clock_put_iso(out, cn_clock_wall_us());
    if (sink.worker >= 0)
        snprintf(worker, sizeof(worker), "%d", sink.worker);
    int n = snprintf(out + CN_CLOCK_ISO_LEN, cap - CN_CLOCK_ISO_LEN,
                     " %s %d#%s %.32s: ", level_names[level], (int)getpid(),
                     worker[0] ? worker : "-1", area);
    CN_BUG_ON(n < 0);
    return CN_CLOCK_ISO_LEN + (size_t)n;
}

/* Standard error is shared with others, so it is not ours to make it
 * non-blocking: a pipe that is writable takes PIPE_BUF bytes, more than a line. */
static bool put_line(const char *line, size_t n)
{
    struct pollfd p = {sink.fd, POLLOUT, 0};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) && write(sink.fd, line, n) == (ssize_t)n;
}

static void tell_lost(void)
{
    char line[256];
    size_t n = put_head(line, 128, CN_LOG_WARN, "log");

    n += (size_t)snprintf(line + n, sizeof(line) - n, "%u lines before this one were lost\n",
                          sink.lost);
    if (put_line(line, n))
        sink.lost = 0;
}

void cn_log_write(cn_log_level level, const char *area, const char *fmt, ...)
{
    char msg[LINE_MAX_BYTES], line[LINE_MAX_BYTES];
    int saved = errno;
    va_list args;

    va_start(args, fmt);
    int len = vsnprintf(msg, sizeof(msg), fmt, args);
    va_end(args);
    if (len < 0)
        msg[0] = '\0';
    size_t n = put_head(line, 128, level, area);
    n += put_message(line + n, sizeof(line) - n - 1, msg);
    line[n++] = '\n';
    if (sink.lost > 0)
        tell_lost();
    if (!put_line(line, n))
        sink.lost++;
    errno = saved;
}
