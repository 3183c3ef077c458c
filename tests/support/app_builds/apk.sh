# usage: apk.sh FRAMEWORK_RES_APK, in a folder with assets/: one.apk and two.apk, signed with one key
set -eu
cat > AndroidManifest.xml <<'XML'
<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="org.edgekit.check" android:versionCode="1" android:versionName="1.0">
  <uses-sdk android:minSdkVersion="24" android:targetSdkVersion="29" />
  <application android:hasCode="false" android:label="check" />
</manifest>
XML
keytool -genkeypair -keystore key.jks -storepass edgekit -keypass edgekit -alias k -keyalg RSA -validity 9999 -dname CN=edgekit 2>/dev/null
for name in one two; do
  aapt2 link --manifest AndroidManifest.xml -I "$1" -A assets -o "$name.unaligned" -0 .onnx -0 .tflite
  zipalign -f -p 4 "$name.unaligned" "$name.apk"
  zipalign -c -p 4 "$name.apk"
  apksigner sign --ks key.jks --ks-pass pass:edgekit "$name.apk"
  apksigner verify -v "$name.apk"
done
