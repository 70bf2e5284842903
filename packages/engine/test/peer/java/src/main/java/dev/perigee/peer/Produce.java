package dev.perigee.peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import org.apache.pulsar.client.api.BatcherBuilder;
import org.apache.pulsar.client.api.CompressionType;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.Producer;
import org.apache.pulsar.client.api.ProducerAccessMode;
import org.apache.pulsar.client.api.ProducerBuilder;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.TypedMessageBuilder;

/**
 * Sends one message for each JSON object of its input, and prints one line a message with its id, in the order read.
 *
 * <p>A line: {@code payload} (hex) or {@code value} (of the schema) or {@code repeat} (a byte count of a fixed pattern), and optionally
 * {@code key}, {@code keyBytes} (hex), {@code orderingKey} (hex), {@code properties}, {@code eventTime}, {@code sequenceId}, {@code deliverAt}.
 */
public final class Produce {
    private Produce() {
    }

    static void run(Options options, BufferedReader lines, Consumer<ObjectNode> print) throws Exception {
        String schemaName = options.get("schema", "bytes");
        @SuppressWarnings("unchecked")
        Schema<Object> schema = (Schema<Object>) Schemas.named(schemaName);
        PulsarClient client = options.client();
        ProducerBuilder<Object> builder = client.newProducer(schema)
                .topic(options.require("topic"))
                .sendTimeout(20, TimeUnit.SECONDS)
                .blockIfQueueFull(true)
                .compressionType(CompressionType.valueOf(options.get("compression", "NONE")))
                .enableBatching(options.flag("batching", false))
                .batchingMaxMessages(options.number("batch", 1000))
                .batchingMaxPublishDelay(options.number("delay", 60_000), TimeUnit.MILLISECONDS)
                .enableChunking(options.flag("chunking", false))
                .accessMode(ProducerAccessMode.valueOf(options.get("access", "Shared")));
        if (options.flag("keyBased", false)) {
            builder.batcherBuilder(BatcherBuilder.KEY_BASED);
        }
        if (options.has("chunkSize")) {
            builder.chunkMaxMessageSize(options.number("chunkSize", 0));
        }
        if (options.has("name")) {
            builder.producerName(options.require("name"));
        }
        try (Producer<Object> producer = builder.create()) {
            List<CompletableFuture<MessageId>> sent = new ArrayList<>();
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                if (!line.isBlank()) {
                    sent.add(message(producer, schemaName, Options.JSON.readTree(line)).sendAsync());
                }
            }
            producer.flush();
            for (CompletableFuture<MessageId> future : sent) {
                ObjectNode line = Options.JSON.createObjectNode();
                Options.putId(line, "id", future.get());
                print.accept(line);
            }
            ObjectNode end = Options.JSON.createObjectNode();
            end.put("producer", producer.getProducerName());
            end.put("lastSequenceId", Long.toString(producer.getLastSequenceId()));
            print.accept(end);
        }
    }

    private static TypedMessageBuilder<Object> message(Producer<Object> producer, String schema, JsonNode line) throws Exception {
        TypedMessageBuilder<Object> message = producer.newMessage();
        if (line.has("value")) {
            message.value(Schemas.value(schema, line.get("value")));
        } else if (line.has("repeat")) {
            message.value(pattern(line.get("repeat").asInt()));
        } else if (line.has("payload")) {
            message.value(Options.bytes(line.get("payload")));
        } else {
            message.value(null);
        }
        if (line.has("key")) {
            message.key(line.get("key").asText());
        }
        if (line.has("keyBytes")) {
            message.keyBytes(Options.bytes(line.get("keyBytes")));
        }
        if (line.has("orderingKey")) {
            message.orderingKey(Options.bytes(line.get("orderingKey")));
        }
        if (line.has("properties")) {
            line.get("properties").fields().forEachRemaining((entry) -> message.property(entry.getKey(), entry.getValue().asText()));
        }
        if (line.has("eventTime")) {
            message.eventTime(line.get("eventTime").asLong());
        }
        if (line.has("sequenceId")) {
            message.sequenceId(line.get("sequenceId").asLong());
        }
        if (line.has("deliverAt")) {
            message.deliverAt(line.get("deliverAt").asLong());
        }
        return message;
    }

    /** Byte i is {@code (i * 31 + (i >>> 8)) & 0xff}: both sides make it, neither sends it through a pipe. */
    private static byte[] pattern(int length) {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++) {
            bytes[i] = (byte) (i * 31 + (i >>> 8));
        }
        return bytes;
    }
}
