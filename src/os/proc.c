/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes and what surrounds them.  Knows nothing of masters and workers.
 * The only memory that outlives a call is the copy of argv and environment
 * that cn_proc_title_init() makes.
 */
#include "os/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- titles ---- */

/* n strings and their array in one block, which ends with a NULL entry. */
static char **copy_strings(char **v, size_t n)
{
    size_t bytes = sizeof(char *) * (n + 1);

    for (size_t i = 0; i < n; i++)
        bytes += strlen(v[i]) + 1;
    char **copy = cn_xmalloc(bytes);
    char *at = (char *)(copy + n + 1);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(v[i]) + 1;
        copy[i] = memcpy(at, v[i], len);
        at += len;
    }
    copy[n] = NULL;
    return copy;
}

/* The end of those strings that stand directly behind each other from p on. */
static char *run_end(char *p, char **v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (v[i] == p)
            p += strlen(p) + 1;
    }
    return p;
}

char **cn_proc_title_init(cn_proc_title_t *t, int argc, char **argv)
{
    size_t nenv = 0;

    while (environ[nenv])
        nenv++;
    t->base = argv[0];
    t->size = (size_t)(run_end(run_end(argv[0], argv, (size_t)argc), environ, nenv) - argv[0]);
    t->argv = copy_strings(argv, (size_t)argc);
    environ = copy_strings(environ, nenv);
    return t->argv;
}

void cn_proc_title_fini(cn_proc_title_t *t)
{
    free(t->argv);
    t->argv = NULL;
}

void cn_proc_title_set(const cn_proc_title_t *t, const char *text)
{
    if (t->size < 2)
        return;
    memset(t->base, 0, t->size);
    snprintf(t->base, t->size, "cairn: %s", text);
}

/* ---- children ---- */

bool cn_proc_reap(cn_proc_end_t *end)
{
    int st;
    pid_t pid;

    do {
        pid = waitpid(-1, &st, WNOHANG);
    } while (pid < 0 && errno == EINTR);
    if (pid <= 0)
        return false;
    end->pid = pid;
    end->status = WIFEXITED(st) ? WEXITSTATUS(st) : -1;
    end->signo = WIFSIGNALED(st) ? WTERMSIG(st) : 0;
    end->core = WIFSIGNALED(st) && WCOREDUMP(st);
    return true;
}

/* In the parent: the status with which the starter's command ends. */
static CN_NORETURN void await_daemon(int fd)
{
    char ready = 0;
    ssize_t n;

    do {
        n = read(fd, &ready, 1);
    } while (n < 0 && errno == EINTR);
    _exit(n == 1 ? 0 : 1);
}

static cn_rc leave_terminal(void)
{
    if (setsid() < 0)
        return CN_ERR;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0 || dup2(fd, 0) < 0 || dup2(fd, 1) < 0)
        return CN_ERR;
    if (fd > 2)
        close(fd);
    return CN_OK;
}

cn_rc cn_proc_daemon(int *parent)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC) != 0)
        return CN_ERR;
    pid_t pid = fork();
    if (pid > 0) {
        close(ends[1]);
        await_daemon(ends[0]);
    }
    int err = errno;
    close(ends[0]);
    if (pid == 0 && leave_terminal() == CN_OK) {
        *parent = ends[1];
        return CN_OK;
    }
    err = pid == 0 ? errno : err;
    close(ends[1]);
    errno = err;
    return CN_ERR;
}

void cn_proc_daemon_ready(int parent)
{
    ssize_t n;

    do {
        n = write(parent, "", 1);
    } while (n < 0 && errno == EINTR);
    close(parent);
}

static int by_value(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

void cn_proc_close_others(const int *keep, unsigned n)
{
    int *sorted = cn_xmalloc(sizeof(int) * (n + 1));
    unsigned from = 3;

    if (n > 0)
        memcpy(sorted, keep, sizeof(int) * n);
    qsort(sorted, n, sizeof(int), by_value);
    for (unsigned i = 0; i < n; i++) {
        if (sorted[i] < 0 || (unsigned)sorted[i] < from)
            continue;
        if ((unsigned)sorted[i] > from)
            syscall(SYS_close_range, from, (unsigned)sorted[i] - 1, 0u);
        from = (unsigned)sorted[i] + 1;
    }
    syscall(SYS_close_range, from, ~0u, 0u);
    free(sorted);
}

/* ---- processors ---- */

unsigned cn_proc_quota(cn_str_t s)
{
    cn_str_t max, rest = cn_str_trim(s);
    uint64_t quota, period = 100000;

    while (rest.n > 0 && (rest.p[rest.n - 1] == '\n' || rest.p[rest.n - 1] == ' '))
        rest.n--;
    if (!cn_str_split(&rest, ' ', &max) || cn_str_u64(max, UINT32_MAX, &quota) != CN_OK)
        return 0;
    if (rest.n > 0 && cn_str_u64(rest, UINT32_MAX, &period) != CN_OK)
        return 0;
    return period == 0 ? 0 : (unsigned)((quota + period - 1) / period);
}

static size_t read_small(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, cap - 1);

    if (fd >= 0)
        close(fd);
    n = n < 0 ? 0 : n;
    buf[n] = '\0';
    return (size_t)n;
}

/* Our own group's quota; inside a container its root is mounted at /sys/fs/cgroup. */
static unsigned cgroup_cpus(void)
{
    char self[512], path[640], text[128];
    size_t n = read_small("/proc/self/cgroup", self, sizeof(self));
    cn_str_t rest = cn_str_make(self, n), line;
    unsigned cpus = 0;

    while (cn_str_split(&rest, '\n', &line)) {
        if (!cn_str_starts(line, CN_STR("0::")))
            continue;
        snprintf(path, sizeof(path), "/sys/fs/cgroup%.*s/cpu.max", (int)line.n - 3, line.p + 3);
        n = read_small(path, text, sizeof(text));
        cpus = cn_proc_quota(cn_str_make(text, n));
    }
    if (cpus == 0) {
        n = read_small("/sys/fs/cgroup/cpu.max", text, sizeof(text));
        cpus = cn_proc_quota(cn_str_make(text, n));
    }
    return cpus;
}

unsigned cn_proc_cpus(void)
{
    cpu_set_t set;
    unsigned allowed = 1, quota = cgroup_cpus();

    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        allowed = (unsigned)CPU_COUNT(&set);
    return quota > 0 && quota < allowed ? quota : allowed;
}

cn_rc cn_proc_bind(const cpu_set_t *set)
{
    return sched_setaffinity(0, sizeof(*set), set) == 0 ? CN_OK : CN_ERR;
}

cn_rc cn_proc_bind_nth(unsigned n)
{
    cpu_set_t all, one;

    if (sched_getaffinity(0, sizeof(all), &all) != 0)
        return CN_ERR;
    unsigned left = n % (unsigned)CPU_COUNT(&all);
    CPU_ZERO(&one);
    for (unsigned i = 0; i < CPU_SETSIZE; i++) {
        if (!CPU_ISSET(i, &all))
            continue;
        if (left-- == 0) {
            CPU_SET(i, &one);
            break;
        }
    }
    return cn_proc_bind(&one);
}

cn_rc cn_proc_parse_mask(cn_str_t s, cpu_set_t *set)
{
    CPU_ZERO(set);
    if (s.n == 0 || s.n > CPU_SETSIZE)
        return CN_ERR;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[s.n - 1 - i];
        if (c == '1')
            CPU_SET(i, set);
        else if (c != '0')
            return CN_ERR;
    }
    return CPU_COUNT(set) > 0 ? CN_OK : CN_ERR;
}

/* ---- pid files ---- */

cn_rc cn_proc_pid_write(const char *path, pid_t pid)
{
    char text[24];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)pid);
    /* without waiting, should it be a pipe */
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);

    if (fd < 0)
        return CN_ERR;
    ssize_t done = write(fd, text, (size_t)n);
    if (close(fd) != 0)
        return CN_ERR;
    if (done != n) {
        errno = ENOSPC;
        return CN_ERR;
    }
    return CN_OK;
}

cn_rc cn_proc_pid_read(const char *path, pid_t *pid)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint64_t v;

    if (fd < 0)
        return CN_ERR;
    ssize_t n = read(fd, text, sizeof(text));
    close(fd);
    if (n < 0)
        return CN_ERR;
    cn_str_t s = cn_str_make(text, (size_t)n);
    while (s.n > 0 && (s.p[s.n - 1] == '\n' || s.p[s.n - 1] == ' '))
        s.n--;
    if (cn_str_u64(s, INT32_MAX, &v) != CN_OK || v == 0) {
        errno = EINVAL;
        return CN_ERR;
    }
    *pid = (pid_t)v;
    return CN_OK;
}
