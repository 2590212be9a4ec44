"""Which plane, as whom: the file, the variables, the flags, and that no token is shown."""

import stat
import tomllib

import fake_rows as rows
import pytest


def test_login_remembers_after_asking_who_it_is(kumoi, running, environment):
    ran = kumoi("login", "--url", running.url, "--token", "-", "--project", "genome", stdin=rows.TOKEN + "\n")
    assert ran.code == 0
    assert "admin of acme" in ran.out
    assert rows.TOKEN not in ran.out + ran.err
    assert tomllib.loads(environment.read_text()) == {
        "url": running.url,
        "token": rows.TOKEN,
        "project": rows.PROJECT,
    }
    assert stat.S_IMODE(environment.stat().st_mode) == 0o600
    assert stat.S_IMODE(environment.parent.stat().st_mode) == 0o700
    assert kumoi("job", "list").code == 0


def test_login_asks_for_the_token_without_showing_it(kumoi, running, environment):
    ran = kumoi("--url", running.url, "login", "--json", stdin=rows.TOKEN + "\n")
    assert ran.json["organization_name"] == "acme"
    assert rows.TOKEN not in ran.out + ran.err
    assert environment.exists()


def test_a_token_file(kumoi, running, environment, tmp_path):
    (tmp_path / "admin.token").write_text(rows.TOKEN + "\n")
    assert kumoi("login", "--url", running.url, "--token-file", tmp_path / "admin.token").code == 0
    assert environment.exists()


def test_a_wrong_token_is_not_remembered(kumoi, running, environment):
    ran = kumoi("login", "--url", running.url, "--token", "-", stdin="kumoi_wrong\n")
    assert ran.code == 4
    assert not environment.exists()
    assert "kumoi_wrong" not in ran.out + ran.err


@pytest.mark.parametrize("text", ["", "\n", "雲\n", "x" * 2000, "a\tb\n"])
def test_what_is_no_token_is_said(kumoi, running, environment, text):
    ran = kumoi("login", "--url", running.url, "--token", "-", stdin=text)
    assert ran.code == 2
    assert not environment.exists()


def test_a_token_in_the_arguments_is_refused(kumoi, running, environment):
    ran = kumoi("login", "--url", running.url, "--token", rows.TOKEN)
    assert ran.code == 2
    assert "--token -" in ran.err
    assert not environment.exists()


def test_logout_forgets_the_token_only(kumoi, running, environment):
    kumoi("login", "--url", running.url, "--token", "-", "--project", "genome", stdin=rows.TOKEN + "\n")
    assert kumoi("logout").code == 0
    assert tomllib.loads(environment.read_text()) == {"url": running.url, "project": rows.PROJECT}
    assert kumoi("whoami").code == 4


def test_a_login_elsewhere_forgets_the_defaults_of_the_plane_before(kumoi, running, environment):
    environment.parent.mkdir(parents=True)
    environment.write_text('url = "http://elsewhere"\nproject = "prj_other"\n')
    environment.chmod(0o600)
    kumoi("login", "--url", running.url, "--token", "-", stdin=rows.TOKEN + "\n")
    assert "project" not in tomllib.loads(environment.read_text())


def test_flags_go_over_variables_over_the_file(kumoi, running, environment, monkeypatch, at_once):
    environment.parent.mkdir(parents=True)
    environment.write_text(f'url = "{running.url}"\ntoken = "{rows.TOKEN}"\nproject = "nowhere"\n')
    environment.chmod(0o600)
    assert kumoi("whoami").code == 0
    assert kumoi("job", "list").code == 5
    monkeypatch.setenv("KUMOI_PROJECT", "genome")
    assert kumoi("job", "list").code == 0
    assert kumoi("job", "list", "-p", "nowhere").code == 5
    monkeypatch.setenv("KUMOI_URL", "http://127.0.0.1:1")
    assert kumoi("whoami").code == 4, "the token is of another plane, and only that one may see it"
    monkeypatch.setenv("KUMOI_TOKEN", rows.TOKEN)
    assert kumoi("whoami").code == 3
    monkeypatch.delenv("KUMOI_TOKEN")
    assert kumoi("whoami", "--url", running.url).code == 0
    assert kumoi("--url", running.url, "whoami").code == 0


def test_a_file_that_others_can_read_is_refused(kumoi, running, environment):
    environment.parent.mkdir(parents=True)
    environment.write_text(f'token = "{rows.TOKEN}"\n')
    environment.chmod(0o644)
    ran = kumoi("whoami")
    assert ran.code == 2
    assert "chmod 600" in ran.err
    assert rows.TOKEN not in ran.err


def test_a_file_that_is_no_toml_is_said(kumoi, environment):
    environment.parent.mkdir(parents=True)
    environment.write_text("url = ")
    environment.chmod(0o600)
    ran = kumoi("whoami")
    assert ran.code == 2
    assert str(environment) in ran.err


def test_a_default_project(kumoi, running, logged_in, environment):
    assert kumoi("project", "use", "genome").code == 0
    assert tomllib.loads(environment.read_text()) == {"project": rows.PROJECT}
