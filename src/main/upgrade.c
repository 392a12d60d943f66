/* SPDX-License-Identifier: Apache-2.0
 *
 * Binary upgrade, as nginx does it: on USR2 the program on disk is started as
 * our child with our listening sockets.  Both serve until an operator stops
 * one: WINCH and QUIT here complete the upgrade; when the new one ends instead,
 * everything is as before.
 *
 * The old pid file is kept as FILE.oldbin while both run.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "main/master_int.h"
#include "os/sig.h"

#define OLD_SUFFIX ".oldbin"

static char *old_path(const char *path)
{
    size_t n = strlen(path);
    char *old = cn_xmalloc(n + sizeof(OLD_SUFFIX));

    memcpy(old, path, n);
    memcpy(old + n, OLD_SUFFIX, sizeof(OLD_SUFFIX));
    return old;
}

/* Frees the name for the new binary.  pid_path stays what must be removed. */
static void move_pid_file(cn_master_t *m)
{
    if (!m->pid_path)
        return;
    char *old = old_path(m->pid_path);
    if (rename(m->pid_path, old) != 0)
        cn_log(CN_LOG_ERROR, "master", "%s cannot be renamed: %s", m->pid_path, strerror(errno));
    free(m->pid_path);
    m->pid_path = old;
}

static void move_pid_file_back(cn_master_t *m)
{
    if (!m->pid_path)
        return;
    size_t n = strlen(m->pid_path) - strlen(OLD_SUFFIX);
    char *now = cn_xzalloc(n + 1);
    memcpy(now, m->pid_path, n);
    if (rename(m->pid_path, now) != 0)
        cn_log(CN_LOG_ERROR, "master", "%s cannot be renamed: %s", m->pid_path, strerror(errno));
    free(m->pid_path);
    m->pid_path = now;
}

static CN_NORETURN void become(cn_master_t *m)
{
    cn_sig_reset();
    if (cn_sockets_export(&m->sockets) == CN_OK && cn_totals_export(&m->totals) == CN_OK)
        execv(m->args->argv[0], m->args->argv);
    cn_log(CN_LOG_EMERG, "master", "%s cannot be started: %s", m->args->argv[0], strerror(errno));
    _exit(127);
}

void cn_upgrade_start(cn_master_t *m)
{
    if (m->new_binary) {
        cn_log(CN_LOG_NOTICE, "master", "a new binary is already running as process %ld",
               (long)m->new_binary);
        return;
    }
    if (m->old_binary && m->old_binary == getppid()) {
        cn_log(CN_LOG_NOTICE, "master",
               "no new binary is started while the older one, process %ld, still runs",
               (long)m->old_binary);
        return;
    }
    if (!cn_totals_has_room(&m->totals)) {
        cn_log(CN_LOG_NOTICE, "master",
               "no new binary is started while workers of a master that is gone still run: "
               "counters would begin at 0");
        return;
    }
    move_pid_file(m);
    pid_t pid = fork();
    if (pid == 0)
        become(m);
    if (pid < 0) {
        cn_log(CN_LOG_EMERG, "master", "the new binary cannot be forked: %s", strerror(errno));
        move_pid_file_back(m);
        return;
    }
    m->new_binary = pid;
    cn_log(CN_LOG_NOTICE, "master", "new binary started as process %ld", (long)pid);
}

bool cn_upgrade_reaped(cn_master_t *m, const cn_proc_end_t *end)
{
    if (m->new_binary != end->pid)
        return false;
    m->new_binary = 0;
    if (end->signo)
        cn_log(CN_LOG_ERROR, "master", "the new binary was killed by %s", cn_sig_name(end->signo));
    else
        cn_log(CN_LOG_NOTICE, "master", "the new binary ended with status %d", end->status);
    if (m->state != CN_MASTER_RUNNING)
        return true;
    move_pid_file_back(m);
    if (m->paused) {
        cn_log(CN_LOG_NOTICE, "master", "starting workers again");
        m->paused = false;
    }
    return true;
}
