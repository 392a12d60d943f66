/* SPDX-License-Identifier: Apache-2.0
 *
 * A library to be preloaded: the wall clock of a program, its children
 * included, is off by as many seconds as the file CLOCK_FILE says, which every
 * process maps.  A test writes there, and the clock has jumped.  The monotonic
 * clock and the times of files are those of the system.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The same layout in t/it/test_clock.py. */
struct jump {
    int64_t off_s;
    uint64_t asked; /* how often the wall clock was read */
};

static struct jump *clock_shared(void)
{
    static struct jump *shared;
    const char *path = getenv("CLOCK_FILE");

    if (!shared && path) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        void *p = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        close(fd);
        if (p != MAP_FAILED)
            shared = p;
    }
    return shared;
}

static int64_t clock_off(void)
{
    struct jump *j = clock_shared();

    if (!j)
        return 0;
    __atomic_add_fetch(&j->asked, 1, __ATOMIC_RELAXED);
    return __atomic_load_n(&j->off_s, __ATOMIC_ACQUIRE);
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
    long rc = syscall(SYS_clock_gettime, id, ts);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ts->tv_sec += clock_off();
    return (int)rc;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    struct timespec ts;

    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
        return -1;
    tv->tv_sec = ts.tv_sec;
    tv->tv_usec = ts.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *t)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_REALTIME, &ts) != 0)
        return -1;
    if (t)
        *t = ts.tv_sec;
    return ts.tv_sec;
}
