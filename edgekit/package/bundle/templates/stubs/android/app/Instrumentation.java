package android.app;

import android.content.Context;
import android.os.Bundle;

public class Instrumentation {
  public void onCreate(Bundle arguments) {}

  public void start() {}

  public void onStart() {}

  public void finish(int resultCode, Bundle results) {}

  public Context getContext() {
    return null;
  }
}
