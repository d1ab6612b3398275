import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import net.openhft.chronicle.bytes.Bytes;
import net.openhft.chronicle.bytes.SyncMode;
import net.openhft.chronicle.queue.ChronicleQueue;
import net.openhft.chronicle.queue.ExcerptAppender;
import net.openhft.chronicle.queue.impl.single.SingleChronicleQueueBuilder;

/**
 * Chronicle Queue's part of the log peers: threads that append records, sync, and only then count the commit.
 *
 * Arguments: folder, threads, records per commit, size of a record, seconds. The last line of the output is
 * {"records":..,"seconds":..,"p50_us":..,"p99_us":..,"p99_9_us":..}, as the program that starts this reads it.
 */
public final class ChroniclePeer {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        int threads = Integer.parseInt(arguments[1]);
        int recordsPerCommit = Integer.parseInt(arguments[2]);
        int recordSizeBytes = Integer.parseInt(arguments[3]);
        double seconds = Double.parseDouble(arguments[4]);

        // SYNC makes sync() an msync that waits for the device.
        try (ChronicleQueue queue = SingleChronicleQueueBuilder.binary(folder).syncMode(SyncMode.SYNC).build()) {
            // The virtual machine compiles what the measurement runs.
            commit(queue, threads, recordsPerCommit, recordSizeBytes, 1.0);
            long start = System.nanoTime();
            long[] latencies = commit(queue, threads, recordsPerCommit, recordSizeBytes, seconds);
            double took = (System.nanoTime() - start) / 1e9;
            Arrays.sort(latencies);
            System.out.printf("%n{\"records\":%d,\"seconds\":%f,\"p50_us\":%f,\"p99_us\":%f,\"p99_9_us\":%f}%n",
                    (long) latencies.length * recordsPerCommit, took,
                    at(latencies, 0.5), at(latencies, 0.99), at(latencies, 0.999));
        }
    }

    private static double at(long[] sorted, double quantile) {
        if (sorted.length == 0) {
            return 0;
        }
        return sorted[(int) Math.min(sorted.length - 1, Math.ceil(quantile * sorted.length))] / 1e3;
    }

    private static long[] commit(ChronicleQueue queue, int threads, int recordsPerCommit, int recordSizeBytes,
            double seconds) throws Exception {
        long end = System.nanoTime() + (long) (seconds * 1e9);
        ExecutorService pool = Executors.newFixedThreadPool(threads);
        List<Future<List<Long>>> running = new ArrayList<>();
        for (int thread = 0; thread < threads; thread++) {
            int seed = thread;
            running.add(pool.submit(() -> commitUntil(queue, seed, recordsPerCommit, recordSizeBytes, end)));
        }
        List<Long> all = new ArrayList<>();
        for (Future<List<Long>> thread : running) {
            all.addAll(thread.get());
        }
        pool.shutdown();
        return all.stream().mapToLong(Long::longValue).toArray();
    }

    private static List<Long> commitUntil(ChronicleQueue queue, int seed, int recordsPerCommit, int recordSizeBytes,
            long end) {
        byte[] value = new byte[recordSizeBytes];
        new Random(seed).nextBytes(value);
        Bytes<byte[]> record = Bytes.wrapForRead(value);
        List<Long> latencies = new ArrayList<>();
        try (ExcerptAppender appender = queue.createAppender()) {
            while (true) {
                long start = System.nanoTime();
                if (start >= end) {
                    return latencies;
                }
                for (int number = 0; number < recordsPerCommit; number++) {
                    record.readPositionRemaining(0, recordSizeBytes);
                    appender.writeBytes(record);
                }
                appender.sync();
                latencies.add(System.nanoTime() - start);
            }
        }
    }
}
