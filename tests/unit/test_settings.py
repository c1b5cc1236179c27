"""Settings: where they are read from, which source wins, and what a person is told about a wrong one."""

import os
import traceback
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError

from tidemill.core.errors import Configuration
from tidemill.settings import EndpointSettings, Settings, default_data_dir, load_settings


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A data folder of its own, and no variable from outside."""
    for name in list(os.environ):
        if name.startswith("TIDEMILL_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("TIDEMILL_DATA_DIR", str(tmp_path))
    return tmp_path


def write(folder, text):
    (folder / "tidemill.yaml").write_text(text, "utf-8")


def test_without_a_file_the_defaults_hold(folder):
    settings = load_settings()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8000, folder)
    assert settings.database_url is None


def test_an_empty_file_is_no_error(folder):
    write(folder, "# nothing yet\n")
    assert load_settings().port == 8000


def test_the_file_wins_over_the_defaults(folder):
    write(folder, "port: 9000\nreview:\n  max_hunks: 2\n")
    settings = load_settings()
    assert (settings.port, settings.review.max_hunks, settings.review.min_score) == (9000, 2, 0.3)


def test_the_environment_wins_over_the_file_and_leaves_its_neighbours(folder, monkeypatch):
    write(folder, "port: 9000\nreview:\n  max_hunks: 2\n  min_score: 0.5\n")
    monkeypatch.setenv("TIDEMILL_PORT", "9001")
    monkeypatch.setenv("TIDEMILL_REVIEW__MAX_HUNKS", "3")
    settings = load_settings()
    assert (settings.port, settings.review.max_hunks, settings.review.min_score) == (9001, 3, 0.5)


def test_an_option_wins_over_everything(folder, monkeypatch):
    write(folder, "port: 9000\n")
    monkeypatch.setenv("TIDEMILL_PORT", "9001")
    assert load_settings(port=9002, host=None).port == 9002


def test_an_option_is_checked_like_any_other_value():
    with pytest.raises(Configuration, match="`port`: input should be less than or equal to 65535"):
        load_settings(port=70_000)


def test_an_empty_variable_counts_as_not_set(folder, monkeypatch):
    write(folder, "port: 9000\n")
    monkeypatch.setenv("TIDEMILL_PORT", "")
    monkeypatch.setenv("DATABASE_URL", "")
    settings = load_settings()
    assert (settings.port, settings.database_url) == (9000, None)


def test_the_collector_of_opentelemetry_is_taken_from_its_own_variable_where_ours_is_not_set(monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
    assert load_settings().telemetry.otlp_endpoint == "http://collector:4318"
    monkeypatch.setenv("TIDEMILL_TELEMETRY__OTLP_ENDPOINT", "http://ours:4318")
    assert load_settings().telemetry.otlp_endpoint == "http://ours:4318"


def test_settings_made_in_code_do_not_read_the_environment(folder, monkeypatch):
    monkeypatch.setenv("TIDEMILL_PORT", "9001")
    assert Settings(data_dir=folder).port == 8000


def test_a_file_elsewhere_may_name_the_data_folder(folder, monkeypatch):
    monkeypatch.delenv("TIDEMILL_DATA_DIR")
    path = folder / "etc" / "hub.yaml"
    path.parent.mkdir()
    path.write_text(f"data_dir: {folder / 'data'}\nport: 9000\n")
    monkeypatch.setenv("TIDEMILL_CONFIG", str(path))
    settings = load_settings()
    assert (settings.data_dir, settings.port) == (folder / "data", 9000)


def test_a_named_file_that_does_not_exist_is_an_error(folder, monkeypatch):
    monkeypatch.setenv("TIDEMILL_CONFIG", str(folder / "none.yaml"))
    with pytest.raises(Configuration, match=r"none\.yaml, which TIDEMILL_CONFIG names, does not exist"):
        load_settings()


def test_an_unknown_key_is_named(folder):
    write(folder, "review:\n  max_hunk: 2\n")
    with pytest.raises(Configuration, match=r"`review\.max_hunk` is not a setting") as raised:
        load_settings()
    assert str(folder / "tidemill.yaml") in raised.value.message


def test_an_unknown_variable_is_named(monkeypatch):
    monkeypatch.setenv("TIDEMILL_PROT", "9000")
    with pytest.raises(Configuration, match="TIDEMILL_PROT names no setting"):
        load_settings()


def test_an_unknown_variable_of_a_section_is_named(monkeypatch):
    monkeypatch.setenv("TIDEMILL_REVIEW__MAX_HUNK", "2")
    with pytest.raises(Configuration, match=r"`review\.max_hunk` is not a setting"):
        load_settings()


@pytest.mark.parametrize("name", ["TIDEMILL_API_KEY", "TIDEMILL_HUB_URL", "TIDEMILL_SECRET_KEY"])
def test_variables_that_are_no_settings_but_ours_are_let_be(monkeypatch, name):
    monkeypatch.setenv(name, "something")
    load_settings()


@pytest.mark.parametrize(("text", "kind"), [("- port\n", "list"), ("9000\n", "int"), ("port\n", "str")])
def test_a_file_that_holds_no_names_and_values_is_an_error(folder, text, kind):
    write(folder, text)
    with pytest.raises(Configuration, match=f"must hold names and values, not a {kind}"):
        load_settings()


def test_a_key_that_is_no_name_is_an_error(folder):
    write(folder, "8000: port\n")
    with pytest.raises(Configuration, match="key 8000, which is not the name of a setting"):
        load_settings()


@pytest.mark.parametrize("content", [b"port: [", b"\xff\xfe\xff", b"!!python/object:os.system x"])
def test_a_file_that_is_not_yaml_is_an_error(folder, content):
    (folder / "tidemill.yaml").write_bytes(content)
    with pytest.raises(Configuration, match="can't be read"):
        load_settings()


def test_a_wrong_value_is_told_in_one_sentence_that_says_where(folder):
    write(folder, "port: many\nlog_level: loud\n")
    with pytest.raises(Configuration) as raised:
        load_settings()
    message = raised.value.message
    assert "`port`: input should be a valid integer" in message
    assert "`log_level`: input should be 'debug', 'info', 'warning' or 'error'" in message
    assert message.endswith(f"Mend {folder / 'tidemill.yaml'} or the environment.")


def test_a_list_in_a_variable_that_is_not_json_is_told(monkeypatch, folder):
    monkeypatch.setenv("TIDEMILL_REVIEW__ROOTS", str(folder))
    with pytest.raises(Configuration, match="written as JSON"):
        load_settings()


def test_a_list_in_a_variable_is_json(monkeypatch, folder):
    monkeypatch.setenv("TIDEMILL_REVIEW__ROOTS", f'["{folder}"]')
    assert load_settings().review.roots == [folder]


def test_database_url_is_read_and_never_printed(monkeypatch, folder):
    write(folder, "database_url: postgresql://file.example/hub\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://hub:fictional@db.example/hub")
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://hub:fictional@db.example/hub"
    assert "fictional" not in repr(settings)


def test_our_own_name_wins_over_database_url(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://other.example/app")
    monkeypatch.setenv("TIDEMILL_DATABASE_URL", "postgresql://db.example/hub")
    settings = load_settings()
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == "postgresql://db.example/hub"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://hub:fictional@db.example/hub", "must begin with postgresql://"),
        ("postgresql+psycopg://hub:fictional@db.example/hub", "must begin with postgresql://"),
        ("hub:fictional@db.example/hub", "must begin with postgresql://"),
        ("host=db.example password=fictional", "must begin with postgresql://"),
        ("postgresql://", "must begin with postgresql://"),
        ("postgresql://hub:fict@ional@db.example/hub", "In a password, write @ as %40"),
        ("postgresql://hub:fict/ional@db.example/hub", "In a password, write @ as %40"),
        ("postgresql://hub:fictional%@db.example/hub", "In a password, write @ as %40"),
        ("postgresql://hub:fictional@db.example:port/hub", "can't be read"),
        ("postgresql://hub:fictional@[::1/hub", "can't be read"),
        ("postgresql://hub:fictional@db.example/the hub", "can't be read"),
    ],
)
def test_a_database_url_that_cannot_be_read_is_refused_without_its_password(monkeypatch, url, said):
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(Configuration, match="`database_url`: ") as raised:
        load_settings()
    assert said in raised.value.message
    told = "".join(traceback.format_exception(raised.value))
    assert "fict" not in told
    assert "ional" not in told.replace("optional", "").replace("additional", "")


@pytest.mark.parametrize(
    "url",
    [
        "postgres://db.example/hub",
        "postgresql:///hub?host=/run/a%20folder",
        "postgresql://hub:fict%40ional@[::1]:5432/hub?sslmode=require",
        "postgresql://hub@one.example:5432,two.example/hub",
    ],
)
def test_every_form_of_a_postgresql_url_is_taken(monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    database_url = load_settings().database_url
    assert database_url is not None
    assert database_url.get_secret_value() == url
    conninfo_to_dict(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://bob:fictional@gpu.example/v1", "`api_key_env`"),
        ("https://fictional@gpu.example/v1", "`api_key_env`"),
        ("https://gpu.example/v1?key=fictional", "`api_key_env`"),
        ("https://gpu.example/v1#fictional", "`api_key_env`"),
        ("bob:fictional@gpu.example/v1", "begins with http://"),
        ("ftp://fictional.example/v1", "begins with http://"),
        ("fictional.example:8000/v1", "begins with http://"),
        ("http://", "begins with http://"),
        ("http://fictional.example:port/v1", "begins with http://"),
        ("http://[fictional/v1", "begins with http://"),
        ("http://fictional.example/v 1", "begins with http://"),
    ],
)
def test_an_endpoints_url_that_cannot_be_used_or_holds_a_key_is_refused_and_never_shown(folder, url, said):
    write(folder, f"models:\n  endpoints:\n    big:\n      url: {url!r}\n")
    with pytest.raises(Configuration, match=r"`models\.endpoints\.big\.url`: must ") as raised:
        load_settings()
    assert said in raised.value.message
    assert "fictional" not in "".join(traceback.format_exception(raised.value))
    with pytest.raises(ValidationError) as refused:
        EndpointSettings(url=url)
    assert "fictional" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "https://gpu.example/models/@team/v1", "http://[::1]:9/v1"]
)
def test_an_endpoints_url_is_kept_as_it_is(folder, url):
    write(folder, f"models:\n  endpoints:\n    big:\n      url: {url!r}\n")
    assert load_settings().models.endpoints["big"].url == url


def test_a_relative_data_folder_stays_where_it_was_meant(monkeypatch, folder):
    monkeypatch.chdir(folder)
    settings = load_settings(data_dir="data")
    monkeypatch.chdir("/")
    assert settings.data_dir == folder / "data"


def test_paths_know_the_home_folder(monkeypatch, folder):
    monkeypatch.setenv("HOME", str(folder))
    write(folder, "review:\n  roots: [~/src]\n")
    assert load_settings().review.roots == [folder / "src"]


def test_the_data_folder_of_a_person_is_under_home_or_where_xdg_says(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/lan")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    assert default_data_dir() == Path("/home/lan/.local/share/tidemill")
    monkeypatch.setenv("XDG_DATA_HOME", "/srv/lan")
    assert default_data_dir() == Path("/srv/lan/tidemill")


def test_the_data_folder_of_root_is_not_in_roots_private_home(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/tidemill")


def test_every_part_of_the_data_folder_is_in_it(folder):
    settings = load_settings()
    for path in (settings.blobs_dir, settings.models_dir, settings.run_dir, settings.key_file):
        assert path.is_relative_to(folder)


@pytest.mark.parametrize("kind", ["files", "endpoints"])
@pytest.mark.parametrize("name", ["load", "unload", "status", "adapters", "''", "x" * 201])
def test_a_model_may_not_have_a_name_with_another_meaning(folder, kind, name):
    value = "/m.gguf" if kind == "files" else "{url: 'http://127.0.0.1:9/v1'}"
    write(folder, f"models:\n  {kind}:\n    {name}: {value}\n")
    with pytest.raises(Configuration, match=rf"`models\.{kind}`: .*can't name a model"):
        load_settings()


def test_memory_is_written_as_people_write_it(folder):
    write(folder, "models:\n  memory_budget: 6 GiB\n  vram_budget: 500MB\n  keep_alive: null\n")
    models = load_settings().models
    assert (models.memory_budget, models.vram_budget, models.keep_alive) == (6 * 2**30, 500 * 10**6, None)


@pytest.mark.parametrize("size", ["much", "0", "-1 GiB", "6 apples"])
def test_a_budget_that_is_no_size_is_refused(folder, size):
    write(folder, f"models:\n  memory_budget: {size}\n")
    with pytest.raises(Configuration, match=r"`models\.memory_budget"):
        load_settings()


def test_a_model_is_a_path_or_a_file_of_the_hub(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    write(folder, "models:\n  files:\n    own: ~/a.gguf\n    far: hf.co/org/repo:a.gguf\n")
    assert load_settings().models.files == {"own": folder / "a.gguf", "far": "org/repo:a.gguf"}


def test_an_adapters_name_has_no_colon(folder):
    write(folder, "models:\n  adapters:\n    'a:b': {base: tiny, path: /a.gguf}\n")
    with pytest.raises(Configuration, match="can't name an adapter"):
        load_settings()


@pytest.mark.parametrize(
    "oidc",
    [
        {"issuer": "http://id.example", "client_id": "x"},
        {"issuer": "https://id.example"},
        {"issuer": "https://id.example?x=1", "client_id": "x"},
        {"issuer": "id.example", "client_id": "x"},
        {"issuer": "https://id.example", "client_id": "x", "scopes": "email"},
        {"issuer": "https://id.example", "client_id": "x", "client_secret": "a", "client_secret_env": "B"},
    ],
)
def test_an_issuer_that_could_not_be_trusted_or_asked_is_refused(oidc):
    with pytest.raises(Configuration, match="auth"):
        load_settings(auth={"oidc": oidc})


def test_an_issuer_on_this_machine_may_do_without_tls():
    settings = load_settings(auth={"oidc": {"issuer": "http://127.0.0.1:9000", "client_id": "x"}})
    assert settings.auth.oidc.issuer == "http://127.0.0.1:9000"


@pytest.mark.parametrize("proxies", [["proxy.example"], ["10.0.0.5/8"], ["10.0.0.0/33"], "10.0.0.5"])
def test_a_trusted_proxy_is_an_address_or_a_network(proxies):
    with pytest.raises(Configuration, match="trusted_proxies"):
        load_settings(auth={"trusted_proxies": proxies})


@pytest.mark.parametrize(
    "url", ["hub.example", "https://hub.example/path", "https://hub.example?x", "ftp://hub.example"]
)
def test_the_public_address_has_no_path(url):
    with pytest.raises(Configuration, match="public_url"):
        load_settings(auth={"public_url": url})
