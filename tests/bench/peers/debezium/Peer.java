import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Debezium's engine with a consumer that does nothing but count: ends after so many row events.
 *
 * <pre>java -cp … Peer COUNT NAME=VALUE…</pre>
 */
public final class Peer {
    private Peer() {
    }

    public static void main(String[] arguments) throws Exception {
        long wanted = Long.parseLong(arguments[0]);
        Properties properties = new Properties();
        for (int i = 1; i < arguments.length; i++) {
            String[] pair = arguments[i].split("=", 2);
            properties.setProperty(pair[0], pair[1]);
        }
        CountDownLatch done = new CountDownLatch(1);
        long[] seen = {0}; // only the consumer's thread writes it
        String[] failure = {null};
        DebeziumEngine<?> engine = DebeziumEngine.create(Connect.class)
                .using(properties)
                .notifying((records, committer) -> {
                    for (var record : records) {
                        if (record.value().valueSchema() != null
                                && record.value().valueSchema().field("op") != null) {
                            seen[0]++;
                        }
                        committer.markProcessed(record);
                    }
                    committer.markBatchFinished();
                    if (seen[0] >= wanted) {
                        done.countDown();
                    }
                })
                .using((success, message, error) -> {
                    if (!success) {
                        failure[0] = message;
                    }
                    done.countDown();
                })
                .build();
        ExecutorService executor = Executors.newSingleThreadExecutor();
        executor.execute(engine);
        done.await();
        if (failure[0] == null) {
            engine.close();
        }
        executor.shutdownNow();
        if (seen[0] < wanted) {
            System.err.println("only " + seen[0] + " of " + wanted + " rows: " + failure[0]);
            System.exit(1);
        }
        System.exit(0);
    }
}
