package dev.perigee.peer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/**
 * Runs one program for each line of standard input, all in this process, because a new one takes seconds to start.
 *
 * <p>In: <code>{"id": 1, "program": "produce" | "consume", "args": ["--topic", …], "input": "lines"}</code>.
 * Out: one <code>{"id": 1, "line": {…}}</code> for each line the program prints, then <code>{"id": 1, "done": true}</code>, with {@code error} and
 * {@code message} when it failed.
 */
public final class Peer {
    private Peer() {
    }

    public static void main(String[] args) throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            JsonNode request = Options.JSON.readTree(line);
            Thread thread = new Thread(() -> serve(request), "request-" + request.get("id").asInt());
            thread.setDaemon(true);
            thread.start();
        }
    }

    private static void serve(JsonNode request) {
        int id = request.get("id").asInt();
        ObjectNode end = Options.JSON.createObjectNode().put("id", id).put("done", true);
        Consumer<ObjectNode> print = (line) -> print(Options.JSON.createObjectNode().put("id", id).set("line", line));
        try {
            List<String> args = new ArrayList<>();
            request.get("args").forEach((arg) -> args.add(arg.asText()));
            Options options = new Options(args.toArray(String[]::new));
            switch (request.get("program").asText()) {
                case "produce" -> Produce.run(options, new BufferedReader(new StringReader(request.get("input").asText())), print);
                case "consume" -> Consume.run(options, print);
                default -> throw new IllegalArgumentException("unknown program");
            }
        } catch (Exception | Error cause) {
            end.put("error", cause.getClass().getSimpleName()).put("message", String.valueOf(cause.getMessage()));
        }
        print(end);
    }

    private static synchronized void print(JsonNode line) {
        System.out.println(line);
        System.out.flush();
    }
}
