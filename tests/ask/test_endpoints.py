"""The endpoints file: what it may say, and the keys that it names and never holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from immune_data.ask import endpoints
from immune_data.ask.endpoints import Endpoint, Keys
from immune_data.common.errors import ImmuneError

GOOD = 'url = "http://127.0.0.1:8000/v1"\nmodel = "m"\n'


def load(tmp_path: Path, *tables: str) -> tuple[Endpoint, ...]:
    file = tmp_path / "endpoints.toml"
    file.write_text("".join(f"[[endpoints]]\n{table}\n" for table in tables))
    return endpoints.load(file)


def test_everything_that_may_be_said(tmp_path: Path) -> None:
    one, two = load(
        tmp_path,
        GOOD,
        'url = "https://API.example.com/v1"\nmodel = "m"\nserved_as = "org/m"\n'
        'key_env = "OUR_KEY"\nmax_concurrency = 3\nprice_in = 2\nprice_out = 10.0\n'
        'timeout = 60\nlimit_as = "max_completion_tokens"\njson_schema = true\n',
    )
    assert (one.host, one.is_local, one.is_priced) == ("127.0.0.1:8000", True, False)
    assert (two.host, two.is_local, two.name) == (
        "api.example.com",
        False,
        "org/m at api.example.com",
    )
    assert two.cost(1_000_000, 500_000) == 7.0


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('model = "m"\n', "missing required field `url`"),
        ('url = "http://localhost/v1"\n', "missing required field `model`"),
        (GOOD + 'key = "sk-secret"\n', "unknown field `key`.*named by `key_env`"),
        (GOOD + 'key_env = "sk-secret-1"\n', "name of an environment variable"),
        (GOOD + "max_concurrency = 0\n", "max_concurrency"),
        (GOOD + "price_in = -1\n", "price_in"),
        (GOOD + 'timeout = "long"\n', "timeout"),
        ('url = "ftp://127.0.0.1/v1"\nmodel = "m"\n', "its url is not valid"),
        ('url = "127.0.0.1:8000"\nmodel = "m"\n', "its url is not valid"),
        ('url = "http://[::1/v1"\nmodel = "m"\n', "cannot be read"),
        ('url = "http://127.0.0.1:99999/v1"\nmodel = "m"\n', "cannot be read"),
        ('url = "https://me:pass@example.com/v1"\nmodel = "m"\n', "user or password"),
        ('url = "https://example.com/v1?key=1"\nmodel = "m"\n', "end with its path"),
        ('url = "https://example.com/v1/chat/completions"\nmodel = "m"\n', "should end before"),
        ('url = "http://example.com/v1"\nmodel = "m"\nkey_env = "K"\n', "unencrypted"),
        ('url = "http://127.0.0.1.example.com/v1"\nmodel = "m"\nkey_env = "K"\n', "unencrypted"),
        ('url = "http://localhost.example.com/v1"\nmodel = "m"\nkey_env = "K"\n', "unencrypted"),
        ('url = "http://0.0.0.0/v1"\nmodel = "m"\nkey_env = "K"\n', "unencrypted"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_without_the_key(
    table: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ImmuneError, match=says) as raised:
        load(tmp_path, table)
    assert "secret" not in str(raised.value)
    assert "pass" not in str(raised.value).replace("password", "")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.1.2.3:1", "[::1]:8000"])
def test_a_key_may_go_to_loopback_unencrypted(host: str, tmp_path: Path) -> None:
    (one,) = load(tmp_path, f'url = "http://{host}/v1"\nmodel = "m"\nkey_env = "K"\n')
    assert one.is_local


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ImmuneError, match="does not exist"):
        endpoints.load(tmp_path / "nowhere.toml")
    with pytest.raises(ImmuneError, match="two endpoints of m at"):
        load(tmp_path, GOOD, GOOD)
    for text, says in (
        ("", "missing required field"),
        ("endpoints = []", "length"),
        ("a =", "TOML"),
    ):
        (tmp_path / "e.toml").write_text(text)
        with pytest.raises(ImmuneError, match=says):
            endpoints.load(tmp_path / "e.toml")


def test_keys_are_read_and_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Endpoint(url="https://example.com/v1", model="m", key_env="OUR_KEY")
    for wrong, says in (
        ("", "has no OUR_KEY"),
        ("  \n", "has no OUR_KEY"),
        ("se cret", "is not a key"),
    ):
        monkeypatch.setenv("OUR_KEY", wrong)
        with pytest.raises(ImmuneError, match=says) as raised:
            Keys([one])
        assert "cret" not in str(raised.value)
    monkeypatch.setenv("OUR_KEY", "secret+1\n")
    keys = Keys([one])
    assert keys.of(one) == "secret+1"
    assert "secret" not in f"{keys} {keys!r}"
    assert keys.removed("with secret+1 and secret%2B1") == "with [OUR_KEY] and [OUR_KEY]"
