"""The part of the route table that says who is kept out."""

from ...routes import Route
from . import banned
from .models_banned import Ban, BanPage, BanQuery, NewBan

BANNED = (
    Route(
        "GET",
        "/banned",
        banned.list_bans,
        "List bans, by one filter at most",
        "Banned",
        query=BanQuery,
        answer=BanPage,
    ),
    Route(
        "POST",
        "/banned",
        banned.create_ban,
        "Ban a client id, a user name or an address",
        "Banned",
        body=NewBan,
        answer=Ban,
        errors={400: ("ALREADY_EXISTS",)},
    ),
    Route(
        "DELETE",
        "/banned",
        banned.delete_bans,
        "Lift all bans",
        "Banned",
        status=204,
    ),
    Route(
        "DELETE",
        "/banned/{as}/{who}",
        banned.delete_ban,
        "Lift a ban",
        "Banned",
        status=204,
        errors={404: ("NOT_FOUND",)},
    ),
)
