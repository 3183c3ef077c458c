package android.os;

public class Debug {
  public static long threadCpuTimeNanos() {
    return 0;
  }

  public static boolean isDebuggerConnected() {
    return false;
  }
}
