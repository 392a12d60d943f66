# SPDX-License-Identifier: Apache-2.0
"""The wall clock is for printing and for dates that others gave us; all else must stand a step of it."""

import re

import tree

WALL = re.compile(r'\b(CLOCK_REALTIME|cn_clock_wall_us|gettimeofday|time\s*\(\s*NULL)\b')
# Who may use it, and what for.
USERS = {
    'src/core/clock.c': 'it is here', 'src/core/clock.h': 'it is here',
    'src/core/log.c': 'time stamps', 'modules/decisions/ring.c': 'time stamps',
    'src/proxy/req.c': 'start of a request, as logs tell it', 'src/proxy/head.c': 'the date header',
    'src/conf/disk.c': 'when the files were read, as file times tell it',
    'src/main/master.c': 'when we loaded, for people', 'src/main/admin_pages.c': 'for people',
    'src/tls/seen.c': 'validity of certificates',
    'modules/session/session.c': 'expiry in cookies, which clients keep',
}


def main():
    tree.arguments(__doc__)
    problems, count = [], 0
    for path in tree.files('src/*/*.[ch]', 'modules/*/*.[ch]'):
        bare = tree.strip(tree.text(path))
        found = list(WALL.finditer(bare))
        count += len(found)
        if found and str(path) not in USERS:
            problems += ['%s:%d: %s: the wall clock may step; use a monotonic one, or say in t/lint/clocks.py what for' % (
                path, tree.line_of(bare, m.start()), m.group(1)) for m in found]
    tree.finish(problems, 'clocks: %d uses of the wall clock' % count)


main()
