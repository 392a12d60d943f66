#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""make demo: the whole promise on one machine, without a cluster.

Makes a throw-away mesh, starts Bookinfo-shaped applications, renders the
manifests of conf/samples/bookinfo, starts cairn and then acts as its user.
Every step says what it shows and fails the run when it does not.

Usage: demo.py OBJS-DIR [--keep]
"""
import collections
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "it"))
from peers import pki  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BIND = "127.0.10.1"
APP_PORT = 9080


class Failed(Exception):
    pass


def say(text):
    print(text, flush=True)


def check(claim, ok, detail=""):
    say("  %s %s%s" % ("ok  " if ok else "FAIL", claim, " (%s)" % detail if detail else ""))
    if not ok:
        raise Failed(claim)


def wait_for(what, ready, seconds=20):
    """Polls a condition that another process brings about; bounded."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        time.sleep(0.02)
    raise Failed("%s did not become ready in %d s" % (what, seconds))


class Demo:
    def __init__(self, objs):
        self.objs = os.path.abspath(objs)
        self.dir = os.path.join(self.objs, "demo")
        self.conf = os.path.join(self.dir, "conf")
        self.manifests = os.path.join(self.dir, "manifests")
        self.authority = None  # the mesh's CA
        self.processes = []
        self.master = None
        self.ports = iter(range(18081, 18100))

    # ---- processes ----

    def start(self, name, *argv):
        log = open(os.path.join(self.dir, name + ".log"), "ab")
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def log(self, name):
        with open(os.path.join(self.dir, name + ".log"), errors="replace") as f:
            return f.read()

    def stop(self):
        for process in reversed(self.processes):
            if process.poll() is None:
                process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    # ---- the mesh ----

    def cert(self, identity):
        i = self.authority.identity(*identity.split("/"))
        return ["--cert", i.cert, "--key", i.key, "--roots", i.roots]

    def render(self):
        done = subprocess.run([os.path.join(self.objs, "cairn-gen"), "render", "-f", self.manifests,
                               "-w", "bookinfo/waypoint", "-o", self.conf, "--bind", BIND,
                               "--mesh-config", os.path.join(HERE, "mesh.yaml")] +
                              self.cert("bookinfo/waypoint"),
                              stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise Failed("cairn-gen render: " + done.stderr)
        for line in done.stderr.splitlines():
            say("  cairn-gen: " + line)

    def pods(self):
        """The pods as the rendered workloads file knows them."""
        pods = []
        with open(os.path.join(self.conf, "endpoints.d", "workloads")) as f:
            for line in f:
                words = line.split()
                if words and not line.startswith("#"):
                    pods.append(dict(w.split("=", 1) for w in words[1:]) | {"ip": words[0]})
        return pods

    def endpoints(self):
        for name in os.listdir(os.path.join(self.conf, "endpoints.d")):
            if name == "workloads":
                continue
            with open(os.path.join(self.conf, "endpoints.d", name)) as f:
                for line in f:
                    if line.strip() and not line.startswith("#"):
                        yield line.split()

    def captured(self):
        found = {}
        for words in self.endpoints():
            if "tunnel=hbone" in words:
                identity = next(w for w in words if w.startswith("identity="))
                found[words[0].rsplit(":", 1)[0]] = identity.split("spiffe://", 1)[1]
        return found

    def start_apps(self):
        apps = [p for p in self.pods() if p["namespace"] == "bookinfo" and p.get("canonical_name") != "waypoint"]
        self.start("apps", sys.executable, os.path.join(HERE, "apps.py"),
                   *["%s:%d=%s@%s" % (p["ip"], APP_PORT, p["canonical_name"], p["canonical_revision"]) for p in apps])
        wait_for("the applications", lambda: "ready" in self.log("apps"))
        return apps

    def start_captured_pod(self, ip, identity):
        """A captured pod's HBONE side: cairn as the pod's ztunnel would stand
        there, relaying every port of the pod as bytes."""
        _, _, ns, _, sa = identity.split("/")
        own = self.authority.identity(ns, sa)
        path = os.path.join(self.dir, "pod-%s.conf" % ip)
        with open(path, "w") as f:
            f.write("daemon off;\nworker_processes 1;\npid pod-%s.pid;\n" % ip)
            f.write("mesh { trust_domain cluster.local; identity %s %s; trust_bundle %s; }\n" %
                    (own.cert, own.key, own.roots))
            f.write("listen %s:15008 hbone;\n" % ip)
            f.write("cluster pod { protocol tcp; endpoint %s:0; }\n" % ip)
            f.write("service pod { address %s:*; protocol tcp; cluster pod; }\n" % ip)
        self.start("pod-" + ip, os.path.join(self.objs, "cairn"), "-p", self.dir, "-c", path)

    def start_cairn(self):
        self.master = self.start("cairn", os.path.join(self.objs, "cairn"), "-p", self.dir, "-c",
                                 os.path.join(self.conf, "cairn.conf"), "-g", "daemon off; drain_delay 0;")
        wait_for("cairn", self.ready)

    def ready(self):
        if self.master.poll() is not None:
            raise Failed("cairn ended: " + self.log("cairn"))
        try:
            return urllib.request.urlopen("http://%s:15021/healthz/ready" % BIND, timeout=1).status == 200
        except OSError:
            return False

    def tunnel(self, identity, to):
        """A local port from which everything goes to `to` as `identity`."""
        port = next(self.ports)
        name = "tunnel-%d" % port
        self.start(name, os.path.join(self.objs, "cairn-tunnel"), "--via", BIND + ":15008", "--to", to,
                   "--listen", "127.0.0.1:%d" % port, *self.cert(identity))
        wait_for("the tunnel to " + to, lambda: "listening on" in self.log(name))
        return "http://127.0.0.1:%d" % port

    # ---- the user ----

    def curl(self, *args):
        done = subprocess.run(["curl", "-sS", "-m", "10", *args], capture_output=True, text=True)
        return done.stdout

    def status(self, url, *args):
        out = self.curl("-o", os.path.join(self.dir, "body"), "-w", "%{http_code}", *args, url)
        with open(os.path.join(self.dir, "body"), errors="replace") as f:
            return out, f.read()

    def split(self, url, n=200):
        out = self.curl("-H", "connection: keep-alive", url + "/reviews/[1-%d]" % n)
        return collections.Counter(re.findall(r'"podname": ?"(reviews-v\d)"', out))

    def reload(self):
        """Renders, signals and waits until all workers say that the new
        generation is in force."""
        before = self.log("cairn").count("in force in all workers")
        self.render()
        self.master.send_signal(signal.SIGHUP)
        wait_for("the new configuration",
                 lambda: self.log("cairn").count("in force in all workers") > before)

    def remove(self, name):
        os.remove(os.path.join(self.manifests, name))
        self.reload()


class Load:
    """Requests one after another until stopped; counts those that fail."""

    def __init__(self, url):
        self.url, self.sent, self.failed = url, 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.stopping.is_set():
            try:
                with urllib.request.urlopen(self.url + "/reviews/0", timeout=5) as answer:
                    answer.read()
                self.sent += 1
            except OSError as error:
                self.failed.append(str(error))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.stopping.set()
        self.thread.join()


def vip(demo, service):
    with open(os.path.join(demo.conf, "conf.d", "%s.bookinfo.conf" % service)) as f:
        return re.search(r"address\s+([0-9.]+:\d+)", f.read()).group(1)


def show_routing(demo, reviews):
    say("\n200 requests to reviews as curl: the HTTPRoute splits them 90/10")
    seen = demo.split(reviews)
    check("every request was answered by v1 or v2", sum(seen.values()) == 200, dict(seen))
    check("about nine in ten by v1", 155 <= seen["reviews-v1"] <= 199, "%d of 200" % seen["reviews-v1"])


def show_policy(demo, curl_url, sleep_url):
    say("\nAuthorizationPolicy productpage-waypoint: curl may GET, nobody else may anything")
    code, body = demo.status(curl_url + "/productpage")
    check("GET as curl is allowed", code == "200", code)
    code, body = demo.status(curl_url + "/productpage", "-X", "POST")
    check("POST as curl is refused", (code, body) == ("403", "RBAC: access denied"), "%s %s" % (code, body))
    code, body = demo.status(sleep_url + "/productpage")
    check("GET as sleep is refused", (code, body) == ("403", "RBAC: access denied"), "%s %s" % (code, body))


def show_removal(demo, reviews, curl_url, sleep_url):
    say("\nRemoving resources takes effect on reload, without a lost request")
    with Load(reviews) as load:
        demo.remove("40-policy.yaml")
        code, _ = demo.status(sleep_url + "/productpage")
        check("without the policy sleep may GET", code == "200", code)
        code, _ = demo.status(curl_url + "/productpage", "-X", "POST")
        check("and curl may POST", code == "200", code)
        demo.remove("30-route.yaml")
        seen = demo.split(reviews, 100)
        check("without the route all versions of reviews answer", len(seen) == 3, dict(seen))
    check("no request failed meanwhile", not load.failed, "%d answered, %s" % (load.sent, load.failed[:1]))


def show_explain(demo, to):
    say("\ncairn explain: why is POST refused?")
    done = subprocess.run([os.path.join(demo.objs, "cairn"), "explain", "-p", demo.dir, "-c",
                           os.path.join(demo.conf, "cairn.conf"), "--from",
                           "spiffe://cluster.local/ns/default/sa/curl", "--to", to, "POST", "/productpage"],
                          capture_output=True, text=True)
    say("".join("  " + line + "\n" for line in done.stdout.splitlines()).rstrip())
    check("explain says denied", done.returncode == 3, "exit status %d" % done.returncode)


def show_results(demo):
    say("\nWhat was counted and logged")
    text = urllib.request.urlopen("http://%s:15020/stats/prometheus" % BIND).read().decode()
    for line in [l for l in text.splitlines() if l.startswith("istio_requests_total")][:4]:
        say("  " + line)
    wait_for("the access log", lambda: "RBAC" in demo.log("cairn") or "rbac_access_denied" in demo.log("cairn"))
    lines = [l for l in demo.log("cairn").splitlines() if l.startswith("[") and "HTTP/1.1" in l]
    for line in lines[:1] + [l for l in lines if "rbac_access_denied" in l][:1]:
        say("  " + line)
    say("\nAdmin endpoint: http://%s:15000/  metrics: http://%s:15020/stats/prometheus" % (BIND, BIND))


def run(demo):
    if os.path.exists(demo.dir):
        shutil.rmtree(demo.dir)
    os.makedirs(demo.dir)
    shutil.copytree(os.path.join(TOP, "conf", "samples", "bookinfo"), demo.manifests)
    say("Rendering conf/samples/bookinfo and starting the mesh")
    demo.authority = pki.Pki(os.path.join(demo.dir, "pki"))
    demo.render()
    apps = demo.start_apps()
    captured = demo.captured()
    for ip, identity in captured.items():
        demo.start_captured_pod(ip, identity)
    demo.start_cairn()
    check("cairn is ready", True, "%d applications, %d of them behind HBONE" % (len(apps), len(captured)))
    page, reviews_vip = vip(demo, "productpage"), vip(demo, "reviews")
    reviews = demo.tunnel("default/curl", reviews_vip)
    curl_url, sleep_url = demo.tunnel("default/curl", page), demo.tunnel("default/sleep", page)
    show_routing(demo, reviews)
    show_policy(demo, curl_url, sleep_url)
    show_explain(demo, page)
    show_removal(demo, reviews, curl_url, sleep_url)
    show_results(demo)


def main():
    demo = Demo(sys.argv[1])
    start = time.monotonic()
    try:
        run(demo)
        say("\nAll of it held, in %.1f s." % (time.monotonic() - start))
        if "--keep" in sys.argv:
            say("Leaving it running; Ctrl-C ends it.")
            signal.pause()
    except KeyboardInterrupt:
        pass
    except Failed as error:
        say("\nFAILED: %s\nLogs are in %s" % (error, demo.dir))
        return 1
    finally:
        demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
