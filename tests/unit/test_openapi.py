from api.export import OPENAPI, render


def test_the_exported_description_is_the_api() -> None:
    assert OPENAPI.read_bytes() == render(), "run: python -m api.export"
