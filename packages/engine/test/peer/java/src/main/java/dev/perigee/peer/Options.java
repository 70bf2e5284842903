package dev.perigee.peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.apache.pulsar.client.api.AuthenticationFactory;
import org.apache.pulsar.client.api.ClientBuilder;
import org.apache.pulsar.client.api.MessageId;
import org.apache.pulsar.client.api.MessageIdAdv;
import org.apache.pulsar.client.api.PulsarClient;
import org.apache.pulsar.client.api.PulsarClientException;

/** Arguments of the form {@code --name value}, and what all programs share: the client, ids and JSON. */
final class Options {
    static final ObjectMapper JSON = new ObjectMapper();
    private static final HexFormat HEX = HexFormat.of();
    private static final Map<String, PulsarClient> CLIENTS = new HashMap<>();

    private final Map<String, String> values = new LinkedHashMap<>();

    Options(String[] args) {
        for (int i = 0; i + 1 < args.length; i += 2) {
            if (!args[i].startsWith("--")) {
                throw new IllegalArgumentException("expected --name, not " + args[i]);
            }
            values.put(args[i].substring(2), args[i + 1]);
        }
    }

    String get(String name, String otherwise) {
        return values.getOrDefault(name, otherwise);
    }

    String require(String name) {
        String value = values.get(name);
        if (value == null) {
            throw new IllegalArgumentException("missing --" + name);
        }
        return value;
    }

    boolean has(String name) {
        return values.containsKey(name);
    }

    boolean flag(String name, boolean otherwise) {
        return Boolean.parseBoolean(get(name, Boolean.toString(otherwise)));
    }

    int number(String name, int otherwise) {
        return Integer.parseInt(get(name, Integer.toString(otherwise)));
    }

    /** A client for the same address and credentials is used again: closing one takes two seconds. */
    PulsarClient client() throws PulsarClientException {
        String key = require("url") + " " + get("token", "") + " " + get("trust", "");
        synchronized (CLIENTS) {
            PulsarClient client = CLIENTS.get(key);
            if (client == null) {
                client = connect();
                CLIENTS.put(key, client);
            }
            return client;
        }
    }

    private PulsarClient connect() throws PulsarClientException {
        ClientBuilder builder = PulsarClient.builder()
                .serviceUrl(require("url"))
                .operationTimeout(20, TimeUnit.SECONDS);
        if (has("token")) {
            builder.authentication(AuthenticationFactory.token(require("token")));
        }
        if (has("trust")) {
            builder.tlsTrustCertsFilePath(require("trust"));
        }
        return builder.build();
    }

    static String hex(byte[] bytes) {
        return HEX.formatHex(bytes);
    }

    static byte[] bytes(JsonNode hex) {
        return HEX.parseHex(hex.asText());
    }

    /** Puts the parts of an id as decimal strings, so that no reader loses digits. */
    static void putId(ObjectNode line, String field, MessageId id) {
        MessageIdAdv parts = (MessageIdAdv) id;
        ObjectNode into = line.putObject(field);
        into.put("ledger", Long.toString(parts.getLedgerId()));
        into.put("entry", Long.toString(parts.getEntryId()));
        into.put("partition", parts.getPartitionIndex());
        into.put("batchIndex", parts.getBatchIndex());
        into.put("batchSize", parts.getBatchSize());
        line.put(field + "Bytes", hex(id.toByteArray()));
    }
}
