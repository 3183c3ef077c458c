package android.os;

public class Build {
  public static final String MANUFACTURER = String.valueOf((Object) null);
  public static final String MODEL = String.valueOf((Object) null);
  public static final String FINGERPRINT = String.valueOf((Object) null);

  public static class VERSION {
    public static final String RELEASE = String.valueOf((Object) null);
    public static final int SDK_INT = Integer.parseInt("0");
  }
}
