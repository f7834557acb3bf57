"""A certificate for localhost and 127.0.0.1, signed by itself."""

from __future__ import annotations

from pathlib import Path

# Made for tests; good for nothing else.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgu8i+NzMdPHNzRhgn
+Tr7NqTg54WRLIcVclbyUibnacShRANCAASM419MgQ0B6WxtyRNKoNaEggQt+/g3
Mghe8yghhvtP7BIvH8JSVikUR79+K+CtbSfc/nuLWHXf8UPHNzhb7ZnM
-----END PRIVATE KEY-----
"""
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUT7ZznmqVgskgq5zQqHo+kgjX+nEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTExNDMwMFoYDzIxMjYxMDI4
MTE0MzAwWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASM419MgQ0B6WxtyRNKoNaEggQt+/g3Mghe8yghhvtP7BIvH8JSVikU
R79+K+CtbSfc/nuLWHXf8UPHNzhb7ZnMo28wbTAdBgNVHQ4EFgQU/e9OVvc+i4Bx
AOBJxHoT0huT+jMwHwYDVR0jBBgwFoAU/e9OVvc+i4BxAOBJxHoT0huT+jMwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI
zj0EAwIDSAAwRQIgF44OgyUw/QWexNmzpYcqiI1sOIeltKMpVs0ZCyM5IQMCIQCC
FDY6ju77GnZfc5kbHGBI9H4C1HKr3ukIFTQ+W0g5LA==
-----END CERTIFICATE-----
"""


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """Write certificate and key, and return their paths."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    return certificate, key
