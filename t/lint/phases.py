# SPDX-License-Identifier: Apache-2.0
"""The phase table is what users' security rests on: `cairn -L` is pinned."""

import difflib
import sys

import tree


def main():
    args = tree.arguments(__doc__)
    binary = args.builddir / 'cairn'
    if not binary.exists():
        print('phases: %s is not built' % binary)
        sys.exit(1)
    have = tree.run(str(binary), '-L').splitlines()
    want = tree.text('t/lint/phases.expected').splitlines()
    diff = list(difflib.unified_diff(want, have, 'phases.expected', 'cairn -L', lineterm=''))
    tree.finish(diff, 'phases: %d lines' % len(have))


main()
