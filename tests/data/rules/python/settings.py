import hashlib
import hmac
import logging
import os
import random
import secrets
import ssl
import sys
import traceback

import jinja2
import jwt
import requests
from Crypto.Cipher import AES, DES
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.views.decorators.csrf import csrf_exempt
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from flask import Flask, jsonify
from flask_cors import CORS

log = logging.getLogger(__name__)
app = Flask(__name__)
api = FastAPI()

app.secret_key = "a fixed text"  # finds: python-hardcoded-secret
app.config["SECRET_KEY"] = os.environ["SECRET_KEY"]
app.config["DEBUG"] = True  # finds: python-debug-on
app.config["TESTING"] = True
ALLOWED_HOSTS = ["*"]  # finds: python-misconfiguration
CORS_ALLOW_ALL_ORIGINS = True  # finds: python-cors
CORS_ALLOWED_ORIGINS = ["https://a.example"]
SESSION_COOKIE_SECURE = False  # finds: python-insecure-cookie
CSRF_COOKIE_SECURE = True

CORS(app, origins="*")  # finds: python-cors
CORS(app, origins=["https://a.example"])
api.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)  # finds: python-cors
api.add_middleware(CORSMiddleware, allow_origins=["https://a.example"], allow_credentials=True)
jinja2.Environment(autoescape=False)  # finds: python-misconfiguration
jinja2.Environment(autoescape=True)


def tokens(token, key, password, given):
    jwt.decode(token, options={"verify_signature": False})  # finds: python-jwt-unverified
    jwt.decode(token, key, algorithms=["HS256"])
    requests.get("https://a.example", verify=False, timeout=3)  # finds: python-tls-unverified
    requests.get("https://a.example", verify="ca.pem", timeout=3)
    ssl.create_default_context()
    if given.password == password:  # finds: python-password-compared
        return
    if password == confirm_password or new_password == given.password:
        return
    if hmac.compare_digest(given.password, password):
        return
    if given.digest == token.digest:
        return
    if len(password) == 8:
        return


@csrf_exempt  # finds: python-csrf-off
def forged(request):
    return None


def guarded(request):
    return None


def written(user, password, api_key):
    log.info("signed in %s with %s", user, password)  # finds: python-sensitive-exposure
    log.info(f"key {api_key}")  # finds: python-sensitive-exposure
    log.info("signed in %s", user)
    log.info("the password was changed")


def failed():
    try:
        return guarded(None)
    except ValueError:
        log.exception("it failed")
        return jsonify({"error": traceback.format_exc()})  # finds: python-error-exposed


def logged():
    log.error(traceback.format_exc())
    return jsonify({"error": "it failed"})


def hidden(key, data):
    DES.new(key, DES.MODE_CBC)  # finds: python-weak-crypto
    AES.new(key, AES.MODE_ECB)  # finds: python-weak-crypto
    AES.new(key, AES.MODE_GCM)
    AESGCM(key)
    hashlib.md5(data)  # finds: python-weak-hash
    hashlib.md5(data, usedforsecurity=False)
    hashlib.sha256(data)


def drawn():
    token = str(random.random())  # finds: python-weak-random
    jitter_token_delay = random.random() * 3
    colour = random.choice(["red", "blue"])
    safe_token = secrets.token_hex()
    return token, colour, safe_token


def baked(response, value):
    response.set_cookie("session", value)  # finds: python-insecure-cookie
    response.set_cookie("session", value, secure=True, httponly=True, samesite="Lax")
    response.set_cookie("colour", value)


if __name__ == "__main__":
    app.run(debug=True)  # finds: python-debug-on
    app.run(debug=bool(sys.argv))
