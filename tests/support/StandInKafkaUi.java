// A stand-in for the vendor's Kafka UI, whose jar cannot be had where tests run: started as that is, reads the same kind of
// settings, answers the same path, prints lines of the same form. One bad habit per value of the setting "stand-in.habit".
package com.provectus.kafka.ui;

import com.sun.net.httpserver.HttpServer;
import java.net.BindException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

class KafkaUiApplication {
    // every line the supervisor writes is one quoted name and one quoted value
    static final Pattern LINE = Pattern.compile("\"((?:[^\"\\\\]|\\\\.)*)\": \"((?:[^\"\\\\]|\\\\.)*)\"");

    public static void main(String[] args) throws Exception {
        Map<String, String> settings = read(System.getProperty("spring.config.additional-location"));
        log("INFO", "Starting KafkaUiApplication using Java " + System.getProperty("java.version"));
        log("WARN", "Authentication is disabled. Access will be unrestricted.");
        String habit = settings.getOrDefault("stand-in.habit", "");
        if (habit.equals("exit")) {
            failed("Failed to bind properties under 'kafka.clusters[0].port' to int:");
        }
        if (habit.equals("heap")) {
            List<byte[]> kept = new ArrayList<>();
            while (true) {
                kept.add(new byte[1 << 20]);
            }
        }
        int port = Integer.parseInt(settings.get("server.port"));
        HttpServer server;
        try {
            server = HttpServer.create(new InetSocketAddress(settings.get("server.address"), port), 0);
        } catch (BindException taken) {
            failed("Web server failed to start. Port " + port + " was already in use.");
            return;
        }
        server.createContext("/actuator/health", exchange -> {
            byte[] body = (habit.equals("sick") ? "{\"status\":\"DOWN\"}" : "{\"status\":\"UP\"}").getBytes();
            exchange.sendResponseHeaders(habit.equals("sick") ? 503 : 200, body.length);
            exchange.getResponseBody().write(body);
            exchange.close();
        });
        server.start();
        log("INFO", "Netty started on port " + port);
        log("INFO", "Started KafkaUiApplication, cluster " + settings.get("kafka.clusters[0].name") + " at "
            + settings.get("kafka.clusters[0].bootstrapServers"));
    }

    static Map<String, String> read(String location) throws Exception {
        Map<String, String> settings = new TreeMap<>();
        for (String line : Files.readAllLines(Path.of(URI.create(location)))) {
            Matcher setting = LINE.matcher(line);
            if (setting.matches()) {
                settings.put(setting.group(1), setting.group(2));
            } else if (!line.startsWith("#")) {
                failed("Failed to bind properties under '" + line + "'");
            }
        }
        return settings;
    }

    // as Spring's LoggingFailureAnalysisReporter says it
    static void failed(String why) {
        System.out.println("\n***************************\nAPPLICATION FAILED TO START\n***************************\n\n"
            + "Description:\n\n" + why + "\n\nAction:\n\nCorrect it.\n");
        System.exit(1);
    }

    static void log(String level, String text) {
        System.out.println(java.time.Instant.now() + " " + level + "  [main] c.p.k.u.KafkaUiApplication: " + text);
    }
}
