# SPDX-License-Identifier: Apache-2.0
"""Runs the test suites and ends with the line `N passed, N failed`.

    run.py [--builddir=DIR] [--jobs=N] [--long] [SUITE...]

A suite is a function that yields checks; a check is a name and a function that
returns its results.  Checks of one suite run side by side where they cannot
disturb each other, suites one after the other, and every failure is printed
with what the program said.
"""

import argparse
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree

TOP = pathlib.Path(__file__).resolve().parent.parent
LINES = 120  # of what a failed check said
SANITIZER = {
    'ASAN_OPTIONS': 'abort_on_error=0:exitcode=99:detect_stack_use_after_return=1',
    'UBSAN_OPTIONS': 'print_stacktrace=1',
}


class Result:
    def __init__(self, name, ok, text=''):
        self.name, self.ok, self.text = name, ok, text


def command(*words, timeout=120, cwd=TOP, stdin=None):
    """(exit code, what it printed); a program that hangs is a failure as any other."""
    env = {**SANITIZER, **os.environ}
    try:
        done = subprocess.run([str(w) for w in words], cwd=cwd, env=env, timeout=timeout, input=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    except subprocess.TimeoutExpired as e:
        said = e.stdout or b''
        said = said.decode(errors='replace') if isinstance(said, bytes) else said
        return 124, said + '\nstill running after %d s' % timeout
    except OSError as e:
        return 127, str(e)
    return done.returncode, done.stdout


def simple(name, *words, timeout=120, show=False):
    """A check that is one program: exit code 0 is a pass."""
    def go():
        rc, text = command(*words, timeout=timeout)
        if show and rc == 0 and text.strip():
            print('    ' + text.strip().splitlines()[-1])
        return [Result(name, rc == 0, text)]
    return name, go


# ---- lint ----

def lint(options):
    for script in sorted((TOP / 't/lint').glob('*.py')):
        if script.name == 'tree.py' or (script.name == 'phases.py' and not script.with_suffix('.expected').exists()):
            continue
        yield simple('lint ' + script.stem, sys.executable, script, '--builddir=%s' % options.builddir, show=True)
    scripts = [TOP / 'configure', *sorted((TOP / '.ci').glob('run*')), *sorted((TOP / 't').rglob('*.sh'))]
    if shutil.which('shellcheck'):
        for script in scripts:
            yield simple('shellcheck %s' % script.relative_to(TOP), 'shellcheck', script)
    pages = sorted((TOP / 'html/man').glob('*.[158]'))
    if shutil.which('mandoc') and pages:
        yield simple('mandoc', 'mandoc', '-Tlint', '-Wwarning', *pages)
    yield 'format', lambda: check_format(options)


def check_format(options):
    tool = shutil.which(os.environ.get('CLANG_FORMAT', 'clang-format-14'))
    if not tool:
        print('    no clang-format-14: the format is not checked')
        return []
    sources = [p for pattern in ('src/*/*.[ch]', 'modules/**/*.[ch]', 't/**/*.[ch]') for p in sorted(TOP.glob(pattern))]
    _, text = command(tool, '--dry-run', *sources)
    off = sorted(set(re.findall(r'^(\S+?):\d+:\d+: warning', text, re.M)))
    names = [os.path.relpath(p, TOP) for p in off]
    if options.strict_format:
        return [Result('format', not names, 'make format would change: ' + ' '.join(names))]
    if names:
        print('    make format would change %d of %d files' % (len(names), len(sources)))
    return []


# ---- unit tests ----

OK = re.compile(r'^\[\s+OK \] (\S+)', re.M)
FAILED = re.compile(r'^\[  (?:FAILED |ERROR  ) \] (?:\S+: )?(\w+)$', re.M)


def cmocka(name, program):
    rc, text = command(program)
    results = [Result('%s %s' % (name, test), True) for test in OK.findall(text)]
    failed = sorted(set(FAILED.findall(text)) - {'tests'})
    # What the program said is printed once, not with each of its tests.
    results += [Result('%s %s' % (name, test), False, '' if i else text) for i, test in enumerate(failed)]
    if rc != 0 and not failed:
        results.append(Result(name, False, '%s\nexit code %d' % (text, rc)))
    if not results:
        results.append(Result(name, False, 'no test ran\n' + text))
    return results


def unit(options):
    sources = [p for pattern in ('t/unit/*/*_test.c', 'modules/*/t/*_test.c') for p in sorted(TOP.glob(pattern))]
    for source in sources:
        path = source.relative_to(TOP)
        area = 'modules' if path.parts[0] == 'modules' else path.parts[2]
        program = options.builddir / path.with_suffix('')
        if options.areas and area not in options.areas:
            continue
        if area == 'modules' and not program.exists():
            continue  # configured without it
        name = 'unit %s/%s' % (path.parts[1] if area == 'modules' else area, path.stem.removesuffix('_test'))
        yield name, (lambda name=name, program=program: cmocka(name, program))


# ---- conf corpus ----

def conf(options):
    """ok/*.conf pass `cairn -t`; bad/*.conf fail as their first line says: # expect: TEXT
    The same folders below modules/NAME/t, where the module is built."""
    built = command(options.builddir / 'cairn', '-V')[1]
    folders = [TOP / 't/conf', *sorted(TOP.glob('modules/*/t'))]
    for folder in folders:
        module = '' if folder.parent.name == 't' else folder.parent.name
        if module and not re.search(r'\b%s\b' % module, built):
            continue
        for kind in ('ok', 'bad'):
            for path in sorted((folder / kind).glob('*.conf')):
                name = 'conf %s%s/%s' % (module and module + '/', kind, path.stem)
                yield name, (lambda name=name, path=path, kind=kind: check_conf(options, name, path, kind == 'bad'))


def check_conf(options, name, path, bad):
    rc, text = command(options.builddir / 'cairn', '-t', '-p', path.parent, '-c', path.name)
    if rc == 1 and 'which this program was built without' in text:
        return []  # it needs a module that configure was told to leave out
    if not bad:
        return [Result(name, rc == 0, text)]
    first = path.read_text(errors='replace').splitlines()[0]
    expected = first.removeprefix('# expect:').strip()
    said = re.sub(r'[\w./-]*/([\w.-]+:\d)', r'\1', text)  # without folders
    ok = rc == 1 and first.startswith('# expect:') and expected in said
    return [Result(name, ok, 'exit code %d, expected 1 and: %s\n%s' % (rc, expected, text))]


# ---- manifests to conf ----

def kube(options):
    script = TOP / 't/kube/run.py'
    if script.exists():
        yield 'kube', lambda: listed('kube', sys.executable, script, '--builddir=%s' % options.builddir)


def listed(name, *words):
    """A script of its own that prints `ok NAME` and `not ok NAME` lines, the reasons before them."""
    rc, text = command(*words, timeout=300)
    results, said = [], []
    for line in text.splitlines():
        verdict = re.match(r'(not )?ok (.+)$', line)
        if verdict:
            results.append(Result('%s %s' % (name, verdict.group(2)), not verdict.group(1), '\n'.join(said)))
            said = []
        else:
            said.append(line)
    if not results or (rc != 0 and all(r.ok for r in results)):
        results.append(Result(name, False, '%s\nexit code %d' % (text, rc)))
    return results


# ---- builds that leave modules out ----

def without(options):
    script = TOP / 't/without/run.py'
    yield 'without', lambda: listed('without', sys.executable, script, '--builddir=%s' % options.builddir)


# ---- fuzz regressions ----

def fuzz(options):
    """Replays corpus and past findings of each fuzz target, in this build."""
    for source in sorted((TOP / 't/fuzz').glob('*_fuzz.c')):
        target = source.stem.removesuffix('_fuzz')
        if not (options.builddir / 't/fuzz' / source.stem).exists():
            continue  # of a module that is not built
        folders = [p for p in (TOP / 't/fuzz/corpus' / target, TOP / 't/fuzz/regress' / target) if p.is_dir()]
        yield simple('fuzz ' + target, options.builddir / 't/fuzz' / source.stem, *folders)


# ---- integration ----

def it(options):
    """File by file: most of their time is waiting for others."""
    for path in sorted((TOP / 't/it').glob('test_*.py')):
        yield path.stem, lambda path=path: pytest(options, 'it', path.relative_to(TOP))


def long(options):
    """Minutes of load, also against the build with sanitizers; only when asked for."""
    yield 'long', lambda: pytest(options, 'long', 't/long')


NO_TESTS = 5  # all of a file's tests were left out


def pytest(options, suite, path):
    with tempfile.TemporaryDirectory() as scratch:
        report = pathlib.Path(scratch) / 'report.xml'
        words = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', '--tb=short',
                 '--junitxml=%s' % report, '--builddir=%s' % options.builddir, str(path)]
        if not options.long:
            words += ['-m', 'not slow']
        rc, text = command(*words, timeout=7200 if options.long else 900)
        results = []
        if report.exists():
            for case in xml.etree.ElementTree.parse(report).iter('testcase'):
                if case.find('skipped') is not None:
                    print('    skipped: %s (%s)' % (case.get('name'), case.find('skipped').get('message')))
                    continue
                broken = [e for tag in ('failure', 'error') for e in case.findall(tag)]
                said = '\n'.join((e.get('message') or '') + '\n' + (e.text or '') for e in broken)
                for figures in case.findall('properties/property'):
                    print('    ' + figures.get('value'))
                results.append(Result('%s %s %s' % (suite, case.get('classname'), case.get('name')), not broken, said))
        if rc not in (0, NO_TESTS) and all(r.ok for r in results):
            results.append(Result('%s %s' % (suite, path), False, '%s\nexit code %d' % (text, rc)))
        return results


# ---- all of them ----

SUITES = {'lint': lint, 'unit': unit, 'conf': conf, 'kube': kube, 'without': without, 'fuzz': fuzz, 'it': it, 'long': long}


def run_suite(name, options):
    print('== %s' % name, flush=True)
    begin = time.monotonic()
    results = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=options.jobs * (2 if name == 'it' else 1)) as pool:
        for future in [pool.submit(go) for _, go in SUITES[name](options)]:
            results += future.result()
    for result in results:
        if not result.ok:
            lines = result.text.strip().splitlines()
            shown = lines if len(lines) <= LINES else lines[:20] + ['[...]'] + lines[20 - LINES:]
            print('\n'.join(['FAILED ' + result.name, *('    ' + line for line in shown)]))
    good = sum(r.ok for r in results)
    print('   %s: %d passed, %d failed, %.1f s' % (name, good, len(results) - good, time.monotonic() - begin), flush=True)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--builddir', default='objs')
    parser.add_argument('--jobs', type=int, default=2)
    parser.add_argument('--long', action='store_true', help='also what takes minutes')
    parser.add_argument('--areas', type=str.split, help='unit tests of these areas only')
    parser.add_argument('suites', nargs='*', default=[], metavar='SUITE', help=', '.join(SUITES))
    options = parser.parse_args()
    options.builddir = (TOP / options.builddir).resolve()
    options.strict_format = os.environ.get('LINT_FORMAT', '1') == '1'
    suites = options.suites or [name for name in SUITES if name != 'long' or options.long]
    results = [r for name in suites for r in run_suite(name, options)]
    failed = [r for r in results if not r.ok]
    if failed:
        print('failed:')
        for result in failed:
            print('    %s' % result.name)
    print('%d passed, %d failed' % (len(results) - len(failed), len(failed)))
    sys.exit(1 if failed or not results else 0)


main()
