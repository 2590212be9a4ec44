"""Settings come as flags, as text of the environment, or as values of a file."""

from pathlib import Path

import pytest

from kumoi.model.settings import settings_build

HERE = Path("data")


@pytest.mark.parametrize("said", [False, "false", "FALSE", "0", "no"])
def test_a_switch_is_a_value_or_a_word(said: object) -> None:
    assert settings_build(HERE, {"gateway": said}).gateway is False
    assert settings_build(HERE).gateway is True


@pytest.mark.parametrize("said", ["maybe", "", 2, 0.5])
def test_a_switch_that_is_neither_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match="gateway must be of type bool"):
        settings_build(HERE, {"gateway": said})


def test_the_gateway_may_take_a_free_port_and_no_other_nonsense() -> None:
    assert settings_build(HERE, {"gateway_listen": "127.0.0.1:0"}).gateway_listen == "127.0.0.1:0"
    for said in ("127.0.0.1", "127.0.0.1:x", ":8580", "127.0.0.1:70000", ":0"):
        with pytest.raises(ValueError, match="gateway_listen must be HOST:PORT"):
            settings_build(HERE, {"gateway_listen": said})


def test_the_first_layer_that_names_a_setting_wins() -> None:
    built = settings_build(HERE, {"cell": 3}, {"cell": "4", "region": "osaka"}, {"region": "tokyo"})
    assert (built.cell, built.region) == (3, "osaka")
