import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.security.SecureRandom;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Sends a task for each order, and waits for the answers: KAFKA=… REPLIES=… java Orders order-1=/pub/a.csv … */
public final class Orders {
    private static final String KAFKA = System.getenv().getOrDefault("KAFKA", "localhost:9092");
    private static final String TASKS = System.getenv().getOrDefault("TASKS", "ftp-tasks");
    private static final String REPLIES = System.getenv("REPLIES");
    private static final Duration PATIENCE = Duration.ofSeconds(120);
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final SecureRandom RANDOM = new SecureRandom();

    public static void main(String[] arguments) throws Exception {
        Map<String, String> orders = new LinkedHashMap<>();
        for (String argument : arguments) {
            String[] parts = argument.split("=", 2);
            orders.put(parts[0], parts[1]);
        }
        send(orders);
        await(orders);
    }

    private static ObjectNode task(String order, String source) {
        ObjectNode task = JSON.createObjectNode().put("task_id", order).put("operation", "download");
        task.putObject("source").put("connection_id", "remote-ftp").put("path", source);
        String name = source.substring(source.lastIndexOf('/') + 1);
        task.putObject("destination").put("connection_id", "local").put("path", "/in/" + name);
        task.putObject("options").put("retry_count", 5).put("deadline", Instant.now().plusSeconds(3600).toString());
        return task;
    }

    private static void send(Map<String, String> orders) throws Exception {
        // Idempotence is this client's default: its own repetitions make no second task.
        Map<String, Object> settings = Map.of("bootstrap.servers", KAFKA);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            List<Future<?>> sent = new ArrayList<>();
            for (var order : orders.entrySet()) {
                ObjectNode task = task(order.getKey(), order.getValue());
                // Tasks with one key are done in their order, if they also have one destination.
                String key = "local:" + task.at("/destination/path").asText();
                var record = new ProducerRecord<>(TASKS, key, JSON.writeValueAsString(task));
                record.headers().add("reply_to", REPLIES.getBytes(StandardCharsets.UTF_8));
                String trace = "00-" + hex(16) + "-" + hex(8) + "-01";
                record.headers().add("traceparent", trace.getBytes(StandardCharsets.UTF_8));
                sent.add(producer.send(record));
            }
            for (Future<?> one : sent) {
                one.get(); // throws where Kafka did not take it
            }
        }
    }

    private static void await(Map<String, String> orders) throws Exception {
        Map<String, Object> settings = Map.of(
            "bootstrap.servers", KAFKA,
            "group.id", REPLIES + "-java",
            "auto.offset.reset", "earliest",
            // Else answers of aborted transactions are seen as well, and some of them twice.
            "isolation.level", "read_committed");
        Instant until = Instant.now().plus(PATIENCE);
        try (var consumer = new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer())) {
            consumer.subscribe(List.of(REPLIES));
            while (!orders.isEmpty() && Instant.now().isBefore(until)) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    JsonNode answer = JSON.readTree(record.value());
                    // The topic may hold answers of earlier runs, and of others.
                    if (orders.remove(answer.path("task_id").asText()) != null) {
                        System.out.println(line(answer));
                    }
                }
            }
        }
        if (!orders.isEmpty()) {
            throw new IllegalStateException("no answer came in time for " + orders.keySet());
        }
    }

    private static String line(JsonNode answer) {
        String order = answer.path("task_id").asText();
        if (answer.path("status").asText().equals("completed")) {
            return order + " completed " + answer.path("destination").asText() + " " + answer.path("bytes_transferred");
        }
        return order + " failed " + answer.at("/error/code").asText() + " " + answer.at("/error/message").asText();
    }

    private static String hex(int bytes) {
        byte[] random = new byte[bytes];
        RANDOM.nextBytes(random);
        return HexFormat.of().formatHex(random);
    }
}
