/* SPDX-License-Identifier: Apache-2.0
 *
 * Signals through signalfd(2).  Knows nothing of what a signal means; master
 * and worker decide.  The descriptor belongs to whoever opened it.
 */
#include "os/sig.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

cn_rc cn_sig_open(const int *signals, int *fd)
{
    sigset_t set;

    sigemptyset(&set);
    for (; *signals; signals++)
        sigaddset(&set, *signals);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return CN_ERR;
    *fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return *fd < 0 ? CN_ERR : CN_OK;
}

int cn_sig_next(int fd, pid_t *sender)
{
    struct signalfd_siginfo info;
    ssize_t n;

    do {
        n = read(fd, &info, sizeof(info));
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof(info))
        return 0;
    if (sender)
        *sender = (pid_t)info.ssi_pid;
    return (int)info.ssi_signo;
}

void cn_sig_ignore_pipe(void)
{
    signal(SIGPIPE, SIG_IGN);
}

void cn_sig_reset(void)
{
    sigset_t none;

    sigemptyset(&none);
    for (int s = 1; s < NSIG; s++) {
        if (s != SIGKILL && s != SIGSTOP)
            signal(s, SIG_DFL);
    }
    sigprocmask(SIG_SETMASK, &none, NULL);
}

const char *cn_sig_name(int signo)
{
    switch (signo) {
    case SIGHUP:
        return "SIGHUP";
    case SIGINT:
        return "SIGINT";
    case SIGQUIT:
        return "SIGQUIT";
    case SIGTERM:
        return "SIGTERM";
    case SIGUSR1:
        return "SIGUSR1";
    case SIGUSR2:
        return "SIGUSR2";
    case SIGWINCH:
        return "SIGWINCH";
    case SIGCHLD:
        return "SIGCHLD";
    case SIGKILL:
        return "SIGKILL";
    case SIGSEGV:
        return "SIGSEGV";
    case SIGABRT:
        return "SIGABRT";
    case SIGBUS:
        return "SIGBUS";
    case SIGXCPU:
        return "SIGXCPU";
    default: {
        const char *abbrev = sigabbrev_np(signo);
        return abbrev ? abbrev : "unknown signal";
    }
    }
}
