"""The application's side of `auth: session`: who may open which workspace, and the ticket for it.

    pip install fastapi uvicorn
    ROUTER_SECRET=… ROUTER_DOMAIN=code-hub.com uvicorn fastapi_app:app
"""
import base64
import hashlib
import hmac
import json
import os
import re
import time
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import RedirectResponse

SECRET = os.environ["ROUTER_SECRET"].encode()
DOMAIN = os.environ["ROUTER_DOMAIN"]
WORKSPACES = {"ws123": {"address": os.environ.get("WS123", "10.1.2.3"), "owner": "alice"}}
NAME = re.compile(r"([1-9]\d{0,4})-([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)\.")
app = FastAPI()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_ticket(workspace: str, port: int, user: str, nonce: str) -> str:
    claims = {"use": "enter", "id": workspace, "port": port, "user": user, "nonce": nonce, "expires": int(time.time()) + 30}
    signed = "v1." + base64url(json.dumps(claims, separators=(",", ":")).encode())
    return signed + "." + base64url(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())


def signed_in_user(request: Request) -> str | None:
    """Your application's own session; here a cookie that says who it is."""
    return request.cookies.get("demo_user")


@app.get("/open")
def open_workspace(request: Request, to: str, nonce: str):
    target = urlsplit(to)
    # Only names of the routed domain: this endpoint redirects, and must not lead elsewhere.
    name = NAME.match(target.hostname or "")
    if not name or target.hostname[name.end():] != DOMAIN or target.scheme not in ("http", "https"):
        raise HTTPException(400, "not a name of the routed domain")
    port, workspace = int(name[1]), name[2]
    user = signed_in_user(request)
    if user is None:
        raise HTTPException(401, "sign in first")  # or a redirect to your login page
    if WORKSPACES.get(workspace, {}).get("owner") != user:
        raise HTTPException(403, "not your workspace")
    path = (target.path or "/") + ("?" + target.query if target.query else "")
    ticket = sign_ticket(workspace, port, user, nonce)
    enter = f"{target.scheme}://{target.netloc}/.router/enter?ticket={ticket}&path={quote(path, safe='')}"
    return RedirectResponse(enter, 303)


@app.get("/router/pods/{workspace}")
def pod(workspace: str):
    """`lookup_url`: keep it inside your network."""
    found = WORKSPACES.get(workspace)
    if found is None:
        raise HTTPException(404)
    return {"address": found["address"], "users": [found["owner"]]}
