"""Which exporters the standard variables ask for."""

import pytest

from ibex.errors import ConfigurationError
from ibex.telemetry import Tracing, _exporter_names, outgoing, outgoing_metadata, resource

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environment", "names"),
    [
        ({}, []),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, []),
        (ENDPOINT, ["otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, ["otlp_proto_http"]),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        (
            ENDPOINT
            | {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["otlp_proto_http"],
        ),
        ({"OTEL_TRACES_EXPORTER": "console"}, ["console"]),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ["otlp_proto_http", "console"]),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, []),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, []),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "false"}, ["otlp_proto_http"]),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], names: list[str]) -> None:
    assert _exporter_names(environment) == names


def test_a_wrong_variable_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match="http/json"):
        _exporter_names(ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkim")
    with pytest.raises(ConfigurationError, match="zipkim"):
        Tracing.open("ibex-test")


def test_the_service_has_a_name_of_its_own_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource("ibex-proxy").attributes["service.name"] == "ibex-proxy"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    assert resource("ibex-proxy").attributes["service.name"] == "ibex-proxy"
    assert resource("ibex-proxy").attributes["deployment.environment.name"] == "test"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "gateway")
    assert resource("ibex-proxy").attributes["service.name"] == "gateway"


def test_nothing_goes_out_while_nobody_traces() -> None:
    assert outgoing() == {}
    assert outgoing_metadata() is None
