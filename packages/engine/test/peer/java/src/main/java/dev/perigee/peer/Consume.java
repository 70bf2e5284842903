package dev.perigee.peer;

import com.fasterxml.jackson.databind.node.ObjectNode;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.pulsar.client.api.Consumer;
import org.apache.pulsar.client.api.ConsumerBuilder;
import org.apache.pulsar.client.api.Message;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.SubscriptionInitialPosition;
import org.apache.pulsar.client.api.SubscriptionType;

/**
 * Receives up to {@code --count} messages, or until none came for {@code --idle} milliseconds, and prints one JSON line for each.
 *
 * <p>{@code --ack all | none | cumulative | 0,2,5}: the last form acknowledges the messages at these places in the order received, which inside a batch
 * makes batch-index acknowledgements.
 */
public final class Consume {
    private Consume() {
    }

    static void run(Options options, java.util.function.Consumer<ObjectNode> print) throws Exception {
        PulsarClient client = options.client();
        @SuppressWarnings("unchecked")
        Schema<Object> schema = (Schema<Object>) Schemas.named(options.get("schema", "bytes"));
        ConsumerBuilder<Object> builder = client.newConsumer(schema)
                .topic(options.require("topic").split(","))
                .subscriptionName(options.require("subscription"))
                .subscriptionType(SubscriptionType.valueOf(options.get("type", "Exclusive")))
                .subscriptionInitialPosition(SubscriptionInitialPosition.valueOf(options.get("initial", "Earliest")))
                .enableBatchIndexAcknowledgment(options.flag("batchIndexAck", true))
                .readCompacted(options.flag("readCompacted", false))
                .receiverQueueSize(options.number("queue", 1000))
                .acknowledgmentGroupTime(0, TimeUnit.MILLISECONDS)
                .isAckReceiptEnabled(true);
        try (Consumer<Object> consumer = builder.subscribe()) {
            ObjectNode begin = Options.JSON.createObjectNode();
            begin.put("subscribed", consumer.getConsumerName());
            print.accept(begin);
            receive(options, consumer, print);
        }
    }

    private static void receive(Options options, Consumer<Object> consumer, java.util.function.Consumer<ObjectNode> print)
            throws Exception {
        String ack = options.get("ack", "all");
        Set<Integer> places = ack.matches("[0-9,]+")
                ? Arrays.stream(ack.split(",")).map(Integer::valueOf).collect(Collectors.toSet())
                : Set.of();
        int count = options.number("count", Integer.MAX_VALUE);
        Message<Object> last = null;
        for (int place = 0; place < count; place++) {
            Message<Object> message = consumer.receive(options.number("idle", 3000), TimeUnit.MILLISECONDS);
            if (message == null) {
                break;
            }
            print.accept(describe(message));
            if (ack.equals("all") || places.contains(place)) {
                consumer.acknowledge(message);
            }
            last = message;
        }
        if (ack.equals("cumulative") && last != null) {
            consumer.acknowledgeCumulative(last);
        }
    }

    private static ObjectNode describe(Message<Object> message) throws Exception {
        ObjectNode line = Options.JSON.createObjectNode();
        Options.putId(line, "id", message.getMessageId());
        line.put("topic", message.getTopicName());
        byte[] data = message.getData();
        line.put("size", data == null ? 0 : data.length);
        if (data != null && data.length <= 4096) {
            line.put("payload", Options.hex(data));
        }
        line.put("sha256", Options.hex(MessageDigest.getInstance("SHA-256").digest(data == null ? new byte[0] : data)));
        if (message.hasKey()) {
            line.put("key", message.getKey());
            line.put("keyBytes", Options.hex(message.getKeyBytes()));
            line.put("keyIsBase64", message.hasBase64EncodedKey());
        }
        if (message.hasOrderingKey()) {
            line.put("orderingKey", Options.hex(message.getOrderingKey()));
        }
        ObjectNode properties = line.putObject("properties");
        for (Map.Entry<String, String> property : new TreeMap<>(message.getProperties()).entrySet()) {
            properties.put(property.getKey(), property.getValue());
        }
        line.put("eventTime", message.getEventTime());
        line.put("publishTime", message.getPublishTime());
        line.put("sequenceId", Long.toString(message.getSequenceId()));
        line.put("producer", message.getProducerName());
        line.put("redelivery", message.getRedeliveryCount());
        if (message.getSchemaVersion() != null) {
            line.put("schemaVersion", Options.hex(message.getSchemaVersion()));
        }
        message.getIndex().ifPresent((index) -> line.put("index", index));
        Object value;
        try {
            value = message.getValue();
        } catch (RuntimeException cause) {
            line.put("valueError", cause.getClass().getSimpleName());
            return line;
        }
        line.set("value", Schemas.json(value));
        return line;
    }
}
