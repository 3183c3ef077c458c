public final class App {
  public static String hash() {
    return org.edgekit.tiny.onnx.TinyModel.SHA256;
  }
}
