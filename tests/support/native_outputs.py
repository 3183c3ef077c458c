"""What native benchmark programs print, in the words of real ones: of their documentation and of logs in public issues."""

# LiteRT, a build of 2026: log tags, percentiles, the delegate's report
LITERT = """I tflite  : STARTING!
I tflite  : Log parameter values verbosely: [0]
I tflite  : Num threads: [1]
I tflite  : Graph: [/data/local/tmp/model.tflite]
I tflite  : Loaded model /data/local/tmp/model.tflite
I tflite  : Created TensorFlow Lite XNNPACK delegate for CPU.
I tflite  : Replacing 60 out of 64 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 5 partitions for subgraph 0.
I tflite  : The input model file size (MB): 16.9008
I tflite  : Initialized session in 92.318ms.
I tflite  : Running benchmark for at least 3 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
I tflite  : count=3 first=255133 curr=180990 min=180071 max=255133 avg=211669 std=13583 p5=180071 median=187000 p95=255133
I tflite  : Running benchmark for at least 25 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
I tflite  : count=25 first=187533 curr=140990 min=140071 max=195121 avg=145528 std=13583 p5=140545 median=141253 p95=187533
I tflite  : Inference timings in us: Init: 92318, First inference: 187533, Warmup (avg): 211669, Inference (avg): 145528
I tflite  : Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual memory footprint of the model at runtime. Take the information at your discretion.
I tflite  : Memory footprint delta from the start of the tool (MB): init=54.2852 overall=73.4102
"""
# TensorFlow Lite 2.4 and later, without percentiles, with a mean in powers of ten
TFLITE_OLD = """STARTING!
Num threads: [4]
Loaded model ./mobilenet_v1_1.0_224.tflite
The input model file size (MB): 16.9008
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
"""
PERF_TEST = """Session creation time cost: 0.512 s
First inference time cost: 12 ms
Total inference time cost: 5.88053 s
Total inference requests: 1000
Average inference time cost total: 5.88053 ms
Total inference run time: 5.88102 s
Number of inferences per second: 170.04
Avg CPU usage: 98 %
Peak working set size: 123456789 bytes
Min Latency: 0.0055977 s
Max Latency: 0.0062347 s
P50 Latency: 0.0058710 s
P90 Latency: 0.0059984 s
P95 Latency: 0.0060567 s
P99 Latency: 0.0061951 s
P999 Latency: 0.0062347 s
"""
PERF_TEST_OLD = """Session creation time cost: 0.127918 s
Total inference time cost: 1.44871 s
Total inference requests: 10
Average inference time cost: 144.871 ms
Total inference run time: 1.44916 s
Avg CPU usage: 68 %
Peak working set size: 158171136 bytes
Min Latency is 0.140 sec
Max Latency is 0.151 sec
P50 Latency is 0.1445 sec
"""
EXECUTORCH = """I 00:00:00.002044 executorch:executor_runner.cpp:331] Model file model.pte is loaded.
I 00:00:00.002145 executorch:executor_runner.cpp:340] Using method forward
I 00:00:00.002166 executorch:executor_runner.cpp:388] Setting up planned buffer 0, size 9031680.
I 00:00:00.279532 executorch:executor_runner.cpp:414] Method loaded.
I 00:00:00.903457 executorch:executor_runner.cpp:506] Model executed successfully 50 time(s) in 612.500000 ms.
I 00:00:00.903469 executorch:executor_runner.cpp:510] 1 outputs:
"""
EXECUTORCH_OLD = "I 00:00:00.217469 executorch:qnn_executor_runner.cpp:415] Model executed successfully.\n"
CRASH = "terminating due to uncaught exception: could not open the model\n"

THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
\tkilled: false
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=99.9, mType=3, mName=TYPE_SKIN, mStatus=0}}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{{mValue=44.0, mType=0, mName=TYPE_CPU, mStatus=0}}
\tTemperature{{mValue=24.4, mType=2, mName=TYPE_BATTERY, mStatus=0}}
\tTemperature{{mValue=35.3, mType=3, mName=TYPE_SKIN, mStatus=0}}
\tTemperature{{mValue=-99.9, mType=5, mName=TYPE_POWER_AMPLIFIER, mStatus=0}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=TYPE_CPU}}
"""
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Max charging current: 500000
  Charge counter: {charge}
  status: 3
  health: 2
  present: true
  level: 87
  scale: 100
  voltage: 4000
  temperature: 251
  technology: Li-ion
"""
