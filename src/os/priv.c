/* SPDX-License-Identifier: Apache-2.0
 *
 * Privileges and limits of the calling process.  Knows nothing of masters and
 * workers.  Dropping is verified: a process that could become root again must
 * not go on.
 */
#include "os/priv.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/str.h"

bool cn_priv_is_root(void)
{
    return geteuid() == 0;
}

static bool parse_id(const char *s, uint32_t *id)
{
    uint64_t v;

    if (cn_str_u64(cn_str_c(s), UINT32_MAX - 1, &v) != CN_OK)
        return false;
    *id = (uint32_t)v;
    return true;
}

cn_rc cn_priv_lookup(const char *user, const char *group, cn_priv_t *out, const char **why)
{
    const struct passwd *pw = getpwnam(user);

    memset(out, 0, sizeof(*out));
    if (pw) {
        if (strlen(pw->pw_name) >= sizeof(out->name)) {
            *why = "the user's name is too long";
            return CN_ERR;
        }
        memcpy(out->name, pw->pw_name, strlen(pw->pw_name) + 1);
        out->uid = pw->pw_uid;
        out->gid = pw->pw_gid;
    } else if (parse_id(user, &out->uid)) {
        out->gid = (gid_t)out->uid;
    } else {
        *why = "no such user";
        return CN_ERR;
    }
    if (!group)
        return CN_OK;
    const struct group *gr = getgrnam(group);
    if (gr)
        out->gid = gr->gr_gid;
    else if (!parse_id(group, &out->gid)) {
        *why = "no such group";
        return CN_ERR;
    }
    return CN_OK;
}

cn_rc cn_priv_drop(const cn_priv_t *p)
{
    int rc = p->name[0] ? initgroups(p->name, p->gid) : setgroups(1, &p->gid);

    if (rc != 0 || setresgid(p->gid, p->gid, p->gid) != 0 || setresuid(p->uid, p->uid, p->uid) != 0)
        return CN_ERR;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return CN_ERR;
    if (p->uid != 0 && (setuid(0) == 0 || geteuid() != p->uid)) {
        errno = EPERM;
        return CN_ERR;
    }
    return CN_OK;
}

cn_rc cn_priv_nofile(uint64_t n)
{
    struct rlimit now, want = {.rlim_cur = n, .rlim_max = n};

    if (getrlimit(RLIMIT_NOFILE, &now) != 0)
        return CN_ERR;
    if (now.rlim_max > want.rlim_max)
        want.rlim_max = now.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &want) == 0 ? CN_OK : CN_ERR;
}

cn_rc cn_priv_confine(uint64_t cpu_s, uint64_t bytes)
{
    const struct rlimit none = {0, 0};
    const struct rlimit cpu = {cpu_s, cpu_s};
    const struct rlimit space = {bytes, bytes};

    if (setrlimit(RLIMIT_CORE, &none) != 0)
        return CN_ERR;
    if (cpu_s > 0 && setrlimit(RLIMIT_CPU, &cpu) != 0)
        return CN_ERR;
    if (bytes > 0 && setrlimit(RLIMIT_AS, &space) != 0)
        return CN_ERR;
    return CN_OK;
}
