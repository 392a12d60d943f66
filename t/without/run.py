# SPDX-License-Identifier: Apache-2.0
"""Builds with modules left out: run.py --builddir=DIR [--each] [MODULE...]

Takes the objects of DIR over, so only the table of modules is compiled and the
programs are linked.  Without names all modules are left out together; --each:
one after the other, and each build also passes its unit tests and the corpora.
Prints `ok NAME` and `not ok NAME` lines, the reasons before them.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 't/lint'))

import directives  # noqa: E402
import tree  # noqa: E402

BLOCKS = {'MAIN': '%s', 'SERVICE': 'service s.ns:80 {\naddress 10.0.0.1:80;\n%s\n}', 'CLUSTER': 'cluster c {\n%s\n}',
          'ROUTE': 'service s.ns:80 {\naddress 10.0.0.1:80;\nroute r {\n%s\n}\n}'}
failures = []


def report(name, problem):
    if problem:
        failures.append(name)
        print('\n'.join('    ' + line for line in problem.splitlines()))
    print('%s %s' % ('not ok' if problem else 'ok', name))


def run(*words, timeout=600):
    done = subprocess.run([str(w) for w in words], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    return done.returncode, done.stdout


def must(*words):
    rc, text = run(*words)
    if rc != 0:
        raise RuntimeError('%s: exit code %d\n%s' % (' '.join(map(str, words)), rc, text[-4000:]))


def modules():
    """Those of the tree that are built when nothing is said."""
    return [p.parent.name for p in sorted(TOP.glob('modules/*/config')) if 'cn_default=no' not in p.read_text()]


def take_over(source, target):
    shutil.rmtree(target, ignore_errors=True)
    for path in [*source.glob('src/**/*.o'), *source.glob('modules/**/*.o'), *source.glob('t/unit/**/*.o'), source / 'cn_flags']:
        to = target / path.relative_to(source)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, to)


def build(source, target, names, goals):
    """As DIR was configured, less the modules of these names."""
    take_over(source, target)
    arguments = re.search(r'^CONFIGURE_ARGS := (.*)$', (source / 'Makefile').read_text(), re.M).group(1)
    given = [a.strip("'") for a in arguments.split()]
    must('./configure', *given, *('--without-' + n for n in names), '--builddir=%s' % target)
    for goal in goals:
        must('make', '-f', target / 'Makefile', goal)
    return target / 'cairn'


def words_of(name):
    """(directive, level) of a module, as its tables have them."""
    for path in tree.files('modules/%s/*.c' % name):
        for entry in directives.all_entries(path):
            for level in re.findall(r'CN_AT_(MAIN|SERVICE|ROUTE|CLUSTER)', entry.get('where', '')):
                yield entry['name'].strip('"'), level


def told(cairn, folder, text):
    """What `cairn -t` says of a conf."""
    path = folder / 'without.conf'
    path.write_text(text + '\n')
    return run(cairn, '-t', '-p', folder, '-c', path.name)


def check_directives(cairn, folder, name):
    wrong = []
    uses = [(word, BLOCKS[level] % (word + ' x;')) for word, level in words_of(name)]
    source = ''.join(tree.text(p) for p in tree.files('modules/%s/*.c' % name))
    if '.listener =' in source:
        uses.append((name, 'listen 127.0.0.1:1 %s;' % name))
    if '.lb =' in source:
        uses.append(('lb', BLOCKS['CLUSTER'] % 'lb round_robin;'))
    for word, conf in uses:
        rc, text = told(cairn, folder, conf)
        if rc != 1 or '"%s" needs the module "%s", which this program was built without' % (word, name) not in text:
            wrong.append('%s: exit code %d: %s' % (conf, rc, text.strip()))
    return '\n'.join(wrong)


def all_together(source, names):
    target = source / 'without/all'
    cairn = build(source, target, names, ['all'])
    listed = run(cairn, '-V')[1]
    report('all modules: none is left', listed if re.search(r'^modules:.*\b(%s)\b' % '|'.join(names), listed, re.M) else '')
    rc, text = told(cairn, target, 'cluster c {\nendpoint 127.0.0.1:80;\n}\nservice s.ns:80 {\naddress 10.0.0.1:80;\n}')
    report('all modules: a conf without them is fine', text if rc else '')
    for name in names:
        report('%s: what is its own says so' % name, check_directives(cairn, target, name))


def one(source, name):
    target = source / 'without' / name
    cairn = build(source, target, [name], ['all', 'unit-tests'])
    report('%s: what is its own says so' % name, check_directives(cairn, target, name))
    rc, text = run(sys.executable, 't/run.py', '--builddir=%s' % target, 'unit', 'conf', 'kube')
    report('%s: the tests of the rest pass' % name, text[-4000:] if rc else '')
    shutil.rmtree(target)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--builddir', default='objs')
    parser.add_argument('--each', action='store_true')
    parser.add_argument('names', nargs='*', metavar='MODULE')
    options = parser.parse_args()
    source, names = (TOP / options.builddir).resolve(), options.names or modules()
    try:
        if options.each:
            for name in names:
                one(source, name)
        else:
            all_together(source, names)
    except RuntimeError as e:
        report('build', str(e))
    sys.exit(1 if failures else 0)


main()
