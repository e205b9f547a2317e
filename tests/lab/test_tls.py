"""A gateway before a sandbox behind TLS, as the hosted one is: it asks that one, and nobody who passes for it."""

import asyncio
import datetime
import ipaddress
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

pytestmark = pytest.mark.lab

NAME = "sandbox.test"
ZONES = {"zoneList": {"zone": []}}
_UP_S = 20.0


class Authority:
    """Signs certificates, its own first."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the test")])
        self.certificate = self._signed(self.name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        built = x509.CertificateBuilder(self.name, name, key.public_key(), x509.random_serial_number())
        built = built.not_valid_before(now - datetime.timedelta(hours=1))
        built = built.not_valid_after(now + datetime.timedelta(hours=1)).add_extension(extension, critical=False)
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    def server(self, folder: Path, name: str) -> ssl.SSLContext:
        """A server's key and a certificate for this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        raw = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        file = folder / "server.pem"
        file.write_bytes(raw + self._signed(named, key, x509.SubjectAlternativeName([x509.DNSName(name)])))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


@asynccontextmanager
async def behind_tls(address: str, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A sandbox of few words; gives its port."""

    async def zones(request: web.Request) -> web.Response:
        return web.json_response(ZONES)

    app = web.Application()
    app.router.add_get("/sbxabc/location/v2/queries/zones", zones)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextmanager
def gateway(sandbox_url: str, authorities: Path) -> Iterator[str]:
    """A gateway that trusts these authorities; gives its URL."""
    words = ["run", "--detach", "--rm", "--add-host", f"{NAME}:host-gateway", "--env", f"SANDBOX_URL={sandbox_url}"]
    words += ["--volume", f"{authorities}:/etc/ssl/certs/ca-certificates.crt:ro", "pillion/gateway"]
    container = docker(*words)
    try:
        address = ipaddress.ip_address(docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", container))
        yield f"http://{address}"
    finally:
        docker("rm", "--force", container)


async def status_of(url: str) -> int:
    """What the gateway answers, once it is up."""
    async with asyncio.timeout(_UP_S), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/location/v2/queries/zones") as answer:
                    if answer.status == 200:
                        assert await answer.json() == ZONES
                    return answer.status
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("certified", "trusted", "status"),
    [(NAME, True, 200), ("elsewhere.test", True, 500), (NAME, False, 500)],
    ids=["the sandbox", "another name", "an unknown authority"],
)
async def test_only_a_sandbox_whose_name_and_authority_are_right_is_asked(
    tmp_path: Path, certified: str, trusted: bool, status: int
) -> None:
    signing = Authority()
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes((signing if trusted else Authority()).certificate)
    bridge = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}")
    async with behind_tls(bridge, signing.server(tmp_path, certified)) as port:
        with gateway(f"https://{NAME}:{port}/sbxabc", authorities) as url:
            assert await status_of(url) == status
