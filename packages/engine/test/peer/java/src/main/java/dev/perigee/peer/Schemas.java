package dev.perigee.peer;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.util.Date;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.client.api.schema.SchemaDefinition;
import org.apache.pulsar.common.schema.KeyValueEncodingType;

/** Schemas by the name that a test gives. */
final class Schemas {
    private Schemas() {
    }

    static Schema<?> named(String name) {
        return switch (name) {
            case "bytes" -> Schema.BYTES;
            case "string" -> Schema.STRING;
            case "bool" -> Schema.BOOL;
            case "int8" -> Schema.INT8;
            case "int16" -> Schema.INT16;
            case "int32" -> Schema.INT32;
            case "int64" -> Schema.INT64;
            case "float" -> Schema.FLOAT;
            case "double" -> Schema.DOUBLE;
            case "date" -> Schema.DATE;
            case "time" -> Schema.TIME;
            case "timestamp" -> Schema.TIMESTAMP;
            case "instant" -> Schema.INSTANT;
            case "localDate" -> Schema.LOCAL_DATE;
            case "localTime" -> Schema.LOCAL_TIME;
            case "localDateTime" -> Schema.LOCAL_DATE_TIME;
            case "json" -> Schema.JSON(Order.class);
            case "jsonRefused" -> Schema.JSON(OrderV2.class);
            case "avro" -> Schema.AVRO(SchemaDefinition.<Order>builder().withPojo(Order.class).build());
            case "avroRefused" -> Schema.AVRO(OrderV2.class);
            case "keyValueInline" -> Schema.KeyValue(Schema.STRING, Schema.STRING, KeyValueEncodingType.INLINE);
            case "keyValueSeparated" -> Schema.KeyValue(Schema.STRING, Schema.STRING, KeyValueEncodingType.SEPARATED);
            case "autoConsume" -> Schema.AUTO_CONSUME();
            default -> throw new IllegalArgumentException("unknown schema " + name);
        };
    }

    /** A value of the named schema from its JSON form; records as objects, times as epoch milliseconds or ISO text. */
    static Object value(String name, JsonNode json) throws Exception {
        return switch (name) {
            case "bytes" -> Options.bytes(json);
            case "string" -> json.asText();
            case "bool" -> json.asBoolean();
            case "int8" -> (byte) json.asInt();
            case "int16" -> (short) json.asInt();
            case "int32" -> json.asInt();
            case "int64" -> Long.parseLong(json.asText());
            case "float" -> (float) json.asDouble();
            case "double" -> json.asDouble();
            case "date" -> new Date(json.asLong());
            case "time" -> new java.sql.Time(json.asLong());
            case "timestamp" -> new java.sql.Timestamp(json.asLong());
            case "instant" -> Instant.parse(json.asText());
            case "localDate" -> LocalDate.parse(json.asText());
            case "localTime" -> LocalTime.parse(json.asText());
            case "localDateTime" -> LocalDateTime.parse(json.asText());
            case "json", "avro" -> Options.JSON.treeToValue(json, Order.class);
            case "jsonRefused", "avroRefused" -> Options.JSON.treeToValue(json, OrderV2.class);
            case "keyValueInline", "keyValueSeparated" -> new org.apache.pulsar.common.schema.KeyValue<>(
                    json.get("key").asText(), json.get("value").asText());
            default -> throw new IllegalArgumentException("no values of schema " + name);
        };
    }

    /** The JSON form of what a consumer decoded; the reverse of {@link #value}. */
    static JsonNode json(Object value) {
        if (value instanceof byte[] bytes) {
            return Options.JSON.valueToTree(Options.hex(bytes));
        }
        if (value instanceof Long number) {
            return Options.JSON.valueToTree(Long.toString(number));
        }
        if (value instanceof Date date) {
            return Options.JSON.valueToTree(date.getTime());
        }
        if (value instanceof Instant || value instanceof LocalDate || value instanceof LocalTime || value instanceof LocalDateTime) {
            return Options.JSON.valueToTree(value.toString());
        }
        if (value instanceof org.apache.pulsar.common.schema.KeyValue<?, ?> pair) {
            return Options.JSON.createObjectNode()
                    .put("key", String.valueOf(pair.getKey()))
                    .put("value", String.valueOf(pair.getValue()));
        }
        if (value instanceof org.apache.pulsar.client.api.schema.GenericRecord record) {
            var into = Options.JSON.createObjectNode();
            for (var field : record.getFields()) {
                into.put(field.getName(), String.valueOf(record.getField(field)));
            }
            return into;
        }
        return Options.JSON.valueToTree(value);
    }
}
