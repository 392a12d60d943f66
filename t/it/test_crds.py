# SPDX-License-Identifier: Apache-2.0
"""conf/k8s/crds.yaml takes what cairn-gen takes, and refuses what it leaves out."""

import copy

import jsonschema
import pytest
import yaml

CASES = ['rate-limits', 'rate-limits-levels', 'rate-limits-bad', 'faults']


def closed(schema):
    """The API server drops fields that it does not know; here they are errors."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: closed(v) for k, v in schema.items()}
    if out.pop('x-kubernetes-int-or-string', False):
        out.pop('anyOf', None)
        out['type'] = ['integer', 'string']
    if isinstance(out.get('properties'), dict) and out.get('type') == 'object':
        out['additionalProperties'] = False
    return out


@pytest.fixture(scope='module')
def schemas(top):
    out = {}
    for crd in yaml.safe_load_all((top / 'conf/k8s/crds.yaml').read_text()):
        version, = crd['spec']['versions']
        assert crd['metadata']['name'] == '%s.%s' % (crd['spec']['names']['plural'], crd['spec']['group'])
        assert version['schema']['openAPIV3Schema']['properties']['spec']['properties']['targetRefs']
        out[crd['spec']['names']['kind']] = (crd['spec']['group'] + '/' + version['name'],
                                             jsonschema.Draft4Validator(closed(version['schema']['openAPIV3Schema'])))
    return out


def documents(top, case):
    for path in sorted((top / 't/kube' / case / 'in').glob('*.yaml')):
        for doc in yaml.safe_load_all(path.read_text()):
            yield doc


def errors(schemas, doc):
    api, validator = schemas[doc['kind']]
    assert doc['apiVersion'] == api
    doc = copy.deepcopy(doc)
    doc['metadata'] = {}
    return [e.json_path + ': ' + e.message for e in validator.iter_errors(doc)]


@pytest.mark.parametrize('case', CASES)
def test_policies_of_the_golden_cases(schemas, top, case):
    seen = 0
    for doc in documents(top, case):
        if doc['kind'] not in schemas:
            continue
        found, bad = errors(schemas, doc), doc['metadata']['name'] in ('typos', 'nowhere', 'no-service', 'bad')
        assert bool(found) == bad, '%s: %s' % (doc['metadata']['name'], found)
        seen += 1
    assert seen > 0


def spec_of(top):
    return next(d for d in documents(top, 'rate-limits') if d['kind'] == 'RateLimitPolicy')


@pytest.mark.parametrize('path, value', [
    (['local', 0, 'limit', 'requests'], 0), (['local', 0, 'limit', 'interval'], '1 minute'), (['local', 0, 'limit', 'burst'], 0),
    (['local', 1, 'key', 0, 'prefixV4'], 33), (['local', 1, 'key', 1, 'type'], 'Cookie'), (['local', 1, 'maxKeys'], 0),
    (['local', 1, 'scope'], 'Mesh'), (['local', 1, 'match', 0, 'to', 0, 'operation'], {'verbs': ['GET']}),
    (['global', 'failureMode'], 'Open'), (['global', 'descriptors'], []), (['global', 'service', 'port'], 0),
    (['global', 'descriptors', 0, 'limitOverride', 'unit'], 'Week'), (['response', 'status'], 200),
    (['response', 'headers', 0, 'name'], 'a b'), (['response', 'ratelimitHeaders'], 'On'), (['mode'], 'Watch'),
    (['targetRefs'], []), (['locals'], [])])
def test_what_makes_no_sense_is_refused(schemas, top, path, value):
    doc = copy.deepcopy(spec_of(top))
    assert errors(schemas, doc) == []
    at = doc['spec']
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    assert errors(schemas, doc)
