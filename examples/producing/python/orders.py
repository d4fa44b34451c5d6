"""Sends a task for each order, and waits for the answers.

    KAFKA=localhost:9092 REPLIES=orders-replies python3 orders.py order-1=/pub/a.csv order-2=/pub/b.csv
"""

import json
import os
import secrets
import sys
import time
from datetime import datetime, timedelta, timezone

from confluent_kafka import Consumer, KafkaException, Producer

KAFKA = os.environ.get("KAFKA", "localhost:9092")
TASKS = os.environ.get("TASKS", "ftp-tasks")
REPLIES = os.environ["REPLIES"]
PATIENCE_SECONDS = 120


def task(order, source):
    destination = "/in/" + source.rsplit("/", 1)[-1]
    deadline = datetime.now(timezone.utc) + timedelta(hours=1)
    return {
        "task_id": order,
        "operation": "download",
        "source": {"connection_id": "remote-ftp", "path": source},
        "destination": {"connection_id": "local", "path": destination},
        "options": {"retry_count": 5, "deadline": deadline.isoformat()},
    }


def send(orders):
    # With idempotence the client's own repetitions make no second task.
    producer = Producer({"bootstrap.servers": KAFKA, "enable.idempotence": True})
    lost = []
    for order, source in orders.items():
        value = task(order, source)
        destination = value["destination"]
        producer.produce(
            TASKS,
            # Tasks with one key are done in their order, if they also have one destination.
            key=f"{destination['connection_id']}:{destination['path']}",
            value=json.dumps(value),
            headers={
                "reply_to": REPLIES,
                "traceparent": f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01",
            },
            on_delivery=lambda error, _: lost.append(error) if error else None,
        )
    if producer.flush(PATIENCE_SECONDS) > 0 or lost:
        raise SystemExit(f"Kafka did not take all tasks: {lost}")


def answers():
    consumer = Consumer(
        {
            "bootstrap.servers": KAFKA,
            "group.id": f"{REPLIES}-python",
            "auto.offset.reset": "earliest",
            # Else answers of aborted transactions are seen as well, and some of them twice.
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([REPLIES])
    until = time.monotonic() + PATIENCE_SECONDS
    try:
        while time.monotonic() < until:
            record = consumer.poll(1.0)
            if record is None:
                continue
            if record.error():
                raise KafkaException(record.error())
            yield json.loads(record.value())
    finally:
        consumer.close()


def main():
    orders = dict(argument.split("=", 1) for argument in sys.argv[1:])
    send(orders)
    for answer in answers():
        # The topic may hold answers of earlier runs, and of others.
        if orders.pop(answer["task_id"], None) is None:
            continue
        if answer["status"] == "completed":
            print(answer["task_id"], "completed", answer["destination"], answer["bytes_transferred"], flush=True)
        else:
            error = answer["error"]
            print(answer["task_id"], "failed", error["code"], error["message"], flush=True)
        if not orders:
            return
    raise SystemExit(f"no answer came in time for {sorted(orders)}")


if __name__ == "__main__":
    main()
