"""Give a fleet of devices logins and rules of their own over EMQX's REST API, or take them away again.

EMQX_API, EMQX_API_KEY and EMQX_API_SECRET say where and as whom. Needs the package `requests`.
"""

import argparse
import os
import secrets
import sys
from urllib.parse import quote

import requests

USERS = "authentication/password_based:built_in_database/users"
RULES = "authorization/sources/built_in_database/rules/users"


class Api:
    """Call the API with a key; raises requests.HTTPError for what is refused."""

    def __init__(self) -> None:
        self.base = os.environ.get("EMQX_API", "http://127.0.0.1:18083/api/v5")
        self.session = requests.Session()
        self.session.auth = (os.environ["EMQX_API_KEY"], os.environ["EMQX_API_SECRET"])

    def call(self, method: str, path: str, body: object = None, accepted: tuple[int, ...] = ()) -> requests.Response:
        """Send one request; a status of `accepted` is as good as success."""
        response = self.session.request(method, f"{self.base}/{path}", json=body, timeout=10)
        if response.status_code not in accepted:
            response.raise_for_status()
        return response


def set_up(api: Api, names: list[str]) -> None:
    """Create the logins that are missing, and set each one's rules: it publishes below its own name and hears all."""
    for name in names:
        password = secrets.token_urlsafe(12)
        created = api.call("POST", USERS, {"user_id": name, "password": password}, accepted=(409,))
        print(f"{name}: {'password ' + password if created.status_code == 201 else 'was there already'}")
        rules = [
            {"topic": "fleet/${username}/#", "permission": "allow", "action": "publish", "qos": [0, 1]},
            {"topic": "fleet/#", "permission": "allow", "action": "subscribe"},
            {"topic": "#", "permission": "deny", "action": "all"},
        ]
        api.call("PUT", f"{RULES}/{quote(name, safe='')}", {"username": name, "rules": rules})
    # The last one is kept out.
    api.call("POST", "banned", {"as": "username", "who": names[-1], "reason": "an example"}, accepted=(400,))


def show(api: Api) -> None:
    """List the fleet page by page, and who is banned."""
    page = 1
    while True:
        answer = api.call("GET", f"{RULES}?page={page}&limit=100&like_username=device-").json()
        for row in answer["data"]:
            print(f"{row['username']}: {len(row['rules'])} rules")
        if not answer["meta"]["hasnext"]:
            break
        page += 1
    for ban in api.call("GET", "banned").json()["data"]:
        print(f"banned: {ban['who']} ({ban['reason']}) until {ban['until']}")


def take_down(api: Api, names: list[str]) -> None:
    """Remove logins, rules and the ban."""
    for name in names:
        for path in (f"{USERS}/{quote(name, safe='')}", f"{RULES}/{quote(name, safe='')}"):
            api.call("DELETE", path, accepted=(404,))
    api.call("DELETE", f"banned/username/{quote(names[-1], safe='')}", accepted=(404,))
    print(f"removed {len(names)}")


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=3, help="devices in the fleet")
    parser.add_argument("--remove", action="store_true", help="take the fleet away")
    options = parser.parse_args()
    names = [f"device-{number:04}" for number in range(1, max(options.count, 1) + 1)]
    api = Api()
    try:
        if options.remove:
            take_down(api, names)
        else:
            set_up(api, names)
            show(api)
    except requests.HTTPError as error:
        print(f"{error}: {error.response.text}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
