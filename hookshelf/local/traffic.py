"""Realistic SendGrid traffic, as much as you like and the same each time: for demo, tests, bench.

    for delivery in Traffic(events=2_000_000, until=until).deliveries():
        ...

Deliveries come in order of arrival, signed with the key for trying out (see tryout.py), and are
made an hour at a time, so that memory does not grow with their number. JSON is put together from
text, not dumped: one core makes more than 100,000 events a second.

What is in it, as in the real thing: batches of lognormal size, recipients by Zipf's law, days,
nights and a weekly newsletter; deferred, bounced and dropped mail with the reasons SendGrid gives;
custom arguments; whole deliveries sent again (some after midnight), deliveries that are late
because earlier attempts failed, events in the wrong order, events that come again in another batch.
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
"""

from __future__ import annotations

import base64
import heapq
from binascii import b2a_base64
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chalicelib.delivery import Delivery
from chalicelib.sources import sendgrid
from hookshelf.local import tryout

Sign = Callable[[bytes], bytes]  # signed bytes -> signature, ASN.1 DER

HOUR = 3600  # seconds
LARGEST_BATCH = 1_999  # events
LONGEST_BATCH = 600  # seconds from the first event of a batch to its last
_BURST = 4  # messages that are sent in one second
EVENTS_PER_MAIL = 2.94  # what _events_of gives on average

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Zipf's law counts from here on, so that nobody gets one message of twenty.
_HEAD = 200
# One message in so many hours of a week, Monday 00:00 UTC first: nights are quiet, weekends too.
_DAY = (2, 1, 1, 1, 1, 2, 4, 8, 12, 14, 13, 12, 12, 14, 14, 13, 12, 11, 10, 9, 8, 7, 5, 3)
_WEEK = [(3 if day < 5 else 2) * hour for day in range(7) for hour in _DAY]
_NEWSLETTER = 24 + 9  # hour of the week
_WEEK[_NEWSLETTER] += sum(_WEEK) // 12

FIRST_NAMES = (
    *("james", "mary", "robert", "patricia", "john", "jennifer", "michael", "linda", "david"),
    *("elizabeth", "wei", "ana", "olga", "kofi", "yuki", "lars", "nadia", "ivan", "chen", "fatima"),
)
LAST_NAMES = (
    *("smith", "johnson", "williams", "brown", "jones", "garcia", "miller", "davis", "rodriguez"),
    *("martinez", "muller", "rossi", "kim", "nguyen", "silva", "ivanov", "tanaka", "okafor"),
    *("haddad", "novak"),
)
DOMAINS = ["example.com"] * 9 + ["example.org"] * 3 + ["example.net"] * 2 + ["mail.example"] * 2

CATEGORIES = (  # JSON of the category, and of the custom arguments; %d is a number of 60 bits
    ('["password-reset"]', ""),
    ('["welcome","onboarding"]', ',"plan":"trial","user_id":"%d"'),
    ('["receipt"]', ',"order":{"id":%d,"currency":"EUR"},"tags":["paid",null,true]'),
    ('["receipt"]', ',"order":{"id":%d,"currency":"JPY"},"note":"\\u0416 \\/ 注文"'),
    ('"digest"', ',"pool":{"name":"daily","id":210}'),
    ('["alerts"]', ',"account_id":%d,"severity":"low"'),
)
NEWSLETTER = ('["newsletter","weekly"]', ',"marketing_campaign_id":%d,"asm_group_id":14')

DELIVERED = (
    "250 2.0.0 OK  1700000000 m143si2210036ioe.159 - gsmtp",
    "250 OK , completed [0A/00-07343-8AC5F5C5]",
    "250 2.6.0 <queued@mx.example.net> Queued mail for delivery",
    "250 ok dirdel",
)
DEFERRED = (
    "450 4.2.1 The user you are trying to contact is receiving mail at a rate that prevents "
    "additional messages from being delivered.",
    "421 4.7.0 [TSS04] Messages from 149.72.10.4 temporarily deferred due to user complaints",
    "452 4.2.2 The email account that you tried to reach is over quota.",
    "unable to get mx info: failed to get IPs from PTR record: lookup <nil>: unrecognized address",
)
BOUNCES = (  # reason, status, type, classification
    (
        "550 5.1.1 The email account that you tried to reach does not exist. Please try "
        "double-checking the recipient's email address for typos or unnecessary spaces.",
        "5.1.1",
        "bounce",
        "Invalid Address",
    ),
    ("550 5.4.1 Recipient address rejected: Access denied", "5.4.1", "bounce", "Invalid Address"),
    (
        "552 5.2.2 The email account that you tried to reach is over quota.",
        "5.2.2",
        "bounce",
        "Mailbox Unavailable",
    ),
    (
        "550 5.7.1 Our system has detected that this message is likely unsolicited mail.",
        "5.7.1",
        "blocked",
        "Content",
    ),
    (
        "error dialing remote address: dial tcp 10.10.10.10:25: i/o timeout",
        "4.0.0",
        "blocked",
        "Technical",
    ),
)
DROPS = (
    "Bounced Address",
    "Unsubscribed Address",
    "Invalid",
    "Spam Reporting Address",
    "Recipient List over Package Quota",
)
USER_AGENTS = tuple(
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_{minor}) AppleWebKit/537.36 "
    f"(KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36"
    for minor in range(4, 8)
    for major in range(118, 126)
) + ("Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",)


class Mail:
    """One message that SendGrid sends for you. Its methods give the exact JSON of each event.

    `message` is the first part of `sg_message_id`; `category` is JSON, `arguments` the JSON of the
    custom arguments, each with a comma in front; `ip` is where it is sent from.
    """

    __slots__ = ("_after_id", "_before_id", "_before_time", "_count", "_ip", "_message")

    def __init__(self, email: str, message: str, category: str, arguments: str = "") -> None:
        host = crc32(message.encode())
        self._message = message
        self._count = 0
        self._ip = f"149.72.{host & 255}.{host >> 8 & 255}"
        self._before_time = f'{{"email":"{email}","timestamp":'
        self._before_id = f',"category":{category}{arguments},"sg_event_id":"'
        self._after_id = (
            f'","sg_message_id":"{message}.recvd-{host:08x}-{host % 89}.0",'
            f'"smtp-id":"<{message}@geopod-ismtpd-{host % 97}>"'
        )

    def event(self, kind: str, at: int, more: str = "") -> str:
        """Any event at `at` (Unix seconds); `more` is the JSON of the fields only it has."""
        # SendGrid's ids are of this kind: what happened, to which message, unpadded base64url
        # (letters, digits, `-` and `_` never become the two characters that base64url changes).
        self._count += 1
        name = f"{kind}-{self._count}-{self._message}".encode()
        id = b2a_base64(name, newline=False).decode().rstrip("=")
        return (
            f'{self._before_time}{at},"event":"{kind}"{self._before_id}{id}{self._after_id}{more}}}'
        )

    def processed(self, at: int) -> str:
        """SendGrid took it."""
        return self.event("processed", at, ',"send_at":0')

    def delivered(self, at: int, response: str = DELIVERED[0]) -> str:
        """The recipient's server took it."""
        more = f',"response":"{response}","ip":"{self._ip}","tls":1'
        return self.event("delivered", at, more)

    def deferred(self, at: int, response: str = DEFERRED[0], attempt: int = 1) -> str:
        """The recipient's server wants it later."""
        return self.event("deferred", at, f',"response":"{response}","attempt":"{attempt}","tls":0')

    def bounced(self, at: int, reason: tuple[str, str, str, str] = BOUNCES[0]) -> str:
        """The recipient's server refused it for one of BOUNCES."""
        text, status, kind, group = reason
        more = f',"reason":"{text}","status":"{status}","type":"{kind}"'
        more += f',"bounce_classification":"{group}","ip":"{self._ip}","tls":1'
        return self.event("bounce", at, more)

    def dropped(self, at: int, reason: str = DROPS[0]) -> str:
        """SendGrid did not even try, for one of DROPS."""
        return self.event("dropped", at, f',"reason":"{reason}","status":"5.0.0"')

    def opened(self, at: int, browser: int = 0, *, by_machine: bool = False) -> str:
        """Somebody opened it, or a machine that fetches pictures ahead."""
        machine = "true" if by_machine else "false"
        more = f'{_client(browser)},"sg_content_type":"html","sg_machine_open":{machine}'
        return self.event("open", at, more)

    def clicked(self, at: int, browser: int = 0, url: str = "https://app.example.com/") -> str:
        """Somebody clicked on a link in it."""
        more = f'{_client(browser)},"url":"{url}","url_offset":{{"index":0,"type":"html"}}'
        return self.event("click", at, more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How much traffic, and when. The same values give the same bytes, keys and signatures."""

    events: int  # about so many, repeats not counted
    until: datetime  # aware; whatever would arrive later is left out
    days: float = 30
    seed: int = 1
    app: str = "sendgrid"
    batch: float = 7  # median number of events in a delivery
    recipients: int = 400_000

    def deliveries(self) -> Iterator[Delivery]:
        """The deliveries in order of arrival, made as they are asked for."""
        draw = Random(f"{self.seed} {self.events} {self.days} {self.batch} {self.recipients}")
        sign = signer()
        end = int(self.until.timestamp())
        start = end - round(self.days * 24 * HOUR)
        ready: dict[int, list[tuple[int, str]]] = defaultdict(list)  # by hour: (when, event)
        attempts: list[tuple[int, str]] = []  # a heap: (arrival in microseconds, body)
        for hour, mails in enumerate(self._mails_by_hour(start, end)):
            for mail, at in self._mails(start + hour * HOUR, mails, draw):
                for event in _events_of(mail, at, draw):
                    ready[(event[0] - start) // HOUR].append(event)
            for attempt in self._attempts(sorted(ready.pop(hour, ())), draw):
                heapq.heappush(attempts, attempt)
            horizon = min(start + (hour + 1) * HOUR, end) * 1_000_000
            while attempts and attempts[0][0] < horizon:
                arrived, body = heapq.heappop(attempts)
                yield posted(self.app, body.encode(), arrived, draw, sign)

    def recipient(self, quantile: float) -> str:
        """Whom mail goes to: that share of it, from 0 to 1, to recipients who get more."""
        return email_of(int(_HEAD * (self.recipients / _HEAD + 1) ** quantile) - _HEAD)

    def _mails_by_hour(self, start: int, end: int) -> list[int]:
        """How many messages are sent in each hour."""
        monday = 4 * 24  # 1970 began on a Thursday
        first = start // HOUR - monday
        weights = [_WEEK[hour % 168] for hour in range(first, first + -(-(end - start) // HOUR))]
        mails_per_weight = self.events / EVENTS_PER_MAIL / sum(weights)
        mails, due = [], 0.0
        for weight in weights:
            due += weight * mails_per_weight
            mails.append(int(due))
            due -= mails[-1]
        return mails

    def _mails(self, start: int, mails: int, draw: Random) -> Iterator[tuple[Mail, int]]:
        """The messages of one hour, each with the second it is sent."""
        messages = base64.urlsafe_b64encode(draw.randbytes(18 * mails)).decode()
        for number in range(mails):
            mail = Mail(
                self.recipient(draw.random()),
                messages[24 * number : 24 * number + 22],
                *_content(start, number, mails, draw),
            )
            yield mail, start + (number - number % _BURST) * HOUR // mails

    def _attempts(self, events: list[tuple[int, str]], draw: Random) -> Iterator[tuple[int, str]]:
        """The events in batches: when each arrives, some twice, some late, and its body."""
        position = 0
        while position < len(events):
            size = min(LARGEST_BATCH, max(1, round(self.batch * draw.lognormvariate(0, 1.5))))
            latest = events[position][0] + LONGEST_BATCH
            batch = [event for at, event in events[position : position + size] if at <= latest]
            position += len(batch)
            body = "[" + ",\r\n".join(batch) + "]\r\n"
            arrived = events[position - 1][0] * 1_000_000 + draw.randrange(300_000, 3_000_000)
            fate = draw.random()
            if fate < 0.005:  # earlier attempts failed; SendGrid tries for 24 hours
                arrived += int(24 * HOUR * 1e6 * draw.random())
            elif fate < 0.025:  # SendGrid did not hear that it was stored
                yield arrived + int(30e6 + 6 * HOUR * 1e6 * draw.random() ** 3), body
            yield arrived, body


def email_of(recipient: int) -> str:
    """The address of a recipient by rank: 0 is sent the most."""
    mixed = recipient * 2654435761 >> 7
    first, last = FIRST_NAMES[mixed % 20], LAST_NAMES[mixed // 20 % 20]
    return f"{first}.{last}{recipient}@{DOMAINS[mixed // 400 % 16]}"


def signer(private_key: str = "") -> Sign:
    """Sign with a P-256 key (PEM), else that for trying out; always the same (RFC 6979)."""
    key = load_pem_private_key((private_key or tryout.private_key()).encode(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    algorithm = ECDSA(SHA256(), deterministic_signing=True)
    return lambda message: key.sign(message, algorithm)


def posted(app: str, body: bytes, arrived: int, draw: Random, sign: Sign) -> Delivery:
    """The request by which SendGrid delivers a body; `arrived` is in microseconds since 1970."""
    timestamp = str(arrived // 1_000_000 - 1)
    signature = base64.b64encode(sign(timestamp.encode() + body)).decode()
    headers = {
        "content-type": "application/json",
        "user-agent": "SendGrid Event API",
        sendgrid.SIGNATURE: signature,
        sendgrid.TIMESTAMP: timestamp,
    }
    request_id = f"{draw.getrandbits(128):032x}"
    return Delivery(app, headers, body, _EPOCH + timedelta(microseconds=arrived), request_id)


def _content(start: int, number: int, mails: int, draw: Random) -> tuple[str, str]:
    """Category and custom arguments of one of an hour's messages."""
    is_newsletter = (start // HOUR - 96) % 168 == _NEWSLETTER and number % 8
    category, arguments = NEWSLETTER if is_newsletter else CATEGORIES[draw.getrandbits(20) % 6]
    return category, arguments.replace("%d", str(draw.getrandbits(60)))


def _events_of(mail: Mail, at: int, draw: Random) -> list[tuple[int, str]]:
    """What happens to one message sent at `at`, each with the second it can be delivered."""
    fate, bits = draw.random(), draw.getrandbits(32)
    if fate < 0.015:
        return [(at + 1, mail.dropped(at, DROPS[bits % 5 if bits & 64 else 0]))]
    # Events leave SendGrid's servers on several ways: some overtake others.
    events = [(at + (bits & 3), mail.processed(at))]
    at += 1 + (bits >> 2 & 3)
    for attempt in range(1, 2 + (bits >> 6 & 3) if fate < 0.06 else 0):
        events.append((at + 2, mail.deferred(at, DEFERRED[bits >> 4 & 3], attempt)))
        at += 300 * attempt + (bits >> 8 & 255)
    if fate < 0.045:
        events.append((at + 1, mail.bounced(at, BOUNCES[bits % 5])))
        return events
    events.append((at + (bits >> 4 & 3), mail.delivered(at, DELIVERED[bits >> 16 & 3])))
    interest = draw.random() / 0.45
    if interest < 1:
        events += _engagement(mail, at, interest, bits)
    if fate > 0.996:  # SendGrid may deliver an event again, in another batch
        at, event = events[-1]
        events.append((at + 60 + (bits >> 8 & 0x7FFF), event))
    return events


def _engagement(mail: Mail, at: int, interest: float, bits: int) -> list[tuple[int, str]]:
    """What the recipient of a delivered message does; the smaller `interest`, the sooner."""
    at += 20 + int(40_000 * interest**3)
    browser = bits >> 8
    events = [(at + (bits & 7), mail.opened(at, browser, by_machine=bits & 512 > 0))]
    if interest < 0.55:
        events.append((at + 902, mail.opened(at + 900, browser)))
    if interest < 0.25:
        url = f"https://app.example.com/r/{bits & 1023}?utm_source=mail&utm_campaign=c{bits & 31}"
        events.append((at + 22, mail.clicked(at + 20, browser, url)))
    if interest < 0.008:
        events.append((at + 41, mail.event("unsubscribe", at + 40, _client(browser))))
    elif interest < 0.012:
        more = _client(browser) + ',"asm_group_id":14'
        events.append((at + 41, mail.event("group_unsubscribe", at + 40, more)))
    elif interest < 0.014:
        events.append((at + 3600, mail.event("spamreport", at + 3500)))
    return events


def _client(browser: int) -> str:
    agent = USER_AGENTS[browser % len(USER_AGENTS)]
    return f',"ip":"203.0.113.{browser & 255}","useragent":"{agent}"'
