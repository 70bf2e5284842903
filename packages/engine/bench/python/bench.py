"""The C++ client, through its Python binding, at the work of client.ts: a line of standard input asks for it, a line of JSON answers."""
import json
import os
import struct
import sys
import threading
import time
import uuid

import pulsar

WINDOW = 10_000
# Messages that go ahead of those sent one by one, and how many of them at once.
WARMUP = 20_000
WARMUP_WINDOW = 50
RATE = 2000


def payload(size):
    return bytes(index & 0xFF for index in range(size))


def timed(count, work, samples=None):
    cpu = time.process_time()
    start = time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    figures = {"rate": count / seconds, "cpu": (time.process_time() - cpu) * 1e6 / count}
    if samples is not None:
        ordered = sorted(samples)
        figures["p50"] = ordered[count // 2]
        figures["p99"] = ordered[int(count * 0.99)]
    return figures


def open_producer(client, topic, batching=True):
    return client.create_producer(
        topic,
        max_pending_messages=WINDOW,
        block_if_queue_full=True,
        batching_enabled=batching,
        batching_max_publish_delay_ms=1,
    )


def open_consumer(client, topic):
    return client.subscribe(
        topic,
        "bench-" + uuid.uuid4().hex,
        consumer_type=pulsar.ConsumerType.Exclusive,
        initial_position=pulsar.InitialPosition.Earliest,
        receiver_queue_size=1000,
    )


def produce(client, size, count, topic):
    value = payload(size)
    producer = open_producer(client, topic)
    done = threading.Event()
    left = [count]
    failures = []

    def sent(result, _id):
        if result != pulsar.Result.Ok:
            failures.append(result)
        left[0] -= 1
        if left[0] == 0:
            done.set()

    def work():
        for _ in range(count):
            producer.send_async(value, sent)
        producer.flush()
        done.wait()

    figures = timed(count, work)
    producer.close()
    if failures:
        raise RuntimeError(f"{len(failures)} sends failed: {failures[0]}")
    return figures


def consume(client, size, count, topic):
    opened = []

    def work():
        consumer = open_consumer(client, topic)
        opened.append(consumer)
        received = 0
        for _ in range(count):
            message = consumer.receive()
            received += len(message.data())
            consumer.acknowledge(message)
        if received != count * size:
            raise RuntimeError(f"{received} bytes were received")

    figures = timed(count, work)
    opened[0].close()
    return figures


def single(client, size, count, topic):
    value = payload(size)
    producer = open_producer(client, topic, batching=False)
    window = threading.Semaphore(WARMUP_WINDOW)
    for _ in range(WARMUP):
        window.acquire()
        producer.send_async(value, lambda _result, _id: window.release())
    producer.flush()
    samples = []

    def work():
        for _ in range(count):
            start = time.perf_counter()
            producer.send(value)
            samples.append((time.perf_counter() - start) * 1000)

    figures = timed(count, work, samples)
    producer.close()
    return figures


def latency(client, size, count, topic):
    consumer = open_consumer(client, topic)
    producer = open_producer(client, topic)
    samples = []

    def receive():
        for _ in range(count):
            message = consumer.receive()
            samples.append((time.perf_counter() - struct.unpack_from(">d", message.data())[0]) * 1000)
            consumer.acknowledge(message)

    def work():
        receiver = threading.Thread(target=receive)
        receiver.start()
        start = time.perf_counter()
        sent = 0
        rest = payload(size)[8:]
        while sent < count:
            due = min(count, int((time.perf_counter() - start) * RATE))
            while sent < due:
                producer.send_async(struct.pack(">d", time.perf_counter()) + rest, lambda _result, _id: None)
                sent += 1
            time.sleep(0.001)
        receiver.join()

    figures = timed(count, work, samples)
    producer.close()
    consumer.close()
    return figures


WORK = {"produce": produce, "consume": consume, "single": single, "latency": latency}


def main():
    # The library logs to standard output; the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    client = pulsar.Client(sys.argv[1], logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    for line in sys.stdin:
        work, size, count, topic = line.split()
        try:
            answer = WORK[work](client, int(size), int(count), topic)
        except Exception as cause:  # the caller decides
            answer = {"error": repr(cause)}
        print(json.dumps(answer), file=answers, flush=True)
    client.close()


main()
