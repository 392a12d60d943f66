# SPDX-License-Identifier: Apache-2.0
"""The world outside the mesh: a public CA, and nginx as an https server."""

from . import pki, servers

NGINX = """\
daemon off;
master_process off;
error_log {folder}/error.log info;
pid {folder}/nginx.pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen {ip}:{port} {how};
        ssl_certificate {cert};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        {settings}
        location / {{
            default_type text/plain;
            return 200 "{name} sni=$ssl_server_name host=$host alpn=$ssl_alpn_protocol client=$ssl_client_s_dn tls=$ssl_protocol
                proxy=$proxy_protocol_addr:$proxy_protocol_port>$proxy_protocol_server_addr:$proxy_protocol_server_port";
        }}
    }}
}}
"""


class WebPki(pki.Pki):
    """Certificates for DNS names, as web servers and their clients have them."""

    def __init__(self, folder):
        super().__init__(folder, 'web.example')
        self._made = {}

    def cert(self, *names, days=365, ca='ca'):
        """For these subjectAltNames ("DNS:a.example", "IP:127.0.0.1"); the first DNS name is the subject too."""
        slot = (names, days, ca)
        if slot not in self._made:
            if not (self.folder / (ca + '.pem')).exists():
                self._ca(ca)
            name = 'web%d' % len(self._made)
            (self.folder / (name + '.ext')).write_text('subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n'
                                                       'basicConstraints=critical,CA:FALSE\n' % ','.join(names))
            self._openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', name + '.key',
                          '-out', name + '.csr', '-subj', '/CN=%s' % names[0].partition(':')[2])
            self._openssl('x509', '-req', '-in', name + '.csr', '-CA', ca + '.pem', '-CAkey', ca + '.key',
                          '-CAcreateserial', '-days', str(days), '-extfile', name + '.ext', '-out', name + '.pem')
            self._made[slot] = pki.Identity(names[0], self.folder / (name + '.pem'), self.folder / (name + '.key'),
                                            self.folder / (ca + '.pem'))
        return self._made[slot]

    def crl(self, *revoked):
        """A file with the CA's list of these certificates (Identity), which are revoked."""
        name = 'crl%d' % len(list(self.folder.glob('crl*.pem')))
        (self.folder / (name + '.index')).write_text('')
        (self.folder / (name + '.number')).write_text('01\n')
        (self.folder / (name + '.cnf')).write_text('[ca]\ndefault_ca=x\n[x]\ndatabase=%s.index\ncrlnumber=%s.number\n'
                                                   'default_md=sha256\n' % (name, name))
        ca = ['ca', '-config', name + '.cnf', '-keyfile', 'ca.key', '-cert', 'ca.pem']
        for one in revoked:
            self._openssl(*ca, '-revoke', str(one.cert))
        self._openssl(*ca, '-gencrl', '-crldays', '1', '-out', name + '.pem')
        return self.folder / (name + '.pem')


class Nginx(servers.Server):
    """An https server that says in its answer how it was reached."""

    def __init__(self, name, cert, port=443, settings='', how='ssl', ip=None):
        super().__init__(name, port)
        self.ip = ip or self.ip
        # Read as root; nginx itself needs no user of its own.
        self.conf = self.folder / 'nginx.conf'
        self.conf.write_text(NGINX.format(folder=self.folder, ip=self.ip, port=port, cert=cert.cert, key=cert.key,
                                          settings=settings, name=name, how=how))
        self.start(servers.program('nginx'), '-c', str(self.conf), '-e', str(self.folder / 'error.log'))

    @property
    def errors(self):
        return (self.folder / 'error.log').read_text(errors='replace')
