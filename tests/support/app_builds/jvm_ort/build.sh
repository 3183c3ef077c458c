# usage: build.sh ONNXRUNTIME_AAR LIBONNXRUNTIME_SO OUT: what a JVM on x86-64 Linux needs for the Java API of an AAR made for Android.
# Both of one version: npm's com.github.asus4.onnxruntime@0.4.9 holds them (Plugins/Android, Plugins/Linux/x64).
set -eu
here=$(cd "$(dirname "$0")" && pwd) aar=$(realpath "$1") library=$(realpath "$2")
mkdir -p "$3" && cd "$3"
unzip -qjo "$aar" classes.jar jni/x86_64/libonnxruntime4j_jni.so
cp "$library" libonnxruntime.so
# stand-ins for Android's libc, libdl and libm, by the names and versions that the JNI library asks for
gcc -shared -fPIC -fno-builtin -o libc.so "$here/shim_libc.c" -Wl,--version-script="$here/libc.map" -Wl,-soname,libc.so
cp libc.so libdl.so
gcc -shared -fPIC -o libm.so "$here/shim_libm.c" -Wl,--version-script="$here/libm.map" -Wl,-soname,libm.so
