"""A mail server for tests: aiosmtpd on a port of the system's choice.

Its settings are one JSON object on the command line; what happens is one JSON object a line on standard output: first the
port, then each letter, read by Python's own parser.
"""

import asyncio
import email
import email.policy
import json
import logging
import ssl
import sys
import warnings

from aiosmtpd.smtp import SMTP, AuthResult

warnings.simplefilter("ignore")
# Refused handshakes are what some tests are about.
logging.disable()
settings = json.loads(sys.argv[1])


def say(what):
    print(json.dumps(what), flush=True)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        refusal = settings.get("refuse", {}).get(address)
        if refusal:
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_MAIL(self, server, session, envelope, address, options):
        if "sender" in settings:
            return settings["sender"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        letter = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {
            part.get_content_type(): part.get_content()
            for part in letter.walk()
            if not part.is_multipart()
        }
        say({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": session.ssl is not None or settings["tls"] == "implicit",
            "user": getattr(session, "user", None),
            "hello": session.host_name,
            "type": letter.get_content_type(),
            "heads": [[name.lower(), str(value)] for name, value in letter.items()],
            "defects": [str(defect) for defect in letter.defects]
            + [str(defect) for _, value in letter.items() for defect in value.defects],
            "parts": parts,
            "longest": max(len(line) for line in envelope.content.split(b"\r\n")),
            "is_ascii": envelope.content.isascii(),
        })
        return settings.get("letter", "250 2.0.0 taken")


def authenticate(server, session, envelope, mechanism, data):
    session.user = data.login.decode()
    right = data.login.decode() == "systole" and data.password.decode() == "hidden-password"
    return AuthResult(success=right, handled=right or "sign_in" not in settings, message=settings.get("sign_in"))


async def main():
    context = None
    if settings["tls"] != "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings["certificate"], settings["key"])
    starttls = settings["tls"] == "starttls"

    def serve():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if starttls else None,
            require_starttls=starttls,
            auth_required=settings.get("auth", False),
            auth_require_tls=starttls,
            authenticator=authenticate,
            auth_exclude_mechanism=settings.get("without", []),
        )

    server = await asyncio.get_running_loop().create_server(
        serve, "127.0.0.1", 0, ssl=context if settings["tls"] == "implicit" else None
    )
    say({"port": server.sockets[0].getsockname()[1]})
    # It ends with whoever started it.
    await asyncio.to_thread(sys.stdin.read)


asyncio.run(main())
