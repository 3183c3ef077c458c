// usage: BenchOnJvm ASSETS THREADS WARMUP_COUNT WARMUP_S RUNS MIN_S MAX_S: the core of the test APK on a JVM, as `am instrument` prints it
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.nio.file.Paths;
import org.edgekit.tiny.onnx.TinyModel;
import org.edgekit.tiny.onnx.TinyModelBench;

public final class BenchOnJvm {
  public static void main(String[] a) {
    Path assets = Paths.get(a[0]);
    TinyModelBench.Place place = new TinyModelBench.Place() {
      @Override
      public ByteBuffer model() throws IOException {
        Path file = assets.resolve(TinyModel.ASSET);
        try (FileInputStream in = new FileInputStream(file.toFile())) {
          return TinyModel.map(in, 0, file.toFile().length());
        }
      }

      @Override
      public InputStream golden(String name) throws IOException {
        return new FileInputStream(assets.resolve(TinyModel.FOLDER + "golden/" + name).toFile());
      }

      @Override
      public long cpuNs() {
        return ManagementFactory.getThreadMXBean().getCurrentThreadCpuTime();
      }

      @Override
      public String environment() {
        return "{\"os\":\"a JVM\",\"model\":\"none\",\"machine\":\"x86_64\",\"fingerprint\":\"test\",\"cpus\":"
            + Runtime.getRuntime().availableProcessors() + "}";
      }
    };
    String said = TinyModelBench.run(
        place, Integer.parseInt(a[1]), Integer.parseInt(a[2]), Double.parseDouble(a[3]), Integer.parseInt(a[4]),
        Double.parseDouble(a[5]), Double.parseDouble(a[6]));
    System.out.println("INSTRUMENTATION_RESULT: edgekit=" + said + "\nINSTRUMENTATION_CODE: -1");
  }
}
