# SPDX-License-Identifier: Apache-2.0
"""What people use beside cairn: curl through cairn-tunnel, promtool, h2load, nghttp."""

import hashlib
import os
import re
import shutil
import signal
import subprocess

import pytest

from peers import net, proxy

VIP, TCP = '10.96.0.1:9080', '10.96.0.2:9000'
REVIEWS = 'reviews.bookinfo:9080'
HOST = 'reviews.bookinfo.svc.cluster.local'
BODY = bytes(range(256)) * 4096


@pytest.fixture
def waypoint(cairn, new_origin, new_tcp_origin):
    app, tcp = new_origin('reviews-v1'), new_tcp_origin('tcp')
    one = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP) +
                proxy.cluster('tcp.bookinfo:9000', proxy.endpoint(tcp), protocol='tcp') +
                proxy.service('tcp.bookinfo:9000', TCP, protocol='tcp'), workers=2)
    one.app = app
    return one


class Tunnel:
    """A running cairn-tunnel; .address is where it listens."""

    def __init__(self, binary, waypoint, identity, *words):
        self.process = subprocess.Popen(
            [str(binary), '--via', waypoint.ip + ':15008', '--cert', identity.cert, '--key', identity.key,
             '--roots', identity.roots, *words], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        self.address = re.match(r'listening on (\S+)$', line).group(1)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()
        return '' if self.process.returncode == 0 else 'cairn-tunnel ended with %d' % self.process.returncode


@pytest.fixture
def tunnel(builddir, waypoint, curl, stopping):
    """tunnel('--to', VIP) or tunnel('--socks5') -> a Tunnel."""
    def make(*words):
        at = net.new_ip() + ':0'
        words = ['--socks5', at] if words == ('--socks5',) else [*words, '--listen', at]
        stopping.append(Tunnel(builddir / 'cairn-tunnel', waypoint, curl, *words))
        return stopping[-1]
    return make


@pytest.fixture
def web(run, tunnel):
    """web('/path', curl options...) -> what curl printed, through a tunnel to the service."""
    address = tunnel('--to', VIP).address

    def go(path, *words, **options):
        done = run('curl', '-sS', '-m', '20', *words, 'http://%s%s' % (address, path), **options)
        assert done.returncode == 0, done.stderr
        return done
    return go


def need(tool):
    if not shutil.which(tool):
        pytest.skip('no ' + tool)


# ---- curl ----

def test_curl_gets_and_keeps_its_connection(web):
    said = web('/[1-5]', '-w', '%{http_code} %{num_connects}\n', '-o', '/dev/null').stdout
    assert said.splitlines() == ['200 1'] + ['200 0'] * 4


def test_curl_speaks_http2_by_prior_knowledge(web, tmp_path):
    assert web('/n', '--http2-prior-knowledge', '-w', '%{http_code} %{http_version}', '-o', '/dev/null').stdout == '200 2'
    (tmp_path / 'body').write_bytes(BODY)
    web('/echo', '--http2-prior-knowledge', '--data-binary', '@%s' % (tmp_path / 'body'), '-o', tmp_path / 'answer')
    assert (tmp_path / 'answer').read_bytes() == BODY


def test_h2load_inside_tunnels_gets_every_answer(tunnel, waypoint, run):
    need('h2load')
    done = run('h2load', '-n', '2000', '-c', '4', '-m', '20', 'http://%s/n' % tunnel('--to', VIP).address)
    assert '2000 succeeded, 0 failed' in done.stdout, done.stdout
    net.wait_for(lambda: waypoint.count('istio_requests_total') == 2000, what='2000 requests counted')


def test_nghttp_inside_a_tunnel_gets_its_answer(tunnel, run):
    need('nghttp')
    done = run('nghttp', '-v', 'http://%s/status/404' % tunnel('--to', VIP).address)
    assert ':status: 404' in done.stdout


def test_curl_posts_a_mebibyte_and_gets_it_back(web, tmp_path):
    (tmp_path / 'body').write_bytes(BODY)
    for more in ([], ['-H', 'Transfer-Encoding: chunked'], ['-H', 'Expect: 100-continue'], ['-H', 'Expect:']):
        web('/echo', '--data-binary', '@%s' % (tmp_path / 'body'), '-o', tmp_path / 'answer', *more)
        assert hashlib.sha256((tmp_path / 'answer').read_bytes()).digest() == hashlib.sha256(BODY).digest()


def test_curl_uploads_what_it_does_not_know_the_length_of(web):
    assert web('/echo', '-T', '-', '-X', 'PUT', input='streamed').stdout == 'streamed'


def test_curl_asks_before_it_sends(web):
    said = web('/continue', '-v', '-H', 'Expect: 100-continue', '-d', 'x' * 2000)
    assert '< HTTP/1.1 100 Continue' in said.stderr
    assert '"body": 2000' in said.stdout


def test_curl_asks_for_the_head_only(web):
    said = web('/bytes/12345', '-I').stdout
    assert said.startswith('HTTP/1.1 200 OK\n')
    assert 'content-length: 12345' in said


def test_curl_finds_services_by_name_and_address_through_socks(run, tunnel):
    socks = tunnel('--socks5').address
    for proxy_kind, host in (('socks5h', HOST + ':9080'), ('socks5', VIP)):
        done = run('curl', '-sS', '-m', '20', '-x', '%s://%s' % (proxy_kind, socks), 'http://%s/n' % host)
        assert '"pod": "reviews-v1"' in done.stdout, done.stderr
    done = run('curl', '-sS', '-m', '20', '-x', 'socks5h://' + socks, 'http://nobody.nowhere.svc.cluster.local:80/')
    assert done.returncode != 0
    done = run('curl', '-sS', '-m', '20', '-x', 'socks5h://' + socks, 'http://%s:9080/n' % HOST)
    assert done.returncode == 0


def test_many_curls_share_one_tunnel_program(web):
    said = web('/n?[1-60]', '--parallel', '--parallel-max', '20', '-w', '%{http_code}\n', '-o', '/dev/null').stdout
    assert said.split() == ['200'] * 60


# ---- promtool ----

@pytest.mark.parametrize('port', [15020, 15090])
def test_promtool_accepts_the_metrics(waypoint, web, curl, run, port):
    need('promtool')
    web('/status/404')
    web('/drop', '-o', '/dev/null')
    with waypoint.connection(curl) as connection:
        stream = connection.connect(TCP)
        stream.send(b'over TCP')
        stream.half_close()
        stream.recv_all()
        connection.open('nobody:1').wait_response()
    net.wait_for(lambda: waypoint.count('istio_tcp_connections_closed_total') == 1, what='the end of the TCP connection')
    text = waypoint.get('/stats/prometheus', port).body.decode()
    assert 'istio_requests_total{' in text and 'istio_tcp_sent_bytes_total{' in text
    done = run('promtool', 'check', 'metrics', input=text)
    # Istio's names and their form are not ours to choose; promtool would like seconds, and help texts.
    remarks = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith('istio_')]
    assert remarks == []
    assert done.returncode in (0, 3)


# ---- h2load and nghttp against the outer listener ----

@pytest.mark.parametrize('url', ['https://%s:15008/', 'http://%s:15008/'], ids=['no certificate', 'plaintext'])
def test_h2load_that_may_not_come_in_fails_and_harms_nobody(waypoint, curl, run, unharmed, url):
    need('h2load')
    with unharmed(waypoint, curl, VIP):
        done = run('h2load', '-n', '200', '-c', '20', '-m', '10', url % waypoint.ip)
        assert re.search(r'\b0 succeeded', done.stdout), done.stdout
        assert not re.search(r'[1-9]\d* 2xx', done.stdout)


def test_h2load_counts_every_answer_of_the_metrics_endpoint(waypoint, run):
    need('h2load')
    done = run('h2load', '--h1', '-n', '500', '-c', '10', 'http://%s:15020/stats/prometheus' % waypoint.ip)
    assert '500 succeeded, 0 failed' in done.stdout, done.stdout


def test_nghttp_with_a_certificate_is_told_that_only_connect_is_served(waypoint, curl, run, unharmed):
    need('nghttp')
    with unharmed(waypoint, curl, VIP):
        done = run('nghttp', '-v', '-n', '--cert=' + curl.cert, '--key=' + curl.key, 'https://%s:15008/' % waypoint.ip)
        assert re.search(r':status: 404', done.stdout), done.stdout


# ---- numbers are exact ----

def requests(waypoint, identity, connections, each):
    for _ in range(connections):
        with waypoint.connection(identity) as connection:
            tunnel = connection.connect(VIP)
            for _ in range(each):
                assert tunnel.request().status == 200


def test_sum_over_workers_is_what_was_sent_also_when_one_is_killed(waypoint, curl):
    waypoint.expect_crash = True
    requests(waypoint, curl, 16, 5)
    net.wait_for(lambda: waypoint.count('istio_requests_total') == 80, what='80 requests')
    before = {series: value for series, value in waypoint.metrics().items() if '_total' in series or '_count' in series}
    victim, *_ = waypoint.workers()
    os.kill(victim, signal.SIGKILL)

    def replaced():
        now = waypoint.metrics()
        assert [s for s in before if now.get(s, 0) < before[s]] == [], 'a counter went back'
        return victim not in waypoint.workers() and len(waypoint.workers()) == 2
    net.wait_for(replaced, what='another worker')
    requests(waypoint, curl, 16, 5)
    assert waypoint.count('istio_requests_total') == 160
    assert waypoint.count('istio_request_duration_milliseconds_count') == 160
    assert waypoint.count('istio_request_duration_milliseconds_bucket', le='+Inf') == 160


@pytest.mark.parametrize('kind', ['text', 'json'])
def test_log_has_one_line_for_each_request_however_it_ends(cairn, new_origin, curl, kind):
    app = new_origin('reviews-v1')
    one = cairn(proxy.cluster(REVIEWS, proxy.endpoint(app)) + proxy.service(REVIEWS, VIP), access_log=kind, workers=2)
    for _ in range(4):
        requests(one, curl, 1, 6)
        with one.connection(curl) as connection:
            connection.connect(VIP).request(path='/drop')
            bad = connection.connect(VIP)
            bad.send(b'\x00\r\n\r\n')
            assert bad.http.response().status == 400
            seen = len(app.requests)
            gone = connection.connect(VIP)
            gone.http.send(path='/hang')
            net.wait_for(lambda: len(app.requests) > seen, what='the request at the pod')
            gone.reset()
    net.wait_for(lambda: one.count('istio_requests_total') == 36, what='36 requests')
    lines = one.access(36)
    one.stop()
    assert len(lines) == len(one.access_path.read_text().splitlines()) == 36
    status = [line['response_code'] for line in lines] if kind == 'json' else [
        int(re.search(r'" (\d+) ', line).group(1)) for line in lines]
    assert {n: status.count(n) for n in set(status)} == {200: 24, 503: 4, 400: 4, 0: 4}
