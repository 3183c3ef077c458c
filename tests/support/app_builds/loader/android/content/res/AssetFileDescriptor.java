package android.content.res;

import java.io.Closeable;
import java.io.FileDescriptor;
import java.io.IOException;
import java.io.RandomAccessFile;

/** A stored asset: a part of a file. */
public final class AssetFileDescriptor implements Closeable {
  private final RandomAccessFile file;
  private final long offset, length;

  AssetFileDescriptor(String path, long offset, long length) throws IOException {
    this.file = new RandomAccessFile(path, "r");
    this.offset = offset;
    this.length = length;
  }

  public FileDescriptor getFileDescriptor() throws IOException {
    return file.getFD();
  }

  public long getStartOffset() {
    return offset;
  }

  public long getDeclaredLength() {
    return length;
  }

  @Override
  public void close() throws IOException {
    file.close();
  }
}
