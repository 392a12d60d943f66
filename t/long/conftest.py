# SPDX-License-Identifier: Apache-2.0
"""What takes minutes, with the parties and fixtures of the integration tests."""

import importlib.util
import pathlib

import pytest

IT = pathlib.Path(__file__).resolve().parent.parent / 'it' / 'conftest.py'
_spec = importlib.util.spec_from_file_location('it_conftest', IT)
_it = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_it)
globals().update({name: value for name, value in vars(_it).items() if not name.startswith('_') and name != 'IT'})


@pytest.fixture(scope='session')
def sandir(builddir):
    """The build with sanitizers; `make check-long` makes it."""
    path = builddir / 'san'
    if 'sanitize' in (builddir / 'cn_flags').read_text():
        path = builddir
    if not (path / 'cairn').exists():
        pytest.skip('no build with sanitizers in %s' % path)
    return path
