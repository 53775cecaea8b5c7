"""The OIDC issuer whose tokens count: what must be known of it before there is a token.

Apart from `graph.auth.tokens`, so that a server without an issuer does not import the cryptography.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from resolvers.access.callers import Role


class InvalidToken(Exception):
    """A token that proves nothing. Its text is for the log."""


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Whose tokens count, and what their claims mean.

    `keys_url` is a JWKS or an OpenID discovery document, at http, https or file. A claim's name may be a
    path such as `realm_access.roles`. `roles` maps words of the role claim to roles; where it is None, the
    names of the roles themselves count.
    """

    issuer: str
    audience: str
    keys_url: str
    role_claim: str = "role"
    sites_claim: str = "sites"
    texts_claim: str = "reads_texts"
    name_claim: str = "sub"
    roles: Mapping[str, Role] | None = None
