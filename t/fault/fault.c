/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to be preloaded: it makes the n-th system call of a program, its
 * children included, fail.  Which one is said in the file FAULT_FILE, which
 * every process maps: a test sets nth and armed, lets the program do something,
 * and reads which call was hit.  Only calls that may fail for reasons outside
 * the program are here.  Or, when armed is 2, the n-th allocation; when it is 3
 * the program is killed instead of its n-th system call; when it is 5 each call
 * of the name fails.
 *
 * When armed is 4, every n-th allocation fails, each in a copy of the process
 * of its own, for which the process waits: so one run tries all of them.  A copy
 * that does not end of itself is ended at the first call that anybody else could
 * notice.  When that call is the answer of a checker (main/reload.h), it must be
 * the refusal or what the process itself answers.  One that ends of itself must
 * have said why, on a standard error of its own.  What becomes of the others, and
 * what others make of an end, needs whole runs: later[] says without which
 * allocations, and armed 2 with a place makes that one fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Stands for ENOMEM of an allocation: those are counted apart from calls. */
#define NO_MEMORY (-1)
/* Stands for the error of a call that never fails here. */
#define NEVER (-2)
/* Is not counted at all. */
#define UNCOUNTED (-3)

enum { FAIL_CALL = 1, FAIL_ALLOC, KILL, COPY, NAMED };

#define COPY_S 3
/* What a copy is ended with here, above all that programs end with: the place of the call in
 * noticed[] behind WENT_ON. */
enum { REFUSED = 100, ALIKE, UNLIKE, WENT_ON };

static const char *const noticed[] = {"sendmsg",    "bind",     "listen",
                                      "accept4",    "connect",  "setsockopt",
                                      "recvmsg",    "fork",     "inotify_add_watch",
                                      "rename",     "read",     "write",
                                      "unlink",     "mkdir",    "open",
                                      "poll",       "kill",     "recv",
                                      "epoll_wait", "send",     "ftruncate",
                                      "waitpid",    "epoll_ctl"};
#define NOTICED (sizeof(noticed) / sizeof(noticed[0]))

/* CN_CHECKED_BAD of main/reload.h. */
#define ANSWER_BAD 4
#define ANSWERS 16
#define LATER 1024
#define CALLERS 4096

/* An allocation: by the process, in the order of forks from 1 on, and as the nth from there in the
 * code.  How many there are from elsewhere differs: OpenSSL draws when it cleans up. */
struct place {
    uint32_t process, from, nth;
};

/* The same layout in t/it/test_fault.py. */
struct fault {
    uint32_t armed, nth, count, hit;
    int32_t pid; /* of whom it hit; of COPY: the status of the first that ended otherwise */
    char name[48];
    struct place place; /* process 0: any */
    uint32_t forks;
    uint32_t waiting;         /* processes that wait for events, when armed from the start on */
    uint64_t answer[ANSWERS]; /* a hash of the first one of each type */
    /* How copies ended: by abort(), with a status, with a refusal, with the same answer, not at
     * all, before one of those calls; or as they must not. */
    uint32_t aborted, exited, refused, alike, stuck, went_on[NOTICED], otherwise, nlater;
    struct place later[LATER]; /* the stuck, those that went on, the first behind noticed calls */
    char said[256];            /* by the first that ended otherwise */
};

static int is_copy;
static struct place here = {.process = 1}; /* the newest allocation of this process */
static struct {
    const void *at;
    uint32_t from, n;
} callers[CALLERS];
static int has_been_noticed;       /* since that */
static unsigned char is_own[1024]; /* descriptors that only the copy has */

static struct fault *fault_shared(void)
{
    static struct fault *shared;
    const char *path = getenv("FAULT_FILE");

    if (!shared && path) {
        int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
        void *(*real_mmap)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
        int fd = real_open(path, O_RDWR | O_CLOEXEC);
        void *p = real_mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        close(fd);
        if (p != MAP_FAILED)
            shared = p;
    }
    return shared;
}

static int fault_counts(const struct fault *f, uint32_t armed, int error)
{
    if (error == NO_MEMORY)
        return armed == FAIL_ALLOC &&
               (f->place.process == 0 || memcmp(&f->place, &here, sizeof(here)) == 0);
    return error != UNCOUNTED && (armed == KILL || (armed == FAIL_CALL && error != NEVER));
}

/* ---- copies ---- */

static void fault_be_noticed(const char *name)
{
    for (size_t i = 0; i < NOTICED; i++) {
        if (strcmp(noticed[i], name) != 0)
            continue;
        if (is_copy)
            _exit(WENT_ON + (int)i);
        has_been_noticed = 1;
    }
}

static int fault_own(int fd)
{
    if (is_copy && fd >= 0 && (size_t)fd < sizeof(is_own))
        is_own[fd] = 1;
    return fd;
}

static int fault_is_own(int fd)
{
    return is_copy && fd >= 0 && (size_t)fd < sizeof(is_own) && is_own[fd];
}

static uint64_t fault_hash(uint64_t h, const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t fault_hash_file(int fd)
{
    unsigned char buf[4096];
    uint64_t h = 0xcbf29ce484222325u;
    off_t at = 0;
    ssize_t n;

    while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
        h = fault_hash(h, buf, (size_t)n);
        at += n;
    }
    return h;
}

/* Whether it is a checker's answer, and what the copy that gives it ends with. */
static int fault_judge(struct fault *f, const struct msghdr *m, int *status)
{
    const struct cmsghdr *c = CMSG_FIRSTHDR(m);
    uint32_t type;
    uint64_t h, none = 0; /* then: what was there */
    int fd;

    if (!c || c->cmsg_type != SCM_RIGHTS || m->msg_iovlen < 1 || m->msg_iov->iov_len < sizeof(type))
        return 0;
    memcpy(&type, m->msg_iov->iov_base, sizeof(type));
    memcpy(&fd, CMSG_DATA(c), sizeof(fd));
    h = fault_hash_file(fd);
    *status = REFUSED;
    if (type == ANSWER_BAD)
        return 1;
    int is_first = __atomic_compare_exchange_n(&f->answer[type % ANSWERS], &none, h, 0,
                                               __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    *status = is_first || none == h ? ALIKE : UNLIKE;
    return 1;
}

/* Whoever ends of itself says why; a broken invariant is none of the reasons. */
static uint32_t *fault_end_by_itself(struct fault *f, int status, const char *said)
{
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, "cairn: out of memory"))
        return &f->aborted;
    return WIFEXITED(status) && WEXITSTATUS(status) != 0 && said[0] ? &f->exited : &f->otherwise;
}

static uint32_t *fault_end_of(struct fault *f, int status, const char *said)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;

    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        return &f->stuck;
    if (code < REFUSED)
        return fault_end_by_itself(f, status, said);
    if (code >= WENT_ON && (size_t)(code - WENT_ON) < NOTICED)
        return &f->went_on[code - WENT_ON];
    return code == REFUSED ? &f->refused : code == ALIKE ? &f->alike : &f->otherwise;
}

static void fault_look_later(struct fault *f)
{
    uint32_t n = __atomic_fetch_add(&f->nlater, 1, __ATOMIC_RELAXED);

    if (n < LATER)
        f->later[n] = here;
}

static void fault_copy_ended(struct fault *f, int status, const char *said)
{
    uint32_t *end = fault_end_of(f, status, said);

    if (__atomic_fetch_add(end, 1, __ATOMIC_RELAXED) == 0 && end == &f->otherwise) {
        f->place = here;
        f->pid = status;
        memcpy(f->said, said, strlen(said) + 1);
    }
    if (end >= &f->stuck && end < &f->otherwise)
        fault_look_later(f);
}

static void fault_become_copy(int said)
{
    const struct rlimit core = {0, 0};
    sigset_t mine;

    is_copy = 1;
    (void)syscall(SYS_dup3, said, STDERR_FILENO, 0);
    (void)setrlimit(RLIMIT_CORE, &core);
    (void)signal(SIGALRM, SIG_DFL);
    (void)sigemptyset(&mine);
    (void)sigaddset(&mine, SIGALRM);
    (void)sigprocmask(SIG_UNBLOCK, &mine, NULL);
    (void)alarm(COPY_S);
}

static int fault_copy(struct fault *f)
{
    pid_t (*real_waitpid)(pid_t, int *, int) = dlsym(RTLD_NEXT, "waitpid");
    int status = -1, error = errno, fd;
    char said[sizeof(f->said)] = "";
    pid_t pid;

    if (is_copy)
        return 0;
    if (has_been_noticed)
        fault_look_later(f);
    has_been_noticed = 0;
    if (__atomic_add_fetch(&f->count, 1, __ATOMIC_ACQ_REL) % f->nth != 0)
        return 0;
    fd = (int)syscall(SYS_memfd_create, "said", MFD_CLOEXEC);
    /* Not fork(3): locks that are held know their owner by the thread's id that libc keeps. */
    pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) {
        fault_become_copy(fd);
        errno = ENOMEM;
        return 1;
    }
    while (pid > 0 && real_waitpid(pid, &status, __WALL) < 0 && errno == EINTR)
        continue;
    (void)pread(fd, said, sizeof(said) - 1, 0);
    close(fd);
    fault_copy_ended(f, status, said);
    errno = error;
    return 0;
}

/* ---- one that fails ---- */

static int fault_now(const char *name, int error)
{
    struct fault *f = fault_shared();
    uint32_t armed = f ? __atomic_load_n(&f->armed, __ATOMIC_ACQUIRE) : 0;

    if (error != NO_MEMORY)
        fault_be_noticed(name);
    if (armed == COPY)
        return error == NO_MEMORY && fault_copy(f);
    if (armed == NAMED && strcmp(f->name, name) == 0) {
        __atomic_add_fetch(&f->count, 1, __ATOMIC_ACQ_REL);
        errno = error;
        return 1;
    }
    if (!fault_counts(f, armed, error) ||
        __atomic_add_fetch(&f->count, 1, __ATOMIC_ACQ_REL) != f->nth)
        return 0;
    memcpy(f->name, name, strlen(name) + 1); /* all names here are short */
    f->pid = getpid();
    __atomic_store_n(&f->hit, 1, __ATOMIC_RELEASE);
    if (armed == KILL)
        raise(SIGKILL);
    errno = error == NO_MEMORY ? ENOMEM : error;
    return 1;
}

#define WRAP(type, failed, error, name, params, args)                                              \
    type name params                                                                               \
    {                                                                                              \
        static type(*real) params;                                                                 \
        if (!real)                                                                                 \
            real = dlsym(RTLD_NEXT, #name);                                                        \
        return fault_now(#name, error) ? failed : real args;                                       \
    }

WRAP(int, -1, EMFILE, socket, (int domain, int kind, int protocol), (domain, kind, protocol))
WRAP(int, -1, EMFILE, socketpair, (int domain, int kind, int protocol, int fds[2]),
     (domain, kind, protocol, fds))
WRAP(int, -1, EADDRINUSE, bind, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, -1, EADDRINUSE, listen, (int fd, int backlog), (fd, backlog))
WRAP(int, -1, EMFILE, accept4, (int fd, struct sockaddr *a, socklen_t *n, int flags),
     (fd, a, n, flags))
WRAP(int, -1, ENETUNREACH, connect, (int fd, const struct sockaddr *a, socklen_t n), (fd, a, n))
WRAP(int, -1, ENOBUFS, setsockopt, (int fd, int level, int name, const void *v, socklen_t n),
     (fd, level, name, v, n))
WRAP(int, -1, ENOBUFS, getsockopt, (int fd, int level, int name, void *v, socklen_t *n),
     (fd, level, name, v, n))
WRAP(int, -1, ENOBUFS, getsockname, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAP(int, -1, ENOTCONN, getpeername, (int fd, struct sockaddr *a, socklen_t *n), (fd, a, n))
WRAP(ssize_t, -1, EIO, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(void *, MAP_FAILED, ENOMEM, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t off),
     (at, n, prot, flags, fd, off))
WRAP(int, -1, EIO, fstat, (int fd, struct stat *st), (fd, st))
WRAP(int, -1, EIO, stat, (const char *path, struct stat *st), (path, st))
WRAP(int, -1, EMFILE, signalfd, (int fd, const sigset_t *set, int flags), (fd, set, flags))
WRAP(int, -1, EMFILE, inotify_init1, (int flags), (flags))
WRAP(int, -1, ENOSPC, inotify_add_watch, (int fd, const char *path, uint32_t mask),
     (fd, path, mask))
WRAP(int, -1, ENOSPC, rename, (const char *from, const char *to), (from, to))
WRAP(int, -1, EPERM, setrlimit, (__rlimit_resource_t what, const struct rlimit *r), (what, r))
WRAP(int, -1, NEVER, unlink, (const char *path), (path))
WRAP(int, -1, NEVER, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, -1, UNCOUNTED, kill, (pid_t pid, int number), (pid, number))
WRAP(ssize_t, -1, UNCOUNTED, recv, (int fd, void *p, size_t n, int flags), (fd, p, n, flags))
WRAP(ssize_t, -1, UNCOUNTED, send, (int fd, const void *p, size_t n, int flags), (fd, p, n, flags))
WRAP(pid_t, -1, UNCOUNTED, waitpid, (pid_t pid, int *status, int how), (pid, status, how))

/* Nor does raise(3) know the id of a copy. */
void abort(void)
{
    static void (*real)(void);

    (void)signal(SIGABRT, SIG_DFL);
    if (is_copy)
        (void)syscall(SYS_kill, syscall(SYS_getpid), SIGABRT);
    real = dlsym(RTLD_NEXT, "abort");
    real();
    __builtin_unreachable();
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    static ssize_t (*real)(int, const struct msghdr *, int);
    struct fault *f = fault_shared();
    int status;

    if (!real)
        real = dlsym(RTLD_NEXT, "sendmsg");
    if (f && f->armed == COPY && fault_judge(f, m, &status)) {
        if (is_copy)
            _exit(status);
        if (status == UNLIKE)
            fault_copy_ended(f, UNLIKE << 8, "");
    }
    return fault_now("sendmsg", ENOBUFS) ? -1 : real(fd, m, flags);
}

/* Processes are numbered in the order of their forks, for who looks for an allocation again. */
pid_t fork(void)
{
    static pid_t (*real)(void);
    struct fault *f = fault_shared();

    if (!real)
        real = dlsym(RTLD_NEXT, "fork");
    if (fault_now("fork", EAGAIN))
        return -1;
    uint32_t nth = f ? __atomic_add_fetch(&f->forks, 1, __ATOMIC_ACQ_REL) : 0;
    pid_t pid = real();
    if (pid == 0) {
        here = (struct place){.process = 1 + nth};
        memset(callers, 0, sizeof(callers));
    }
    return pid;
}

int epoll_create1(int flags)
{
    static int (*real)(int);

    if (!real)
        real = dlsym(RTLD_NEXT, "epoll_create1");
    return fault_now("epoll_create1", EMFILE) ? -1 : fault_own(real(flags));
}

int epoll_ctl(int ep, int op, int fd, struct epoll_event *e)
{
    static int (*real)(int, int, int, struct epoll_event *);

    if (!real)
        real = dlsym(RTLD_NEXT, "epoll_ctl");
    if (fault_is_own(ep))
        return real(ep, op, fd, e);
    return fault_now("epoll_ctl", ENOSPC) ? -1 : real(ep, op, fd, e);
}

static void fault_begin_wait(const char *name)
{
    struct fault *f = fault_shared();

    (void)fault_now(name, UNCOUNTED);
    if (f)
        __atomic_add_fetch(&f->waiting, 1, __ATOMIC_ACQ_REL);
}

static void fault_end_wait(void)
{
    struct fault *f = fault_shared();

    if (f)
        __atomic_sub_fetch(&f->waiting, 1, __ATOMIC_ACQ_REL);
}

/* To look, without waiting, is noticed by nobody. */
int poll(struct pollfd *p, nfds_t n, int ms)
{
    static int (*real)(struct pollfd *, nfds_t, int);

    if (!real)
        real = dlsym(RTLD_NEXT, "poll");
    if (ms == 0)
        return real(p, n, ms);
    fault_begin_wait("poll");
    int got = real(p, n, ms);
    fault_end_wait();
    return got;
}

int epoll_wait(int ep, struct epoll_event *e, int n, int ms)
{
    static int (*real)(int, struct epoll_event *, int, int);

    if (!real)
        real = dlsym(RTLD_NEXT, "epoll_wait");
    if (ms == 0)
        return real(ep, e, n, ms);
    fault_begin_wait("epoll_wait");
    int got = real(ep, e, n, ms);
    fault_end_wait();
    return got;
}

int memfd_create(const char *name, unsigned flags)
{
    static int (*real)(const char *, unsigned);

    if (!real)
        real = dlsym(RTLD_NEXT, "memfd_create");
    return fault_now("memfd_create", EMFILE) ? -1 : fault_own(real(name, flags));
}

ssize_t read(int fd, void *p, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "read");
    if (fault_is_own(fd))
        return real(fd, p, n);
    return fault_now("read", EIO) ? -1 : real(fd, p, n);
}

int ftruncate(int fd, off_t n)
{
    static int (*real)(int, off_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "ftruncate");
    if (fault_is_own(fd))
        return real(fd, n);
    return fault_now("ftruncate", UNCOUNTED) ? -1 : real(fd, n);
}

/* A copy may say why it ends. */
ssize_t write(int fd, const void *p, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);

    if (!real)
        real = dlsym(RTLD_NEXT, "write");
    if (fault_is_own(fd))
        return real(fd, p, n);
    if (is_copy && (fd == STDERR_FILENO || (syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND) != 0))
        return real(fd, p, n);
    return fault_now("write", ENOSPC) ? -1 : real(fd, p, n);
}

int open(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    va_list ap;
    int mode;

    va_start(ap, flags);
    mode = va_arg(ap, int);
    va_end(ap);
    if (!real)
        real = dlsym(RTLD_NEXT, "open");
    if (is_copy && (flags & (O_CREAT | O_WRONLY | O_RDWR)) == 0)
        return fault_own(real(path, flags, mode));
    return fault_now("open", EMFILE) ? -1 : real(path, flags, mode);
}

int fcntl(int fd, int cmd, ...)
{
    static int (*real)(int, int, ...);
    va_list ap;
    void *arg;

    va_start(ap, cmd);
    arg = va_arg(ap, void *);
    va_end(ap);
    if (!real)
        real = dlsym(RTLD_NEXT, "fcntl");
    return fault_now("fcntl", EINVAL) ? -1 : real(fd, cmd, arg);
}

/* glibc's own names: dlsym(3) allocates. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static void fault_be_here(const void *at)
{
    size_t i = (uintptr_t)at % CALLERS;
    Dl_info info;

    while (callers[i].at && callers[i].at != at)
        i = (i + 1) % CALLERS;
    if (!callers[i].at) {
        const void *base = dladdr(at, &info) ? info.dli_fbase : NULL;
        callers[i].at = at;
        callers[i].from = (uint32_t)((uintptr_t)at - (uintptr_t)base);
    }
    here.from = callers[i].from;
    here.nth = ++callers[i].n;
}

static int fault_alloc(const void *at)
{
    static __thread int inside;
    int hit;

    if (inside)
        return 0;
    inside = 1;
    fault_be_here(at);
    hit = fault_now("malloc", NO_MEMORY);
    inside = 0;
    return hit;
}

void *malloc(size_t n)
{
    return fault_alloc(__builtin_return_address(0)) ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fault_alloc(__builtin_return_address(0)) ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fault_alloc(__builtin_return_address(0)) ? NULL : __libc_realloc(p, n);
}
