"""What answers at an address: MLflow, or what else, and why not.

The server is asked over plain HTTP, with the credentials that MLflow's client would send: the client tells neither a
wrong address from a wrong password nor a login page from an answer, and costs seconds to import.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import json
import os
import re
import socket
import ssl
import threading
import time
import warnings
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit

from hokusai.tracking.mlflow_config import redact_credentials

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import requests

__all__ = [
    "REQUEST_SECONDS",
    "UNREACHED",
    "CheckStatus",
    "ProbeFinding",
    "Server",
    "explain_failure",
    "failure",
    "no_answer",
    "probe_server",
    "within",
]

CheckStatus = Literal["ok", "warning", "failed", "skipped"]

REQUEST_SECONDS = 3.0
"""How long one request may take while a store is examined."""
UNREACHED = "the store was not reached"
"""Why the checks after a failed contact are skipped."""

_API = "/api/2.0/mlflow/experiments/search"
_LONGEST_BODY = 1 << 16
_LONGEST_TEXT = 200
# OpenSSL's numbers of what may be wrong with a certificate.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED = {18, 19}
_OTHER_HOST = {62, 64}
_VERSION = re.compile(r"\d+(\.\d+)+\S*")
_SERVER_ERRORS = {
    502: "a proxy answers, the MLflow server behind it does not",
    503: "the server is starting, stopping or overloaded",
    504: "a proxy answers, the MLflow server behind it hangs",
}

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeFinding:
    """What one check came to.

    Attributes:
        blocks: Why the checks after it make no sense; empty when they do.
    """

    status: CheckStatus = "ok"
    found: str
    advice: str = ""
    blocks: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What an MLflow server says of itself.

    Attributes:
        clock_difference: Seconds that its clock is ahead of ours; None when it sends no date.
    """

    version: str
    clock_difference: float | None


def probe_server(uri: str) -> Server | ProbeFinding:
    """Ask a server what it is, by requests that every MLflow server answers."""
    from requests import RequestException, Session

    try:
        host = urlsplit(uri).hostname
    except ValueError:
        host = None
    if not host:
        return _wrong_address("the address names no host")
    found, difference = "", None
    with Session() as session, warnings.catch_warnings():
        # Whoever has switched the check of certificates off knows about it.
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        problem = _give_credentials(session)
        if problem:
            return problem
        for path in ("/health", "/version", f"{_API}?max_results=1"):
            sent_at = time.time()
            try:
                with session.get(
                    uri.rstrip("/") + path,
                    headers={"Accept-Encoding": "identity"},
                    timeout=REQUEST_SECONDS,
                    # Given here: a variable like REQUESTS_CA_BUNDLE wins over what the session alone says.
                    verify=session.verify,
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    body = next(response.iter_content(_LONGEST_BODY), b"").decode("utf-8", "replace").strip()
            except (RequestException, OSError, ValueError) as error:
                return explain_failure(error, is_tls=uri.startswith("https:"))
            problem = _explain_answer(path.partition("?")[0], response, body)
            if problem:
                return problem
            if path == "/version":
                found = body
                difference = _clock_difference(response.headers.get("Date", ""), (sent_at + time.time()) / 2)
    return Server(version=found, clock_difference=difference)


def _give_credentials(session: requests.Session) -> ProbeFinding | None:
    """Let a session send what MLflow's client would send."""
    name, password = _name_and_password()
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    if name and password:
        secret = base64.b64encode(f"{name}:{password}".encode()).decode()
        session.headers["Authorization"] = f"Basic {secret}"
    elif token:
        session.headers["Authorization"] = f"Bearer {token}"
    authority = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in {"true", "1"}:
        if authority:
            return ProbeFinding(
                status="failed",
                found="MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set",
                advice="Unset one of them: MLflow refuses to work with both.",
                blocks=UNREACHED,
            )
        session.verify = False
    elif authority:
        session.verify = authority
    certificate = os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH")
    if certificate:
        session.cert = certificate
    return None


def _name_and_password() -> tuple[str, str]:
    """Return user name and password from the environment or, as MLflow does, from ``~/.mlflow/credentials``."""
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    file = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError, RuntimeError):
        file.read(Path.home() / ".mlflow" / "credentials", encoding="utf-8")
    name, password = (str(os.environ.get(name.upper()) or file.get("mlflow", name, fallback="")) for name in names)
    return name, password


def failure(found: str, advice: str) -> ProbeFinding:
    """Return that the store was not reached, and that nothing else can be tried."""
    return ProbeFinding(status="failed", found=found, advice=advice, blocks=UNREACHED)


def no_answer(found: str) -> ProbeFinding:
    """Return that something was reached which does not answer."""
    return failure(
        f"{found}: something hangs, or is overloaded",
        "Restart the server, or wait and try again. Evaluations work meanwhile; `hokusai sync` ships them afterwards.",
    )


def _wrong_address(found: str) -> ProbeFinding:
    return failure(found, "Set tracking.uri, or MLFLOW_TRACKING_URI, to an address like https://mlflow.example.org.")


def explain_failure(error: Exception, *, is_tls: bool) -> ProbeFinding:
    """Say why there was no answer at all."""
    import requests
    from requests.exceptions import InvalidSchema, InvalidURL, ProxyError

    seconds = f"{REQUEST_SECONDS:g} seconds"
    # The first line that fits anything in the chain of errors tells most.
    reasons: tuple[tuple[tuple[type[BaseException], ...], ProbeFinding], ...] = (
        (
            (ProxyError,),
            failure(
                "the proxy that HTTP_PROXY or HTTPS_PROXY names does not let us through",
                "Correct the variable, or add the server's name to NO_PROXY.",
            ),
        ),
        ((InvalidURL, InvalidSchema, UnicodeError), _wrong_address("that is no address of a server")),
        (
            (socket.gaierror,),
            failure(
                "the server's name does not resolve",
                "Look for a typing error in tracking.uri; if there is none, connect to the network that knows it.",
            ),
        ),
        (
            (ConnectionRefusedError,),
            failure(
                "the machine answers, but refuses the port: nothing listens there",
                "Start the server (`mlflow server`), or correct the port in tracking.uri.",
            ),
        ),
        (
            (requests.ConnectTimeout,),
            failure(
                f"no connection within {seconds}: nothing answers at that address",
                "Correct the address, or ask who runs the firewall between here and there.",
            ),
        ),
        (
            (requests.Timeout, TimeoutError),
            no_answer(f"the port takes connections, but no answer came within {seconds}"),
        ),
        (
            (ssl.SSLError,),
            failure(
                "the port does not speak TLS, or no version of it that we speak",
                "If the server has no TLS, begin the address with http:// instead of https://.",
            ),
        ),
        (
            (requests.RequestException,),
            failure(
                "the connection was closed without an answer in HTTP",
                "Correct the port in tracking.uri."
                if is_tls
                else "If the port speaks TLS, begin the address with https://.",
            ),
        ),
    )
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _explain_certificate(cause)
    for kinds, finding in reasons:
        if any(isinstance(cause, kinds) for cause in causes):
            return finding
    return failure(f"the request could not be sent ({_first_line(error)})", "Mend that, then run `hokusai doctor`.")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _explain_certificate(error: ssl.SSLCertVerificationError) -> ProbeFinding:
    authority = "set MLFLOW_TRACKING_SERVER_CERT_PATH to the file of the authority that signed it"
    if error.verify_code == _EXPIRED:
        return failure("the server's TLS certificate has expired", "Renew the certificate on the server.")
    if error.verify_code == _NOT_YET_VALID:
        return failure("the server's TLS certificate is not valid yet", "Set the clock of this machine, or wait.")
    if error.verify_code in _OTHER_HOST:
        return failure(
            f"the server's TLS certificate is for another host ({error.verify_message.rstrip('.')})",
            "Use the name in tracking.uri that the certificate has, or get a certificate for this one.",
        )
    if error.verify_code in _SELF_SIGNED:
        return failure("the server's TLS certificate is self-signed", f"If that is meant so, {authority}.")
    return failure(
        f"the server's TLS certificate cannot be verified ({error.verify_message.rstrip('.')})",
        f"If its authority is your own, {authority}.",
    )


def _explain_answer(path: str, response: requests.Response, body: str) -> ProbeFinding | None:
    """Say what is wrong with an answer, or None when it is MLflow's."""
    code = response.status_code
    if code == 200:
        return _explain_content(path, body)
    if 300 <= code < 400:
        return _explain_redirect(path, response)
    if code == 403:
        return _explain_forbidden(path, body)
    found, advice = f"{code}, which MLflow does not", "Correct the address in tracking.uri."
    if code == 401:
        is_sent = "Authorization" in response.request.headers
        found = f"401: {'the credentials that were sent are refused' if is_sent else 'it wants credentials'}"
        advice = f"{'Correct' if is_sent else 'Set'} MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
        advice += "MLFLOW_TRACKING_TOKEN."
    elif code == 404:
        found = "404: a web server without MLflow at this path"
        advice = "Correct the path in tracking.uri: behind a proxy, or with --static-prefix, MLflow is below a prefix "
        advice += "such as /mlflow; without them there is none."
    elif code == 429:
        found, advice = "429: too many requests", "Wait a little, then try again."
    elif code >= 500:
        found = f"{code}: {_SERVER_ERRORS.get(code, 'the server failed inside')}"
        advice = "Read the server's log; if its database is down, start that. Evaluations work meanwhile; "
        advice += "`hokusai sync` ships them afterwards."
    return failure(f"{path} answers {found}", advice)


def _explain_content(path: str, body: str) -> ProbeFinding | None:
    try:
        is_object = isinstance(json.loads(body or "{}"), dict)
    except ValueError:
        is_object = False
    is_mlflow = {"/health": body == "OK", "/version": bool(_VERSION.fullmatch(body))}.get(path, is_object)
    if is_mlflow:
        return None
    kind = "a page of HTML" if body.lstrip().lower().startswith(("<!doctype", "<html")) else "something else"
    return failure(
        f"{path} answers 200 with {kind}: a server, or a login page, that is not MLflow's",
        "Correct the address in tracking.uri; if a login stands in front of MLflow, ask for an address for programs.",
    )


def _explain_redirect(path: str, response: requests.Response) -> ProbeFinding:
    # What comes after the path of a login page may be secret.
    target = redact_credentials(response.headers.get("Location", "")).partition("?")[0].partition("#")[0]
    address = target.removesuffix(path)
    if address != target and address.startswith(("http://", "https://")):
        return failure(
            f"{path} redirects to {target}: MLflow is at another address",
            f"Set tracking.uri to {address}: redirected requests lose what they carry.",
        )
    return failure(
        f"{path} redirects to {target or 'nowhere'}: probably a login page",
        "A login stands in front of MLflow. Set MLFLOW_TRACKING_TOKEN if it takes tokens, or ask for an address for "
        "programs.",
    )


def _explain_forbidden(path: str, body: str) -> ProbeFinding:
    if "Invalid Host header" in body:
        return failure(
            f"{path} answers 403: MLflow does not serve this host name",
            "Add the name (and port) of tracking.uri to `mlflow server --allowed-hosts`.",
        )
    if "Cross-origin request blocked" in body:
        return failure(
            f"{path} answers 403: MLflow does not serve this origin",
            "Add the origin to `mlflow server --cors-allowed-origins`.",
        )
    return failure(
        f"{path} answers 403: the server knows us and does not let us in",
        "Ask for the permission. If the server has no users, it is MLflow's check of the Host and Origin headers: add "
        "the name of tracking.uri to `mlflow server --allowed-hosts`.",
    )


def _clock_difference(date: str, now: float) -> float | None:
    try:
        stated = parsedate_to_datetime(date)
    except ValueError:
        return None
    if stated.tzinfo is None:
        stated = stated.replace(tzinfo=UTC)
    # The header's time was cut to whole seconds: on average half a second is gone.
    return stated.timestamp() + 0.5 - now


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:_LONGEST_TEXT]


def within(seconds: float, work: Callable[[], _Result]) -> _Result | None:
    """Return what the work returns, or None when it takes longer; then it is left to itself.

    The time-out of a request is not enough: looking a name up has none, and a server that sends a byte now and then
    never runs into it.
    """
    future: Future[_Result] = Future()

    def hand_over() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001  (handed on as a value: result() raises it again)
            future.set_exception(error)

    # Not an executor: Python would wait for its threads at exit.
    threading.Thread(target=hand_over, name="hokusai-connection-check", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except TimeoutError:
        return None
