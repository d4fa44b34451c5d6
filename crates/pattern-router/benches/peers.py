#!/usr/bin/env python3
"""The router beside nginx on this machine, in interleaved rounds: `make bench-router` (ROUNDS=6 SECONDS_EACH=5).

Only ratios of the same round mean anything on a machine that others use. CPU is the sum of /proc/PID/task/*/schedstat of a proxy's
processes, memory the sum of Pss. Needs nginx, wrk and h2load; ROUTER and LOAD are the binaries to run."""
import glob, json, os, re, signal, socket, statistics, subprocess, sys, tempfile, time

ROUTER, LOAD = os.environ["ROUTER"], os.environ["LOAD"]
ROUNDS, SECONDS = int(os.environ.get("ROUNDS", "6")), int(os.environ.get("SECONDS_EACH", "5"))
WORK = tempfile.mkdtemp(prefix="bench-router.")
# nginx started by root reads as another user.
os.chmod(WORK, 0o755)
PROCESSES = []
SESSION = "0123456789abcdef0123456789abcdef"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


POD, ECHO, NGINX, NGINX_H2, PORT = (free_port() for _ in range(5))
HOST, WS_HOST = f"{POD}-ws0.pool.test", f"{ECHO}-ws0.pool.test"
TEMP = "".join(f"{kind}_temp_path {WORK}/%s_{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
UPSTREAM = f"""worker_processes 1; pid {WORK}/up.pid; error_log {WORK}/up.err warn; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s;
  open_file_cache max=100 inactive=600s; open_file_cache_valid 600s; {TEMP.replace('%s', 'up')}
  server {{ listen 127.0.0.1:{POD} backlog=4096; root {WORK}; default_type application/octet-stream; }} }}"""
PROXY = f"""worker_processes 1; pid {WORK}/proxy.pid; error_log {WORK}/proxy.err warn; worker_rlimit_nofile 20000;
events {{ worker_connections 8192; }}
http {{ access_log off; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 600s; {TEMP.replace('%s', 'proxy')}
  server_names_hash_bucket_size 128;
  map $http_upgrade $conn {{ default upgrade; '' ''; }}
  map $id:$port $up {{ default ''; ws0:{POD} pod; ws0:{ECHO} echo; }}
  upstream pod {{ server 127.0.0.1:{POD}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout 600s; }}
  upstream echo {{ server 127.0.0.1:{ECHO}; keepalive 1024; }}
  server {{ listen 127.0.0.1:{NGINX} backlog=4096; listen 127.0.0.1:{NGINX_H2} backlog=4096 http2;
    server_name "~^(?<port>[1-9][0-9]{{0,4}})-(?<id>[a-z0-9-]+)\\.pool\\.test$";
    location / {{ if ($up = '') {{ return 404; }} proxy_pass http://$up; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $conn;
      proxy_read_timeout 600s; }} }} }}"""
CONFIG = f"""domain: pool.test
host: 127.0.0.1
port: {PORT}
workers: 1
ports: 1024-65535
pods: list
addresses: {{ws0: 127.0.0.1}}
allow_loopback: true
admin_port: "off"
max_connections_per_client: 8192
rate: 1000000
rate_burst: 1000000
drain: 0s
"""
TARGETS = {"nginx": dict(port=NGINX, h2=NGINX_H2), "router": dict(port=PORT, h2=PORT)}
# Scenario: what is compared, and what the router's share of nginx's CPU may be.
LIMITS = {"k64": 1.1, "k1000": 1.0, "m16": 0.8, "close": 1.3, "ws": 1.05, "h2": 1.15, "churn": None, "rate2k": None}


def write(name, text):
    path = f"{WORK}/{name}"
    with open(path, "w") as file:
        file.write(text)
    return path


def start(command, core):
    pin = ["taskset", "-c", str(core)] if os.cpu_count() > 1 else []
    process = subprocess.Popen(pin + command, cwd=WORK, stdout=subprocess.DEVNULL, stderr=open(f"{WORK}/log", "a"))
    PROCESSES.append(process)
    return process


def tree(pid):
    found, todo = [], [pid]
    while todo:
        pid = todo.pop()
        found.append(pid)
        for task in glob.glob(f"/proc/{pid}/task/*/children"):
            todo += [int(child) for child in open(task).read().split()]
    return found


def cpu(pids):
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                total += int(open(path).read().split()[0])
            except OSError:
                pass
    return total


def memory(pids):
    return sum(int(re.search(r"^Pss:\s+(\d+)", open(f"/proc/{pid}/smaps_rollup").read(), re.M)[1]) for pid in pids)


def run(*command):
    pin = ["taskset", "-c", "1"] if os.cpu_count() > 1 else []
    return subprocess.run(pin + list(command), capture_output=True, text=True, timeout=SECONDS + 120).stdout


def wrk(target, connections, path, *fields):
    headers = [word for field in (f"Host: {HOST}", *fields) for word in ("-H", field)]
    out = run("wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--timeout", "10s", *headers, f"http://127.0.0.1:{target['port']}/{path}")
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", out)
    return dict(n=int(re.search(r"(\d+) requests in", out)[1]), bad=int(bad[1]) if bad else 0)


def h2(target):
    out = run("h2load", "-t1", "-c64", "-m1", f"-D{SECONDS}", f"--header=:authority: {HOST}", f"http://127.0.0.1:{target['h2']}/1k")
    done = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed", out)
    return dict(n=int(done[2]), bad=int(done[3]))


def load(kind, target, host, *words):
    out = run(LOAD, kind, f"127.0.0.1:{target['port']}", host, *map(str, words))
    found = re.search(r"trips (\d+) per_s \d+ p50_us (\d+) p99_us (\d+) bad (\d+)", out)
    return dict(n=int(found[1]), p50=int(found[2]), p99=int(found[3]), bad=int(found[4]))


SCENARIOS = {
    "k64": lambda t: wrk(t, 64, "1k"),
    "k1000": lambda t: wrk(t, 1000, "1k"),
    "m16": lambda t: wrk(t, 16, "1m"),
    "close": lambda t: wrk(t, 64, "1k", "Connection: close"),
    "ws": lambda t: load("trips", t, WS_HOST, 64, SECONDS, 64),
    "churn": lambda t: load("churn", t, WS_HOST, 32, SECONDS),
    "h2": h2,
    "rate2k": lambda t: load("rate", t, HOST, 1000, SECONDS, 2000, "1k"),
}


def main():
    write("1k", "x" * 1024)
    write("1m", "x" * 1048576)
    start(["nginx", "-g", "daemon off;", "-c", write("up.conf", UPSTREAM)], 1)
    start([LOAD, "echo", f"127.0.0.1:{ECHO}"], 1)
    TARGETS["nginx"]["process"] = start(["nginx", "-g", "daemon off;", "-c", write("proxy.conf", PROXY)], 0)
    TARGETS["router"]["process"] = start([ROUTER, "run", "--config", write("router.yaml", CONFIG)], 0)
    for port in (POD, ECHO, NGINX, PORT):
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
    rows = []
    chosen = os.environ.get("SCENARIOS", ",".join(SCENARIOS)).split(",")
    for number in range(ROUNDS):
        for scenario in chosen:
            order = list(TARGETS)[:: 1 if number % 2 else -1]
            for name in order:
                target = TARGETS[name]
                pids = tree(target["process"].pid)
                before = cpu(pids)
                row = SCENARIOS[scenario](target)
                row.update(round=number, scenario=scenario, target=name, pss=memory(pids))
                row["cpu_us"] = (cpu(pids) - before) / 1e3 / max(row["n"], 1)
                rows.append(row)
                print(f"{number} {scenario:7} {name:7} {row['n'] / SECONDS:9.0f}/s {row['cpu_us']:8.2f} us bad {row['bad']} p99 {row.get('p99', '')} {row['pss']} KiB", file=sys.stderr)
    failed = False
    print(f"{'scenario':9}{'nginx us':>10}{'router us':>11}{'cpu ratio':>11}{'limit':>7}{'rate ratio':>12}{'p99 nginx':>11}{'p99 router':>11}{'MiB':>6}{'bad':>5}")
    for scenario in chosen:
        pairs = [[next(r for r in rows if (r["round"], r["scenario"], r["target"]) == (n, scenario, t)) for t in TARGETS] for n in range(ROUNDS)]
        median = lambda f: statistics.median(f(a, b) for a, b in pairs)
        ratio, limit = median(lambda a, b: b["cpu_us"] / a["cpu_us"]), LIMITS[scenario]
        p99 = [median(lambda a, b, i=i: (a, b)[i].get("p99", 0)) / 1e3 for i in (0, 1)]
        failed |= limit is not None and ratio > limit
        failed |= scenario == "rate2k" and p99[1] > p99[0] + 5
        print(f"{scenario:9}{median(lambda a, b: a['cpu_us']):10.2f}{median(lambda a, b: b['cpu_us']):11.2f}{ratio:11.2f}{limit or '':>7}{median(lambda a, b: b['n'] / max(a['n'], 1)):12.2f}{p99[0]:11.1f}{p99[1]:11.1f}{median(lambda a, b: b['pss']) / 1024:6.0f}{sum(b['bad'] for _, b in pairs):5}")
    sys.exit(failed)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
try:
    main()
finally:
    for process in PROCESSES:
        process.terminate()
    for process in PROCESSES:
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
