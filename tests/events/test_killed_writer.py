# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process that records and relays is killed with -9 again and again: the stream is the journal, each message once."""

import random
import subprocess
import sys
import time

from events.journal import GENESIS, chain_hash
from events.reading import AlertReader
from events.relay import Relay
from events.stores.sql import Store
from gridwatch.core.clock import SystemClock

WRITER = """
import sys, threading
from datetime import UTC, datetime
import redis
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.stores.sql import Store
from gridwatch.core.clock import SystemClock
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.zone import Kind

store = Store.open(sys.argv[1])
queue = RedisCaseQueue(redis.Redis.from_url(sys.argv[2]))
clock = SystemClock()
book = IncidentBook(store, clock, places={}, grids=Grids.none(), evidence=None, policy=Policy())
book.resume()
threading.Thread(target=Relay(AlertReader(store), queue, clock).run, args=(threading.Event(),), daemon=True).start()
print("up", flush=True)
for number in range(10**6):
    for stage in (Stage.OPENED, Stage.ENDED):
        book.record(
            Finding(
                finding_id=f"f{number}", camera_id=f"camera-{number % 7}", kind=Kind.FIRE, subtype="flame", zone_id="z",
                stage=stage, at=clock.now(), at_mono_s=0.0, began_at=clock.now(), confidence=0.9,
            ),
            None,
        )
"""


def test_a_writer_killed_anywhere_loses_and_doubles_nothing(tmp_path, redis_client, valkey):
    """After three kills at random moments a last relay brings the stream level with the journal, in order."""
    url, moments = f"sqlite:///{tmp_path / 'store.db'}", random.Random(7)
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, url, valkey], stdout=subprocess.PIPE, text=True
        ) as writer:
            # Under load the relay's log comes first: the child's log is its standard output too.
            assert any(line == "up\n" for line in writer.stdout), "the writer ended before it was up"
            time.sleep(moments.uniform(0.1, 0.5))
            writer.kill()
    with Store.open(url) as store:
        from events.queues.redis_streams import RedisCaseQueue

        reader = AlertReader(store)
        relay = Relay(reader, RedisCaseQueue(redis_client), SystemClock())
        while relay.step():
            pass
        before, wanted, seq = GENESIS, [], 0
        while rows := reader.rows_after(seq, 1000):
            for row in rows:
                assert (row.prev_hash, row.row_hash) == (before, chain_hash(row))
                before, seq = row.row_hash, row.seq
                wanted += [row.message_id] if row.message_id else []
    sent = [fields[b"id"].decode() for _, fields in redis_client.xrange("gridwatch:cases")]
    assert len(sent) > 20
    assert sent == wanted
