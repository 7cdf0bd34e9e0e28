"""How dbx-load signs in, and that what it signs in with goes to the workspace and nowhere else.

The service is the local one without Spark: the streams are empty, and what is sent are files."""

import contextlib
import glob
import os
import socket
import threading
import time

import pytest

from lib.frames import Load, Stream
from lib.pipeline import wait_for
from lib.standin import StandIn, make_certificate

WAREHOUSE = {"DATABRICKS_WAREHOUSE_ID": "0123456789abcdef"}
HOME = {"DATABRICKS_CONFIG_FILE": ""}  # the usual one


@pytest.fixture
def run(tmp_path):
    """run(environment, *options) of dbx-load on an empty stream, with a home of its own."""

    def run(environment, *options, stream=None):
        load = Load(tmp_path, {**HOME, "HOME": str(tmp_path), **WAREHOUSE, **environment})
        return load.run(stream or Stream("c").start().end(), *options)

    return run


@pytest.fixture
def profiles(tmp_path):
    def write(text, name=".databrickscfg"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def ok(result):
    assert (result[0], result[2]) == (0, ""), result
    return result


def refused(result, code, *words):
    assert result[0] == code, result
    assert len(result[2].splitlines()) == 1, result[2]
    for word in words:
        assert word in result[2]


def set_life(service, seconds):
    service.signin._life = seconds


def tokens_issued(service):
    return service.paths.count("/oidc/v1/token")


# ---------------------------------------------------------------- where the settings come from


def test_token_from_the_environment(service, run):
    ok(run({"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": service.signin.token}))
    assert {header for _, _, header in service.seen} == {f"Bearer {service.signin.token}"}


@pytest.mark.parametrize("form", ["{}/", "{}/?o=123", "{}/sql/warehouses#x"])
def test_host_as_it_is_copied_from_a_browser(service, run, form):
    host = form.format(service.host)
    ok(run({"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": service.signin.token}))


def test_default_profile(service, run, profiles):
    profiles(f"[other]\ntoken = no\n[DEFAULT]\nhost = {service.host}/?o=1\n"
             f"token={service.signin.token}\nwarehouse_id = fedcba9876543210\n")  # fmt: skip
    ok(run({"DATABRICKS_WAREHOUSE_ID": ""}))


def test_default_profile_that_the_settings_name(service, run, profiles):
    profiles(f"[__settings__]\ndefault_profile = mine\n[DEFAULT]\nhost=nowhere\n"
             f"[mine]\nhost={service.host}\ntoken={service.signin.token}\n")  # fmt: skip
    ok(run({}))


@pytest.mark.parametrize("by", ["--profile", "DATABRICKS_CONFIG_PROFILE"])
def test_named_profile_of_another_file(service, run, profiles, by):
    path = profiles(f"[DEFAULT]\nhost = http://localhost:1\ntoken = no\n"
                    f"[second]\nhost = {service.host}\ntoken = {service.signin.token}\n", "cfg")  # fmt: skip
    environment = {"DATABRICKS_CONFIG_FILE": path}
    if by == "--profile":
        ok(run(environment, by, "second"))
    else:
        ok(run({**environment, by: "second"}))


def test_options_before_the_environment_before_the_profile(service, run, profiles):
    profiles(f"[p]\nhost = http://localhost:1\ntoken = {service.signin.token}\nwarehouse_id = a/b\n")
    environment = {"DATABRICKS_HOST": "http://localhost:2", "DATABRICKS_WAREHOUSE_ID": "a/b"}
    options = ("--profile", "p", "--host", service.host, "--warehouse-id", "0123456789abcdef")
    ok(run(environment, *options))
    ok(run({"DATABRICKS_HOST": service.host}, "--profile", "p"))
    bad = {"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": "no"}
    refused(run(bad, "--profile", "p"), 78, "DATABRICKS_TOKEN")


def test_profile_is_not_read_where_the_environment_says_enough(service, run, profiles):
    profiles("[DEFAULT]\nclient_id = x\nclient_secret = y\n")
    ok(run({"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": service.signin.token}))


def test_profile_that_is_not_there(run, profiles):
    refused(run({}, "--profile", "p"), 78, "file=", ".databrickscfg")
    profiles("[DEFAULT]\nhost = x\n")
    refused(run({}, "--profile", "p"), 78, "[p]")


def test_two_ways_to_sign_in_are_named(service, run, profiles):
    both = {**service.principal, "DATABRICKS_TOKEN": service.signin.token}
    refused(run(both), 78, "pat (DATABRICKS_TOKEN)", "oauth-m2m (DATABRICKS_CLIENT_ID)")
    profiles("[p]\nclient_id = x\nclient_secret = y\n")
    token = {"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": service.signin.token}
    refused(run(token, "--profile", "p"), 78, "client_id of profile p")
    ok(run({**both, "DATABRICKS_AUTH_TYPE": "pat"}))
    assert tokens_issued(service) == 0
    ok(run({**both, "DATABRICKS_AUTH_TYPE": "oauth-m2m"}))
    assert tokens_issued(service) == 1


@pytest.mark.parametrize(
    "change, words",
    [
        ({"DATABRICKS_CLIENT_SECRET": ""}, ["DATABRICKS_CLIENT_SECRET"]),
        ({"DATABRICKS_AUTH_TYPE": "azure-cli"}, ["azure-cli", "oauth-m2m"]),
        ({"DATABRICKS_AUTH_TYPE": "pat"}, ["DATABRICKS_TOKEN"]),
        ({"DATABRICKS_CLUSTER_ID": "0123-abc"}, ["both", "DATABRICKS_CLUSTER_ID"]),
    ],
)
def test_settings_that_do_not_fit(run, change, words):
    some = {"DATABRICKS_HOST": "h", "DATABRICKS_CLIENT_ID": "i", "DATABRICKS_CLIENT_SECRET": "s"}
    refused(run({**some, **change}), 78, *words)


def test_options_that_exclude_each_other(run):
    refused(run({}, "--warehouse-id", "a", "--cluster-id", "b"), 64, "exclude")


# ---------------------------------------------------------------- a service principal


def test_service_principal(service, run):
    environment = service.principal
    ok(run(environment))
    assert service.paths[:2] == ["/oidc/.well-known/oauth-authorization-server", "/oidc/v1/token"]
    assert tokens_issued(service) == 1
    bearers = {header for _, path, header in service.seen if "/oidc" not in path}
    assert len(bearers) == 1 and bearers.pop().startswith("Bearer eyJ")


def test_token_is_renewed_in_mid_run_before_it_ends(service, run, tmp_path):
    set_life(service, 4)  # fetched again after 2 seconds, refused after 4
    load = Load(tmp_path, {**WAREHOUSE, **service.principal})
    process = load.start()
    process.stdin.write(Stream("c").start().bytes())
    process.stdin.flush()
    for name in ("a", "b", "c"):
        stream = Stream("c")
        stream.file([(1, name, 1)])
        time.sleep(1.7)
        process.stdin.write(stream.bytes())
        process.stdin.flush()
    _, err = process.communicate(Stream("c").end().bytes(), timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert tokens_issued(service) >= 2


def test_renewal_that_fails_is_tried_again_when_the_token_ends(service, tmp_path):
    set_life(service, 4)
    set_rules(service, {"path": "/oidc/v1/token", "skip": 1, "count": 1, "status": 500})
    load = Load(tmp_path, {**WAREHOUSE, **service.principal})
    process = load.start()
    process.stdin.write(Stream("c").start().bytes())
    process.stdin.flush()
    for _ in range(2):  # when the half of its life is over, and after its end
        stream = Stream("c")
        stream.file([(1, "x", 1)])
        time.sleep(2.2)
        process.stdin.write(stream.bytes())
        process.stdin.flush()
    _, err = process.communicate(Stream("c").end().bytes(), timeout=20)
    assert process.returncode == 0
    assert len(err.splitlines()) == 1 and b"could not be renewed yet: HTTP 500" in err
    assert tokens_issued(service) == 3


def test_token_that_is_refused_is_replaced_once(service, run, tmp_path):
    load = Load(tmp_path, {**WAREHOUSE, **service.principal})
    process = load.start()
    process.stdin.write(Stream("c").start().bytes())
    process.stdin.flush()
    wait_for(lambda: any(m == "PUT" and "permit" in p for m, p, _ in service.seen), 10, "permit")
    time.sleep(0.2)
    service.signin._tokens.clear()
    _, err = process.communicate(Stream("c").end().bytes(), timeout=20)
    assert (process.returncode, err) == (0, b"")
    assert tokens_issued(service) == 2


def test_token_that_is_refused_for_ever(service, run):
    set_life(service, 3600)
    service.signin._tokens = Forgetful()
    refused(run(service.principal), 78, "token was refused", "service principal")
    assert tokens_issued(service) == 2


class Forgetful(dict):
    def __contains__(self, key):
        return False


def test_wrong_secret(service, run):
    wrong = {**service.principal, "DATABRICKS_CLIENT_SECRET": "dose-wrong"}
    refused(run(wrong), 78, "DATABRICKS_CLIENT_SECRET", "Client authentication failed")


@pytest.mark.parametrize("trouble", ["secret", "host", "token"])
def test_check_says_what_is_wrong_with_the_sign_in(service, run, trouble):
    """As a line among the others: the stages before have theirs."""
    environment = service.principal
    if trouble == "secret":
        environment["DATABRICKS_CLIENT_SECRET"] = "dose-wrong"
    if trouble == "token":
        environment = {"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": "wrong"}
    if trouble == "host":
        set_rules(service, {"path": "oauth-auth", "status": 404})
    stream = Stream("c").start("check", failures=1).end()
    code, _, err = run(environment, "--check", stream=stream)
    assert code == 78
    [line] = err.splitlines()
    assert line.startswith("dbx-load: FAIL sign-in, and SQL warehouse 0123456789abcdef: ")
    words = {"secret": "Client authentication failed", "host": "workspace", "token": "DATABRICKS_TOKEN"}
    assert words[trouble] in line


def test_sign_in_that_is_busy_is_tried_again(service, run):
    set_rules(service, {"path": "^/oidc", "status": 503, "count": 2})
    code, _, err = run(service.principal)
    assert code == 0 and len(err.splitlines()) == 1 and "trying again" in err


def test_host_without_sign_in(service, run):
    set_rules(service, {"path": "oauth-auth", "status": 404})
    refused(run(service.principal), 78, "workspace")


def set_rules(service, *rules):
    service.faults.replace(list(rules))


# ---------------------------------------------------------------- where secrets go


def test_secret_goes_to_no_other_host(service, run, tmp_path):
    with contextlib.closing(StandIn(tmp_path / "other")) as other:
        body = '{"token_endpoint": "%s/oidc/v1/token"}' % other.host
        set_rules(service, {"path": "oauth-auth", "status": 200, "body": body})
        refused(run(service.principal), 78, "its own host", other.host)
        assert other.seen == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(service, run, tmp_path, status):
    with contextlib.closing(StandIn(tmp_path / "other")) as other:
        set_rules(service, {"status": status, "location": other.host + "/login"})
        environment = {"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": service.signin.token}
        refused(run(environment), 78, "elsewhere", str(status))
        assert other.seen == []


def test_secrets_are_in_no_log_no_state_and_no_process_list(service, run, tmp_path):
    secret = service.principal["DATABRICKS_CLIENT_SECRET"]
    load = Load(tmp_path, {**WAREHOUSE, **service.principal})
    process = load.start("-vv")
    process.stdin.write(Stream("c").start().bytes())
    process.stdin.flush()
    wait_for(lambda: any("permit" in path for path in service.paths), 10, "the permit")
    with open(f"/proc/{process.pid}/cmdline") as file:
        shown = file.read()
    _, err = process.communicate(Stream("c").end().bytes(), timeout=20)
    assert process.returncode == 0 and b"PUT /api/2.0/fs" in err
    shown += err.decode()
    token = {"DATABRICKS_HOST": service.host, "DATABRICKS_TOKEN": "dapi-not-this-one"}
    shown += run(token, "-vv")[2]
    shown += run({**token, "DATABRICKS_TOKEN": service.signin.token}, "-vv", "--check")[2]
    for path in glob.glob(f"{tmp_path}/state/**", recursive=True):
        if os.path.isfile(path):
            with open(path, errors="replace") as file:
                shown += file.read()
    bearers = {header.partition(" ")[2] for _, _, header in service.seen if header}
    assert "source" in shown and len(bearers) > 3
    for word in {secret, service.signin.token, "dapi-not-this-one", *bearers}:
        assert word not in shown


# ---------------------------------------------------------------- TLS and proxies


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def secure(certificates, tmp_path):
    """(service behind TLS, the environment that trusts it)"""
    authority, certificate = certificates
    with contextlib.closing(StandIn(tmp_path / "volumes", certificate)) as service:
        yield service, {
            "DATABRICKS_HOST": service.host,
            "DATABRICKS_TOKEN": service.signin.token,
            "SSL_CERT_FILE": authority,
        }


def test_own_authority(secure, run):
    ok(run(secure[1]))


def test_unknown_authority_is_refused(secure, run):
    service, environment = secure
    refused(run({**environment, "SSL_CERT_FILE": ""}), 78, "certificate", "SSL_CERT_FILE")
    refused(run({**environment, "SSL_CERT_FILE": "/nowhere"}), 78, "SSL_CERT_FILE")
    assert service.seen == []


def test_certificate_of_another_host_is_refused(secure, run):
    service, environment = secure
    host = service.host.replace("localhost", "127.0.0.1")
    refused(run({**environment, "DATABRICKS_HOST": host}), 78, "certificate")
    assert service.seen == []


class Proxy:
    """Takes CONNECT, and keeps what it was asked and all that went through it."""

    def __init__(self):
        self.asked, self.passed = [], b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client = self.socket.accept()[0]
                threading.Thread(target=self.tunnel, args=(client,), daemon=True).start()

    def tunnel(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        self.asked.append(head.decode())
        host, _, port = head.split()[1].decode().partition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=self.pump, args=(server, client), daemon=True).start()
        self.pump(client, server)

    def pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.passed += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def test_proxy_sees_no_token(secure, run):
    service, environment = secure
    proxy = Proxy()
    ok(run({**environment, "HTTPS_PROXY": proxy.address}))
    assert proxy.asked and all("CONNECT localhost" in head for head in proxy.asked)
    assert all("Authorization" not in head for head in proxy.asked)
    assert service.signin.token.encode() not in proxy.passed
    before = len(proxy.asked)
    ok(run({**environment, "HTTPS_PROXY": proxy.address, "NO_PROXY": "localhost"}))
    assert len(proxy.asked) == before
    proxy.socket.close()
