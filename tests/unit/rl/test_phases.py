import pytest

from worldr1.errors import ConfigError
from worldr1.rl.phases import Phase, PhaseConfig


def test_the_paper_cycle_repeats():
    config = PhaseConfig(main_updates=100, dynamic_updates=50)
    at = {u: config.phase_at(u) for u in (0, 99, 100, 149, 150, 249, 250, 299, 300)}
    dynamic = {u for u, phase in at.items() if phase is Phase.DYNAMIC}
    assert dynamic == {100, 149, 250, 299}


def test_demo_cycle_has_its_four_dynamic_updates_last():
    config = PhaseConfig(main_updates=8, dynamic_updates=4)
    assert [config.phase_at(u).value for u in range(12)] == ["main"] * 8 + ["dynamic"] * 4


def test_no_dynamic_updates_means_no_dynamic_phase():
    config = PhaseConfig(main_updates=3, dynamic_updates=0)
    assert {config.phase_at(u) for u in range(20)} == {Phase.MAIN}


@pytest.mark.parametrize("keys", [{"main_updates": 0}, {"dynamic_updates": -1}])
def test_bad_counts_are_refused(keys):
    with pytest.raises(ConfigError):
        PhaseConfig(**keys)
