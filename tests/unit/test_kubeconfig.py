"""Kubeconfig files as kubectl and distributions write them, and what is wrong with others."""

import base64
import json
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from koi_agent.backends.kubernetes.access import MAX_FILE, account_access, read_token
from koi_agent.backends.kubernetes.credentials import Credentials, find_credentials
from koi_agent.backends.kubernetes.kubeconfig import read_kubeconfig
from koi_agent.core.errors import BackendAbsent, BackendLost
from tests.unit.certificates import authority

K3S = """\
apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: {data}
    server: https://127.0.0.1:6443
  name: default
contexts:
- context: {{cluster: default, user: default}}
  name: default
- context: {{cluster: default, user: reader}}
  name: other
current-context: default
users:
- name: default
  user:
    client-certificate-data: {data}
    client-key-data: {key}
- name: reader
  user: {{token: secret-token}}
"""
KEY = base64.b64encode(b"-----BEGIN KEY-----\n-----END KEY-----").decode()


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def written(folder: Path, **changes: Any) -> str:
    """Write a file with one user and one cluster, some fields of which are changed."""
    user = changes.get("user", {"token": "t"})
    cluster = {"server": "https://192.0.2.1:6443", **changes.get("cluster", {})}
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return str(path)


def refused(path: str, context: str = "") -> str:
    with pytest.raises(BackendLost) as raised:
        read_kubeconfig(path, context)
    text = str(raised.value)
    assert text.startswith(path), "the text names the file"
    return text


def test_the_file_of_k3s_has_a_client_certificate(tmp_path: Path) -> None:
    authority(tmp_path, "127.0.0.1")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    path = tmp_path / "k3s.yaml"
    path.write_text(K3S.format(data=encoded(certificate), key=encoded(key)))
    access = read_kubeconfig(str(path), "")
    assert access.server == "https://127.0.0.1:6443"
    assert access.authority == certificate.read_text()
    assert access.headers() == {}
    context = access.tls()
    assert context
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1
    assert "PRIVATE" not in repr(access)


def test_another_context_has_another_user(tmp_path: Path) -> None:
    authority(tmp_path, "127.0.0.1")
    path = tmp_path / "k3s.yaml"
    path.write_text(K3S.format(data=encoded(tmp_path / "certificate.pem"), key=""))
    access = read_kubeconfig(str(path), "other")
    assert access.headers() == {"Authorization": "Bearer secret-token"}
    assert "secret-token" not in repr(access)
    assert "contexts: 'gone' is missing" in refused(str(path), "gone")


def test_a_token_file_is_read_for_each_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    access = read_kubeconfig(written(tmp_path, user={"tokenFile": "token", "token": "old"}), "")
    assert access.headers() == {"Authorization": "Bearer first"}
    token.write_text("second\n")
    assert access.headers() == {"Authorization": "Bearer second"}


def test_certificates_are_not_checked_only_if_the_file_says_so(tmp_path: Path) -> None:
    for value, mode in ((True, ssl.CERT_NONE), ("true", ssl.CERT_REQUIRED)):
        path = written(tmp_path, cluster={"insecure-skip-tls-verify": value})
        context = read_kubeconfig(path, "").tls()
        assert context
        assert context.verify_mode is mode


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"user": {"auth-provider": {"name": "gcp"}}},
            "auth-provider is not supported; use the token",
        ),
        ({"user": {"username": "me", "password": "pw"}}, "user 'u': username is not supported"),
        ({"user": {"as": "admin", "token": "t"}}, "user 'u': as is not supported"),
        ({"user": {"token": "a\nb"}}, "user 'u': token: not a token"),
        ({"user": {"client-key-data": KEY}}, "client-certificate and client-key go together"),
        (
            {"user": {"client-certificate-data": "%"}},
            "client-certificate-data is not PEM in base64",
        ),
        ({"cluster": {"proxy-url": "http://p"}}, "cluster 'c': proxy-url is not supported"),
        ({"cluster": {"server": "ftp://x"}}, "cluster 'c': server: 'ftp://x' is not a URL"),
        ({"cluster": {"server": "https://u:p@x"}}, "a URL with a user is not supported"),
        ({"cluster": {"server": ["https://x"]}}, "server: '' is not a URL"),
        ({"cluster": {"server": "HTTP://x"}}, "cluster 'c': credentials need a server with https"),
        (
            {"cluster": {"server": "http://x"}, "user": {"tokenFile": "token"}},
            "credentials need a server with https",
        ),
        ({"cluster": {"certificate-authority": ""}}, "certificate-authority: not the path"),
        ({"cluster": {"certificate-authority": "a\0b"}}, "certificate-authority: not the path"),
        ({"cluster": {"certificate-authority": 5}}, "certificate-authority: not the path"),
        ({"user": {"tokenFile": "a\0b"}}, "tokenFile: not the path of a file"),
        ({"cluster": {"certificate-authority-data": ""}}, "authority-data is not PEM in base64"),
        ({"cluster": {"certificate-authority-data": 5}}, "authority-data is not PEM in base64"),
        (
            {"cluster": {"certificate-authority-data": "bm90aGluZw=="}},
            "certificate-authority-data is not PEM in base64",
        ),
        ({"cluster": {"certificate-authority": "config"}}, "/config: not PEM"),
    ],
)
def test_what_is_not_supported_is_refused_with_its_name(
    tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(written(tmp_path, **changes))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not valid: line 1: "),
        ("token: 'secret\n", "not valid: line "),
        ("{", "not valid: "),
        ("- a", "not a kubeconfig file"),
        ("", "not a kubeconfig file"),
        ("a: !!python/object/apply:os.abort []", "not valid: line 1: "),
        ("a: 1", "it has no current-context; set Context= of [Kubernetes]"),
        ("[" * 5000, "not valid: "),
        ("a: !!int ''", "a value does not suit its tag"),
        ("a: !!bool secret", "a value does not suit its tag"),
        ("a: !!int secret", "a value does not suit its tag"),
        ("a: !!timestamp secret", "a value does not suit its tag"),
        ("x" * (MAX_FILE + 1), f"longer than {MAX_FILE} bytes"),
        ("current-context: a\ncontexts: {a: 1}", "contexts: 'a' is missing"),
    ],
)
def test_a_bad_file_is_an_error_without_its_content(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    error = refused(str(path))
    assert reason in error
    assert "secret" not in error


def test_a_file_that_is_missing_means_absent_and_one_that_is_closed_does_not(
    tmp_path: Path,
) -> None:
    with pytest.raises(BackendAbsent, match="No such file"):
        read_kubeconfig(str(tmp_path / "none"), "")
    assert "Is a directory" in refused(str(tmp_path))
    path = written(tmp_path, cluster={"certificate-authority": "gone.pem"})
    with pytest.raises(BackendLost, match=r"gone\.pem: No such file"):
        read_kubeconfig(path, "")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refused(str(tmp_path / "pipe"))


def test_a_path_that_is_not_unicode_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "config"
    config = json.loads(json.dumps(yaml.safe_load(Path(written(tmp_path)).read_text())))
    config["clusters"][0]["cluster"]["certificate-authority"] = "\ud800"
    path.write_text(json.dumps(config))
    assert "certificate-authority: not the path of a file" in refused(str(path))


def test_text_between_certificates_is_ignored(tmp_path: Path) -> None:
    authority(tmp_path, "127.0.0.1")
    pem = (tmp_path / "certificate.pem").read_text()
    (tmp_path / "ca.pem").write_text(f"# Autorité\n{pem}# fin\n{pem}")
    cluster = {"certificate-authority": "ca.pem", "server": "HTTPS://h/"}
    access = read_kubeconfig(written(tmp_path, cluster=cluster), "")
    assert (access.authority, access.server) == (pem + pem, "https://h")
    context = access.tls()
    assert context
    assert len(context.get_ca_certs()) == 1
    path = written(tmp_path, cluster={**cluster, "insecure-skip-tls-verify": True})
    assert "exclude each other" in refused(path)


def test_an_authority_that_is_no_certificate_is_an_error(tmp_path: Path) -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
    data = base64.b64encode(pem).decode()
    access = read_kubeconfig(written(tmp_path, cluster={"certificate-authority-data": data}), "")
    with pytest.raises(BackendLost, match="a certificate is not valid"):
        access.tls()


def test_the_account_of_a_pod_has_a_token_and_an_authority(tmp_path: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    found = find_credentials("", environment, str(tmp_path))
    assert found.server == "https://[fd00::1]:443"
    with pytest.raises(BackendAbsent):
        account_access(found.server, found.account)
    (tmp_path / "ca.crt").touch()
    with pytest.raises(BackendLost, match=r"ca\.crt: not PEM"):
        account_access(found.server, found.account)
    authority(tmp_path, "127.0.0.1")
    (tmp_path / "certificate.pem").rename(tmp_path / "ca.crt")
    (tmp_path / "token").write_text("abc")
    access = account_access(found.server, found.account)
    assert access.headers() == {"Authorization": "Bearer abc"}


def test_the_setting_goes_before_the_credential_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "kubernetes.kubeconfig").touch()
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_credentials("", environment).kubeconfig == f"{tmp_path}/kubernetes.kubeconfig"
    assert find_credentials("/a", environment).kubeconfig == "/a"
    nothing = find_credentials("", {})
    assert nothing == Credentials()
    with pytest.raises(BackendAbsent, match="LoadCredential=kubernetes"):
        nothing.check()


@pytest.mark.parametrize("content", [b"", b" \n", b"a b", b"\xff", b"a\nb"])
def test_a_file_that_has_no_token_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(BackendLost, match="not a token"):
        read_token(str(path))
