import android.content.Context;
import android.content.res.AssetManager;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Arrays;
import org.edgekit.tiny.onnx.TinyModel;
import org.edgekit.tiny.onnx.TinyModelAndroid;

/** usage: Load AAR OFFSET LENGTH MODEL: loads the model stored, compressed and altered, and says what came of it. */
public final class Load {
  public static void main(String[] a) throws IOException {
    byte[] whole = Files.readAllBytes(Paths.get(a[3]));
    byte[] altered = whole.clone();
    altered[altered.length / 2] ^= 1;
    say("stored", a, null, whole);
    say("compressed", a, whole, whole);
    say("altered", a, altered, altered);
    System.out.println("pixels " + Arrays.toString(TinyModel.imageOf(new int[] {0xff010203, 0x80ff00fe})));
  }

  private static void say(String name, String[] a, byte[] compressed, byte[] wanted) throws IOException {
    final AssetManager assets = new AssetManager("edgekit/tiny/onnx/model.onnx", a[0], Long.parseLong(a[1]), Long.parseLong(a[2]), compressed);
    ByteBuffer found = TinyModelAndroid.load(new Context() {
      @Override
      public AssetManager getAssets() {
        return assets;
      }
    });
    String how = found instanceof MappedByteBuffer && found.isReadOnly() ? "mapped" : found.isDirect() ? "copied" : "on the heap";
    byte[] got = new byte[found.remaining()];
    found.duplicate().get(got);
    String said = "ok";
    try {
      TinyModel.check(found);
    } catch (IllegalStateException error) {
      said = error.getMessage();
    }
    System.out.println(name + " " + how + " " + Arrays.equals(got, wanted) + " " + said);
  }
}
