"""The part of the table of routes about keys."""

from kumoi.model.access import Action
from kumoi.model.keys import KeyAttach, OrganizationKey, PlatformKey
from kumoi.web.api import organization_keys as keys
from kumoi.web.api.route import Route

A = Action
_KEY = "/v1/organizations/{organization}/key"
_PLATFORM = "/v1/platform-key"

KEY_ROUTES: tuple[Route, ...] = (
    Route("GET", _KEY, keys.key_read, A.KEY_READ, OrganizationKey),
    Route("PUT", _KEY, keys.key_attach, A.KEY_ATTACH, OrganizationKey, 200, KeyAttach, errors=(409,)),
    Route("POST", f"{_KEY}/withdraw", keys.key_withdraw, A.KEY_WITHDRAW, OrganizationKey),
    Route("POST", f"{_KEY}/restore", keys.key_restore, A.KEY_RESTORE, OrganizationKey),
    Route("POST", f"{_KEY}/rotate", keys.key_rotate, A.KEY_ROTATE, OrganizationKey),
    Route("GET", _PLATFORM, keys.platform_key_read, A.PLATFORM_KEY_READ, PlatformKey),
    Route("POST", f"{_PLATFORM}/rotate", keys.platform_key_rotate, A.PLATFORM_KEY_ROTATE, PlatformKey),
)
