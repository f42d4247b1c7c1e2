"""KEDA, as far as it asks a learner: in the words of its contract, which are read from proto/keda, with what a ScaledObject and its
TriggerAuthentication name."""

import sys

import grpc

from rendered import ROOT

# Where a contract is looked for.
sys.path.append(str(ROOT.parent / "proto/keda"))
messages, services = grpc.protos_and_services("externalscaler.proto")


def asked(address, host, secret, method="IsActive", message=None):
    """What a learner answers to somebody who knows it by a host's name and shows a Secret's certificate: a message, or in words why not."""
    ca, key, chain = (secret[name].encode() for name in ("ca.crt", "tls.key", "tls.crt"))
    credentials = grpc.ssl_channel_credentials(ca, key, chain)
    options = [("grpc.ssl_target_name_override", host)]
    with grpc.secure_channel(address, credentials, options) as channel:
        call = getattr(services.ExternalScalerStub(channel), method)
        try:
            return call(message or messages.ScaledObjectRef(), timeout=10)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"


class Keda:
    """Asks the learner at an address on behalf of a run's ScaledObject."""

    def __init__(self, run, address):
        [scaled], [trusted] = run.overlay.of("ScaledObject"), run.overlay.of("TriggerAuthentication")
        [trigger] = scaled["spec"]["triggers"]
        self.host, port = trigger["metadata"]["scalerAddress"].split(":")
        self.address = f"{address}:{port}"
        files = {
            one["parameter"]: run.values["Secret", one["name"]][one["key"]]
            for one in trusted["spec"]["secretTargetRef"]
        }
        names = {"ca.crt": "caCert", "tls.crt": "tlsClientCert", "tls.key": "tlsClientKey"}
        self.secret = {file: files[parameter] for file, parameter in names.items()}
        self.scaled = messages.ScaledObjectRef(
            name=scaled["metadata"]["name"],
            namespace=scaled["metadata"]["namespace"],
            scalerMetadata=trigger["metadata"],
        )

    def ask(self, method, message):
        said = asked(self.address, self.host, self.secret, method, message)
        assert not isinstance(said, str), f"KEDA asks {method}: {said}"
        return said

    def is_active(self):
        """Whether there is anything to scale for."""
        return self.ask("IsActive", self.scaled).result

    def replicas(self):
        """How many the learner wants: what its only metric is, by what one replica is for."""
        [spec] = self.ask("GetMetricSpec", self.scaled).metricSpecs
        request = messages.GetMetricsRequest(scaledObjectRef=self.scaled, metricName=spec.metricName)
        [metric] = self.ask("GetMetrics", request).metricValues
        assert spec.targetSizeFloat > 0, f"one replica is for {spec}"
        return metric.metricValueFloat / spec.targetSizeFloat
