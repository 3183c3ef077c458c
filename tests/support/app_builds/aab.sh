# usage: aab.sh FRAMEWORK_RES_APK BUNDLETOOL_FOLDER, in a folder with assets/: one.aab and two.aab with an install-time asset pack,
# and one.universal.apk, signed. BUNDLETOOL_FOLDER holds bundletool and aapt2, as pybundletool's wheel does.
set -eu
framework=$1 tools=$2
mkdir base pack
cat > base.xml <<'XML'
<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="org.edgekit.check" android:versionCode="1" android:versionName="1.0">
  <uses-sdk android:minSdkVersion="24" android:targetSdkVersion="29" />
  <application android:hasCode="false" android:label="check" />
</manifest>
XML
cat > pack.xml <<'XML'
<manifest xmlns:android="http://schemas.android.com/apk/res/android" xmlns:dist="http://schemas.android.com/apk/distribution" package="org.edgekit.check" split="model_pack">
  <dist:module dist:type="asset-pack"><dist:delivery><dist:install-time /></dist:delivery><dist:fusing dist:include="true" /></dist:module>
</manifest>
XML
module() { # NAME MANIFEST ZIP
  aapt2 link --proto-format --manifest "$2" -I "$framework" -o "$1.proto"
  (cd "$1" && unzip -qo "../$1.proto" && mkdir manifest && mv AndroidManifest.xml manifest/)
}
module base base.xml
module pack pack.xml
rm -f pack/resources.pb
cp -r assets pack/assets
find base pack -exec touch -d '1980-01-01 UTC' {} +
(cd base && find . -type f | LC_ALL=C sort | zip -qXD@ ../base.zip)
(cd pack && find . -type f | LC_ALL=C sort | zip -qXD@ ../model_pack.zip) # a module's zip is named as its split
keytool -genkeypair -keystore key.jks -storepass edgekit -keypass edgekit -alias k -keyalg RSA -validity 9999 -dname CN=edgekit 2>/dev/null
for name in one two; do
  "$tools/bundletool" build-bundle --modules=base.zip,model_pack.zip --output="$name.aab"
done
"$tools/bundletool" validate --bundle=one.aab
"$tools/bundletool" build-apks --bundle=one.aab --output=one.apks --mode=universal --aapt2="$tools/aapt2" --ks=key.jks --ks-pass=pass:edgekit --ks-key-alias=k
unzip -qp one.apks universal.apk > one.universal.apk
apksigner verify -v one.universal.apk
zipalign -c -p 4 one.universal.apk
