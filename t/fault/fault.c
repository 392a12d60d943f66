/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to be preloaded: it makes the n-th system call of a program, its
 * children included, fail.  Which one is said in the file FAULT_FILE, which
 * every process maps: a test sets nth and armed, lets the program do something,
 * and reads which call was hit.  Only calls that may fail for reasons outside
 * the program are here.  Or, when armed is 2, the n-th allocation; when it is 3
 * the program is killed instead of its n-th system call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
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
#include <unistd.h>

/* Stands for ENOMEM of an allocation: those are counted apart from calls. */
#define NO_MEMORY (-1)
/* Stands for the error of a call that never fails here. */
#define NEVER (-2)

enum { FAIL_CALL = 1, FAIL_ALLOC, KILL };

/* The same layout in t/it/test_fault.py. */
struct fault {
    uint32_t armed, nth, count, hit;
    int32_t pid; /* of whom it hit */
    char name[48];
};

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

static int fault_counts(uint32_t armed, int error)
{
    if (error == NO_MEMORY)
        return armed == FAIL_ALLOC;
    return armed == KILL || (armed == FAIL_CALL && error != NEVER);
}

static int fault_now(const char *name, int error)
{
    struct fault *f = fault_shared();
    uint32_t armed = f ? __atomic_load_n(&f->armed, __ATOMIC_ACQUIRE) : 0;

    if (!fault_counts(armed, error) || __atomic_add_fetch(&f->count, 1, __ATOMIC_ACQ_REL) != f->nth)
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
WRAP(ssize_t, -1, ENOBUFS, sendmsg, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP(ssize_t, -1, EIO, recvmsg, (int fd, struct msghdr *m, int flags), (fd, m, flags))
WRAP(int, -1, EMFILE, epoll_create1, (int flags), (flags))
WRAP(int, -1, ENOSPC, epoll_ctl, (int ep, int op, int fd, struct epoll_event *e), (ep, op, fd, e))
WRAP(pid_t, -1, EAGAIN, fork, (void), ())
WRAP(int, -1, EMFILE, memfd_create, (const char *name, unsigned flags), (name, flags))
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
WRAP(ssize_t, -1, EIO, read, (int fd, void *p, size_t n), (fd, p, n))
WRAP(ssize_t, -1, ENOSPC, write, (int fd, const void *p, size_t n), (fd, p, n))
WRAP(int, -1, NEVER, unlink, (const char *path), (path))
WRAP(int, -1, NEVER, mkdir, (const char *path, mode_t mode), (path, mode))

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

static int fault_alloc(void)
{
    static __thread int inside;
    int hit;

    if (inside)
        return 0;
    inside = 1;
    hit = fault_now("malloc", NO_MEMORY);
    inside = 0;
    return hit;
}

void *malloc(size_t n)
{
    return fault_alloc() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return fault_alloc() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return fault_alloc() ? NULL : __libc_realloc(p, n);
}
