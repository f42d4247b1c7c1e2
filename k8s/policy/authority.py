"""What cert-manager makes of an overlay: for each Certificate the Secret that it names, by the object's own fields and the Issuer that
it names, with cert-manager's defaults where it says nothing."""

import datetime
import ipaddress
import re

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

UNITS = {"h": 3600, "m": 60, "s": 1}
CURVES = {256: ec.SECP256R1, 384: ec.SECP384R1, 521: ec.SECP521R1}
FORMATS = {
    "PKCS1": serialization.PrivateFormat.TraditionalOpenSSL,
    "PKCS8": serialization.PrivateFormat.PKCS8,
}
EXTENDED = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
# What a certificate's key may do, in the order of x509.KeyUsage.
KEY_USAGES = (
    "digital signature",
    "content commitment",
    "key encipherment",
    "data encipherment",
    "key agreement",
    "cert sign",
    "crl sign",
    "encipher only",
    "decipher only",
)


def seconds(duration):
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"([0-9]+)([hms])", duration))


def new_key(wanted):
    algorithm = wanted.get("algorithm", "RSA")
    if algorithm == "ECDSA":
        return ec.generate_private_key(CURVES[wanted.get("size", 256)]())
    assert algorithm == "RSA", f"no keys of {algorithm} are made here"
    return rsa.generate_private_key(public_exponent=65537, key_size=wanted.get("size", 2048))


def key_usage(usages):
    """The extension, and those of `usages` that are not in it."""
    return x509.KeyUsage(*(usage in usages for usage in KEY_USAGES)), usages - set(KEY_USAGES)


def names(spec):
    found = [x509.DNSName(name) for name in spec.get("dnsNames", [])]
    found += [x509.UniformResourceIdentifier(uri) for uri in spec.get("uris", [])]
    return found + [x509.IPAddress(ipaddress.ip_address(ip)) for ip in spec.get("ipAddresses", [])]


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def private(key, encoding):
    return key.private_bytes(
        serialization.Encoding.PEM, FORMATS[encoding], serialization.NoEncryption()
    ).decode()


class Authority:
    """Signs as the Issuers of an overlay do, until it is forgotten with its keys."""

    def __init__(self, overlay):
        self.issuers = {one["metadata"]["name"]: one["spec"] for one in overlay.of("Issuer")}
        self.specs = {one["metadata"]["name"]: one["spec"] for one in overlay.of("Certificate")}
        self.signers = {}

    def secrets(self):
        """Of every Certificate: {("Secret", name): files}. Asked again, new keys and certificates of the same authority."""
        leaves = [spec for spec in self.specs.values() if not spec.get("isCA")]
        return {("Secret", spec["secretName"]): self.secret(spec) for spec in leaves}

    def secret(self, spec):
        """The files of the Secret of one Certificate, which need not be among the overlay's."""
        certificate, key = self.issue(spec)
        signed_by, _ = self.signer(spec["issuerRef"]["name"]) or (certificate, key)
        encoding = spec.get("privateKey", {}).get("encoding", "PKCS1")
        return {"tls.crt": pem(certificate), "tls.key": private(key, encoding), "ca.crt": pem(signed_by)}

    def signer(self, issuer):
        """Certificate and key that an Issuer signs with; None of one that lets everybody sign themselves."""
        spec = self.issuers[issuer]
        if "selfSigned" in spec:
            return None
        name = spec["ca"]["secretName"]
        if name not in self.signers:
            [own] = [one for one in self.specs.values() if one["secretName"] == name and one.get("isCA")]
            self.signers[name] = self.issue(own)
        return self.signers[name]

    def issue(self, spec):
        key = new_key(spec.get("privateKey", {}))
        common, is_ca = spec.get("commonName"), spec.get("isCA", False)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
        signed_by, signing = self.signer(spec["issuerRef"]["name"]) or (None, key)
        usages = set(spec.get("usages", ["digital signature", "key encipherment"]))
        allowed, extended = key_usage(usages | {"cert sign"} if is_ca else usages)
        now = datetime.datetime.now(datetime.timezone.utc)
        until = now + datetime.timedelta(seconds=seconds(spec.get("duration", "2160h")))
        builder = (
            x509.CertificateBuilder()
            .issuer_name(signed_by.subject if signed_by else subject)
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
            .add_extension(allowed, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        if signed_by:
            own = signed_by.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
            builder = builder.add_extension(identifier, critical=False)
        if extended:
            purposes = [EXTENDED[usage] for usage in sorted(extended)]
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if names(spec):
            # Who has no subject is known by these alone.
            builder = builder.add_extension(x509.SubjectAlternativeName(names(spec)), critical=not common)
        return builder.sign(signing, hashes.SHA256()), key
