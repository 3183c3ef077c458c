package android.content;

import android.content.res.AssetManager;

/** In place of Android's, of which the loader asks nothing else. */
public abstract class Context {
  public abstract AssetManager getAssets();
}
