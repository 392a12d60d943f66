# SPDX-License-Identifier: Apache-2.0
"""A throw-away mesh CA and the identities it signs."""

import pathlib
import subprocess


class Identity:
    """A key, its certificate chain, and the bundle that this party trusts."""

    def __init__(self, uri, cert, key, roots):
        self.uri, self.cert, self.key, self.roots = uri, str(cert), str(key), str(roots)


class Pki:
    def __init__(self, folder, trust_domain='cluster.local'):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trust_domain = trust_domain
        self._identities = {}
        self.roots = self._ca('ca')

    def _openssl(self, *words):
        done = subprocess.run(['openssl', *words], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError('openssl %s: %s' % (' '.join(words), done.stderr))

    def _ca(self, name):
        self._openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                      '-keyout', name + '.key', '-out', name + '.pem', '-days', '3650',
                      '-subj', '/O=%s' % self.trust_domain,
                      '-addext', 'basicConstraints=critical,CA:TRUE',
                      '-addext', 'keyUsage=critical,keyCertSign,cRLSign')
        return self.folder / (name + '.pem')

    def identity(self, ns, sa, trust_domain=None, days=365, ca='ca', uris=None):
        """spiffe://TRUST_DOMAIN/ns/NS/sa/SA, made once; days < 0: expired.

        uris: other names instead (a list, may be empty)."""
        td = trust_domain or self.trust_domain
        uri = 'spiffe://%s/ns/%s/sa/%s' % (td, ns, sa)
        names = [uri] if uris is None else uris
        slot = (ca, days, tuple(names))
        if slot in self._identities:
            return self._identities[slot]
        if not (self.folder / (ca + '.pem')).exists():
            self._ca(ca)
        name = 'id%d-%s-%s' % (len(self._identities), ns, sa)
        san = ['subjectAltName=critical,' + ','.join('URI:' + u for u in names)] if names else []
        (self.folder / (name + '.ext')).write_text('\n'.join([
            *san, 'extendedKeyUsage=serverAuth,clientAuth', 'keyUsage=critical,digitalSignature',
            'basicConstraints=critical,CA:FALSE', '']))
        self._openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                      '-keyout', name + '.key', '-out', name + '.csr', '-subj', '/')
        self._openssl('x509', '-req', '-in', name + '.csr', '-CA', ca + '.pem', '-CAkey', ca + '.key',
                      '-CAcreateserial', '-days', str(days), '-extfile', name + '.ext', '-out', name + '.pem')
        made = Identity(names[0] if names else '', self.folder / (name + '.pem'), self.folder / (name + '.key'),
                        self.roots)
        self._identities[slot] = made
        return made

    def expired(self, ns, sa):
        return self.identity(ns, sa, days=-1)

    def foreign_ca(self, ns, sa):
        """The right name, signed by a CA that the mesh does not trust."""
        return self.identity(ns, sa, ca='foreign')

    def foreign_domain(self, ns, sa):
        """Signed by the mesh CA, of a trust domain that is not ours."""
        return self.identity(ns, sa, trust_domain='elsewhere.example')
