"""KEDA, as far as it asks a learner: in the words of its contract, which are read from proto/keda, with what a ScaledObject and its
TriggerAuthentication name."""

import re

import grpc
from google.protobuf import descriptor_pb2, message_factory

from rendered import ROOT

CONTRACT, PACKAGE = ROOT.parent / "proto/keda/externalscaler.proto", "externalscaler"
FIELD = descriptor_pb2.FieldDescriptorProto
KINDS = {
    "string": FIELD.TYPE_STRING,
    "bool": FIELD.TYPE_BOOL,
    "int64": FIELD.TYPE_INT64,
    "double": FIELD.TYPE_DOUBLE,
}
TEXTS = "map<string, string>"


def described(message, repeated, kind, name, number):
    """A field of a message, as protoc would describe it."""
    field = message.field.add(name=name, number=int(number))
    field.label = FIELD.LABEL_REPEATED if repeated or kind == TEXTS else FIELD.LABEL_OPTIONAL
    if kind in KINDS:
        field.type = KINDS[kind]
        return
    field.type, field.type_name = FIELD.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    if kind == TEXTS:
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        described(entry, False, "string", "key", 1)
        described(entry, False, "string", "value", 2)
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"


def messages():
    """A class for every message of the contract."""
    file = descriptor_pb2.FileDescriptorProto(name=CONTRACT.name, package=PACKAGE, syntax="proto3")
    for name, body in re.findall(
        r"^message (\w+) \{\n(.*?)^\}", CONTRACT.read_text(), re.MULTILINE | re.DOTALL
    ):
        message = file.message_type.add(name=name)
        for field in re.findall(rf"^ +(repeated )?({TEXTS}|\w+) (\w+) = ([0-9]+);", body, re.MULTILINE):
            described(message, *field)
    return {name.rpartition(".")[2]: one for name, one in message_factory.GetMessages([file]).items()}


def asked(address, host, secret, method="IsActive", message=b""):
    """What a learner answers to somebody who knows it by a host's name and shows a Secret's certificate: bytes, or in words why not."""
    ca, key, chain = (secret[name].encode() for name in ("ca.crt", "tls.key", "tls.crt"))
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    options = [("grpc.ssl_target_name_override", host)]
    with grpc.secure_channel(address, credentials, options) as channel:
        try:
            return channel.unary_unary(f"/{PACKAGE}.ExternalScaler/{method}")(message, timeout=10)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"


class Keda:
    """Asks the learner at an address on behalf of a run's ScaledObject."""

    def __init__(self, run, address):
        [scaled], [trusted] = run.overlay.of("ScaledObject"), run.overlay.of("TriggerAuthentication")
        [trigger] = scaled["spec"]["triggers"]
        self.host, port = trigger["metadata"]["scalerAddress"].split(":")
        self.address, self.messages = f"{address}:{port}", messages()
        files = {
            one["parameter"]: run.values["Secret", one["name"]][one["key"]]
            for one in trusted["spec"]["secretTargetRef"]
        }
        names = {"ca.crt": "caCert", "tls.crt": "tlsClientCert", "tls.key": "tlsClientKey"}
        self.secret = {file: files[parameter] for file, parameter in names.items()}
        self.scaled = self.messages["ScaledObjectRef"](
            name=scaled["metadata"]["name"],
            namespace=scaled["metadata"]["namespace"],
            scalerMetadata=trigger["metadata"],
        )

    def ask(self, method, answer, message):
        said = asked(self.address, self.host, self.secret, method, message.SerializeToString())
        assert isinstance(said, bytes), f"KEDA asks {method}: {said}"
        return self.messages[answer].FromString(said)

    def is_active(self):
        """Whether there is anything to scale for."""
        return self.ask("IsActive", "IsActiveResponse", self.scaled).result

    def replicas(self):
        """How many the learner wants: what its only metric is, by what one replica is for."""
        [spec] = self.ask("GetMetricSpec", "GetMetricSpecResponse", self.scaled).metricSpecs
        request = self.messages["GetMetricsRequest"](scaledObjectRef=self.scaled, metricName=spec.metricName)
        [metric] = self.ask("GetMetrics", "GetMetricsResponse", request).metricValues
        assert spec.targetSizeFloat > 0, f"one replica is for {spec}"
        return metric.metricValueFloat / spec.targetSizeFloat
