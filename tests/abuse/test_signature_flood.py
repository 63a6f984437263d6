"""Wrong signatures cost the one who sends them, and lock nobody out."""

import time

from signing import connection, credentials, get, signed_headers

FLOOD = 600


def test_a_flood_of_wrong_signatures_is_throttled_and_does_not_lock_the_owner_out(server):
    key, secret, _ = credentials(server)
    good = signed_headers(server, "GET", "/devices")
    bad = signed_headers(server, "GET", "/devices", keys=(key, "not the secret"))
    attacker = connection(server, "127.0.0.9")
    answers = [get(attacker, "/devices", bad) for _ in range(FLOOD)]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {403, 429}, "refused, and beyond the rate throttled"
    status, headers, _ = next(answer for answer in answers if answer[0] == 429)
    assert headers["x-amzn-errortype"].startswith("ThrottlingException")
    assert int(headers["retry-after"]) >= 1
    # From elsewhere at once, and with another key from there.
    assert get(connection(server, "127.0.0.10"), "/devices", good)[0] == 200
    other = signed_headers(server, "GET", "/devices", keys=("AKIAUNKNOWNUNKNOWN00", secret))
    assert get(attacker, "/devices", other)[0] == 403
    # From the same address, as an SDK does it: it waits and tries again.
    deadline = time.monotonic() + 10
    while (status := get(attacker, "/devices", good)[0]) == 429:
        assert time.monotonic() < deadline, "the owner is locked out"
    assert status == 200
