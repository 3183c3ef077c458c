package android.content.res;

import java.io.ByteArrayInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;

/** The one asset of an app: stored in an archive, or, where it was compressed, as a stream alone. */
public final class AssetManager {
  private final String name, archive;
  private final long offset, length;
  private final byte[] compressed;

  public AssetManager(String name, String archive, long offset, long length, byte[] compressed) {
    this.name = name;
    this.archive = archive;
    this.offset = offset;
    this.length = length;
    this.compressed = compressed;
  }

  public AssetFileDescriptor openFd(String asked) throws IOException {
    check(asked);
    if (compressed != null) throw new FileNotFoundException("This file can not be opened as a file descriptor; it is probably compressed");
    return new AssetFileDescriptor(archive, offset, length);
  }

  public InputStream open(String asked) throws IOException {
    check(asked);
    return new ByteArrayInputStream(compressed);
  }

  private void check(String asked) throws IOException {
    if (!asked.equals(name)) throw new FileNotFoundException(asked);
  }
}
