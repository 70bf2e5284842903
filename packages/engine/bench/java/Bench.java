import com.sun.management.OperatingSystemMXBean;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Locale;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.ProducerBuilder;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;

/** The Java client at the work of `client.ts`: a line of standard input asks for it, a line of JSON answers. Run with `java -cp … Bench.java URL`. */
public final class Bench {
    private static final int WINDOW = 10_000;
    /** Messages that go ahead of those sent one by one, and how many of them at once. */
    private static final int WARMUP = 20_000;
    private static final int WARMUP_WINDOW = 50;
    private static final int RATE = 2000;
    private static final OperatingSystemMXBean SYSTEM =
            (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private interface Work {
        void run() throws Exception;
    }

    private Bench() {
    }

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        try (PulsarClient client = PulsarClient.builder().serviceUrl(args[0]).build()) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] words = line.split(" ");
                int size = Integer.parseInt(words[1]);
                int count = Integer.parseInt(words[2]);
                String answer;
                try {
                    answer = switch (words[0]) {
                        case "produce" -> produce(client, size, count, words[3]);
                        case "consume" -> consume(client, size, count, words[3]);
                        case "single" -> single(client, size, count, words[3]);
                        case "latency" -> latency(client, size, count, words[3]);
                        default -> "{\"error\": \"unknown work\"}";
                    };
                } catch (Exception cause) {
                    answer = "{\"error\": \"" + String.valueOf(cause).replaceAll("[\"\\\\\\p{Cntrl}]", " ") + "\"}";
                }
                System.out.println(answer);
                System.out.flush();
            }
        }
    }

    private static byte[] payload(int size) {
        byte[] bytes = new byte[size];
        for (int i = 0; i < size; i++) {
            bytes[i] = (byte) i;
        }
        return bytes;
    }

    private static String timed(int count, Work work, double[] samples) throws Exception {
        long cpu = SYSTEM.getProcessCpuTime();
        long start = System.nanoTime();
        work.run();
        double seconds = (System.nanoTime() - start) / 1e9;
        double used = (SYSTEM.getProcessCpuTime() - cpu) / 1e3 / count;
        String figures = String.format(Locale.ROOT, "{\"rate\": %f, \"cpu\": %f", count / seconds, used);
        if (samples == null) {
            return figures + "}";
        }
        Arrays.sort(samples);
        return figures + String.format(Locale.ROOT, ", \"p50\": %f, \"p99\": %f}",
                samples[count / 2], samples[(int) (count * 0.99)]);
    }

    private static ProducerBuilder<byte[]> producer(PulsarClient client, String topic) {
        return client.newProducer().topic(topic).maxPendingMessages(WINDOW).blockIfQueueFull(true);
    }

    private static String produce(PulsarClient client, int size, int count, String topic) throws Exception {
        byte[] value = payload(size);
        try (Producer<byte[]> producer = producer(client, topic).create()) {
            AtomicReference<Throwable> failure = new AtomicReference<>();
            return timed(count, () -> {
                CountDownLatch done = new CountDownLatch(count);
                for (int i = 0; i < count; i++) {
                    producer.sendAsync(value).whenComplete((id, cause) -> {
                        if (cause != null) {
                            failure.set(cause);
                        }
                        done.countDown();
                    });
                }
                producer.flush();
                done.await();
                if (failure.get() != null) {
                    throw new IllegalStateException(failure.get());
                }
            }, null);
        }
    }

    private static Consumer<byte[]> subscribe(PulsarClient client, String topic) throws Exception {
        return client.newConsumer().topic(topic).subscriptionName("bench-" + UUID.randomUUID())
                .subscriptionType(SubscriptionType.Exclusive)
                .subscriptionInitialPosition(SubscriptionInitialPosition.Earliest)
                .receiverQueueSize(1000).subscribe();
    }

    private static String consume(PulsarClient client, int size, int count, String topic) throws Exception {
        AtomicReference<Consumer<byte[]>> open = new AtomicReference<>();
        String figures = timed(count, () -> {
            Consumer<byte[]> consumer = subscribe(client, topic);
            open.set(consumer);
            CompletableFuture<Void> last = null;
            long bytes = 0;
            for (int i = 0; i < count; i++) {
                Message<byte[]> message = consumer.receive();
                bytes += message.getData().length;
                last = consumer.acknowledgeAsync(message);
            }
            if (bytes != (long) count * size) {
                throw new IllegalStateException(bytes + " bytes were received");
            }
            last.get();
        }, null);
        open.get().close();
        return figures;
    }

    private static String single(PulsarClient client, int size, int count, String topic) throws Exception {
        byte[] value = payload(size);
        double[] samples = new double[count];
        try (Producer<byte[]> producer = producer(client, topic).enableBatching(false).create()) {
            Semaphore window = new Semaphore(WARMUP_WINDOW);
            for (int i = 0; i < WARMUP; i++) {
                window.acquire();
                producer.sendAsync(value).whenComplete((id, cause) -> window.release());
            }
            window.acquire(WARMUP_WINDOW);
            return timed(count, () -> {
                for (int i = 0; i < count; i++) {
                    long start = System.nanoTime();
                    producer.send(value);
                    samples[i] = (System.nanoTime() - start) / 1e6;
                }
            }, samples);
        }
    }

    private static String latency(PulsarClient client, int size, int count, String topic) throws Exception {
        double[] samples = new double[count];
        try (Consumer<byte[]> consumer = subscribe(client, topic);
                Producer<byte[]> producer = producer(client, topic).create()) {
            return timed(count, () -> {
                Thread receiver = new Thread(() -> {
                    try {
                        for (int i = 0; i < count; i++) {
                            Message<byte[]> message = consumer.receive();
                            ByteBuffer bytes = ByteBuffer.wrap(message.getData());
                            samples[bytes.getInt(8)] = (System.nanoTime() - bytes.getLong(0)) / 1e6;
                            consumer.acknowledgeAsync(message);
                        }
                    } catch (Exception cause) {
                        throw new IllegalStateException(cause);
                    }
                });
                receiver.start();
                long start = System.nanoTime();
                for (int sent = 0; sent < count;) {
                    int due = (int) Math.min(count, (System.nanoTime() - start) * RATE / 1_000_000_000L);
                    for (; sent < due; sent++) {
                        byte[] value = payload(size);
                        ByteBuffer.wrap(value).putLong(0, System.nanoTime()).putInt(8, sent);
                        producer.sendAsync(value);
                    }
                    LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
                }
                receiver.join();
            }, samples);
        }
    }
}
