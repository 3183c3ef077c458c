// usage: Golden APK OFFSET LENGTH GOLDEN_FOLDER HEIGHT WIDTH: the generated class and ONNX Runtime's own Java API, from a raw image on
import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtSession;
import java.io.FileInputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.MappedByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.Collections;
import org.edgekit.tiny.onnx.TinyModel;

public final class Golden {
  public static void main(String[] a) throws Exception {
    MappedByteBuffer model;
    try (FileInputStream apk = new FileInputStream(a[0])) {
      model = TinyModel.map(apk, Long.parseLong(a[1]), Long.parseLong(a[2]));
    }
    TinyModel.check(model);
    Path folder = Paths.get(a[3]);
    byte[] image = Files.readAllBytes(folder.resolve("image.u8"));
    float[] photo = TinyModel.tensorOf(image, Integer.parseInt(a[4]), Integer.parseInt(a[5]));
    try (OrtEnvironment environment = OrtEnvironment.getEnvironment();
        OrtSession session = environment.createSession(model, new OrtSession.SessionOptions())) {
      boolean same = answers(environment, session, read(folder, "input_0"), read(folder, "output_0"));
      same &= answers(environment, session, photo, read(folder, "image_output_0"));
      System.out.println("onnxruntime " + environment.getVersion() + " matches " + same);
    }
  }

  static boolean answers(OrtEnvironment environment, OrtSession session, float[] x, float[] wanted) throws Exception {
    long[] shape = Arrays.stream(TinyModel.INPUTS[0].shape()).asLongStream().toArray();
    try (OnnxTensor tensor = OnnxTensor.createTensor(environment, FloatBuffer.wrap(x), shape);
        OrtSession.Result result = session.run(Collections.singletonMap(TinyModel.INPUTS[0].name, tensor))) {
      float[] got = ((float[][]) result.get(TinyModel.OUTPUTS[0].name).get().getValue())[0];
      return TinyModel.matches(wanted, got, TinyModel.GOLDEN_ATOL);
    }
  }

  static float[] read(Path folder, String name) throws Exception {
    FloatBuffer buffer = ByteBuffer.wrap(Files.readAllBytes(folder.resolve(name + ".f32"))).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    float[] values = new float[buffer.remaining()];
    buffer.get(values);
    return values;
  }
}
