"""Calls about authenticators and their users; they leave the chain as it was."""

from . import CallRow

ONE = "/authentication/{id}"
USERS = "/authentication/{id}/users"
DATABASE = {
    "mechanism": "password_based",
    "backend": "built_in_database",
    "user_id_type": "username",
    "password_hash_algorithm": {"name": "pbkdf2", "mac_fun": "sha256", "iterations": 10, "dk_length": 32},
    "bootstrap_file": "${EMQX_ETC_DIR}/auth-built-in-db-bootstrap.csv",
}
JWT = {"mechanism": "jwt", "algorithm": "hmac-based", "secret": "secret", "verify_claims": {"a": "${username}"}}
JWKS = {"mechanism": "jwt", "use_jwks": True, "endpoint": "http://127.0.0.1:9/keys", "enable": False}
SCRAM = {"mechanism": "scram", "backend": "built_in_database"}
FILE = (
    b'--b\r\nContent-Disposition: form-data; name="filename"; filename="users.csv"\r\n\r\n'
    b"user_id,password,is_superuser\r\nimported,secret,true\r\n\r\n--b--\r\n"
)
JWT_ID = {"id": "jwt"}

CALLS: list[CallRow] = [
    ("POST", USERS, {}, "", {"user_id": "alice", "password": "x"}, 201),
    ("POST", USERS, {}, "", {"user_id": "alice", "password": "x"}, 409),
    ("POST", USERS, JWT_ID, "", {"user_id": "alice", "password": "x"}, 404),
    ("GET", USERS, {}, "", None, 200),
    ("GET", USERS, {}, "like_user_id=a", None, 200),
    ("GET", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 200),
    ("PUT", USERS + "/{user_id}", {"user_id": "alice"}, "", {"password": "y"}, 200),
    ("DELETE", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 204),
    ("DELETE", USERS + "/{user_id}", {"user_id": "alice"}, "", None, 404),
    ("GET", "/authentication", {}, "", None, 200),
    ("GET", ONE, {}, "", None, 200),
    ("GET", ONE, JWT_ID, "", None, 404),
    ("POST", "/authentication", {}, "", DATABASE, 409),
    ("POST", "/authentication", {}, "", {"mechanism": "password_based", "backend": "http"}, 400),
    ("PUT", ONE, {}, "", DATABASE, 204),
    ("GET", ONE, {}, "", None, 200),
    ("PUT", ONE, {}, "", JWT, 400),
    ("PUT", ONE, JWT_ID, "", JWT, 404),
    ("POST", "/authentication", {}, "", JWT, 200),
    ("PUT", ONE, JWT_ID, "", JWKS, 204),
    ("GET", ONE, JWT_ID, "", None, 200),
    ("GET", USERS, JWT_ID, "", None, 400),
    ("POST", "/authentication", {}, "", SCRAM, 200),
    ("GET", "/authentication", {}, "", None, 200),
    ("GET", ONE + "/status", {}, "", None, 200),
    ("GET", ONE + "/status", JWT_ID, "", None, 200),
    ("GET", ONE + "/status", {"id": "ldap"}, "", None, 404),
    ("PUT", ONE + "/position/{position}", {"id": "jwt", "position": "front"}, "", None, 204),
    ("PUT", ONE + "/position/{position}", {"id": "jwt", "position": "middle"}, "", None, 400),
    ("PUT", ONE + "/position/{position}", {"id": "ldap", "position": "rear"}, "", None, 404),
    ("PUT", "/authentication/order", {}, "", [{"id": "jwt"}], 400),
    (
        "PUT",
        "/authentication/order",
        {},
        "",
        [{"id": "password_based:built_in_database"}, {"id": "scram:built_in_database"}, {"id": "jwt"}],
        204,
    ),
    ("POST", ONE + "/import_users", {}, "type=plain", FILE, 204),
    ("POST", ONE + "/import_users", {}, "type=plain", [{"user_id": "imported", "password": "x"}], 204),
    ("POST", ONE + "/import_users", {}, "type=plain", [], 400),
    ("POST", ONE + "/import_users", JWT_ID, "type=plain", FILE, 400),
    ("POST", ONE + "/import_users", {"id": "ldap"}, "type=plain", FILE, 404),
    ("DELETE", USERS + "/{user_id}", {"user_id": "imported"}, "", None, 204),
    ("DELETE", ONE, {"id": "scram:built_in_database"}, "", None, 204),
    ("DELETE", ONE, JWT_ID, "", None, 204),
    ("DELETE", ONE, JWT_ID, "", None, 204),
]
