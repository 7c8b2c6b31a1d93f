from ibex.settings import Settings
from ibex.settings_docs import ENV_EXAMPLE, render_env_example, variable


def test_the_example_lists_every_setting_with_its_default() -> None:
    assert ENV_EXAMPLE.read_text() == render_env_example(), "run: python -m ibex.settings_docs"


def test_every_setting_is_described_in_a_sentence() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_what_the_example_sets_is_read() -> None:
    names = {variable(name, field) for name, field in Settings.model_fields.items()}
    assert "IBEX_PROVIDER_API_KEY" in names
    assert all(name.startswith("IBEX_") for name in names)
