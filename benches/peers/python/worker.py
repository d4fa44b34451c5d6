"""A worker as it is written today: aiokafka, aioftp and uvloop, one process.

It does what the pooler does as far as its libraries take it without effort: reads tasks from Kafka, keeps ten
logged-in sessions, checks sizes, moves files under a temp name and renames them, answers each task in Kafka, and
commits, once a second, the offsets below which all answers are delivered (at least once). Files are not made
durable, nothing resumes, and what fails ends the run.

    worker.py '{"bootstrap": …, "tasks": …, "results": …, "group": …, "host": …, "port": …, "user": …, "password": …,
                "base": …, "sessions": 10}'

It says "ready" once it is assigned the topic, and ends in good order at SIGTERM.
"""

import asyncio
import json
import os
import signal
import sys
import time
from datetime import datetime, timezone
from importlib.metadata import version

import aioftp
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition

BLOCK = 256 * 1024
TIMEOUT = 30.0
COMMIT_EVERY = 1.0
# Twice what the sessions have under way, so that none of them waits for Kafka.
WAITING_PER_SESSION = 2


class Session(aioftp.Client):
    """Without the TYPE I that aioftp sends before each transfer: it says so once, and a round trip a file is saved."""

    async def login(self, *args, **kwargs):
        await super().login(*args, **kwargs)
        await self.command("TYPE I", "200")

    async def get_passive_connection(self, conn_type="I", commands=None):
        host, port = await self._do_epsv()
        return await self._open_connection(host or self.server_host, port)

    async def size(self, path):
        _, lines = await self.command(f"SIZE {path}", "213")
        return int(lines[-1])


class Ledger:
    """Which offsets are under way, and from where on a partition is to be read again."""

    def __init__(self):
        self.under_way = {}
        self.next = {}
        self.committed = {}

    def begin(self, record):
        partition = TopicPartition(record.topic, record.partition)
        self.under_way.setdefault(partition, set()).add(record.offset)
        self.next[partition] = record.offset + 1

    def end(self, record):
        self.under_way[TopicPartition(record.topic, record.partition)].discard(record.offset)

    def forget(self, partitions):
        for partition in partitions:
            for held in (self.under_way, self.next, self.committed):
                held.pop(partition, None)

    async def commit(self, consumer):
        low = {p: min(self.under_way[p], default=self.next[p]) for p in self.next}
        new = {p: offset for p, offset in low.items() if self.committed.get(p) != offset}
        if new:
            await consumer.commit(new)
            self.committed.update(new)


class Rebalances(ConsumerRebalanceListener):
    def __init__(self, consumer, ledger):
        self.consumer, self.ledger = consumer, ledger

    async def on_partitions_revoked(self, revoked):
        await self.ledger.commit(self.consumer)
        self.ledger.forget(revoked)

    async def on_partitions_assigned(self, assigned):
        if assigned:
            print("ready", flush=True)


def local_path(base, path):
    return path if path.startswith(base + "/") else base + "/" + path.lstrip("/")


async def download(ftp, source, destination):
    expected = await ftp.size(source)
    temp, size = destination + ".part", 0
    with open(temp, "wb") as file:
        async with ftp.download_stream(source) as stream:
            async for block in stream.iter_by_block(BLOCK):
                size += file.write(block)
    if size != expected:
        raise RuntimeError(f"{source}: {size} of {expected} bytes")
    os.replace(temp, destination)
    return size


async def upload(ftp, source, destination):
    temp, size = destination + ".part", 0
    with open(source, "rb") as file:
        async with ftp.upload_stream(temp) as stream:
            while block := file.read(BLOCK):
                await stream.write(block)
                size += len(block)
    stored = await ftp.size(temp)
    if stored != size:
        raise RuntimeError(f"{destination}: {stored} of {size} bytes")
    await ftp.rename(temp, destination)
    return size


async def move(ftp, given, task):
    source, destination = task["source"]["path"], task["destination"]["path"]
    if task["operation"] == "download":
        return await download(ftp, source, local_path(given["base"], destination))
    return await upload(ftp, local_path(given["base"], source), destination)


async def lane(given, tasks, producer, ledger):
    """One session, file after file."""
    ftp = Session(socket_timeout=TIMEOUT, connection_timeout=TIMEOUT)
    while True:
        record = await tasks.get()
        task, begin = json.loads(record.value), time.monotonic()
        if ftp._stream is None:
            await ftp.connect(given["host"], given["port"])
            await ftp.login(given["user"], given["password"])
        size = await move(ftp, given, task)
        answer = {
            "task_id": task["task_id"],
            "status": "completed",
            "bytes_transferred": size,
            "duration_ms": int((time.monotonic() - begin) * 1000),
            "completed_at": datetime.now(timezone.utc).isoformat(),
        }
        delivery = await producer.send(
            given["results"], json.dumps(answer).encode(), key=task["task_id"].encode()
        )
        delivery.add_done_callback(lambda delivered, record=record: delivered.result() and ledger.end(record))


async def read(consumer, tasks, ledger):
    async for record in consumer:
        ledger.begin(record)
        await tasks.put(record)


async def commit(consumer, ledger):
    while True:
        await asyncio.sleep(COMMIT_EVERY)
        await ledger.commit(consumer)


async def main(given):
    stopped, ledger = asyncio.Event(), Ledger()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    tasks = asyncio.Queue(maxsize=given["sessions"] * WAITING_PER_SESSION)
    producer = AIOKafkaProducer(bootstrap_servers=given["bootstrap"], acks="all", linger_ms=5)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=given["bootstrap"],
        group_id=given["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    await producer.start()
    await consumer.start()
    consumer.subscribe([given["tasks"]], listener=Rebalances(consumer, ledger))
    parts = [lane(given, tasks, producer, ledger) for _ in range(given["sessions"])]
    parts += [read(consumer, tasks, ledger), commit(consumer, ledger), stopped.wait()]
    running = [asyncio.create_task(part) for part in parts]
    done, rest = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    for task in done:
        task.result()
    await producer.stop()
    await ledger.commit(consumer)
    await consumer.stop()


if __name__ == "__main__":
    if sys.argv[1] == "--version":
        libraries = ", ".join(f"{name} {version(name)}" for name in ("aiokafka", "aioftp", "uvloop"))
        print(f"Python {sys.version.split()[0]}, {libraries}")
    else:
        uvloop.run(main(json.loads(sys.argv[1])))
